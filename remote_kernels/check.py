"""``remote-kernels check``: a kernel's way one step at a time, with what each step found.

A first launcher goes the way of the kernel with a look around in place of the kernel command; a
second one starts the kernel itself. What went wrong is what these launchers say: their own errors.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from remote_kernels import check_probe, errors, steps
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.scheduler import Scheduler
from remote_kernels.kernelspecs import environment
from remote_kernels.options import KernelOptions, to_argv
from remote_kernels.private_directory import base_directory
from remote_kernels.questions import ASKED, ASKING
from remote_kernels.steps import Step
from remote_kernels.trace import VARIABLE, TraceReader

_GLANCE = 0.02
# For an answer of a kernel that runs, for a cell, and for its end.
_ANSWER_PATIENCE, _CELL_PATIENCE, _END_PATIENCE = 60.0, 30.0, 15.0
# Where that takes long, the machine may just be busy.
_INTERRUPT_AGAIN = 5.0

# What a first cell runs, and one that can be interrupted.
_CELLS = {
    "python": ("print(6 * 7)", "import time\nfor _ in range(600): time.sleep(0.1)"),
    "R": ("cat(6 * 7)", "Sys.sleep(60)"),
    "julia": ("println(6 * 7)", "sleep(60)"),
    "bash": ("echo $((6 * 7))", "sleep 60"),
}


class Finding(NamedTuple):
    """What one step found.

    Attributes:
        step: of the way.
        ok: whether it went well.
        seconds: that it took; None where that says nothing.
        found: for a person.
        error: of the launcher, as :meth:`RemoteKernelsError.data` gives it; None if there is none.
    """

    step: Step
    ok: bool
    seconds: float | None = None
    found: str = ""
    error: dict[str, Any] | None = None


def check(
    options: KernelOptions,
    program: str,
    directory: Path,
    *,
    fast: bool,
    now: Callable[[str], None],
) -> Iterator[Finding]:
    """Go a kernel's way.

    Args:
        options: of the kernel; without a kernel command the way ends before it.
        program: that the kernelspec names for Jupyter to start; empty where there is none.
        directory: a private one.
        fast: start no kernel.
        now: takes what is being waited for.
    """
    if program and shutil.which(program) is None:
        error = errors.KernelSpecError(
            f"the kernelspec starts {program}, which is not there",
            advice="add the kernel again with the Python that has remote-kernels now: "
            "the line that manage --show prints",
        )
        yield Finding(steps.KERNELSPECS, False, None, error.sentence, error.data())
        return
    # What is tried is no kernel that somebody uses, and none of it stays.
    options = options._replace(existing=None, keep=False)
    interface = interface_named(options.interface)
    if issubclass(interface, Scheduler):
        known = interface.queue_is_known(options)
        probe = check_probe.scheduler(_program(options), known)
        order: tuple[Step, ...] = (*_WAY, steps.SCHEDULER)
        looks = _to_login_host(options, probe)
    else:
        order = (*_WAY, steps.PRECMD, steps.PYTHON, steps.SPACE, steps.COMMAND)
        looks = options._replace(kernel_cmd=check_probe.look(options.kernel_cmd))
    with _launcher(looks, directory) as launcher:
        way = _Look(launcher, order, options)
        yield from way.findings(now)
    if way.failed or fast or not options.kernel_cmd:
        return
    with _launcher(options, directory) as launcher:
        start = _Start(launcher, options)
        yield from start.findings(now)
    if start.reached_end:
        yield _remains(options, start, directory)


_WAY = (
    *(steps.CONFIGURATION, steps.REACH, steps.HOST_KEY, steps.LOGIN, steps.SHARING),
    *(steps.WORKDIR, steps.FILE, steps.SHELL),
)


def _to_login_host(options: KernelOptions, probe: str) -> KernelOptions:
    """The options of a kernel that runs where a scheduler is asked."""
    common = {"kernel_cmd": probe, "name": options.name, "no_share": options.no_share}
    if not options.tunnel_hosts:
        return KernelOptions(interface="local", **common)  # type: ignore[arg-type]
    *gateways, host = options.tunnel_hosts
    return KernelOptions(interface="ssh", host=host, tunnel_hosts=tuple(gateways), **common)  # type: ignore[arg-type]


def _program(options: KernelOptions) -> str:
    """The scheduler's command."""
    interface = interface_named(options.interface)
    assert issubclass(interface, Scheduler)
    return interface.program(options)[0]


