"""The kernels that run, here and on other hosts, and what dead ones have left.

Nothing is noted anywhere: the keepers on a host, the connection files there, and the launchers that
run here tell all of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from remote_kernels import kernelspecs
from remote_kernels.answers import CannotAnswer
from remote_kernels.connection_file import ConnectionFile
from remote_kernels.errand import Errand
from remote_kernels.errors import KernelStoppedError, OptionsError, RemoteKernelsError
from remote_kernels.interfaces import interface_named, interface_names
from remote_kernels.interfaces.scheduler import OwnJob, Scheduler
from remote_kernels.interfaces.ssh import Ssh
from remote_kernels.keeper import HOP
from remote_kernels.options import WAY_OPTIONS, KernelOptions, from_argv
from remote_kernels.private_directory import stale_directories
from remote_kernels.processes import processes, words_of
from remote_kernels.refusals import LastRefusal
from remote_kernels.running import chosen, is_elsewhere, refuses
from remote_kernels.shared_login import KeptLogin, place_for_sockets, sockets_in
from remote_kernels.shell_text import BOOTSTRAP, through
from remote_kernels.spare import machines
from remote_kernels.way import Way

#: Of ours, that look around over there.
MODULES = ("answers", "login_shell", "login_environment", "processes", "running")
# Seconds for a host among several to accept a connection.
_CONNECT_TIMEOUT = 5
# Seconds for a launcher to end: it gives its kernel a moment to end in order.
_LAUNCHER_PATIENCE = 5.0


class Launcher(NamedTuple):
    """A launcher that runs on this machine.

    Attributes:
        pid: its process number.
        connection: the file that Jupyter wrote.
        options: of its kernel.
        began: when it was started, in seconds since 1970.
    """

    pid: int
    connection: ConnectionFile
    options: KernelOptions
    began: float


class Kernel(NamedTuple):
    """A kernel that runs somewhere, or what a dead one has left.

    Attributes:
        host: on which it was found, as it is written; empty for this machine.
        node: the machine on which it runs, by its own name.
        facts: as that host tells them; see :mod:`~remote_kernels.running`.
    """

    host: str
    node: str
    facts: dict[str, Any]

    @property
    def id(self) -> str:
        """What a person calls it by."""
        return str(self.facts["id"])

    @property
    def name(self) -> str:
        """Of the kernel."""
        return str(self.facts["name"])

    @property
    def is_ours(self) -> bool:
        """Whether a launcher of ours has started it."""
        return bool(self.facts["ours"])

    @property
    def line(self) -> str:
        """How it stands with its launcher: connected, away, waiting, or empty if it has none."""
        if not self.is_ours:
            return ""
        if self.facts.get("state") == "waiting":
            return "waiting"
        return "connected" if self.facts.get("connected") else "away"

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        hidden = ("keeper", "kernel_keeper", "began", "connected", "is_visited", "directory")
        shown = {name: value for name, value in self.facts.items() if name not in hidden}
        return {"host": self.host, **shown, "node": self.node, "line": self.line}


class Found(NamedTuple):
    """What was found on one host.

    Attributes:
        host: as it is written; empty for this machine.
        kernels: ours first, then others, the newest first.
        error: why nothing was found; None if that went well.
    """

    host: str
    kernels: tuple[Kernel, ...] = ()
    error: RemoteKernelsError | None = None


def kernels_of(found: Iterable[Found]) -> list[Kernel]:
    """The kernels of several hosts."""
    return [kernel for each in found for kernel in each.kernels]


class Leftovers(NamedTuple):
    """What dead kernels have left on a host.

    Attributes:
        paths: each with what it is, for a person.
        jobs: named as ours are that keepers hold, and held by none there, each with its scheduler.
        silent: sockets of keepers that do not answer, and may hold any job; so there are none.
        not_kept: named as ours are that only a launcher holds, maybe on another machine.
    """

    paths: dict[str, str]
    jobs: list[tuple[type[Scheduler], OwnJob]]
    silent: list[str]
    not_kept: Sequence[tuple[type[Scheduler], OwnJob]] = ()


class Host:
    """A host that is looked at, maybe more than once. Use it in a ``with`` block."""

    def __init__(
        self,
        way: Way | None,
        schedulers: Iterable[type[Scheduler]],
        log: Callable[[str], None],
        *,
        in_a_row: bool = False,
        alone: bool = False,
        hop: bytes = b"",
    ) -> None:
        """Prepare.

        Args:
            way: to it; None for this machine.
            schedulers: that are asked for jobs there.
            log: takes when somebody is asked for what the login needs.
            in_a_row: it is one of several, and none is to be waited for long.
            alone: over a connection of its own.
            hop: leads on from it to a node.
        """
        self.name, self._is_here = "" if way is None else str(way.host), way is None
        how: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT} if in_a_row else {}
        self._way, self._log = way, log
        self._errand = Errand(way, MODULES, log, alone=alone, hop=hop, **how)
        self._is_open = False
        self._schedulers = list(schedulers)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *ended: Any) -> None:
        if self._is_open:
            self._errand.__exit__(*ended)

    def ask(self, name: str, *arguments: Any) -> Any:
        """Ask a question; see :meth:`Errand.ask`. The first one logs in."""
        if not self._is_open:
            self._errand.__enter__()
            self._is_open = True
        return self._errand.ask(name, *arguments)

    def look(self) -> Found:
        """The kernels there."""
        try:
            kernels = self._kernels()
            if any(kernel.facts.get("job_name") for kernel in kernels):
                self._tell_jobs(kernels)
        except RemoteKernelsError as error:
            return Found(self.name, error=error)
        return Found(self.name, kernels)

    def _kernels(self) -> tuple[Kernel, ...]:
        facts = self.ask("kernels")
        if not isinstance(facts, list):
            raise _nonsense(self.name, "lists its kernels")
        return tuple(self._kernel(each) for each in facts if _is_kernel(each))

    def _kernel(self, facts: dict[str, Any]) -> Kernel:
        node = str(facts.pop("node", "") or "")
        waits = facts.get("state") == "waiting"
        return Kernel(self.name, node or ("" if waits else self._errand.node), facts)

    def jobs(self) -> Iterator[tuple[type[Scheduler], OwnJob]]:
        """All jobs of the user that the schedulers there list."""
        for scheduler in self._schedulers:
            if scheduler.own_jobs:
                text = str(self.ask("run", scheduler.own_jobs))
                yield from ((scheduler, job) for job in scheduler.read_own_jobs(text))

    def _tell_jobs(self, kernels: Sequence[Kernel]) -> None:
        """Note what the schedulers say of the jobs of kernels."""
        jobs = {job.name: job for _, job in self.jobs()}
        for kernel in kernels:
            if job := jobs.get(str(kernel.facts.get("job_name"))):
                kernel.facts.update(job=job.id, time_left=job.left)

    def leftovers(self) -> Leftovers:
        """What dead kernels have left there; on this machine also what their lines have left."""
        left = self.ask("leftovers")
        try:
            paths = {str(path): what for kind, what in _KINDS_LEFT.items() for path in left[kind]}
            silent = list(map(str, left["silent"]))
        except (LookupError, TypeError):
            raise _nonsense(self.name, "lists what dead kernels have left") from None
        # Before the kernels: whoever holds one of these jobs does so by then.
        jobs = list(self.jobs()) if not silent else []
        held = {str(kernel.facts.get("job_name")) for kernel in self._kernels()} if jobs else set()
        found = [x for x in jobs if x[1].is_kept and x[1].name not in held]
        here = {str(path): what for path, what in _left_here()} if self._is_here else {}
        return Leftovers({**here, **paths}, found, silent, [x for x in jobs if x[1].is_not_kept])

    def clean(self, left: Leftovers, *, jobs: bool) -> int:
        """Remove it; how much of it was removed.

        Args:
            left: as it was found.
            jobs: end the jobs, too.
        """
        removed = len(self.ask("clean", list(left.paths)) or ())
        for path, _ in _left_here() if self._is_here else ():
            if str(path) in left.paths:
                _remove(path)
                removed += 1
        for scheduler, job in left.jobs if jobs else ():
            self.ask("run", scheduler.cancel_one(job))
            removed += 1
        return removed

    def missed(self, kernel: Kernel) -> Iterator[str]:
        """What a kernel has printed while nobody was there, as text, piece by piece.

        Args:
            kernel: of this host.

        Raises:
            RemoteKernelsError: nobody keeps that of it.
        """
        if not kernel.is_ours:
            raise RemoteKernelsError(f"{kernel.id} was not started by remote-kernels")
        if not kernel.facts["keeper"]:
            raise RemoteKernelsError(
                f"no keeper of {kernel.id} answers, which would have what it has printed",
                advice="where it only starts, or its host is away: later\n"
                "with --channel forward, and where there is no Python, there is no keeper",
            )
        keeper = kernel.facts.get("kernel_keeper")
        if kernel.facts.get("job") and not keeper:
            yield from self._missed_on_node(kernel)
            return
        try:
            outputs = json.loads(str(self.ask("missed", keeper or kernel.facts["keeper"])))
            for each in outputs:
                yield _as_text(each["content"])
        except (ValueError, LookupError, TypeError):
            raise _nonsense(self.name, "tells of outputs") from None

    def _missed_on_node(self, kernel: Kernel) -> Iterator[str]:
        """What the keeper of a kernel in a job tells; the one here has only the job."""
        hop = hop_to(_scheduler_of(kernel), str(kernel.facts["job"]), kernel.node)
        with Host(self._way, (), self._log, hop=hop) as node:
            found = node.look()
            if found.error is not None:
                raise found.error
            (there,) = selected([found], [kernel.id])
            yield from node.missed(there)

    def wish(self, kernel: Kernel, word: str) -> None:
        """Interrupt, restart or stop a kernel.

        Args:
            kernel: of this host.
            word: INT, RESTART or STOP.

        Raises:
            RemoteKernelsError: that cannot be done.
        """
        if kernel.is_ours and not kernel.facts["keeper"]:
            _tell_launcher(kernel, word)
        elif kernel.is_ours:
            self.ask("wish", kernel.facts["keeper"], word)
        elif word == "RESTART":
            raise RemoteKernelsError(
                f"{kernel.id} was not started by remote-kernels",
                advice="restart it where it was started",
            )
        elif not kernel.facts["pid"]:
            raise RemoteKernelsError(f"the process of {kernel.id} is not known")
        else:
            self.ask("send_signal", kernel.facts["pid"], kernel.facts["began"], word)


def _tell_launcher(kernel: Kernel, word: str) -> None:
    """Interrupt or stop a kernel through its launcher on this machine.

    Raises:
        RemoteKernelsError: that cannot be done.
    """
    if word == "RESTART":
        raise RemoteKernelsError(
            f"no keeper of {kernel.id} answers, which would start it anew",
            advice="restart it in its front end",
        )
    launcher = _launcher_of(kernel)
    if launcher is None:
        raise RemoteKernelsError(f"the launcher of {kernel.id} has just ended")
    if word == "INT":
        os.kill(launcher.pid, signal.SIGINT)
        return
    # Jupyter, which believes that it has died, is not to start it again.
    stopped = KernelStoppedError("the kernel was stopped with 'remote-kernels stop'")
    LastRefusal(launcher.connection.path).note(stopped.exit_code, stopped.block())
    os.kill(launcher.pid, signal.SIGTERM)
    _wait_for_end(kernel, launcher)
    if kernel.line == "away":
        raise RemoteKernelsError(
            f"the launcher of {kernel.id} was ended, but {kernel.host} does not answer",
            advice="what still runs there ends with its lease (--lease)",
        )


def _wait_for_end(kernel: Kernel, launcher: Launcher) -> None:
    deadline = time.monotonic() + _LAUNCHER_PATIENCE
    while _launcher_of(kernel) is not None:
        if time.monotonic() >= deadline:
            raise RemoteKernelsError(
                f"the launcher of {kernel.id}, process {launcher.pid}, does not end",
                advice=f"kill -9 {launcher.pid}",
            )
        time.sleep(0.05)


def _launcher_of(kernel: Kernel) -> Launcher | None:
    """The launcher on this machine that tells of a kernel; None if it has ended."""
    pid, began = kernel.facts["launcher"], kernel.facts["since"]
    return next((x for x in launchers() if (x.pid, x.began) == (pid, began)), None)


def _nonsense(host: str, what: str) -> RemoteKernelsError:
    return RemoteKernelsError(f"the far side {what} in no way that we know", host=host)


# What a host tells of as left, and what that is.
_KINDS_LEFT = {
    "files": "connection file",
    "sockets": "socket of a kernel",
    "directories": "directory of a keeper",
}


def _left_here() -> Iterator[tuple[Path, str]]:
    """What launchers and their connections have left on this machine, each with what it is.

    Each is looked at when it is asked for, so that who removes it at once removes nothing living.
    """
    place = place_for_sockets()
    if place is not None and not is_elsewhere(str(place)):
        for path in sockets_in(place):
            if refuses(str(path)):
                yield path, "shared connection that has died"
        for kept in KeptLogin.all_in(place):
            if not kept.is_open or refuses(kept.socket):
                yield kept.note, kept.ended()
    for directory in stale_directories():
        sockets = [str(path) for path in directory.glob("*") if path.is_socket()]
        if all(map(refuses, sockets)) and not is_elsewhere(str(directory)):
            yield directory, "directory of a launcher that was killed"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _as_text(content: dict[str, Any]) -> str:
    """An output as a terminal can show it: what was printed, a value, or an error."""
    if "traceback" in content:
        return "".join(f"{line}\n" for line in content["traceback"])
    if "data" in content:
        return f"{content['data'].get('text/plain', '')}\n"
    return str(content["text"])


# What has to be there, and of which kind.
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "name", "file"), str),
    **dict.fromkeys(("ours", "stale"), bool),
    **dict.fromkeys(("since", "pid"), (int, float)),
}
_NUMBERS = ("memory", "cpu", "active", "lease_left", "began")


def _is_kernel(facts: Any) -> bool:
    """Whether a host tells of a kernel in the way that is known."""
    if not isinstance(facts, dict):
        return False
    known = all(isinstance(facts.get(name), kind) for name, kind in _KINDS.items())
    numbers = [facts.get(name) for name in _NUMBERS]
    if not known or not all(x is None or isinstance(x, (int, float)) for x in numbers):
        return False
    return isinstance(facts.get("keeper"), str) if facts["ours"] else "began" in facts


# --- where to look --------------------------------------------------------------------------------


def launchers() -> Iterator[Launcher]:
    """Those that run on this machine, of this user."""
    for process in processes():
        words = words_of(process.pid)
        is_ours = words[1:3] == ["-m", "remote_kernels"] and len(words) > 3
        if not is_ours or not words[3].startswith("--"):
            continue
        try:
            options, path = from_argv(words[3:])
            connection = ConnectionFile.read(path)
        except RemoteKernelsError:
            # It has just ended, or is none.
            continue
        yield Launcher(process.pid, connection, options, process.began)


Ways = dict[Way | None, set[type[Scheduler]]]


def ways(*, everywhere: bool) -> Ways:
    """The ways to hosts where kernels of ours may run, with the schedulers there.

    This machine comes first.

    Args:
        everywhere: to all that kernelspecs and profiles name, and not only to those that launchers
            here go to.

    Raises:
        ProfileError: the file of profiles cannot be read.
    """
    options = [launcher.options for launcher in launchers()]
    if everywhere:
        for spec in kernelspecs.find(kernelspecs.search_directories()):
            with suppress(OptionsError):
                options.append(spec.options)
        # A launcher needs none, and what reads them takes time.
        from remote_kernels.profiles import profiles

        options += [profile.kernel for profile in profiles().values()]
    found: Ways = {None: set()}
    for each in options:
        try:
            for on_machine in machines(each):
                interface = interface_named(on_machine.interface)
                way = interface.way(on_machine)
                schedulers = found.setdefault(way, set())
                if issubclass(interface, Scheduler):
                    schedulers.add(interface)
        except OptionsError:
            # What is wrong with it, its start says.
            continue
    return found


def all_schedulers() -> list[type[Scheduler]]:
    """One for each command that tells of a user's jobs, where it is not known which is there."""
    found: dict[str, type[Scheduler]] = {}
    for name in interface_names():
        # Somebody else's may be broken.
        with suppress(OptionsError):
            interface = interface_named(name)
            if issubclass(interface, Scheduler) and interface.own_jobs:
                found.setdefault(interface.own_jobs, interface)
    return list(found.values())


