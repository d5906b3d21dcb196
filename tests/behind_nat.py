"""A machine that can only dial out, and what holds a tunnel there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bed import Bed, wait_until
from bed.client import Finished

HOME = "/home/ada/reverse"
# A shell has its background ignore Ctrl-C.
IN_BACKGROUND = (
    'out=$1; shift; exec env --default-signal=INT "$@" >"$out" 2>&1 </dev/null & echo $!'
)


class Box:
    """ada's account on the machine behind NAT."""

    def __init__(self, bed: Bed) -> None:
        self._bed, self._machine = bed, bed.box

    def env(self, state: str = "state") -> dict[str, str]:
        """What a login there sets beside, with a place for the notes of a test."""
        return {"XDG_STATE_HOME": f"{HOME}/{state}", "XDG_RUNTIME_DIR": "/run/user/5101"}

    def run(self, text: str) -> Finished:
        """Run what a person types there."""
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        env = {**self.env(), "PATH": path}
        return self._machine.run(["bash", "-euc", text], user="ada", env=env)

    def reverse(self, *words: str, state: str = "state", **env: str) -> Finished:
        """Run the command to its end."""
        command = [sys.executable, "-m", "remote_kernels", "reverse", *words]
        env = {**self.env(state), **env}
        return self._machine.run(command, user="ada", env=env, check=False)

    def holds(self, *words: str, state: str = "state") -> Held:
        """Begin to hold a tunnel, and wait until it stands."""
        held = self.begins(*words, state=state)
        held.says("leads to port 22 here")
        return held

    def begins(self, *words: str, state: str = "state") -> Held:
        """Begin to hold a tunnel."""
        out = f"{HOME}/out-{len(self._machine.files(HOME))}"
        command = [sys.executable, "-m", "remote_kernels", "reverse", *words]
        said = self._machine.run(
            ["sh", "-c", IN_BACKGROUND, "sh", out, *command], user="ada", env=self.env(state)
        )
        return Held(self._bed, out, said.stdout.strip())

    def status(self) -> dict[str, Any]:
        """How the one tunnel stands."""
        (found,) = json.loads(self.reverse("--status", "--json").stdout)
        return dict(found)


class Held:
    """A command that holds a tunnel."""

    def __init__(self, bed: Bed, out: str, pid: str) -> None:
        self._machine, self._out, self.pid = bed.box, out, pid

    def said(self) -> str:
        """All that it has said."""
        return self._machine.read(self._out)

    def says(self, text: str) -> str:
        """Wait until it says something; all that it has said."""
        try:
            wait_until(lambda: text in self.said(), 25, text)
        except TimeoutError:
            raise AssertionError(self.said()) from None
        return self.said()

    @property
    def port(self) -> int:
        """On the server."""
        found = re.search(r"Port (\d+) of", self.said())
        assert found is not None
        return int(found[1])

    def is_there(self) -> bool:
        """Whether it runs."""
        return self.pid in (str(process.pid) for process in self._machine.processes("ada"))

    def end(self, signal: str = "TERM") -> None:
        """Let a signal end it."""
        self._machine.run(["kill", f"-{signal}", self.pid], user="ada")
        wait_until(lambda: not self.is_there(), 10, "the end of the tunnel")


@contextmanager
def at_box(bed: Bed) -> Iterator[Box]:
    """The box, with a directory for what its commands note and say."""
    bed.box.run(["mkdir", HOME], user="ada")
    bed.box.write("/home/ada/.ssh/config", "StrictHostKeyChecking accept-new\n", user="ada")
    try:
        yield Box(bed)
    finally:
        bed.box.run(["pkill", "-KILL", "-f", "remote_kernels reverse"], user="ada", check=False)
        bed.box.run(["rm", "-r", HOME, "/home/ada/.ssh/config"], user="ada")
