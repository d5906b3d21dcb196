"""``lab``: a Jupyter server over there at a port of this machine, and what a browser does there."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

from websocket import WebSocket, create_connection

from bed import Bed, Machine, wait_until
from frontend import remote_kernels

PATIENCE = 60.0


class Carried:
    """The command, which carries a server. Use it in a ``with`` block.

    Attributes:
        url: where a browser is to go, with the token.
        token: that lets in.
    """

    def __init__(
        self, directory: Path, host: str, *words: str, browser: str = "", wait: bool = True
    ) -> None:
        """Prepare.

        Args:
            directory: for what it says.
            host: where the server is.
            words: further ones of its command line.
            browser: command that it starts; empty for none.
            wait: until there is a server.
        """
        self._said = directory / f"lab-{os.urandom(4).hex()}.said"
        self._wait = wait
        quiet = [] if browser else ["--no-browser"]
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "remote_kernels", "lab", host, *quiet, *words],
                env={**os.environ, "BROWSER": browser},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def __enter__(self) -> Carried:
        try:
            if self._wait:
                self.wait_until_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *ended: object) -> None:
        if self.process.poll() is None:
            self.leave()
        assert "Traceback" not in self.said(), self.said()

    def wait_until_up(self) -> None:
        """Wait until there is a server."""
        self.sees("What ends it:\n.*\n")
        (self.url,) = re.findall(r" is at (http\S+)", self.said())
        self.token = "".join(parse_qs(urlsplit(self.url).query).get("token", []))

    @property
    def port(self) -> int:
        """Of this machine."""
        return urlsplit(self.url).port or 0

    def said(self) -> str:
        """All that it has said."""
        return self._said.read_text("utf-8", "replace")

    def sees(self, pattern: str, seconds: float = PATIENCE) -> None:
        """Wait until it has said something."""

        def is_there() -> bool:
            if re.search(pattern, self.said()):
                return True
            assert self.process.poll() is None, self.said()
            return False

        try:
            wait_until(is_there, seconds, repr(pattern))
        except TimeoutError:
            raise AssertionError(f"{pattern!r} is not in:\n{self.said()}") from None

    def leave(self, signum: int = signal.SIGINT) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signum)
        assert self.process.wait(15) == 0, self.said()

    def status(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(seconds)

    # --- what a browser does --------------------------------------------------------------------

    def open(self, path: str, data: bytes | None = None, method: str | None = None) -> Any:
        """Ask the server for something; its answer, which is to be closed."""
        request = Request(f"{self.base}{path}", data=data, method=method)
        request.add_header("Authorization", f"token {self.token}")
        return urlopen(request, timeout=PATIENCE)

    @property
    def base(self) -> str:
        """The address of the server, which ends with a slash."""
        return self.url.partition("?")[0]

    def get(self, path: str) -> Any:
        """What the server's JSON says."""
        with self.open(path) as answer:
            return json.load(answer)

    def send(self, path: str, content: Any, method: str = "POST") -> Any:
        """Send JSON, and read the answer."""
        with self.open(path, json.dumps(content).encode(), method) as answer:
            return json.load(answer)

    def socket(self, path: str) -> WebSocket:
        """A websocket, which is to be closed."""
        address = f"{self.base.replace('http', 'ws', 1)}{path}"
        return create_connection(
            address, timeout=PATIENCE, header=[f"Authorization: token {self.token}"]
        )

    @contextmanager
    def kernel(self) -> Iterator[Callable[[str], str]]:
        """A kernel on the server; what gives the printed output of a cell."""
        number = self.send("api/kernels", {"name": "python3"})["id"]
        socket = self.socket(f"api/kernels/{number}/channels")
        try:
            yield lambda code: printed(socket, code)
        finally:
            socket.close()
            self.open(f"api/kernels/{number}", method="DELETE").close()

    @contextmanager
    def terminal(self) -> Iterator[WebSocket]:
        """A terminal on the server."""
        name = self.send("api/terminals", {})["name"]
        socket = self.socket(f"terminals/websocket/{name}")
        try:
            yield socket
        finally:
            socket.close()
            self.open(f"api/terminals/{name}", method="DELETE").close()