def way_to(text: str, known: Iterable[Way | None], **given: Any) -> Way:
    """The way to a host: as it was given, or else that of the kernels there.

    Args:
        text: the host, as in ``--host``: the name of a profile, or one that ssh reaches.
        known: the ways of all kernels; see :func:`ways`.
        given: options that say how ssh gets there.

    Raises:
        OptionsError: it is no host.
        ProfileError: the file of profiles cannot be read.
        RemoteKernelsError: kernels go there by more than one way.
    """
    from remote_kernels.profiles import described

    options = described(text, given)
    way = {name: options[name] for name in WAY_OPTIONS if name in options}
    asked = Ssh.way(KernelOptions(interface="ssh", host=options["host"], **way))
    if given or options["host"] != text:
        return asked
    there = [way for way in known if way is not None and way.host == asked.host]
    if asked in there or not there:
        return asked
    if len(there) > 1:
        lines = "\n".join(way.login_line() for way in there)
        raise RemoteKernelsError(f"kernels go to {text} by {len(there)} ways", advice=lines)
    return there[0]


class Place(NamedTuple):
    """Where a kernel is, for who wants to attach to it.

    Attributes:
        selector: of the kernel there.
        hop: leads on from the host to its node; empty where it is on the host itself.
    """

    selector: str
    hop: bytes = b""


