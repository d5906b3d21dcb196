"""A kernel with spare machines: which of them answers, and is taken.

Each is asked whether its ssh server is there; nobody is logged in for that. The host itself is
asked first, its spares a moment later, and all at once.
"""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from remote_kernels import errors
from remote_kernels.interfaces import interface_named, on_host
from remote_kernels.options import (
    DEFAULTS,
    OF_A_HOST,
    THIS_MACHINE,
    KernelOptions,
    host_and_options,
)
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.questions import Answerer, Questions
from remote_kernels.resources import seconds
from remote_kernels.way import NOT_SHARED, OPTIONS, Way
from remote_kernels.way_in import write_config

# Seconds for the host alone, before its spares are asked; and for it when a spare has answered.
_HEAD_START, _GRACE = 0.5, 1.0
# Of these it is known that nothing is there that could be logged in to.
_AWAY = (
    *(errors.HostUnknownError, errors.HostRefusedError, errors.HostUnreachableError),
    *(errors.HostClosedError, errors.GatewayError),
)
# A server names what it would have; that it is refused says that it is there. One that lets
# everybody in runs this.
_NO_LOGIN = ("BatchMode=yes", "PreferredAuthentications=none")
_NOTHING = "exit 0"


class Choice(NamedTuple):
    """The machine that was taken.

    Attributes:
        options: of the kernel there.
        instead_of: the better ones, with why they were not; empty if it is the host itself.
        others: the names of the others.
    """

    options: KernelOptions
    instead_of: str
    others: tuple[str, ...]


def machines(options: KernelOptions) -> list[KernelOptions]:
    """The options of a kernel on each of its machines, the best first.

    Args:
        options: of the kernel.

    Raises:
        OptionsError: one of its spares cannot be read.
    """
    itself = options._replace(fallback=(), probe_timeout=None)
    # What is of a host, each has for itself.
    common = {name: DEFAULTS[name] for name in OF_A_HOST if name != "env"}
    spares = []
    for text in options.fallback:
        fields = host_and_options(text)
        if fields["host"] == THIS_MACHINE:
            fields.update(host=None, interface=THIS_MACHINE)
        fields = on_host({"interface": "ssh", **fields})
        spares.append(itself._replace(**{**common, **fields}))
    return [itself, *spares]


def choice(options: KernelOptions) -> Choice:
    """The first machine of a kernel that answers.

    Args:
        options: of the kernel, with spares.

    Raises:
        HostUnreachableError: none does.
        OptionsError: the options cannot be used.
    """
    them = machines(options)
    ways = [interface_named(each.interface).way(each) for each in them]
    names = [str(way.host) if way is not None else "this machine" for way in ways]
    patience = float(seconds(options.probe_timeout or "5s", "--probe-timeout"))
    with _Probes(ways, patience) as probes:
        number = probes.first()
    why = [f"{names[n]}: {text}" for n, text in sorted(probes.reasons.items())]
    if number is None:
        raise errors.HostUnreachableError(
            f"none of the machines answers: {', '.join(names)}",
            said=why,
            advice="switch one of them on; --probe-timeout lets slow ones answer",
        )
    better = [why for n, why in enumerate(why) if n < number]
    others = tuple(name for n, name in enumerate(names) if n != number)
    return Choice(them[number], "; ".join(better), others)


class _Probes:
    """The machines as they are asked. Use it in a ``with`` block.

    Attributes:
        reasons: why those were passed over that were, by their numbers.
    """

    def __init__(self, ways: Sequence[Way | None], patience: float) -> None:
        self._ways, self._patience = ways, patience
        self._results: queue.Queue[tuple[int, str]] = queue.Queue()
        self._processes: list[subprocess.Popen[str]] = []
        self._places: list[PrivateDirectory] = []
        self._answered: set[int] = set()
        self._is_over = False
        self.reasons: dict[int, str] = {}

    def __enter__(self) -> _Probes:
        return self

    def __exit__(self, *ended: object) -> None:
        self._is_over = True
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()
        for process in self._processes:
            process.wait()
        for place in self._places:
            place.remove()

    def first(self) -> int | None:
        """The number of the best machine that answers; None if none does."""
        deadline = time.monotonic() + self._patience
        self._ask(0)
        self._take_until(lambda: bool(self._answered or self.reasons), _HEAD_START)
        if not self._answered:
            for number in range(1, len(self._ways)):
                self._ask(number)
            self._take_until(lambda: bool(self._answered), deadline - time.monotonic())
            # A better one may be a moment slower.
            self._take_until(self._is_settled, min(_GRACE, deadline - time.monotonic()))
        for number in range(len(self._ways)):
            if number not in self._answered:
                self.reasons.setdefault(number, "it did not answer in time")
        return min(self._answered, default=None)

    def _is_settled(self) -> bool:
        """Whether nobody can answer any more who is better than the best that has."""
        best = min(self._answered, default=len(self._ways))
        return all(number in self.reasons for number in range(best))

    def _take_until(self, enough: Callable[[], bool], wait: float) -> None:
        deadline = time.monotonic() + wait
        while not enough() and len(self._answered) + len(self.reasons) < len(self._ways):
            try:
                number, why = self._results.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            if why:
                self.reasons[number] = why
            else:
                self._answered.add(number)

    def _ask(self, number: int) -> None:
        way = self._ways[number]
        if way is None:
            self._results.put((number, ""))
            return
        place = PrivateDirectory()
        self._places.append(place)
        try:
            process = subprocess.Popen(
                _command(way, place.path, self._patience),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            self._results.put((number, f"{way.program[0]} cannot be run: {error.strerror}"))
            return
        self._processes.append(process)
        threading.Thread(target=self._wait, args=(number, way, process), daemon=True).start()

    def _wait(self, number: int, way: Way, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        said = process.stderr.read()
        status = process.wait()
        if not self._is_over:
            self._results.put((number, _why_away(way, said.splitlines()) if status else ""))


def _command(way: Way, directory: Path, patience: float) -> list[str]:
    """Argv of an ssh that sees whether the server of a host is there."""
    timeout = max(1, round(patience))
    write_config(way, directory, Questions(directory, Answerer()), connect_timeout=timeout)
    return way.command(directory, _NOTHING, options=(*OPTIONS, NOT_SHARED, *_NO_LOGIN))


def _why_away(way: Way, said: list[str]) -> str:
    """Why a host cannot be logged in to; empty if it is there."""
    error = way.login_error(said, str)
    return error.sentence if isinstance(error, _AWAY) and not error.refused else ""
