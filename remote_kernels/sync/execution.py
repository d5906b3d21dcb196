"""A plan, carried out on both sides. What was done is noted, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from remote_kernels.errors import DiskFullError, RemoteKernelsError
from remote_kernels.sync.agreed import Agreed, Both
from remote_kernels.sync.entry import HERE, THERE, Entries, Entry, Side, other
from remote_kernels.sync.outcome import Outcome, Progress
from remote_kernels.sync.place import Place, nonsense
from remote_kernels.sync.plan import Change, Conflict, Copy, Making, Plan, Removal
from remote_kernels.sync.transfer import FULL, Carried
from remote_kernels.sync.walk import Sight
from remote_kernels.tree import FILE

# What is carried before it is put into place: so much more room is needed for a moment.
_MOST_BYTES, _MOST_FILES = 1 << 30, 2000
_NOT_EMPTY = re.compile(r"not empty", re.IGNORECASE)

S = TypeVar("S", Conflict, Copy, Making, Change, Removal)


class Carry(Protocol):
    """Brings what files hold to one side; see :func:`~remote_kernels.sync.transfer.carry`."""

    def __call__(
        self, to: Side, paths: Sequence[str], *, goes_on: bool, told: Callable[[int], None]
    ) -> Carried:
        """Bring it."""


class Execution:
    """One plan that is carried out.

    Attributes:
        missing: bytes that it had to bring when it began.
    """

    def __init__(
        self,
        plan: Plan,
        sight: Sight,
        places: Mapping[Side, Place],
        agreed: Agreed,
        outcome: Outcome,
        carry: Carry,
        told: Callable[[Progress], None],
    ) -> None:
        """Prepare.

        Args:
            plan: what is to be done.
            sight: on which it rests.
            places: the two sides.
            agreed: learns what both sides agree on then.
            outcome: takes what was done.
            carry: brings what files hold.
            told: takes how far it is.
        """
        self._plan, self._places, self._agreed = plan, places, agreed
        self._outcome, self._carry, self._told = outcome, carry, told
        # What there is, as far as we know.
        self._now: dict[Side, Entries] = {HERE: dict(sight.here), THERE: dict(sight.there)}
        self.missing = sum(copy.wanted.size for copy in plan.copies)
        self._arrived: dict[Side, dict[str, int]] = {}
        self._progress = Progress(0, len(plan.copies), 0, self.missing)

    def run(self) -> None:
        """Do it.

        Raises:
            RemoteKernelsError: it could not be done to the end.
        """
        plan = self._plan
        for path in plan.agreed:
            self._settle(path)
        receivers = sorted({copy.to for copy in plan.copies})
        stays = True
        try:
            for side in receivers:
                self._begin(side)
            self._keep_versions()
            self._remove(plan.replaced)
            self._make()
            for side in receivers:
                self._bring([copy for copy in plan.copies if copy.to == side], side)
            self._remove(plan.removals)
            self._change()
            self._look_for_full_disk()
            stays = False
        except DiskFullError:
            # What we leave would keep it full.
            stays = False
            raise
        finally:
            for side in receivers:
                self._end(side, stays=stays)

    # --- what arrives -------------------------------------------------------------------------

    def _begin(self, side: Side) -> None:
        """Have a place for what arrives on one side, and nothing else in it."""
        wanted = {copy.path for copy in self._plan.copies if copy.to == side}
        found = dict(_joined(self._places[side].ask("begin", self._agreed.name)))
        self._arrived[side] = {path: size for path, size in found.items() if path in wanted}
        self.missing -= sum(self._arrived[side].values())
        if found.keys() - wanted:
            _all(self._places[side].ask("drop", self._agreed.name, [*(found.keys() - wanted)]))

    def _end(self, side: Side, *, stays: bool) -> None:
        try:
            _all(self._places[side].ask("end", self._agreed.name, stays))
        except RemoteKernelsError:
            # Why, is known: there is no line any more.
            if not stays:
                raise

    def _bring(self, copies: Sequence[Copy], side: Side) -> None:
        self._told(self._progress)
        for batch in _batches(copies):
            before = self._progress
            # Who writes to a file while it is sent may have done so the next time.
            again = self._bring_once(batch, side, is_last=False)
            if again:
                self._progress = self._progress._replace(bytes=before.bytes)
                self._bring_once(again, side, is_last=True)
            size = sum(copy.wanted.size for copy in batch)
            self._progress = self._progress._replace(bytes=before.bytes + size)
            self._told(self._progress)

    def _bring_once(self, copies: Sequence[Copy], side: Side, *, is_last: bool) -> list[Copy]:
        """Bring some files and links to one side; those that were written to meanwhile."""
        whole = self._carry_all([x for x in copies if x.wanted.kind == FILE], side)
        moved = self._moved(copies, other(side))
        steady = [copy for copy in copies if copy.path not in moved or (is_last and whole)]
        if is_last and not whole:
            self._outcome.failed.update(dict.fromkeys(moved, "it is being written to"))
        rows = [
            [copy.path, list(copy.wanted), self._expected(side, copy.path), is_last and whole]
            for copy in steady
        ]
        for copy, entry in self._done(side, "place", steady, rows, self._agreed.name):
            assert entry is not None
            if copy.path in moved:
                # What has arrived is older than what is there by now.
                self._now[other(side)][copy.path] = entry
            self._outcome.note_sent(copy)
            self._progress = self._progress._replace(files=self._progress.files + 1)
            self._settle(copy.path)
        return self._as_they_are(copies, moved, other(side)) if not is_last else []

    def _carry_all(self, copies: Sequence[Copy], side: Side) -> bool:
        """Let contents arrive on one side; whether all have."""
        before, arrived = self._progress.bytes, self._arrived[side]
        done, whole = 0, True

        def told(size: int) -> None:
            self._told(self._progress._replace(bytes=min(before + done + size, self._most)))

        for goes_on in (True, False):
            some = [x for x in copies if (0 < arrived.get(x.path, 0) < x.wanted.size) == goes_on]
            if some:
                paths = [copy.path for copy in some]
                carried = self._carry(side, paths, goes_on=goes_on, told=told)
                whole = whole and carried.whole
                self._outcome.said += carried.said
                done += sum(copy.wanted.size for copy in some)
                for path in paths:
                    # From now on it is another version that is known.
                    arrived.pop(path, None)
        return whole

    @property
    def _most(self) -> int:
        return self._progress.of_bytes

    def _moved(self, copies: Sequence[Copy], side: Side) -> dict[str, Entry | None]:
        """What was changed on the side from which it comes since it was looked at."""
        paths = [copy.path for copy in copies]
        found = _joined(self._places[side].ask("facts_of", paths)) if paths else []
        try:
            now = {path: None if facts is None else Entry.read(facts) for path, facts in found}
        except (TypeError, ValueError):
            raise nonsense() from None
        known = self._now[side]
        return {path: now.get(path) for path in paths if now.get(path) != known.get(path)}

    def _as_they_are(
        self, copies: Sequence[Copy], moved: Mapping[str, Entry | None], side: Side
    ) -> list[Copy]:
        """What was changed, to be brought as it is now."""
        again = []
        for copy in copies:
            entry = moved.get(copy.path, copy.wanted)
            if entry is None or entry.kind != copy.wanted.kind:
                self._outcome.skipped[copy.path] = "it has gone meanwhile"
                self._now[side].pop(copy.path, None)
            elif copy.path in moved:
                self._now[side][copy.path] = entry
                again.append(copy._replace(wanted=entry._replace(mode=copy.wanted.mode)))
        return again

    # --- the other steps ----------------------------------------------------------------------

    def _keep_versions(self) -> None:
        for side in (HERE, THERE):
            steps = [x for x in self._plan.conflicts if x.on == side]
            rows = [[x.path, self._expected(side, x.path), x.second] for x in steps]
            for step, _ in self._done(side, "keep_beside", steps, rows):
                self._outcome.conflicts[step.path] = step.second

    def _make(self) -> None:
        for side in (HERE, THERE):
            steps = [x for x in self._plan.makings if x.on == side]
            for step, _ in self._done(
                side, "make", steps, [[step.path, step.like.mode] for step in steps]
            ):
                self._settle(step.path)

    def _remove(self, removals: Sequence[Removal]) -> None:
        for side in (HERE, THERE):
            steps = [x for x in removals if x.on == side]
            rows = [[step.path, self._expected(side, step.path)] for step in steps]
            for step, _ in self._done(side, "remove", steps, rows):
                self._outcome.removed[step.path] = side
                self._settle(step.path)

    def _change(self) -> None:
        for side in (HERE, THERE):
            # What is not there could not be brought, and that was said.
            steps = [x for x in self._plan.changes if x.on == side and x.path in self._now[side]]
            rows = [
                [step.path, self._expected(side, step.path), step.mode, step.modified]
                for step in steps
            ]
            for step, _ in self._done(side, "set_facts", steps, rows):
                self._settle(step.path)

    def _expected(self, side: Side, path: str) -> list[Any] | None:
        entry = self._now[side].get(path)
        return None if entry is None else list(entry)

    def _done(
        self, side: Side, name: str, steps: Sequence[S], rows: list[Any], *before: Any
    ) -> Iterator[tuple[S, Entry | None]]:
        """Let steps be done on one side; those that were, with what is there then."""
        if not steps:
            return
        results = _joined(self._places[side].ask(name, *before, rows))
        if len(results) != len(steps):
            raise nonsense()
        for step, (path, why, facts, *more) in zip(steps, results, strict=True):
            try:
                entries = [None if each is None else Entry.read(each) for each in (facts, *more)]
            except (TypeError, ValueError):
                raise nonsense() from None
            if path != step.path:
                raise nonsense()
            if why:
                self._note_failed(step.path, str(why))
                continue
            self._learn(side, step.path, entries[0])
            if isinstance(step, Conflict):
                self._learn(side, step.second, entries[-1])
            yield step, entries[0]

    def _learn(self, side: Side, path: str, entry: Entry | None) -> None:
        if entry is None:
            self._now[side].pop(path, None)
        else:
            self._now[side][path] = entry

    def _note_failed(self, path: str, why: str) -> None:
        if _NOT_EMPTY.search(why):
            self._outcome.skipped[path] = "it stays, since what is left out of a sync is in it"
        else:
            self._outcome.failed[path] = why

    def _look_for_full_disk(self) -> None:
        full = {path: why for path, why in self._outcome.failed.items() if FULL.search(why)}
        if full:
            said = [f"{path}: {why}" for path, why in full.items()]
            raise DiskFullError("there is no room left", said=said[:20])

    def _settle(self, path: str) -> None:
        """Note that both sides agree on a path, unless it is known that they do not."""
        here, there = self._now[HERE].get(path), self._now[THERE].get(path)
        if path in self._outcome.failed:
            return
        if here is None and there is None:
            self._agreed.paths.pop(path, None)
        elif here is not None and there is not None:
            self._agreed.paths[path] = Both(here, there)


def _batches(copies: Sequence[Copy]) -> Iterator[list[Copy]]:
    """Copies in parts that are put into place at once."""
    batch: list[Copy] = []
    size = 0
    for copy in copies:
        if batch and (len(batch) == _MOST_FILES or size + copy.wanted.size > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(copy)
        size += copy.wanted.size
    if batch:
        yield batch


def _joined(parts: Iterable[Any]) -> list[Any]:
    """The rows of an answer that is told in parts.

    Raises:
        RemoteKernelsError: it makes no sense.
    """
    try:
        rows = [row for part in parts for row in part]
        if not all(isinstance(row, list) and isinstance(row[0], str) for row in rows):
            raise TypeError
    except (TypeError, LookupError):
        raise nonsense() from None
    return rows


def _all(parts: Iterable[Any]) -> None:
    for _ in parts:
        pass
