"""What has come of a sync, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from remote_kernels.sync.entry import HERE, THERE, Side
from remote_kernels.sync.plan import Copy, Plan
from remote_kernels.sync.walk import Sight


class Progress(NamedTuple):
    """How far it is.

    Attributes:
        files: that are in their places.
        of_files: that are to be.
        bytes: of them that have arrived.
        of_bytes: that are to arrive.
    """

    files: int = 0
    of_files: int = 0
    bytes: int = 0
    of_bytes: int = 0


@dataclass
class Outcome:
    """What has come of it, or would.

    Attributes:
        sent: files and links that went to one side: path, side and size.
        removed: what was removed: path and side.
        conflicts: second names of versions, by the path of both.
        left: why something was left as it is, by its path; that is for a person to decide.
        kept: paths of what was deleted on one side and stays, since it was changed on the other.
        skipped: why something cannot be in a sync, by its path.
        failed: why something could not be done, by its path.
        left_out: how many paths rules leave out, without what is in them.
        said: by rsync, while something failed.
        seconds: that it took.
        by: rsync or unison.
    """

    sent: dict[str, tuple[Side, int]] = field(default_factory=dict)
    removed: dict[str, Side] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: int = 0
    said: list[str] = field(default_factory=list)
    seconds: float = 0.0
    by: str = "rsync"

    def note_sent(self, copy: Copy) -> None:
        """Something has arrived."""
        self.sent[copy.path] = (copy.to, copy.wanted.size)

    @property
    def bytes(self) -> int:
        """Size of all that has arrived."""
        return sum(size for _, size in self.sent.values())

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left for a person to look at."""
        return not (self.conflicts or self.left or self.failed)

    @property
    def has_changed(self) -> bool:
        """Whether anything was done."""
        return bool(self.sent or self.removed or self.conflicts)

    def add(self, later: Outcome) -> None:
        """Take what a later one has done to this; what is to be looked at is that of the later."""
        self.sent.update(later.sent)
        self.removed.update(later.removed)
        self.conflicts.update(later.conflicts)
        self.left, self.skipped, self.failed = later.left, later.skipped, later.failed
        self.kept += later.kept
        self.said = later.said
        self.seconds += later.seconds

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "transferred": [
                {"path": path, "to": side, "bytes": size}
                for path, (side, size) in self.sent.items()
            ],
            "deleted": [{"path": path, "on": side} for path, side in self.removed.items()],
            "conflicts": [{"path": path, "other": x} for path, x in self.conflicts.items()],
            "left": [{"path": path, "why": why} for path, why in self.left.items()],
            "kept": self.kept,
            "skipped": [{"path": path, "why": why} for path, why in self.skipped.items()],
            "failed": [{"path": path, "why": why} for path, why in self.failed.items()],
            "said": self.said,
            "left_out": self.left_out,
            "files": len(self.sent),
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "by": self.by,
        }

    def begin_anew(self, plan: Plan, sight: Sight) -> None:
        """Forget what another try would do, and say what a plan leaves."""
        self.left = dict(plan.left)
        self.kept += [path for path, _ in plan.kept if path not in self.kept]
        self.skipped = {path: why for path, _, why in sight.skipped}
        self.left_out = len(sight.left_out)
        self.failed.clear()
        self.said.clear()

    def expect(self, plan: Plan) -> None:
        """Say what a plan would do."""
        for copy in plan.copies:
            self.note_sent(copy)
        for each in (*plan.replaced, *plan.removals):
            self.removed[each.path] = each.on
        self.conflicts.update((each.path, each.second) for each in plan.conflicts)

    def note_difference(self, before: Sight, after: Sight) -> None:
        """Somebody else has done it: note what is now otherwise on one side.

        Args:
            before: what there was.
            after: what there is.
        """
        for side in (HERE, THERE):
            old, new = before.of(side), after.of(side)
            for path, entry in new.items():
                was = old.get(path)
                if not entry.is_directory and (was is None or not entry.has_content_of(was)):
                    self.sent[path] = (side, entry.size)
            for path in old.keys() - new.keys():
                self.removed[path] = side
