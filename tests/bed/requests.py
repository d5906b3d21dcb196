"""Root's hand for the tests: requests over a socket, one line of JSON each, answered in turn.

The tests run as an ordinary user; what they may ask for is listed in ``REQUESTS``. Bytes travel
as text with surrogate escapes, so nothing of a command's output is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bed import machines

Answer = dict[str, Any]


class Requests:
    """Answers the tests' requests until they hang up."""

    def __init__(self, running: dict[str, machines.RunningMachine], facts: dict[str, str]) -> None:
        """``facts`` are handed to the tests as they are."""
        self._machines = running
        self._facts = facts
        self._cut: set[frozenset[str]] = set()

    def serve(self, connection: socket.socket) -> None:
        """Answer line by line; the end may come at any moment, for tests are killed, too."""
        with contextlib.suppress(ConnectionError), connection.makefile("rb") as stream:
            for line in stream:
                connection.sendall(json.dumps(self._answer(json.loads(line))).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> Answer:
        try:
            return REQUESTS[request.pop("request")](self, **request)
        except Exception as error:  # whatever it is, the test that asked has to know
            return {"error": f"{type(error).__name__}: {error}"}

    def facts(self) -> Answer:
        """What the tests have to know about the host."""
        return {**self._facts}

    def run(
        self,
        machine: str,
        argv: list[str],
        user: str,
        standard_input: str,
        timeout: float,
        environ: dict[str, str],
    ) -> Answer:
        """Run a command on a machine."""
        status, stdout, stderr = self._machines[machine].run(
            argv, user, standard_input.encode(errors="surrogateescape"), timeout, **environ
        )
        return {
            "status": status,
            "stdout": stdout.decode(errors="surrogateescape"),
            "stderr": stderr.decode(errors="surrogateescape"),
        }

    def look(self, machine: str) -> Answer:
        """What is there now: processes, listening ports, files."""
        running = self._machines[machine]
        return {
            "processes": running.processes(),
            "ports": running.listening_ports(),
            "files": running.files(),
        }

    def link(self, left: str, right: str, up: bool) -> Answer:
        """Cut neighbours off from each other, or mend it; twice the same changes nothing."""
        pair = frozenset((left, right))
        if up and pair in self._cut:
            machines.mend(left, right, self._machines)
            self._cut.remove(pair)
        if not up and pair not in self._cut:
            machines.cut(left, right, self._machines)
            self._cut.add(pair)
        return {}

    def forget_hosts(self) -> Answer:
        """Remove what ssh has learned and what tests have told it."""
        for running in self._machines.values():
            running.forget_hosts()
        return {}

    def keep(self, name: str, data: str) -> Answer:
        """Keep a file, such as a screenshot, beyond the bed's end, if RK_KEEP says where."""
        directory = os.environ.get("RK_KEEP")
        if directory:
            Path(directory, Path(name).name).write_bytes(data.encode(errors="surrogateescape"))
        return {}


REQUESTS: dict[str, Callable[..., Answer]] = {
    "facts": Requests.facts,
    "forget_hosts": Requests.forget_hosts,
    "keep": Requests.keep,
    "link": Requests.link,
    "look": Requests.look,
    "run": Requests.run,
}