class _Launcher:
    """A launcher as Jupyter starts it, and the trace that it writes."""

    def __init__(self, options: KernelOptions, directory: Path) -> None:
        name = directory / f"kernel-{uuid.uuid4()}"
        self.connection_file, _ = write_connection_file(
            f"{name}.json", key=os.urandom(16).hex().encode()
        )
        trace = directory / f"{name.name}.trace"
        self._said = directory / f"{name.name}.said"
        self.began = time.time()
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "remote_kernels", *to_argv(options), self.connection_file],
                env={**os.environ, **environment(options), VARIABLE: str(trace)},
                # Its questions are asked where we were started.
                stdin=None if os.isatty(0) else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        self._trace = TraceReader(trace)

    def read(self) -> list[tuple[float, str, Any]]:
        """What has come of its trace."""
        return self._trace.read()

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def said(self) -> list[str]:
        """What it wrote to standard error."""
        return self._said.read_text("utf-8", "replace").splitlines()

    def end(self) -> None:
        """Let it end, and everything with it."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if self.runs:
                self.process.send_signal(signum)
                try:
                    self.process.wait(_END_PATIENCE)
                except subprocess.TimeoutExpired:
                    continue


@contextmanager
def _launcher(options: KernelOptions, directory: Path) -> Iterator[_Launcher]:
    launcher = _Launcher(options, directory)
    try:
        yield launcher
    finally:
        launcher.end()


class _Part:
    """One launcher's part of the way: what its trace says, as findings in the order of the steps.

    Attributes:
        failed: a step did not go well.
        error: that the launcher has ended with, as data; None if there was none.
        pid: of the launcher.
        copy_path: of the connection file over there.
        group: of the kernel's processes.
    """

    def __init__(self, launcher: _Launcher, order: Sequence[Step]) -> None:
        self._launcher, self.pid = launcher, launcher.process.pid
        self._left = list(order)
        self._last = launcher.began
        self.error: dict[str, Any] | None = None
        self.failed = False
        self.copy_path = self.group = ""

    def read(self, now: Callable[[str], None]) -> Iterator[Finding]:
        """The findings of what has come of the trace."""
        for at, kind, what in self._launcher.read():
            if kind == "error":
                self.error = what
            elif kind == "ssh":
                yield from self.on_ssh(at, what)
            elif what.startswith("far side: "):
                yield from self.on_far_side(at, what.removeprefix("far side: ").split())
            elif what.startswith("> "):
                self.on_noise(what.removeprefix("> "))
            else:
                yield from self.on_log(at, what, now)

    def found(self, step: Step, at: float | None = None, text: str = "") -> Iterator[Finding]:
        """A step that went well."""
        if step not in self._left:
            return
        del self._left[: self._left.index(step) + 1]
        seconds = None
        if at is not None:
            seconds, self._last = max(0.0, at - self._last), at
        yield Finding(step, True, seconds, text)

    def fail(self) -> Iterator[Finding]:
        """The launcher has ended with an error."""
        assert self.error is not None
        step = next((x for x in steps.ALL if x.name == self.error["step"]), steps.CELL)
        yield self._failed(step)

    def crash(self) -> Iterator[Finding]:
        """The launcher has ended without a word that we know."""
        self.error = {"sentence": "the launcher ended unexpectedly", "try": []}
        self.error["said"] = self._launcher.said()[-20:]
        yield self._failed(steps.CELL)

    def _failed(self, step: Step) -> Finding:
        assert self.error is not None
        self.failed = True
        return Finding(step, False, time.time() - self._last, self.error["sentence"], self.error)

    # What the parts take of a trace.

    def on_ssh(self, at: float, text: str) -> Iterator[Finding]:
        yield from ()

    def on_log(self, at: float, text: str, now: Callable[[str], None]) -> Iterator[Finding]:
        yield from ()

    def on_noise(self, text: str) -> None:
        """A line that is not ours."""

    def on_far_side(self, at: float, words: list[str]) -> Iterator[Finding]:
        match words:
            case ["COPY", *path]:
                self.copy_path = " ".join(path)
            case ["START", group, *_]:
                self.group = group
        yield from ()


class _Look(_Part):
    """The way to the place where the kernel would start, and a look around there."""

    def __init__(self, launcher: _Launcher, order: Sequence[Step], options: KernelOptions) -> None:
        super().__init__(launcher, order)
        self._options = options
        self._noise: list[str] = []
        self._reached: list[str] = []
        self._keys: list[str] = []
        self._methods: list[str] = []
        self._target = ""
        self._shares = self._uses = False
        self._place: dict[str, str] = {}
        self._has_python = True
        self._status = self._node = ""
        self._last_reached = launcher.began

    def findings(self, now: Callable[[str], None]) -> Iterator[Finding]:
        now("logging in")
        while self._launcher.runs:
            yield from self.read(now)
            time.sleep(_GLANCE)
        yield from self.read(now)
        if self._status == "0":
            yield from self._on_success()
        elif self.error is not None:
            self._say_of_kernel()
            yield from self.fail()
        else:
            yield from self.crash()

    def on_ssh(self, at: float, text: str) -> Iterator[Finding]:
        if found := re.match(r"Connecting to (\S+) \[(.*)\] port (\d+)\.", text):
            self._target = f"{found[1]} [{found[2]}]:{found[3]}"
        elif text.startswith("Connection established"):
            self._reached.append(self._target)
            yield from self.found(steps.CONFIGURATION, None, "read")
            self._last_reached = at
        elif found := re.match(r"Host '(.+)' is known and matches the (\S+) host key", text):
            self._keys.append(f"{found[1]} ({found[2]}, known)")
        elif found := re.match(r"Authenticated to (\S+) \(.*\) using \"(.+)\"", text):
            self._methods.append(f"{found[1]}: {found[2]}")
        elif text.startswith("mux_client_request_session: master session id"):
            self._uses = True
        elif text.startswith("setting up multiplex master socket"):
            self._shares = True

    def on_noise(self, text: str) -> None:
        if told := check_probe.found(text):
            self._place[told[0]] = told[1]
        elif new := re.match(r"Warning: Permanently added '(.+)' \((\S+)\)", text):
            self._keys.append(f"{new[1]} ({new[2]}, new)")
        else:
            self._noise.append(text)

    def on_log(self, at: float, text: str, now: Callable[[str], None]) -> Iterator[Finding]:
        if text.startswith("there is no Python"):
            self._has_python = False
        elif text in (ASKING, ASKED):
            # Nothing is to be written over the question.
            now("" if text == ASKING else "logging in")
        yield from ()

    def on_far_side(self, at: float, words: list[str]) -> Iterator[Finding]:
        yield from super().on_far_side(at, words)
        match words:
            case ["HELLO", node, *_]:
                self._node = node
                yield from self._on_login(at)
            case ["COPY", *_]:
                yield from self.found(steps.WORKDIR, at, os.path.dirname(self.copy_path))
                yield from self.found(steps.FILE, None, os.path.basename(self.copy_path))
                self._noise.clear()
            case ["SHELL"]:
                yield from self.found(steps.SHELL, at, self._of_noise())
            case ["PRECMD", "0"]:
                yield from self.found(steps.PRECMD, at, self._options.precmd or "")
            case ["EXIT", status, *_]:
                self._status = status

    def _on_login(self, at: float) -> Iterator[Finding]:
        if self._options.interface == "local":
            return
        yield from self.found(steps.CONFIGURATION, None, "read")
        if self._reached:
            yield from self.found(steps.REACH, self._last_reached, ", ".join(self._reached))
        if self._keys:
            yield from self.found(steps.HOST_KEY, None, ", ".join(self._keys))
        how = ", ".join(self._methods) or "over the connection that is open"
        yield from self.found(steps.LOGIN, at, how)
        if self._uses or self._shares:
            text = "is used" if self._uses else "made, for all kernels of this host"
            yield from self.found(steps.SHARING, None, text)

    def _of_noise(self) -> str:
        lines = [line for line in self._noise if line.strip()]
        if not lines:
            return "its start-up files print nothing"
        return f"its start-up files print {len(lines)} lines, which do no harm: {lines[0]}"

    def _on_success(self) -> Iterator[Finding]:
        if steps.SCHEDULER in self._left:
            yield from self.found(steps.SCHEDULER, None, self._place.get("command", ""))
            return
        python = self._place.get("python", "")
        if not self._has_python:
            python = "none that is 3.6 or newer: ssh's forwards carry the sockets"
        yield from self.found(steps.PYTHON, None, python)
        yield from self.found(steps.SPACE, None, _space(self._place))
        if self._options.kernel_cmd:
            yield from self.found(steps.COMMAND, time.time(), self._place.get("command", ""))

    def _say_of_kernel(self) -> None:
        """The person knows the kernel command, and not what was run in its place."""
        assert self.error is not None
        options = self._options
        if steps.SCHEDULER in self._left and self._status == "127":
            self.error = errors.SchedulerNotFoundError.of(_program(options), self._node).data()
        elif steps.SCHEDULER in self._left and self._status == "3":
            self.error = errors.JobRefusedError(
                f"{options.interface} knows no queue {options.queue}",
                advice="look which there are, and choose one with --queue",
            ).data()
        probe = check_probe.look(options.kernel_cmd)
        self.error["sentence"] = self.error["sentence"].replace(probe, options.kernel_cmd or "")


def _space(place: dict[str, str]) -> str:
    """What df and quota have said, for a person."""
    fields = place.get("space", "").split()
    text = f"{int(fields[3]) / 1024:.0f} MB free" if len(fields) > 3 and fields[3].isdigit() else ""
    return ", ".join(filter(None, [text, place.get("quota") and f"quota: {place['quota']}"]))


class _Start(_Part):
    """The start of the kernel itself, what it can do, and its end."""

    def __init__(self, launcher: _Launcher, options: KernelOptions) -> None:
        order = (
            *(steps.QUEUE, steps.NODE, steps.CHANNEL, steps.ANSWER),
            *(steps.CELL, steps.INTERRUPT, steps.END),
        )
        super().__init__(launcher, order)
        self.is_up = self.reached_end = False
        self._in_queue = False
        self._ports: list[str] = []
        self._forwards = False
        self._client = BlockingKernelClient(connection_file=launcher.connection_file)

    def findings(self, now: Callable[[str], None]) -> Iterator[Finding]:
        self._client.load_connection_file()
        self._client.start_channels(hb=False)
        try:
            yield from self._findings(now)
        finally:
            self._client.stop_channels()

    def _findings(self, now: Callable[[str], None]) -> Iterator[Finding]:
        now("starting the kernel")
        info = yield from self._wait_for_answer(now)
        if info is None:
            return
        language = str(info.get("language_info", {}).get("name", ""))
        told = f"{info.get('implementation', '')} {info.get('implementation_version', '')}"
        yield from self.found(steps.ANSWER, time.time(), f"{told.strip()}, {language}")
        first, long = _CELLS.get(language, ("1", ""))
        now("running a cell")
        yield from self._run(first, known=language in _CELLS)
        if long and not self.failed:
            now("interrupting a cell")
            yield from self._interrupt(long)
        now("ending the kernel")
        yield from self._end()

    def _wait_for_answer(
        self, now: Callable[[str], None]
    ) -> Generator[Finding, None, dict[str, Any] | None]:
        deadline: float | None = None
        while self._launcher.runs:
            yield from self.read(now)
            if self.is_up and deadline is None:
                deadline = time.monotonic() + _ANSWER_PATIENCE
            if deadline is not None and time.monotonic() >= deadline:
                self.error = _late("the kernel runs, and does not answer", _ANSWER_PATIENCE)
                yield self._failed(steps.ANSWER)
                return None
            self._client.kernel_info()
            reply = self._reply(0.1)
            if reply is not None:
                yield from self.read(now)
                content: dict[str, Any] = reply["content"]
                return content
        yield from self.read(now)
        yield from self.fail() if self.error is not None else self.crash()
        return None

    def _reply(self, seconds: float, message: str = "") -> dict[str, Any] | None:
        """The reply to a message, or the next one."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                reply: dict[str, Any] = self._client.get_shell_msg(timeout=left)
            except queue.Empty:
                return None
            if not message or reply["parent_header"].get("msg_id") == message:
                return reply
        return None

    def _run(self, code: str, *, known: bool) -> Iterator[Finding]:
        reply = self._reply(_CELL_PATIENCE, self._client.execute(code, allow_stdin=False))
        if reply is None or (known and reply["content"].get("status") != "ok"):
            self.error = _late("a first cell was not run", _CELL_PATIENCE)
            yield self._failed(steps.CELL)
        else:
            yield from self.found(steps.CELL, time.time(), code.splitlines()[0])

    def _interrupt(self, code: str) -> Iterator[Finding]:
        cell = self._client.execute(code, allow_stdin=False, stop_on_error=False)
        deadline = time.monotonic() + _CELL_PATIENCE
        began, reply = False, None
        while reply is None and time.monotonic() < deadline:
            if not began:
                began = self._has_begun(cell)
            if began:
                self._launcher.process.send_signal(signal.SIGINT)
                # ipykernel loses the reply to two that come close together, and may then hang.
                reply = self._reply(_INTERRUPT_AGAIN, cell)
        if reply is None:
            self.error = _late("a cell could not be interrupted", _CELL_PATIENCE)
            yield self._failed(steps.INTERRUPT)
        else:
            yield from self.found(steps.INTERRUPT, time.time(), "a cell was interrupted")

    def _has_begun(self, cell: str) -> bool:
        try:
            message = self._client.get_iopub_msg(timeout=_GLANCE)
        except queue.Empty:
            return False
        mine = bool(message["parent_header"].get("msg_id") == cell)
        return mine and message["msg_type"] == "execute_input"

    def _end(self) -> Iterator[Finding]:
        self._client.shutdown()
        try:
            code = self._launcher.process.wait(_END_PATIENCE)
        except subprocess.TimeoutExpired:
            self.error = _late("the kernel was not at its end", _END_PATIENCE)
            yield self._failed(steps.END)
            return
        self.reached_end = True
        yield from self.found(steps.END, time.time(), f"the launcher's exit code is {code}")

    def on_log(self, at: float, text: str, now: Callable[[str], None]) -> Iterator[Finding]:
        if text.startswith("asking for a job: "):
            self._in_queue, self._last = True, at
            now("waiting for a job")
        elif self._in_queue and text.startswith("job "):
            now(f"waiting: {text}")
        elif text.startswith("carrying "):
            self._forwards = True
        yield from ()

    def on_far_side(self, at: float, words: list[str]) -> Iterator[Finding]:
        yield from super().on_far_side(at, words)
        match words:
            case ["HELLO", node, *job]:
                if self._in_queue:
                    yield from self.found(steps.QUEUE, at, " ".join(["job", *job]))
                yield from self.found(steps.NODE, None, node)
            case ["START", _, *ports]:
                self._ports = ports
            case ["UP"]:
                self.is_up = True
                yield from self.found(steps.CHANNEL, None, self._channel())

    def _channel(self) -> str:
        if self._forwards:
            return "ssh's forwards"
        inside = "unix sockets" if self._ports == ["1", "2", "3", "4", "5"] else "ports"
        return f"a keeper carries the kernel's {inside}"


