"""The demo's story: each step does what a person would do, and looks whether it came out right."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from remote_kernels import kernelspecs
from remote_kernels.demo.end_signals import Ended, EndSignals
from remote_kernels.errors import DemoError, KernelDiedError, SshNotFoundError
from remote_kernels.private_directory import PrivateDirectory

if TYPE_CHECKING:
    from remote_kernels.demo.kernel import DemoKernel, Outputs
    from remote_kernels.demo.server import SshServer

#: What tells one step: from its title and what a person would type to what came of it, which the
#: step adds to the list.
Step = Callable[..., AbstractContextManager[list[str]]]

_PACKAGES = ("asyncssh", "ipykernel", "matplotlib")
_INSTALL = "pip install 'remote-kernels[demo]'"

_WHERE = """\
import json, os, psutil
parents = [process.pid for process in psutil.Process().parents()]
print(json.dumps([os.environ["SSH_CONNECTION"], os.getcwd(), os.getpid(), parents]))"""
_PLOT = """\
import matplotlib.pyplot as plt
plt.plot([x * x for x in range(100)])
plt.title("drawn over there");"""
_ENDLESS = """\
precious = 42
print("for ever", flush=True)
while True: pass"""
_AGAIN = 'print(__import__("os").getpid(), "precious" in globals())'

# Once in some hundred times ipykernel (6.31, 7.4) crashes or hangs at its end, also where it was
# started without us.
_ENDS = {
    0: "the kernel ended in order",
    KernelDiedError.exit_code: "ipykernel crashed at its end",
    128 + signal.SIGTERM: "ipykernel hung at its end, and Jupyter ended it",
}


def check_needs() -> None:
    """Look for what the demo needs beside the program itself.

    Raises:
        DemoError: a package is missing.
        SshNotFoundError: there is no ssh.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise DemoError(f"the demo needs {', '.join(missing)}, not installed here", advice=_INSTALL)
    if shutil.which("ssh") is None:
        raise SshNotFoundError(
            "the demo needs the program ssh, not installed here",
            advice="install OpenSSH's client (on Debian: apt install openssh-client)",
        )


def run(step: Step, say: Callable[[str], None], *, keep: bool) -> None:
    """Run the demo, and leave nothing behind however it ends.

    Args:
        step: tells one step.
        say: prints a line that belongs to none.
        keep: let a person try kernel and server before they go.

    Raises:
        DemoError: a step did not come out right, or something is left.
        SshNotFoundError: there is no ssh.
        Ended: somebody ended it.
    """
    check_needs()
    # asyncssh and jupyter_client take half a second; whoever lacks them has been told by now.
    from remote_kernels.demo.server import SshServer

    with EndSignals() as ends:
        try:
            with ExitStack() as stack:
                place = PrivateDirectory()
                stack.callback(place.remove)
                place.remove_stale()
                server = SshServer(place.path)
                Demo(step, ends, stack, place.path, server).tell(say, keep=keep)
        except OSError as error:
            raise DemoError(f"the demo failed: {error}") from error
        _expect(not place.path.exists(), f"the directory {place.path} is left")
        _expect(not _answers(server.port), f"something still listens on port {server.port}")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _expect(right: bool, sentence: str) -> None:
    if not right:
        raise DemoError(sentence)