def place_of(
    way: Way | None,
    schedulers: Iterable[type[Scheduler]],
    selector: str,
    log: Callable[[str], None],
    *,
    alone: bool = False,
) -> Place:
    """Where the kernel is that a person means: on a host, or in a job that was asked for there.

    Args:
        way: to the host; None for this machine.
        schedulers: that are asked for jobs there.
        selector: of the kernel; empty for the newest.
        log: takes when somebody is asked for what the login needs.
        alone: over a connection of its own.

    Raises:
        RemoteKernelsError: the host, or its scheduler, cannot be asked.
    """
    with Host(way, schedulers, log, alone=alone) as host:
        found = host.look()
        if found.error is not None:
            raise found.error
        try:
            facts = chosen([kernel.facts for kernel in found.kernels], selector)
        except CannotAnswer:
            jobs = list(host.jobs())
        else:
            if facts.get("kernel_keeper"):
                # The node is the host itself.
                return Place(selector)
            if not facts.get("job") or facts.get("state") == "waiting":
                # Nothing leads into a job that waits, and the visit says that it does.
                return Place(selector)
            kernel = next(kernel for kernel in found.kernels if kernel.facts is facts)
            return Place(kernel.id, hop_to(_scheduler_of(kernel), str(facts["job"]), kernel.node))
    # In one that waits or ends, nobody would answer.
    hops = [hop_to(scheduler, job.id, job.node) for scheduler, job in jobs if job.runs]
    for hop in filter(None, dict.fromkeys(hops)):
        with Host(way, (), log, alone=alone, hop=hop) as node:
            kernels = [kernel.facts for kernel in node.look().kernels]
        with suppress(CannotAnswer):
            return Place(str(chosen(kernels, selector)["file"]), hop)
    # That there is none, the visit says.
    return Place(selector)


