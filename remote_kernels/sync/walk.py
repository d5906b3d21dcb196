"""A look at both sides, level by level, so that nobody goes into what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from remote_kernels.errors import RemoteKernelsError
from remote_kernels.sync.entry import HERE, THERE, Entries, Entry, Side
from remote_kernels.sync.place import Place, nonsense
from remote_kernels.sync.rules import Rules
from remote_kernels.tree import OTHER, PARTIAL


class Skipped(NamedTuple):
    """What cannot be in a sync.

    Attributes:
        path: of it.
        side: on which it is.
        why: it cannot.
    """

    path: str
    side: Side
    why: str


@dataclass
class Sight:
    """What there is on both sides, but for what is left out.

    Attributes:
        here: on this side, by paths.
        there: on the other.
        left_out: paths of what rules leave out.
        skipped: what cannot be looked at, or is no file, directory or link.
        blind: directories of which it is not known what is in them.
    """

    here: Entries = field(default_factory=dict)
    there: Entries = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    blind: set[str] = field(default_factory=set)

    def of(self, side: Side) -> Entries:
        """What there is on one of them."""
        return self.here if side == HERE else self.there

    def is_hidden(self, path: str) -> bool:
        """Whether a path is, or is in, what cannot be looked at on one side at least."""
        return bool(self.blind) and any(each in self.blind for each in (path, *parents(path)))


def parents(path: str) -> Iterator[str]:
    """The directories in which a path lies, the nearest first, without the root."""
    while path := path.rpartition("/")[0]:
        yield path


def look(
    sides: Mapping[Side, Place], rules: Rules, told: Callable[[int], None] = lambda count: None
) -> Sight:
    """Look at both.

    Args:
        sides: to be looked at; one that is absent has nothing in it.
        rules: for what is left out; they learn those that are found.
        told: takes how many paths were found.

    Raises:
        RemoteKernelsError: one of the directories cannot be read.
    """
    sight = Sight()
    level = [""]
    while level:
        found = {
            side: _listed(sides.get(side), side, level, rules.names, sight)
            for side in (HERE, THERE)
        }
        for side, listed in found.items():
            for directory, (_, texts) in listed.items():
                rules.learn(side, directory, texts)
        level = [
            path
            for directory in level
            if directory not in sight.blind
            for path in _entered(directory, found, rules, sight)
        ]
        told(len(sight.here) + len(sight.there))
    return sight


Listed = dict[str, tuple[Entries, dict[str, str]]]


def _listed(
    place: Place | None, side: Side, level: Sequence[str], names: Sequence[str], sight: Sight
) -> Listed:
    """What is in the directories of a level that one side has, and what rules are."""
    there = sight.of(side)
    wanted = [path for path in level if not path or (path in there and there[path].is_directory)]
    listed: Listed = {path: ({}, {}) for path in wanted}
    if place is None or not wanted:
        return {}
    for part in place.ask("look", wanted, names):
        try:
            directory, rows, texts = part
            entries, known = listed[directory]
            if rows is None:
                _note_blind(directory, side, str(texts), sight)
                continue
            for name, facts in rows:
                entries[_as_name(name)] = Entry.read(facts)
            known.update((str(name), str(text)) for name, text in texts.items())
        except (LookupError, TypeError, ValueError, AttributeError):
            raise nonsense() from None
    return listed


def _note_blind(directory: str, side: Side, why: str, sight: Sight) -> None:
    if not directory:
        where = "the directory here" if side == HERE else "the directory over there"
        raise RemoteKernelsError(f"{where} cannot be read: {why}")
    sight.blind.add(directory)
    sight.skipped.append(Skipped(directory, side, why))


def _as_name(name: Any) -> str:
    """A name that leads nowhere else.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(name)
    return name


def _entered(
    directory: str, found: Mapping[Side, Listed], rules: Rules, sight: Sight
) -> Iterator[str]:
    """Note what is in a directory; the directories in it that are to be looked at."""
    nothing: tuple[Entries, dict[str, str]] = ({}, {})
    sides = {side: listed.get(directory, nothing)[0] for side, listed in found.items()}
    for name in sorted(set().union(*sides.values())):
        path = f"{directory}/{name}" if directory else name
        if name.startswith(PARTIAL):
            continue
        entries = {side: listed[name] for side, listed in sides.items() if name in listed}
        # One that is left out on one side, as a directory of that name, is so on the other.
        kinds = {entry.is_directory for entry in entries.values()}
        if any(rules.leave_out(path, is_directory=kind) for kind in kinds):
            sight.left_out.append(path)
            continue
        others = [side for side, entry in entries.items() if entry.kind == OTHER]
        if others:
            sight.skipped.append(Skipped(path, others[0], "no file, directory or link"))
            sight.blind.add(path)
            continue
        for side, entry in entries.items():
            sight.of(side)[path] = entry
        if True in kinds:
            yield path
