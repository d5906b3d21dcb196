"""Two directories, one here and one on a host, which are made alike as often as is wanted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from remote_kernels import tree
from remote_kernels.errors import (
    ConnectionLostError,
    LoginError,
    OptionsError,
    RemoteKernelsError,
    SyncError,
)
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.sync.agreed import Agreed
from remote_kernels.sync.entry import HERE, THERE, Side
from remote_kernels.sync.execution import Execution
from remote_kernels.sync.line import Reach
from remote_kernels.sync.outcome import Outcome, Progress
from remote_kernels.sync.place import Far, Near, Place, nonsense
from remote_kernels.sync.plan import Direction, Plan, Wishes, large_copies, plan
from remote_kernels.sync.rules import Rules
from remote_kernels.sync.transfer import Carried, Rsync, Trip, carry
from remote_kernels.sync.unison import Two, can_name, not_for_it, reconcile
from remote_kernels.sync.walk import Sight, look, parents
from remote_kernels.turn import Turn
from remote_kernels.way import Way
from remote_kernels.way_back import PAUSES

# So many may be deleted on one side without being asked for; of more, half.
_FEW = 10
_LOOK_AGAIN = 0.2
# Seconds after which a line that has brought something is one that can be had again.
_STEADY = 10.0


class Request(NamedTuple):
    """What a person wants.

    Attributes:
        direction: push, pull or both.
        wishes: about what is in the way.
        exclude: patterns for what is to be left out, as in gitignore(5).
        git: heed .gitignore.
        dry_run: nothing is to be done.
        unison: use it for both, where both sides have it.
    """

    direction: Direction
    wishes: Wishes = Wishes()
    exclude: tuple[str, ...] = ()
    git: bool = True
    dry_run: bool = False
    unison: bool = True


class Listener(NamedTuple):
    """Who hears how it goes.

    Attributes:
        looked: takes how many paths have been looked at.
        progress: takes how far it is.
        say: takes a line about what has happened.
        log: takes when somebody is asked for what a login needs; see
            :mod:`~remote_kernels.questions`.
    """

    looked: Callable[[int], None] = lambda count: None
    progress: Callable[[Progress], None] = lambda progress: None
    say: Callable[[str], None] = lambda line: None
    log: Callable[[str], None] = lambda word: None


def remote_for(here: Path) -> str:
    """The directory over there that goes with one here, where none is named.

    Args:
        here: the directory on this side.

    Raises:
        OptionsError: there is none that would be meant.
    """
    for home in (Path.home(), Path.home().resolve()):
        if home in here.parents:
            return f"~/{here.relative_to(home)}"
    raise OptionsError(
        f"which directory over there goes with {here}? Name it behind the one on this side"
    )


class Pair:
    """Two directories. Use it in a ``with`` block.

    Attributes:
        way: to the host.
        here: absolute path of the directory on this side.
        there: the same over there; as it was named, before the first sync.
        was_there: the host has been reached.
    """

    def __init__(
        self,
        way: Way,
        here: str | os.PathLike[str],
        there: str,
        request: Request,
        listener: Listener | None = None,
        *,
        alone: bool = False,
    ) -> None:
        """Prepare; nothing is looked at yet.

        Args:
            way: to the host.
            here: the directory on this side.
            there: the one over there; ``~`` is the home, which relative ones begin at as well.
            request: what is wanted.
            listener: hears how it goes.
            alone: over a connection of its own.

        Raises:
            OptionsError: a pattern is none.
        """
        self.way, self.here, self.there = way, os.path.abspath(os.path.expanduser(here)), there
        self._request, self._listener = request, listener or Listener()
        # A pattern that makes no sense is said before a login.
        self._rules = self._new_rules()
        self._near, self._far = Near(), Far(way, self._listener.log, alone=alone)
        self.was_there = self._is_away = False
        # Bytes that the last try had to bring.
        self._missing = 0

    def __enter__(self) -> Pair:
        self._stack = ExitStack()
        private = PrivateDirectory()
        self._stack.callback(private.remove)
        self._stack.callback(self._far.close)
        self._private = private.path
        return self

    def __exit__(self, *ended: Any) -> None:
        self._stack.close()

    def sync(self, outcome: Outcome | None = None) -> Outcome:
        """Make them alike, once. A line that breaks is waited for, and what has arrived is kept.

        Args:
            outcome: a new one, that takes what was done even if it is not done to the end.

        Raises:
            RemoteKernelsError: that could not be done to the end.
        """
        began = time.monotonic()
        outcome = Outcome() if outcome is None else outcome
        turn = self._turn()
        try:
            self._until_done(outcome)
        finally:
            turn.give()
            outcome.seconds = time.monotonic() - began
        return outcome

    def _turn(self) -> Turn:
        """Wait until no other sync of ours is at the directory."""
        turn = Turn(self.here)
        if os.path.isdir(self.here) and not turn.take():
            self._listener.say(f"Another sync of {self.here} is running; waiting for it.")
            while not turn.take():
                time.sleep(_LOOK_AGAIN)
        return turn

    def _until_done(self, outcome: Outcome) -> None:
        tries = self._missing = 0
        while True:
            missing, began = self._missing, time.monotonic()
            try:
                self._once(outcome)
                return
            except (ConnectionLostError, LoginError) as error:
                self._far.close()
                if not self.was_there or (isinstance(error, LoginError) and error.refused):
                    raise
                if time.monotonic() - began > _STEADY and self._missing < missing:
                    tries = 0
                if tries == len(PAUSES):
                    sentence = f"the line to {self.way} broke, and stays so: {error.sentence}"
                    raise SyncError(
                        sentence,
                        host=str(self.way),
                        said=error.said,
                        advice="do the same again: what has arrived is not sent once more",
                    ) from None
                if not self._is_away:
                    self._is_away = True
                    self._listener.say(f"The line to {self.way} is lost; trying to get back.")
                time.sleep(PAUSES[tries])
                tries += 1

    # --- once ---------------------------------------------------------------------------------

    def _once(self, outcome: Outcome) -> None:
        agreed, places = self._begun()
        sight, steps = self._seen(agreed, places)
        outcome.begin_anew(steps, sight)
        if self._request.dry_run:
            outcome.expect(steps)
            return
        self._say_if_narrow(steps, sight, places)
        is_for_unison = self._request.direction == "both" and self._request.unison
        if is_for_unison and not steps.is_empty:
            sight, steps = self._by_unison(steps, sight, agreed, places, outcome)
        self._carry_out(steps, sight, agreed, places, outcome)

    def _seen(self, agreed: Agreed, places: dict[Side, Place]) -> tuple[Sight, Plan]:
        """What there is, and what follows from that."""
        rules = self._new_rules()
        sight = look(places, rules, self._listener.looked)
        self._rules = rules
        for path in agreed.paths.keys() - sight.here.keys() - sight.there.keys():
            if not sight.is_hidden(path):
                del agreed.paths[path]
        steps = self._planned(sight, agreed, places)
        self._check_deletions(steps, sight)
        return sight, steps

    def _carry_out(
        self,
        steps: Plan,
        sight: Sight,
        agreed: Agreed,
        places: dict[Side, Place],
        outcome: Outcome,
    ) -> None:
        self._check_programs(steps)
        execution = Execution(
            *(steps, sight, places, agreed, outcome, self._carry, self._listener.progress)
        )
        try:
            execution.run()
        except BaseException:
            self._missing = execution.missing
            # Of two failures the first is the one to be said.
            with suppress(RemoteKernelsError):
                agreed.write()
            raise
        agreed.write()

    def _by_unison(
        self,
        steps: Plan,
        sight: Sight,
        agreed: Agreed,
        places: dict[Side, Place],
        outcome: Outcome,
    ) -> tuple[Sight, Plan]:
        """Let unison do what it can; what there is then, and what is left to be done."""
        programs = [x.program("unison", "-version", by_login=False) for x in self._sides]
        two = Two.read(*programs)
        not_seen = not_for_it(steps, sight)
        if two is None or not_seen is None or not all(map(can_name, (self.here, self.there))):
            return sight, steps
        # What is cut off of these goes on the next time.
        self._carry_out(large_copies(steps), sight, agreed, places, outcome)
        files, size = len(steps.copies), sum(copy.wanted.size for copy in steps.copies)

        def told(percent: int) -> None:
            done = Progress(files * percent // 100, files, size * percent // 100, size)
            self._listener.progress(done)

        how: dict[str, Any] = {"told": told, "log": self._listener.log}
        failed = reconcile(two, self._reach, self.here, self._private, not_seen, **how)
        if failed:
            self._listener.say(f"unison could not do it, so it is done without: {failed}")
        before, (sight, steps) = sight, self._seen(agreed, places)
        outcome.note_difference(before, sight)
        outcome.by = "rsync" if failed else "unison"
        return sight, steps

    def _begun(self) -> tuple[Agreed, dict[Side, Place]]:
        """What both had agreed on, and those that are there, or are made.

        Raises:
            RemoteKernelsError: one is not there, and has to be.
        """
        is_here, is_there = self._near.start(self.here), self._far.start(self.there)
        self.there, self.was_there = self._far.root, True
        if self._is_away:
            self._is_away = False
            self._listener.say(f"Back at {self.way}.")
        agreed = Agreed(str(self.way), self.here, self.there)
        self._name = agreed.name
        # What receives is made, but not where deletions would follow.
        direction, made = self._request.direction, {HERE: False, THERE: False}
        made[THERE] = direction == "push" or (direction == "both" and is_here and not agreed.paths)
        made[HERE] = direction == "pull" or (direction == "both" and is_there and not agreed.paths)
        if not is_here and not made[HERE]:
            raise _absent(f"there is no directory {self.here} on this machine", agreed)
        if not is_there and not made[THERE]:
            raise _absent(f"there is no directory {self.there} on {self.way.host}", agreed)
        places: dict[Side, Place] = {}
        for side, place, is_it in ((HERE, self._near, is_here), (THERE, self._far, is_there)):
            if not is_it and not self._request.dry_run:
                place.start(place.root, makes=True)
            if is_it or not self._request.dry_run:
                places[side] = place
        return agreed, places

    @property
    def _sides(self) -> tuple[Near, Far]:
        return self._near, self._far

    @property
    def _reach(self) -> Reach:
        return Reach(self.way, self.there, self._far.alone)

    def _new_rules(self) -> Rules:
        return Rules(self._request.exclude, git=self._request.git)

    def counts(self, path: str) -> bool:
        """Whether a change of something here is one of what is in the sync.

        Args:
            path: absolute, of what was changed, or was there.
        """
        name = os.path.relpath(path, os.path.realpath(self.here))
        # As both sides name it; see tree.
        name = os.fsencode(name).decode("utf-8", "surrogateescape")
        is_directory = os.path.isdir(path) and not os.path.islink(path)
        return not (
            self._rules.leave_out(name, is_directory=is_directory)
            or any(self._rules.leave_out(above, is_directory=True) for above in parents(name))
        )

    def _planned(self, sight: Sight, agreed: Agreed, places: dict[Side, Place]) -> Plan:
        names: dict[Side, str] = {HERE: os.uname().nodename, THERE: self.way.host.name}
        request = self._request
        how = (request.direction, sight, agreed.paths, request.wishes, names)
        steps = plan(*how)
        if not steps.doubtful:
            return steps
        here, there = (_digests(places[side], steps.doubtful) for side in (HERE, THERE))
        alike = {path for path in steps.doubtful if here[path] and here[path] == there[path]}
        return plan(*how, alike)

    def _check_deletions(self, steps: Plan, sight: Sight) -> None:
        """Let no directory be emptied because the other one is empty, as where no disk is mounted.

        Raises:
            SyncError: most of a side would be deleted, and nobody has said so.
        """
        if self._request.direction != "both" or self._request.wishes.delete:
            return
        for side, where in ((HERE, "here"), (THERE, "over there")):
            count, all_of_it = len(steps.removed_on(side)), len(sight.of(side))
            if count and (count == all_of_it or count > max(_FEW, all_of_it // 2)):
                raise SyncError(
                    f"{count} of {all_of_it} paths would be deleted {where}, since they are gone "
                    "on the other side",
                    advice="look whether all is well on the other side; if so, say --delete",
                )

    def _check_programs(self, steps: Plan) -> None:
        if any(copy.wanted.kind == tree.FILE for copy in steps.copies):
            here, there = (x.program("rsync", "--version", by_login=True) for x in self._sides)
            self._here_rsync = Rsync.read(here, "on this machine")
            self._there_rsync = Rsync.read(there, f"on {self.way.host}")

    def _say_if_narrow(self, steps: Plan, sight: Sight, places: dict[Side, Place]) -> None:
        for side, where in ((HERE, "here"), (THERE, "over there")):
            now = sight.of(side)
            needed = sum(
                copy.wanted.size - (now[copy.path].size if copy.path in now else 0)
                for copy in steps.copies
                if copy.to == side
            )
            if needed > 0:
                (free,) = places[side].ask("free")
                if type(free) is int and needed > free:
                    self._listener.say(
                        f"Warning: {needed / 1e6:.1f} MB are to be written {where}, and "
                        f"{free / 1e6:.1f} MB are free."
                    )

    def _carry(
        self, to: Side, paths: Sequence[str], *, goes_on: bool, told: Callable[[int], None]
    ) -> Carried:
        rsyncs = self._here_rsync, self._there_rsync
        trip = Trip(self._reach, to, self.here, self._name, *rsyncs)
        how: dict[str, Any] = {"goes_on": goes_on, "told": told, "log": self._listener.log}
        return carry(trip, self._private, paths, **how)


def _absent(sentence: str, agreed: Agreed) -> SyncError:
    advice = "check the path; '~/', in quotes, is the home over there"
    if agreed.paths:
        advice = (
            "it was there at the last sync, and nothing is deleted: bring it back, or fill it "
            "anew from the other side with push or pull"
        )
    return SyncError(sentence, advice=advice)


def _digests(place: Place, paths: Sequence[str]) -> dict[str, str]:
    found = dict.fromkeys(paths, "")
    for part in place.ask("digests", paths):
        try:
            path, digest = part
        except (TypeError, ValueError):
            raise nonsense() from None
        if path in found and isinstance(digest, str):
            found[path] = digest
    return found