def place_of_kept(
    way: Way | None,
    scheduler: type[Scheduler],
    kept_as: str,
    log: Callable[[str], None],
    *,
    alone: bool = False,
) -> Place | None:
    """Where a kernel is that was kept in a job; None if there is none that is alone.

    Nobody else is told of it from then on.

    Args:
        way: to the host on which the job was asked for; None for this machine.
        scheduler: that gave the job.
        kept_as: what tells it from others.
        log: takes when somebody is asked for what the login needs.
        alone: over a connection of its own.

    Raises:
        RemoteKernelsError: the host cannot be asked.
    """
    with Host(way, (), log, alone=alone) as host:
        facts = host.ask("come_back", kept_as, f"{os.getpid()} {os.uname().nodename}")
    if not isinstance(facts, dict):
        return None
    node, job = str(facts.get("node") or ""), str(facts.get("job") or "")
    return Place(str(facts.get("id") or ""), hop_to(scheduler, job, node))


def _scheduler_of(kernel: Kernel) -> type[Scheduler]:
    """The scheduler that gave the job of a kernel of ours.

    Raises:
        RemoteKernelsError: the host names none.
    """
    interface = interface_named(str(kernel.facts.get("interface")))
    if not issubclass(interface, Scheduler):
        raise _nonsense(kernel.host, "tells of a job")
    return interface


