"""What is to be done so that two directories are alike; pure, and nothing is done here.

Nobody's work is lost by it. ``push`` and ``pull`` make one side like the other, but leave what is
newer there and was not asked to be overwritten. ``both`` brings to the other side what was changed
on one; of what was changed on both, both versions are kept on both sides.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from remote_kernels.sync.agreed import Both
from remote_kernels.sync.entry import HERE, THERE, Entry, Side, other
from remote_kernels.sync.walk import Sight, parents
from remote_kernels.tree import FILE, LINK, same_time

Direction = Literal["push", "pull", "both"]
# What is to go on after a break, in bytes.
_LARGE = 1 << 24
# Of a name, in bytes.
_LONGEST_NAME = 255
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class Copy(NamedTuple):
    """A file or a link that goes to one side.

    Attributes:
        path: of it, on both sides.
        to: the side.
        wanted: what is to be there afterwards.
    """

    path: str
    to: Side
    wanted: Entry


class Making(NamedTuple):
    """A directory that is made; what it is like on the other side tells its mode and time."""

    path: str
    on: Side
    like: Entry


class Change(NamedTuple):
    """A mode, and a time if it is not None, that something is given."""

    path: str
    on: Side
    mode: int
    modified: int | None


class Removal(NamedTuple):
    """Something that is removed."""

    path: str
    on: Side


class Conflict(NamedTuple):
    """What was changed on both sides: one version gets a second name.

    Attributes:
        path: of it.
        on: the side whose version gets another name.
        second: its path from now on.
        is_there: it has that name there already.
    """

    path: str
    on: Side
    second: str
    is_there: bool


class Left(NamedTuple):
    """What is left as it is, and why."""

    path: str
    why: str


class Kept(NamedTuple):
    """What was deleted on one side and changed on the other, which counts."""

    path: str
    deleted: Side


@dataclass
class Plan:
    """What is to be done, in this order, and what is to be said.

    Attributes:
        conflicts: versions that get a second name.
        replaced: what has to go before something else takes its place.
        makings: directories, the outer ones first.
        copies: files and links.
        removals: the inner ones first.
        changes: modes and times, the inner ones first.
        agreed: paths that need nothing, with what is known of them then.
        left: see :class:`Left`.
        kept: see :class:`Kept`.
        doubtful: files that may be alike; only their contents tell.
    """

    conflicts: list[Conflict] = field(default_factory=list)
    replaced: list[Removal] = field(default_factory=list)
    makings: list[Making] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    agreed: dict[str, Both] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        steps = (self.conflicts, self.replaced, self.makings, self.copies, self.removals)
        return not any((*steps, self.changes))

    def removed_on(self, side: Side) -> list[str]:
        """The paths that are removed on one side."""
        return [each.path for each in (*self.replaced, *self.removals) if each.on == side]


class Wishes(NamedTuple):
    """What a person wants beside the direction.

    Attributes:
        delete: what is on the receiving side alone is to go.
        overwrite: what is newer on the receiving side is to be overwritten.
    """

    delete: bool = False
    overwrite: bool = False


def plan(
    direction: Direction,
    sight: Sight,
    agreed: Mapping[str, Both],
    wishes: Wishes,
    names: Mapping[Side, str],
    alike: Collection[str] = (),
) -> Plan:
    """What is to be done.

    Args:
        direction: push, pull or both.
        sight: what there is.
        agreed: what both sides had agreed on before.
        wishes: what the person wants.
        names: of the machines, for versions that get a second name.
        alike: files that are known to hold the same.
    """
    planner = _Planner(sight, agreed, wishes, names, alike)
    paths = sorted(sight.here.keys() | sight.there.keys(), key=lambda path: path.split("/"))
    # The inner ones first: they decide whether a directory can go.
    for path in reversed(paths):
        if not sight.is_hidden(path):
            if direction == "both":
                planner.reconcile(path)
            else:
                planner.bring(path, HERE if direction == "push" else THERE)
    return planner.finished(direction)


def large_copies(steps: Plan) -> Plan:
    """Of a plan only what brings large files to where nothing is in their way.

    Args:
        steps: the plan.
    """
    others = {removal.path for removal in steps.replaced}
    for conflict in steps.conflicts:
        others |= {conflict.path, conflict.second}
    large = [x for x in steps.copies if x.wanted.size >= _LARGE]
    copies = [x for x in large if not _is_at_or_in(x.path, others)]
    needed = {above for copy in copies for above in parents(copy.path)}
    return Plan(makings=[x for x in steps.makings if x.path in needed], copies=copies)


class _Planner:
    def __init__(
        self,
        sight: Sight,
        agreed: Mapping[str, Both],
        wishes: Wishes,
        names: Mapping[Side, str],
        alike: Collection[str],
    ) -> None:
        self._sight, self._agreed, self._wishes = sight, agreed, wishes
        self._names, self._alike = names, alike
        self._plan = Plan()
        # Directories that have to be there, and those that have to go for something else.
        self._needed: set[str] = set()
        self._in_the_way: set[str] = set()
        # What cannot become a directory.
        self._blocked: set[str] = set()

    # --- to one side --------------------------------------------------------------------------

    def bring(self, path: str, side: Side) -> None:
        """Make the other side like one, at one path."""
        to = other(side)
        mine, theirs = self._sight.of(side).get(path), self._sight.of(to).get(path)
        if mine is None:
            assert theirs is not None
            if self._wishes.delete:
                self._remove(path, to)
        elif theirs is None:
            self._add(path, to, mine)
        elif mine.is_directory or theirs.is_directory:
            self._bring_directory(path, to, mine, theirs)
        elif self._is_same(path):
            self._with_mode(path, to, mine, theirs, None)
        elif self._may_be_overwritten(path, to, mine, theirs):
            self._copy(path, to, mine)
        elif self._are_alike(path, mine, theirs):
            self._with_mode(path, to, mine, theirs, mine.modified)
        else:
            self._leave(path, self._why_left(path, to, mine, theirs))

    def _why_left(self, path: str, to: Side, mine: Entry, theirs: Entry) -> str:
        if mine.kind != theirs.kind:
            return f"it is a {theirs.kind} {_on(to)}"
        if path in self._agreed:
            return f"it was changed {_on(to)} since the last sync"
        return f"it is newer {_on(to)}"

    def _bring_directory(self, path: str, to: Side, mine: Entry, theirs: Entry) -> None:
        if mine.is_directory and theirs.is_directory:
            self._with_mode(path, to, mine, theirs, mine.modified)
        elif mine.is_directory and self._wishes.overwrite:
            self._plan.replaced.append(Removal(path, to))
            self._add(path, to, mine)
        elif theirs.is_directory and self._wishes.overwrite and self._wishes.delete:
            self._replace_directory(path, to)
            self._copy(path, to, mine)
        else:
            self._blocked.add(path)
            self._leave(path, f"it is a {theirs.kind} {_on(to)}")

    def _may_be_overwritten(self, path: str, to: Side, mine: Entry, theirs: Entry) -> bool:
        if self._wishes.overwrite:
            return True
        before = self._agreed.get(path)
        if before is not None:
            return theirs.is_unchanged(before.of(to))
        return mine.kind == theirs.kind and theirs.modified < mine.modified

    # --- to both ------------------------------------------------------------------------------

    def reconcile(self, path: str) -> None:
        """Bring changes to the side that has none, at one path."""
        here, there = self._sight.here.get(path), self._sight.there.get(path)
        before = self._agreed.get(path)
        entries = {HERE: here, THERE: there}
        changed = [
            side
            for side, entry in entries.items()
            if before is None or entry is None or not entry.is_unchanged(before.of(side))
        ]
        if here is None or there is None:
            self._reconcile_missing(path, entries, before, changed)
        elif here.is_directory and there.is_directory:
            self._merge_modes(path, here, there, before)
        elif here.is_directory or there.is_directory:
            self._reconcile_kinds(path, here, there, changed)
        elif self._is_same(path):
            self._merge_modes(path, here, there, before)
        elif len(changed) == 1:
            to = other(changed[0])
            mine = here if to == THERE else there
            self._copy(path, to, mine, self._merged_mode(here, there, before))
        elif self._are_alike(path, here, there):
            self._merge_modes(path, here, there, before)
        else:
            self._conflict(path, THERE, there)
            self._copy(path, THERE, here)

    def _reconcile_missing(
        self,
        path: str,
        entries: Mapping[Side, Entry | None],
        before: Both | None,
        changed: list[Side],
    ) -> None:
        side: Side = HERE if entries[HERE] is not None else THERE
        entry = entries[side]
        assert entry is not None
        if before is None or path in self._needed:
            self._add(path, other(side), entry)
        elif side not in changed:
            self._remove(path, side)
        else:
            self._plan.kept.append(Kept(path, other(side)))
            self._add(path, other(side), entry)

    def _reconcile_kinds(self, path: str, here: Entry, there: Entry, changed: list[Side]) -> None:
        """One side has a directory of that name, the other has not."""
        with_directory: Side = HERE if here.is_directory else THERE
        without = other(with_directory)
        directory, single = (here, there) if here.is_directory else (there, here)
        if without not in changed:
            self._plan.replaced.append(Removal(path, without))
            self._add(path, without, directory)
        elif with_directory not in changed and path not in self._needed:
            self._replace_directory(path, with_directory)
            self._copy(path, with_directory, single)
        else:
            self._conflict(path, without, single)
            self._plan.replaced.append(Removal(path, without))
            self._add(path, without, directory)

    def _conflict(self, path: str, side: Side, entry: Entry) -> None:
        """Keep one side's version under another name, on both sides."""
        second = self._second_name(path, side, entry)
        there = self._sight.of(side).get(second)
        self._plan.conflicts.append(Conflict(path, side, second, there is not None))
        if second not in self._sight.of(other(side)):
            self._copy(second, other(side), there or entry)

    def _second_name(self, path: str, side: Side, entry: Entry) -> str:
        """A path beside another, for what was on one side; the same for the same version."""
        above, slash, name = path.rpartition("/")
        stem, dot, suffix = name.rpartition(".")
        if not stem or len(suffix) > 16:
            stem, dot, suffix = name, "", ""
        moment = time.strftime("%Y%m%dT%H%M%S", time.localtime(entry.modified // 10**9))
        host = _NO_NAME.sub("-", self._names[side]).strip("-")[:64]
        number = 1
        while True:
            mark = f".conflict-{host}-{moment}" + (f"-{number}" if number > 1 else "")
            room = _LONGEST_NAME - len(_as_bytes(mark + dot + suffix))
            shortened = _as_bytes(stem)[:room].decode("utf-8", "surrogateescape")
            second = f"{above}{slash}{shortened}{mark}{dot}{suffix}"
            taken = [self._sight.of(each).get(second) for each in (HERE, THERE)]
            if all(found is None or found.has_content_of(entry) for found in taken):
                return second
            number += 1

    # --- what comes of it ---------------------------------------------------------------------

    def _add(self, path: str, to: Side, entry: Entry) -> None:
        if entry.is_directory:
            self._needed.update(parents(path))
            self._plan.makings.append(Making(path, to, entry))
        else:
            self._copy(path, to, entry)

    def _copy(self, path: str, to: Side, entry: Entry, mode: int | None = None) -> None:
        self._needed.update(parents(path))
        wanted = entry if mode is None else entry._replace(mode=mode)
        self._plan.copies.append(Copy(path, to, wanted))
        if wanted.mode != entry.mode:
            self._plan.changes.append(Change(path, other(to), wanted.mode, None))

    def _remove(self, path: str, side: Side) -> None:
        self._plan.removals.append(Removal(path, side))

    def _replace_directory(self, path: str, side: Side) -> None:
        self._in_the_way.add(path)
        self._remove(path, side)

    def _leave(self, path: str, why: str) -> None:
        self._plan.left.append(Left(path, why))

    def _is_same(self, path: str) -> bool:
        """Whether both sides hold the same, as far as is known without reading."""
        here, there = self._sight.here[path], self._sight.there[path]
        before = self._agreed.get(path)
        if before is not None:
            is_new = [not here.is_unchanged(before.here), not there.is_unchanged(before.there)]
            if not all(is_new):
                # One side may tell no time that is as fine as the change.
                return not any(is_new)
        return here.has_content_of(there)

    def _are_alike(self, path: str, one: Entry, two: Entry) -> bool:
        """Whether two files hold the same; else it is noted that this has to be found out."""
        if one.kind != FILE or two.kind != FILE or one.size != two.size:
            return False
        self._plan.doubtful.append(path)
        return path in self._alike

    def _with_mode(
        self, path: str, to: Side, mine: Entry, theirs: Entry, modified: int | None
    ) -> None:
        """Give one side the mode of the other, and a time if it is not None."""
        before = self._agreed.get(path)
        mode = theirs.mode
        is_known = before is not None and (mine.mode, theirs.mode) == (
            before.of(other(to)).mode,
            before.of(to).mode,
        )
        if mine.kind != LINK and not is_known:
            mode = mine.mode
        if mode != theirs.mode or not (modified is None or same_time(modified, theirs.modified)):
            self._plan.changes.append(Change(path, to, mode, modified))
        else:
            self._agree(path)

    def _merge_modes(self, path: str, here: Entry, there: Entry, before: Both | None) -> None:
        mode = self._merged_mode(here, there, before)
        sides = ((HERE, here), (THERE, there))
        changes = [
            Change(path, side, mode, None)
            for side, entry in sides
            if mode is not None and entry.kind != LINK and entry.mode != mode
        ]
        self._plan.changes += changes
        if not changes:
            self._agree(path)

    def _merged_mode(self, here: Entry, there: Entry, before: Both | None) -> int | None:
        """The mode that was changed; None if none was, since both may have their own."""
        if before is None:
            return None
        if here.mode != before.here.mode:
            return here.mode
        return there.mode if there.mode != before.there.mode else None

    def _agree(self, path: str) -> None:
        self._plan.agreed[path] = Both(self._sight.here[path], self._sight.there[path])

    # --- the whole ----------------------------------------------------------------------------

    def finished(self, direction: Direction) -> Plan:
        """The plan, in the order in which it can be carried out."""
        plan = self._plan
        blocked = self._blocked
        plan.copies = [x for x in plan.copies if not _is_in(x.path, blocked)][::-1]
        plan.makings = [x for x in plan.makings if not _is_in(x.path, blocked)][::-1]
        # What is in a directory that has to go for something else goes before that comes.
        removals, plan.removals = plan.removals, []
        for removal in removals:
            is_early = _is_at_or_in(removal.path, self._in_the_way)
            (plan.replaced if is_early else plan.removals).append(removal)
        for each in (plan.conflicts, plan.left, plan.kept):
            each.reverse()
        self._set_directories(direction)
        return plan

    def _set_directories(self, direction: Direction) -> None:
        """Let directories have their modes and times when all is in them."""
        plan = self._plan
        made = [Change(x.path, x.on, x.like.mode, x.like.modified) for x in plan.makings]
        if direction != "both":
            known = {each.path for each in (*made, *plan.changes)}
            to: Side = THERE if direction == "push" else HERE
            paths = [*(x.path for x in plan.makings), *(x.path for x in plan.copies)]
            touched = {x.rpartition("/")[0] for x in (*paths, *plan.removed_on(to))} - known
            gone = set(plan.removed_on(to))
            source, receiver = self._sight.of(other(to)), self._sight.of(to)
            for path in touched - gone:
                if path in source and path in receiver:
                    mine, theirs = source[path], receiver[path]
                    plan.agreed.pop(path, None)
                    made.append(Change(path, to, theirs.mode, mine.modified))
        plan.changes += made
        plan.changes.sort(key=lambda change: change.path.count("/"), reverse=True)


def _is_in(path: str, directories: Collection[str]) -> bool:
    return bool(directories) and any(above in directories for above in parents(path))


def _is_at_or_in(path: str, directories: Collection[str]) -> bool:
    return path in directories or _is_in(path, directories)


def _on(side: Side) -> str:
    return "here" if side == HERE else "over there"


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
