"""Kernels that people have started by themselves, and front ends that are attached to them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_core.paths import jupyter_runtime_dir

from bed import Bed, Machine, wait_until

HOME = "/home/ada"
RUNTIME = f"{HOME}/.local/share/jupyter/runtime"
PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


class ByHand(NamedTuple):
    """A kernel that somebody has started.

    Attributes:
        file: its connection file.
        pid: of its process.
    """

    file: str
    pid: int


@contextmanager
def by_hand(
    bed: Bed,
    name: str | None = "kernel-hand.json",
    flag: str = "-f ",
    inside: str = "",
    user: str = "ada",
    **info: Any,
) -> Iterator[ByHand]:
    """A kernel that ada has started on her own.

    Args:
        bed: with the machine.
        name: of the connection file that she gives to it; None for none.
        flag: in front of it on the kernel's command line.
        inside: the command line of what the kernel is started in, and ended with.
        user: who starts that.
        info: of the file; see :func:`connection_file`.
    """
    command = f"{bed.far_python} -m ipykernel_launcher"
    if name is not None:
        command += f" {flag}{connection_file(bed.far, name, **info)}"
    before = bed.far.processes()
    text = f"nohup {inside} {command} >/dev/null 2>&1 </dev/null & echo $!"
    outermost = bed.far.run(["sh", "-c", text], user=user).stdout.strip()

    def started() -> list[int]:
        new = (x for x in bed.far.processes() if x not in before)
        return [x.pid for x in new if x.args == command]

    try:
        (pid,) = wait_until(started, 20, "its process")
        file = f"{RUNTIME}/{name or f'kernel-{pid}.json'}"
        wait_until(lambda: file in bed.far.files(HOME), 30, "its file")
        yield ByHand(file, pid)
    finally:
        bed.far.run(["sh", "-c", f"kill -9 {outermost} || :"])
        wait_until(lambda: not started(), 10, "its end")
        bed.far.run(["rm", "-rf", f"{HOME}/.local/share/jupyter", f"{HOME}/.ipython"])


def connection_file(machine: Machine, name: str, first_port: int = 21000, **info: Any) -> str:
    """A connection file that ada has written on a machine; its path.

    Args:
        machine: hers.
        name: of the file.
        first_port: of five.
        info: what else it holds; it has no such thing where that is None.
    """
    whole = {
        **{"transport": "tcp", "ip": "127.0.0.1", "key": "hers", "kernel_name": "by hand"},
        "signature_scheme": "hmac-sha256",
        **{port: first_port + number for number, port in enumerate(PORTS)},
        **info,
    }
    given = {name: value for name, value in whole.items() if value is not None}
    machine.write(f"{RUNTIME}/{name}", json.dumps(given), user="ada")
    machine.run(["chmod", "700", RUNTIME], user="ada")
    return f"{RUNTIME}/{name}"


class Attached:
    """The command, attached to a kernel. Use it in a ``with`` block.

    Attributes:
        file: the connection file that it has written here.
    """

    def __init__(self, *words: str, host: str = "ada@far") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "remote_kernels", "attach", host, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Attached:
        assert self.process.stdout is not None
        # Else a line that never comes would be waited for without an end.
        patience = threading.Timer(60, self.process.kill)
        patience.start()
        try:
            self.told = self.process.stdout.readline()
            line = self.process.stdout.readline()
        finally:
            patience.cancel()
        assert line.startswith("jupyter console --existing "), self.process.communicate()
        self.file = Path(jupyter_runtime_dir(), line.split()[-1])
        return self

    def __exit__(self, *ended: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=30)
        assert "Traceback" not in said, said
        assert not self.file.exists()


@contextmanager
def client_of(file: Path) -> Iterator[BlockingKernelClient]:
    """A front end that has nothing but the file."""
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        yield client
    finally:
        client.stop_channels()


def printed(client: BlockingKernelClient, code: str) -> str:
    """What a cell prints."""
    texts: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            texts.append(message["content"]["text"])

    client.execute_interactive(code, timeout=30, output_hook=collect, allow_stdin=False)
    return "".join(texts)


def reply_to(client: BlockingKernelClient, message_id: str) -> dict[str, Any]:
    """The reply to a cell; those to others are passed over."""
    while True:
        reply = client.get_shell_msg(timeout=20)
        if reply["parent_header"].get("msg_id") == message_id:
            return dict(reply["content"])