def hop_to(scheduler: type[Scheduler], job: str, node: str) -> bytes:
    """What leads from a login host into a job; empty where nothing does.

    Args:
        scheduler: that gave it.
        job: its id.
        node: on which it runs.
    """
    argv = scheduler.step_command(job, node)
    if argv:
        return through(["env", *scheduler.settings(), *argv])
    return through([*HOP, "--", node, BOOTSTRAP]) if node else b""


def with_launchers(found: Sequence[Found]) -> list[Found]:
    """What was found, with what is known here of hosts that did not answer.

    Launchers of this machine, which look like kernels to its front ends, are none.

    Args:
        found: on several hosts.
    """
    here = os.uname().nodename
    kernels = [kernel.facts for kernel in kernels_of(found)]
    known = {facts.get("launcher") for facts in kernels if facts.get("from") == here}
    running = list(launchers())
    pids = {launcher.pid for launcher in running}
    result = [
        each._replace(
            kernels=tuple(x for x in each.kernels if x.host or x.facts["pid"] not in pids)
        )
        for each in found
    ]
    for launcher in running:
        if launcher.options.existing is not None:
            # It is at a kernel that others have.
            continue
        way = interface_named(launcher.options.interface).way(launcher.options)
        host = "" if way is None else str(way.host)
        for number, each in enumerate(result):
            if each.host == host and launcher.pid not in known:
                result[number] = _with_launcher(each, launcher)
    return result


