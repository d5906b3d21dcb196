"""Jupyter as the tests use it: kernels picked by name, driven through jupyter_client."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pexpect
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from bed import Machine, wait_until


@dataclass(frozen=True)
class Site:
    """Where the kernels of a test run, and the options that lead there."""

    machine: Machine
    user: str
    python: str
    options: list[str]

    def kernels(self) -> list[str]:
        """The command lines of the kernels that run there."""
        found = self.machine.processes(user=self.user)
        return [x.args for x in found if x.args.startswith(f"{self.python} -m ipykernel_launcher")]

    def connection_files(self) -> set[str]:
        """The copies of connection files that lie there."""
        return {path for path in self.machine.files() if "/rik_kernel-" in path}


IPYKERNEL = "{python} -m ipykernel_launcher -f {{connection_file}}"


def ran(*words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the command where nobody can be asked; how it ended, and what it said."""
    return subprocess.run(
        [sys.executable, "-m", "remote_kernels", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def remote_kernels(*args: str) -> str:
    """Run the command as a person would; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "remote_kernels", *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def checked(*words: str) -> dict[str, Any]:
    """What ``check`` says of one kernel, for programs."""
    done = ran("check", "--json", *words, timeout=120)
    (found,) = json.loads(done.stdout)
    assert found["ok"] == (done.returncode == 0), done.stderr
    return dict(found)


class Person:
    """Somebody at a terminal, in which a command of theirs runs.

    Attributes:
        all: that was on the screen until what was seen last.
    """

    def __init__(self, *command: str) -> None:
        self.all = ""
        self._child: Any = pexpect.spawn(
            command[0], list(command[1:]), encoding="utf-8", timeout=20, dimensions=(40, 200)
        )

    def sees(self, pattern: str) -> str:
        """Wait for a text; what came before it, and itself."""
        self._child.expect(pattern)
        seen = str(self._child.before + self._child.after)
        self.all += seen
        return seen

    def types(self, text: str) -> None:
        """Type a line."""
        self._child.sendline(text)

    def presses(self, key: str) -> None:
        """Press a key together with Ctrl."""
        self._child.sendcontrol(key)

    def end(self) -> tuple[int, str]:
        """Wait for the command's end: its exit code, and what was last on the screen."""
        self._child.expect(pexpect.EOF)
        self._child.close()
        return self._child.exitstatus, str(self._child.before)


def ours(*words: str) -> Person:
    """A person who runs the command."""
    return Person(sys.executable, "-m", "remote_kernels", *words)


def add_kernel(site: Site, *options: str, name: str = "Test", kernel_cmd: str | None = None) -> str:
    """Add a kernel with ``manage --add``; the name of its kernelspec."""
    command = IPYKERNEL.format(python=site.python) if kernel_cmd is None else kernel_cmd
    said = remote_kernels(
        "manage", "--add", "--name", name, f"--kernel_cmd={command}", *site.options, *options
    )
    return said.partition("['")[2].partition("']")[0]


def log_text() -> str:
    """All that the launchers of this test have logged."""
    directory = Path(os.environ["XDG_STATE_HOME"]) / "remote-kernels/log"
    return "".join(path.read_text() for path in directory.glob("*.log"))


def is_back() -> bool:
    """There is a new line, or the old one had nothing but a long pause."""
    return "back at" in log_text() or "answers again" in log_text()


@dataclass
class Reply:
    """What a cell printed and how it ended."""

    content: dict[str, Any]
    text: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)


class Kernel:
    """One running kernel, as a front end has it. Use it in a ``with`` block."""

    def __init__(
        self, spec: str, directory: Path, start_timeout: float = 60, **config: Any
    ) -> None:
        self.manager = KernelManager(kernel_name=spec, **config)
        self.stderr_path = directory / f"stderr-{os.urandom(4).hex()}"
        self.start_timeout = start_timeout

    def __enter__(self) -> Kernel:
        self.start()
        self.wait_for_ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=kind is not None)
        self._stderr.close()

    def start(self) -> None:
        """Start the launcher, and do not wait for the kernel."""
        # Open for as long as the kernel lives: a restart gets it, too.
        self._stderr = self.stderr_path.open("ab")
        self.manager.start_kernel(stderr=self._stderr)
        self.find_launcher()
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()

    def find_launcher(self) -> None:
        """Know the process of the last start."""
        # jupyter_client's default provisioner, a LocalProvisioner, has it.
        provisioner: Any = self.manager.provisioner
        self.launcher: subprocess.Popen[bytes] = provisioner.process

    def restart(self, **how: bool) -> None:
        """Restart it as Jupyter does, and wait until it answers."""
        self.manager.restart_kernel(**how)
        self.find_launcher()
        self.wait_for_new_start()

    def wait_for_new_start(self) -> None:
        """Wait until a kernel answers that was started anew behind the same sockets."""
        # The last words of the old kernel would be taken for those of the new one, and so for a
        # sign that its outputs arrive.
        with contextlib.suppress(queue.Empty):
            while True:
                self.client.get_iopub_msg(timeout=0)
        self.wait_for_ready()

    def wait_for_ready(self) -> None:
        """Wait until it answers."""
        try:
            self.client.wait_for_ready(timeout=self.start_timeout)
        except RuntimeError as error:
            raise AssertionError(f"{error}; the launcher wrote:\n{self.stderr()}") from None

    def stderr(self) -> str:
        """What the launcher wrote to standard error."""
        return self.stderr_path.read_text("utf-8", "replace")

    def interrupts_a_cell(self) -> bool:
        """Whether a cell that waits ends when Jupyter interrupts it."""
        message = self.begin("import threading\nthreading.Event().wait(60)")
        self.manager.interrupt_kernel()
        return bool(self.reply_to(message)["ename"] == "KeyboardInterrupt")

    def run(self, code: str, timeout: float = 30) -> Reply:
        """Run a cell and collect its outputs."""
        reply = Reply({})

        def collect(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                reply.text += message["content"]["text"]
            elif message["msg_type"] in ("display_data", "execute_result", "error"):
                reply.outputs.append(message["content"])

        reply.content = self.client.execute_interactive(code, timeout=timeout, output_hook=collect)[
            "content"
        ]
        return reply

    def value(self, expression: str, timeout: float = 30) -> Any:
        """The value of an expression over there, carried as JSON."""
        return json.loads(self.run(f"import json; print(json.dumps({expression}))", timeout).text)

    def begin(self, code: str) -> str:
        """Send Python that goes on, and wait until it runs; the message's id."""
        code = f"print('begun', flush=True)\n{code}"
        # With stop_on_error, ipykernel drops what comes in the first 0.1 s after an error.
        message_id: str = self.client.execute(code, stop_on_error=False)
        while self.next_of(message_id, self.client.get_iopub_msg)["msg_type"] != "stream":
            pass
        return message_id

    def reply_to(self, message_id: str, timeout: float = 30) -> dict[str, Any]:
        """The reply to a cell that was begun."""
        reply = self.next_of(message_id, self.client.get_shell_msg, timeout)
        content: dict[str, Any] = reply["content"]
        return content

    def wait_until_idle(self, message_id: str) -> None:
        """Wait until the kernel has ended all that a cell's message made it do."""
        state = ""
        while state != "idle":
            message = self.next_of(message_id, self.client.get_iopub_msg)
            state = message["content"].get("execution_state")

    def next_of(
        self, message_id: str, receive: Callable[..., dict[str, Any]], timeout: float = 30
    ) -> dict[str, Any]:
        """The next message from one of the sockets that a cell's message has caused."""
        while True:
            message = receive(timeout=timeout)
            if message["parent_header"].get("msg_id") == message_id:
                return message

    def signal_launcher(self, signum: int) -> None:
        """As Jupyter does: to the launcher's process group."""
        os.killpg(self.launcher.pid, signum)

    def launcher_status(self, timeout: float) -> int:
        """The launcher's exit code, once it has ended."""
        wait_until(lambda: self.launcher.poll() is not None, timeout, "the launcher's end")
        assert self.launcher.returncode is not None
        return self.launcher.returncode

    def most_memory(self) -> int:
        """What the launcher has had of memory at its worst, in kB; 0 once it has ended."""
        try:
            status = Path(f"/proc/{self.launcher.pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) if found else 0

    def most_memory_until_its_end(self, timeout: float) -> int:
        """The same of a launcher that ends by itself."""
        memory = [0]

        def has_ended() -> bool:
            memory.append(self.most_memory())
            return self.launcher.poll() is not None

        wait_until(has_ended, timeout, "the launcher's end")
        return max(memory)

    def has_read(self) -> int:
        """How many bytes the launcher has read; see proc(5), "rchar"."""
        return int(Path(f"/proc/{self.launcher.pid}/io").read_text().split()[1])

    def shut_down(self, timeout: float = 5, **how: bool) -> int:
        """Ask for an end in order, as a front end does; the launcher's exit code.

        Once in some hundred times ipykernel (6.31, 7.4) crashes or hangs while it closes its
        sockets, also without any launcher; so it leaves that out.
        """
        self.run("import os\nget_ipython().kernel.do_shutdown = lambda restart: os._exit(0)")
        self.client.shutdown(**how)
        return self.launcher_status(timeout)

    def kill_launcher(self) -> None:
        """SIGKILL to the launcher alone."""
        os.kill(self.launcher.pid, signal.SIGKILL)
        self.launcher.wait()


def failing(spec: str, directory: Path) -> tuple[int, str]:
    """Exit code and standard error of a launcher that cannot start its kernel."""
    kernel = Kernel(spec, directory)
    kernel.start()
    try:
        status = kernel.launcher_status(timeout=50)
        return status, kernel.stderr()
    finally:
        kernel.__exit__(None, None, None)


def assert_block(
    stderr: str, sentence: str, stage: str, host: str | None, said: str | None
) -> None:
    """The block is the last thing, and complete."""
    lines = stderr.splitlines()
    start = max(n for n, line in enumerate(lines) if line.startswith("remote-kernels: "))
    block = lines[start:]
    assert block[0] == f"remote-kernels: {sentence}."
    assert f"  stage: {stage}" in block
    if host:
        assert f"  host:  {host}" in block
    if said:
        assert any(line.startswith("  said:") and said in line for line in block), block
    assert any(line.startswith("  try:   ") for line in block)
    assert block[-1].startswith(("  log:   ", "  try:   "))
    assert "Traceback" not in stderr


@contextlib.contextmanager
def kernels(count: int, spec: str, directory: Path) -> Iterator[list[Kernel]]:
    """So many kernels that begin at once, and are ready."""
    with contextlib.ExitStack() as stack:
        running = [Kernel(spec, directory) for _ in range(count)]
        for kernel in running:
            kernel.start()
            stack.push(kernel)
        for kernel in running:
            kernel.wait_for_ready()
        yield running


#: A cell that prints text of which no two parts are alike.
FLOOD = "import sys\nfor n in range({mb} * 16): sys.stdout.write('%08d' % n * 8192)"


def flood(mb: int) -> str:
    """What FLOOD prints."""
    return "".join(f"{n:08}" * 8192 for n in range(mb * 16))


Steps = list[tuple[int, Callable[[], object]]]


def run_and_disturb(kernel: Kernel, code: str, steps: Steps) -> str:
    """Run a cell; what it printed. Each step is made when so much of that has arrived."""
    message_id = kernel.client.execute(code)
    parts: list[str] = []
    arrived = 0
    while True:
        try:
            message = kernel.next_of(message_id, kernel.client.get_iopub_msg, timeout=60)
        except queue.Empty:
            raise AssertionError(f"nothing came after {arrived} characters") from None
        if message["msg_type"] == "stream":
            parts.append(message["content"]["text"])
            arrived += len(parts[-1])
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            assert not steps
            assert kernel.reply_to(message_id)["status"] == "ok"
            return "".join(parts)
        while steps and arrived >= steps[0][0]:
            steps.pop(0)[1]()


#: What a small system has, but for a Python.
TOOLS = ("awk", "cat", "dd", "env", "grep", "head", "rm", "setsid", "sh", "sleep", "uname")


@contextlib.contextmanager
def without_python(machine: Machine) -> Iterator[str]:
    """Let logins have a PATH without Python, until their login shell sets its own."""
    directory = "/srv/tools"
    machine.run(["mkdir", directory])
    for tool in TOOLS:
        machine.run(["sh", "-c", f'ln -s "$(command -v {tool})" {directory}'])
    try:
        with machine.sshd(f"SetEnv PATH={directory}"):
            yield directory
    finally:
        machine.run(["rm", "-r", directory])