class Demo:
    """The steps, in their order."""

    def __init__(
        self, step: Step, ends: EndSignals, stack: ExitStack, place: Path, server: SshServer
    ) -> None:
        """Get everything ready; nothing is started.

        Args:
            step: tells one step.
            ends: the signals that end the demo.
            stack: takes what is to be cleaned up.
            place: a private directory for all files.
            server: not yet listening.
        """
        self._step = step
        self._ends = ends
        self._stack = stack
        self._place = place
        self._server = server
        self._data = place / "jupyter"
        self._environment = {
            **os.environ,
            "JUPYTER_DATA_DIR": str(self._data),
            "XDG_STATE_HOME": str(place / "state"),
        }

    def tell(self, say: Callable[[str], None], *, keep: bool) -> None:
        """All steps.

        Raises:
            DemoError: one did not come out right.
            OSError: no file, port or process can be made.
            Ended: somebody ended it.
        """
        self._start_server()
        spec = self._add_kernel()
        kernel = self._start_kernel(spec)
        self._prove_where_it_runs(kernel)
        self._draw(kernel)
        self._interrupt(kernel)
        self._restart(kernel)
        self._shut_down(kernel)
        if keep:
            self._keep(spec, say)
        else:
            self._delete_kernel(spec)

    def _begin(self, title: str, *typed: str) -> AbstractContextManager[list[str]]:
        self._ends.check()
        return self._step(title, *typed)

    def _start_server(self) -> None:
        with self._begin("Start a throw-away ssh server (you would have one)") as found:
            self._stack.enter_context(self._server)
            found.append(f"127.0.0.1 port {self._server.port}, home {self._server.home}")

    def _add_kernel(self) -> kernelspecs.KernelSpec:
        python = shlex.quote(os.path.abspath(sys.executable))
        command = [
            *("remote-kernels", "manage", "--add", "--interface", "ssh", "--name", "Demo"),
            *("--host", f"127.0.0.1:{self._server.port}", "--workdir", "~"),
            # The server does not come back.
            *("--lease", "0"),
            f"--remote-launch-args={shlex.join(self._server.ssh_args)}",
            *("--kernel_cmd", f"{python} -m ipykernel_launcher -f {{connection_file}}"),
        ]
        with self._begin("Add a kernel for it", f"$ {shlex.join(command)}") as found:
            found += self._run_command(command)
            (spec,) = kernelspecs.find([self._data / "kernels"])
        return spec

    def _start_kernel(self, spec: kernelspecs.KernelSpec) -> DemoKernel:
        from remote_kernels.demo.kernel import DemoKernel

        typed = (
            f"choose {spec.display_name!r} in JupyterLab, or $ jupyter console --kernel {spec.name}"
        )
        with self._begin("Start it", typed) as found:
            kernel = DemoKernel(
                spec.name, spec.directory.parent, self._place, self._environment, self._ends
            )
            kernel.spawn()
            self._stack.callback(kernel.close)
            kernel.wait_for_ready()
            found.append(f"its launcher is process {kernel.launcher.pid}; it answers")
        return kernel

    def _prove_where_it_runs(self, kernel: DemoKernel) -> None:
        with self._begin("Ask it where it runs", *_WHERE.splitlines()) as found:
            text = self._run_cell(kernel, _WHERE).text
            connection, directory, pid, parents = json.loads(text)
            found.append(f"in {directory}, through the ssh connection {connection}")
            server = f"127.0.0.1 {self._server.port}"
            _expect(connection.endswith(server), f"the ssh connection is not to {server}")
            _expect(Path(directory).samefile(self._server.home), "that is not its home over there")
            shells = [parent for parent in parents if parent in self._server.shells]
            _expect(len(shells) == 1, "its parents are not the ssh server's shell")
            _expect(kernel.launcher.pid not in parents, "it is a child of the launcher")
            found.append(f"process {pid} below {shells[0]}, the shell that the ssh server started")

    def _draw(self, kernel: DemoKernel) -> None:
        with self._begin("Draw a plot", *_PLOT.splitlines()) as found:
            outputs = self._run_cell(kernel, _PLOT)
            width, height = outputs.png_size
            _expect(min(width, height) > 100, "no picture came back")
            found.append(f"image/png, {width} x {height} pixels, {len(outputs.png)} bytes")

    def _interrupt(self, kernel: DemoKernel) -> None:
        title = "Interrupt an endless cell (the button ■)"
        with self._begin(title, *_ENDLESS.splitlines()) as found:
            error = kernel.run_interrupted(_ENDLESS)
            _expect(error == "KeyboardInterrupt", f"it ended with {error or 'nothing'}")
            value = self._run_cell(kernel, "print(precious)").text.strip()
            _expect(value == "42", "the kernel has forgotten a variable")
            found.append(f"{error}; the kernel still knows precious = {value}")

    def _restart(self, kernel: DemoKernel) -> None:
        with self._begin("Restart it (the button ↻)") as found:
            before = self._run_cell(kernel, _AGAIN).text.split()
            kernel.restart()
            after = self._run_cell(kernel, _AGAIN).text.split()
            _expect(before[0] != after[0], "it is the same process as before")
            _expect(before[1] == "True" and after[1] == "False", "it still knows its variables")
            found.append(f"process {after[0]} instead of {before[0]}; precious is forgotten")

    def _shut_down(self, kernel: DemoKernel) -> None:
        with self._begin("Shut it down (Kernel > Shut Down Kernel)") as found:
            status = kernel.shut_down()
            _expect(status in _ENDS, f"the launcher ended with exit code {status}")
            found.append(f"exit code {status} of the launcher: {_ENDS[status]}")
            copies = list(self._server.home.glob("rik_kernel-*"))
            _expect(not copies, "its connection file is still there")
            found.append("no connection file is left over there")

    def _delete_kernel(self, spec: kernelspecs.KernelSpec) -> None:
        command = ["remote-kernels", "manage", "--delete", spec.name]
        with self._begin("Remove the kernel", f"$ {shlex.join(command)}") as found:
            found += self._run_command(command)
            _expect(not spec.directory.exists(), f"{spec.directory} is still there")

    def _keep(self, spec: kernelspecs.KernelSpec, say: Callable[[str], None]) -> None:
        say("Server and kernel stay until you press Ctrl-C here. In another terminal, type")
        say(f"  $ JUPYTER_PATH={shlex.quote(str(self._data))} jupyter lab")
        say(f"and choose {spec.display_name!r}. (JupyterLab: pip install jupyterlab)")
        try:
            while True:
                self._ends.check()
                time.sleep(0.1)
        except Ended as ended:
            if ended.signum != signal.SIGINT:
                raise

    def _run_command(self, command: list[str]) -> list[str]:
        """Run a command of our own as a person would; the lines that it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "remote_kernels", *command[1:]],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # The Ctrl-C of a terminal goes to all processes of a session.
            start_new_session=True,
            check=False,
        )
        lines = done.stdout.splitlines()
        # That signal may have met it before it had its session.
        self._ends.check()
        if done.returncode:
            raise DemoError(f"it failed with exit code {done.returncode}", said=lines)
        return lines

    def _run_cell(self, kernel: DemoKernel, code: str) -> Outputs:
        outputs = kernel.run(code)
        _expect(not outputs.error, f"the cell failed: {outputs.error}")
        return outputs