def _with_launcher(found: Found, launcher: Launcher) -> Found:
    """What was found on a host, with the kernel of a launcher of which no keeper tells there."""
    kernel = Kernel(found.host, "", _facts_of(launcher, is_away=found.error is not None))
    others = list(found.kernels)
    for number, other in enumerate(others):
        # One that has no keeper looks like somebody else's.
        is_it = Path(other.facts["file"]).name == launcher.connection.copy_name
        if is_it and not other.is_ours and not other.facts["stale"]:
            known = {name: other.facts.get(name) for name in ("file", "pid", "memory", "cpu")}
            kernel = kernel._replace(node=other.node, facts={**kernel.facts, **known, "state": ""})
            del others[number]
            break
    return found._replace(kernels=(*others, kernel))


def _facts_of(launcher: Launcher, *, is_away: bool) -> dict[str, Any]:
    number = launcher.connection.kernel_id[:8]
    # A file that is named after no id is read with another one each time.
    is_named = number in launcher.connection.path.name
    return {
        "ours": True,
        "id": number if is_named else str(launcher.pid),
        "name": launcher.options.name or "",
        "interface": launcher.options.interface or "",
        "file": "",
        "keeper": "",
        "launcher": launcher.pid,
        "from": os.uname().nodename,
        "pid": 0,
        "since": launcher.began,
        "state": "" if is_away else "starting",
        "connected": not is_away,
        "stale": False,
    }


def selected(found: Sequence[Found], words: Sequence[str]) -> list[Kernel]:
    """The kernels that a person names.

    Args:
        found: on several hosts.
        words: of each the beginning of its id, or its process number, or the path of its file.

    Raises:
        RemoteKernelsError: there is none, or there are more than one.
    """
    return [_selected(found, word) for word in words]


def _selected(found: Sequence[Found], word: str) -> Kernel:
    kernels = kernels_of(found)
    try:
        facts = chosen([kernel.facts for kernel in kernels], word)
    except CannotAnswer as error:
        advice = "'remote-kernels ps --all' lists those that run"
        raise RemoteKernelsError(str(error), advice=advice) from None
    return next(kernel for kernel in kernels if kernel.facts is facts)


def age(since: float) -> str:
    """How long ago a moment was, for a person.

    Args:
        since: the moment, in seconds since 1970.
    """
    return span(max(0.0, time.time() - since))


def span(seconds: float) -> str:
    """A time for a person, in two units at most."""
    left = int(seconds)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for number, (unit, size) in enumerate(units):
        if left >= size or size == 1:
            text = f"{left // size} {unit}"
            rest = left % size
            if size > 60 and rest >= units[number + 1][1]:
                text += f" {rest // units[number + 1][1]} {units[number + 1][0]}"
            return text
    raise AssertionError("there are seconds")