def _late(sentence: str, seconds: float) -> dict[str, Any]:
    return {
        "sentence": f"{sentence} within {seconds:.0f} s",
        "said": [],
        "try": ["look at the kernel's log: remote-kernels logs NAME"],
    }


def _remains(options: KernelOptions, start: _Start, directory: Path) -> Finding:
    """Look for what the kernel has left, here and over there."""
    left = [str(path) for path in base_directory().glob(f"rk-{start.pid}-*")]
    is_job = issubclass(interface_named(options.interface), Scheduler)
    probe = check_probe.remains([start.copy_path], "" if is_job else start.group)
    looks = _to_login_host(options, probe) if is_job else options._replace(kernel_cmd=probe)
    with _launcher(looks, directory) as launcher:
        launcher.process.wait()
        for _, _, what in launcher.read():
            if isinstance(what, str) and (told := check_probe.found(what.removeprefix("> "))):
                left.append(told[1])
    if left:
        sentence = f"something was left behind: {', '.join(left)}"
        error = {"sentence": sentence, "said": [], "try": ["remove it, and report this"]}
        return Finding(steps.REMAINS, False, None, sentence, error)
    return Finding(steps.REMAINS, True, None, "no file, no process")


def as_data(name: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """What was found, for programs."""
    return {
        "kernel": name,
        "ok": all(finding.ok for finding in findings),
        "steps": [
            {
                "step": finding.step.name,
                "ok": finding.ok,
                "seconds": finding.seconds,
                "found": finding.found,
                "error": finding.error,
            }
            for finding in findings
        ],
    }
