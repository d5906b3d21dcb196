"""What the stubs of PBS and LSF share: a real Slurm job, with a real terminal on a real node.

Neither scheduler can be had. The stubs print their texts, taken from OpenPBS's source and from
LSF's manual, and translate the options that the interfaces ``pbs`` and ``lsf`` write.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import tty
from collections.abc import Sequence

SLURM_SAYS = re.compile(rb"slurmstepd-\S+ error: [^\r\n]*[\r\n]*")


class RefusedError(Exception):
    """What Slurm said instead of granting a job."""


class Job:
    """A job that is asked for, and that outlives whoever asks, as with a server of its own."""

    def __init__(self, *request: str) -> None:
        """Ask for one task on one node; ``request`` are words for salloc."""
        self._salloc = subprocess.Popen(
            ["salloc", "--no-shell", "--nodes=1", "--ntasks=1", *request],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert self._salloc.stderr
        self._said = self._salloc.stderr
        text = ""
        for line in self._said:
            text += line
            if found := re.search(r"job allocation (\d+)", line):
                self.id, self._last = found[1], line
                return
        raise RefusedError(text)

    def granted(self) -> bool:
        """Wait until it is granted; false if it was cancelled before."""
        while self._last and "Granted job allocation" not in self._last:
            self._last = self._said.readline()
        return bool(self._last)

    def cancel(self) -> None:
        """End it."""
        subprocess.run(["scancel", "--quiet", self.id], check=False)

    def node(self) -> str:
        """The name of the node that was granted."""
        return fields(self.id)["NodeList"]

    def time_is_up(self) -> bool:
        """Whether that is why it ended."""
        return fields(self.id).get("Reason") == "TimeLimit"

    def run(self, argv: Sequence[str], environment: dict[str, str]) -> int:
        """Run a command on the node with our terminal as its own; its status.

        What Slurm says there of the job's end is left out. The command ends when we do.
        """
        step = ["srun", "--quiet", "--overlap", f"--jobid={self.id}", "--pty"]
        values = [f"{name}={value}" for name, value in environment.items()]
        # srun gives no terminal over there where its own output is none.
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=HUP", *step, "env", "-i", *values, *argv],
            stdout=theirs,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        with contextlib.suppress(OSError):  # the end of a terminal
            while said := os.read(ours, 1 << 16):
                said = SLURM_SAYS.sub(b"", said)
                while said:
                    said = said[os.write(1, said) :]
        os.close(ours)
        status = process.wait()
        return status if status >= 0 else 128 - status


def ask(*argv: str) -> str:
    """What a command of Slurm's prints; if its controller is away the stub ends with our words."""
    done = subprocess.run(argv, capture_output=True, text=True)
    if "Unable to contact slurm controller" in done.stderr:
        raise RefusedError(done.stderr)
    return done.stdout


def jobs(name: str, *, ended: bool) -> list[str]:
    """The ids of our own jobs of a name, or all; those that have ended, too, for some minutes."""
    states = ["--states=all"] if ended else []
    names = [f"--name={name}"] if name else []
    return ask("squeue", "--noheader", "--me", *names, "--format=%A", *states).split()


def fields(job: str) -> dict[str, str]:
    """What scontrol knows of a job; nothing if it knows no such job."""
    line = ask("scontrol", "--oneliner", "show", "job", job)
    # A name or a command may have blanks; nobody asks for those.
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def say(text: str, end: str = "\n") -> None:
    """Print at once."""
    print(text, end=end, flush=True)


def complain(text: str) -> None:
    """Print to standard error."""
    print(text, file=sys.stderr, flush=True)


def terminal() -> dict[str, str]:
    """The kind of our terminal."""
    return {"TERM": os.environ.get("TERM", "unknown")}
