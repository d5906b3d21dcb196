"""``remote-kernels attach``: a visit with front ends of the person's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir

from remote_kernels.connection_file import PORT_NAMES, ConnectionFile
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.interfaces.base import spool_of
from remote_kernels.launcher import open_log
from remote_kernels.life import Life
from remote_kernels.options import KernelOptions
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.visit import Visit, Visited
from remote_kernels.visiting_keeper import VisitOrder
from remote_kernels.wakeups import Wakeups
from remote_kernels.way_in import log_in

#: Gives the argv of a front end for a connection file; None for none that is to be started.
FrontEnd = Callable[[Path], Sequence[str] | None]


class Attachment(Visit):
    """A visit with a connection file in Jupyter's runtime directory, and maybe a front end.

    Attributes:
        file: the connection file for front ends.
    """

    def __init__(
        self,
        life: Life,
        place: PrivateDirectory,
        selector: str,
        front_end: FrontEnd,
        told: Callable[[Visited, Path], None],
        hop: bytes,
        *,
        at_terminal: bool,
    ) -> None:
        """Prepare; see :class:`Visit`.

        Args:
            life: of the kernel.
            place: for ssh's configuration and sockets.
            selector: of the kernel over there.
            front_end: that is to be started.
            told: is called when front ends can connect.
            hop: leads on from the host to the kernel's node.
            at_terminal: the front end is used in our terminal.
        """
        self._at_terminal = at_terminal
        visit = VisitOrder(selector, spool_of(life.options))
        super().__init__(life, place, visit, hop)
        self.file = life.connection.path
        self._front_end, self._told = front_end, told
        self._child: subprocess.Popen[bytes] | None = None
        self._is_up = False

    @property
    def status(self) -> int:
        """Exit code of the front end; 0 if there is none, or if it has not ended."""
        return (self._child.returncode or 0) if self._child is not None else 0

    def file_for_front_ends(self, visited: Visited) -> dict[str, Any]:
        """See :class:`Visit`; it is written."""
        # Front ends pass no such keys on (jupyter_client 8.10): what they say is encrypted here.
        hidden = ("curve_publickey", "curve_secretkey")
        info = {name: value for name, value in visited.info.items() if name not in hidden}
        info.update(self.life.connection.info)
        # JupyterLab lists no kernel whose file has none; VS Code may write an empty one.
        info["kernel_name"] = info.get("kernel_name") or visited.name
        self._write(json.dumps(info, indent=2))
        return info

    def _write(self, text: str) -> None:
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._stack.callback(self.file.unlink, missing_ok=True)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    def on_message(self, line: str) -> None:
        """See :class:`Visit`."""
        super().on_message(line)
        if line == "UP" and not self._is_up and self.visited is not None:
            self._is_up = True
            self._told(self.visited, self.file)
            self._start_front_end()

    def _start_front_end(self) -> None:
        argv = self._front_end(self.file)
        if argv is None:
            return
        try:
            child = self._child = subprocess.Popen(list(argv))
        except OSError as error:
            raise RemoteKernelsError(f"{argv[0]} cannot be started: {error.strerror}") from None
        self._stack.callback(_end, child)
        leave = self.from_thread(self.terminate)

        def wait() -> None:
            child.wait()
            leave()

        threading.Thread(target=wait, daemon=True).start()

    def interrupt(self) -> None:
        """Ctrl-C is for the cell that runs, where a front end is used in our terminal.

        A console tells its person that it cannot interrupt a kernel which it has not started. To
        others it is the wish that they end, and with them we do. Without one we leave.
        """
        if self._child is None:
            self.terminate()
        elif self._at_terminal:
            self.kernel.interrupt()


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        child.wait()


def attach(
    options: KernelOptions,
    selector: str,
    front_end: FrontEnd,
    told: Callable[[Visited, Path], None],
    hop: bytes = b"",
    *,
    at_terminal: bool = False,
) -> int:
    """Visit a kernel, until the person or the kernel ends that.

    Args:
        options: that lead to its host.
        selector: of the kernel there; empty for the newest.
        front_end: that is to be started.
        told: is called when front ends can connect.
        hop: leads on from the host to the kernel's node; empty where it is on the host itself.
        at_terminal: the front end is used in our terminal, so that Ctrl-C there is for the kernel.

    Returns:
        0, or the exit code of the front end, or that of the error, which is then on standard error:
        there is no such kernel, or the way there failed.
    """
    life = Life(options, _draft())
    try:
        return _attach(life, selector, front_end, told, hop, at_terminal=at_terminal)
    except RemoteKernelsError as error:
        print(life.error_block(error), file=sys.stderr)
        return error.exit_code


def _attach(
    life: Life,
    selector: str,
    front_end: FrontEnd,
    told: Callable[[Visited, Path], None],
    hop: bytes,
    *,
    at_terminal: bool,
) -> int:
    with ExitStack() as stack:
        wakeups = stack.enter_context(Wakeups())
        place = PrivateDirectory()
        stack.callback(place.remove)
        open_log(life, stack)
        visit = Attachment(*(life, place, selector, front_end, told, hop), at_terminal=at_terminal)
        visit.begin(log_in(life, place.path), stack)
        visit.carry_until_the_end(wakeups)
        if life.far_status == 0 or life.terminated_by:
            return visit.status
        raise life.end_error(place.path)


def _draft() -> ConnectionFile:
    """Where front ends will connect: five free ports, and a name that no other file has."""
    kernel_id = str(uuid.uuid4())
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORT_NAMES]
        ports = [listener.getsockname()[1] for listener in sockets]
    info: dict[str, Any] = {"transport": "tcp", "ip": "127.0.0.1"}
    info.update(zip(PORT_NAMES, ports, strict=True))
    path = Path(jupyter_runtime_dir()) / f"kernel-{kernel_id}.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ConnectionFile(path, info, kernel_id)


def command_of(program: str) -> list[str]:
    """The argv of one of Jupyter's programs.

    Args:
        program: its name behind "jupyter-".

    Raises:
        RemoteKernelsError: it is not installed.
    """
    import shutil

    beside = Path(sys.executable).parent
    path = os.pathsep.join([str(beside), os.environ.get("PATH", os.defpath)])
    found = shutil.which(f"jupyter-{program}", path=path)
    if found is None:
        package = {"console": "jupyter_console", "lab": "jupyterlab"}.get(program, program)
        raise RemoteKernelsError(
            f"there is no jupyter {program} on this machine", advice=f"pip install {package}"
        )
    return [found]