def printed(socket: WebSocket, code: str) -> str:
    """What a cell prints, by a kernel's websocket."""
    number, texts = uuid.uuid4().hex, []
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    header = {"msg_id": number, "msg_type": "execute_request", "session": number, "version": "5.3"}
    header["username"] = ""
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    socket.send(json.dumps({**message, "channel": "shell"}))
    while True:
        answer = json.loads(socket.recv())
        if answer["parent_header"].get("msg_id") != number:
            continue
        if answer["msg_type"] == "stream":
            texts.append(answer["content"]["text"])
        elif answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
            return "".join(texts)


def typed(socket: WebSocket, line: str, until: str) -> str:
    """What a terminal shows after a line was typed, until a text is there."""
    socket.send(json.dumps(["stdin", f"{line}\r"]))
    shown = ""
    while until not in shown:
        kind, *rest = json.loads(socket.recv())
        shown += rest[0] if kind == "stdout" else ""
    return shown


def listed(*words: str) -> list[dict[str, Any]]:
    """What ``lab --list`` tells programs of one host."""
    (host,) = json.loads(remote_kernels("lab", "--list", "--json", *words))
    assert host["error"] is None
    return list(host["servers"])


def stop(*words: str) -> str:
    """End a server by the command; what that says."""
    return remote_kernels("lab", "--stop", *words)


@contextmanager
def servers_by_hand(bed: Bed, words: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Servers that ada has started on her own on ``far``.

    Their files are in directories of their own, as a start-up file may want it.

    Args:
        bed: with the machine.
        words: their programs and what follows, by the directories in which she has started them.
    """
    programs = Path(bed.far_python).parent
    pids = {}
    for directory, (program, *own) in words.items():
        command = shlex.join([str(programs / program), "--no-browser", *own])
        text = f"nohup {command} >{directory}/said 2>&1 </dev/null & echo $!"
        env = {"PWD": directory, "JUPYTER_RUNTIME_DIR": f"{directory}/runtime"}
        pids[directory] = bed.far.run(["sh", "-c", text], user="ada", env=env).stdout.strip()
    try:
        for directory in words:
            wait_until(partial(_is_running, bed, f"{directory}/said"), 60, "her server")
        yield
    finally:
        bed.far.run(["sh", "-c", f"kill {' '.join(pids.values())} || :"])
        numbers = set(map(int, pids.values()))
        wait_until(lambda: numbers.isdisjoint(x.pid for x in bed.far.processes()), 20, "their end")


def _is_running(bed: Bed, log: str) -> bool:
    return re.search("Jupyter Server .* is running at", bed.far.read(log)) is not None


# What is not looked at takes half of a server's start.
_NOT_NEEDED = ("jupyter_lsp", "notebook", "notebook_shim", "voila.server_extension")


def light(
    machine: Machine,
    user: str,
    *,
    without_lab: bool = True,
    others: Mapping[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Write somebody's own configuration of Jupyter over there.

    Args:
        machine: theirs.
        user: who they are.
        without_lab: JupyterLab is no part of the server either.
        others: further ones, of other classes than the server's.
        settings: further ones, of the server.
    """
    off = (*_NOT_NEEDED, *["jupyterlab"] * without_lab)
    extensions = {**dict.fromkeys(off, False), "jupyter_server_terminals": True}
    server = {"jpserver_extensions": extensions, **settings}
    text = json.dumps({"ServerApp": server, **(others or {})})
    machine.write(f"/home/{user}/.jupyter/jupyter_server_config.json", text, user=user)


def leave_no_traces(machine: Machine, user: str, *paths: str) -> None:
    """Remove what Jupyter has left in somebody's home, and further paths; no server's own file.

    Args:
        machine: theirs.
        user: who they are.
        paths: below the home.
    """
    runtime = f"/home/{user}/.local/share/jupyter/runtime"
    assert not [path for path in machine.files(runtime) if "server-" in path]
    machine.run(["rm", "-rf", ".jupyter", ".npm", ".local/share/jupyter", *paths], user=user)
