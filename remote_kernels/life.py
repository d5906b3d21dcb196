"""The life of one kernel as far as it is known: what was asked for, what was said, how it ended."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from remote_kernels import errors
from remote_kernels.connection_file import ConnectionFile
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.interfaces import interface_named
from remote_kernels.kernel_environment import KernelEnvironment
from remote_kernels.options import (
    DEFAULT_INTERFACE,
    DEFAULT_KERNEL_CMD,
    DEFAULTS,
    KernelOptions,
    as_typed,
)
from remote_kernels.questions import Questions
from remote_kernels.shared_login import KeptLogin
from remote_kernels.shell_text import READY
from remote_kernels.trace import VARIABLE as TRACE
from remote_kernels.trace import Trace

_LINES_SHOWN = 20
#: Of a line that is shown to a person no more than so many characters: it may never end.
LONGEST_SHOWN = 1000

# What an interactive shell says for want of a terminal, and at its end; of no use to anybody.
_NOISE = re.compile(
    "cannot set terminal process group|no job control in this shell|^logout$|"
    # and ssh, of a terminal.
    r"^Connection to \S+ closed\.$"
)

_NUMBER = re.compile("[0-9]{1,9}")

# sshd says this where a password has to be changed, which it could be at a terminal only.
_EXPIRED = re.compile("^Password change required but no TTY available|^WARNING: Your password has")

# What Python says of a module that -m or an import wants.
_NO_MODULE = re.compile(r"No module named '?([\w.]+)")

# What ssh tells of itself where it is asked to.
_TOLD_BY_SSH = ("debug1: ", "Authenticated to ", "Transferred: ", "Bytes per second: ", "OpenSSH_")

# ssh says this, and waits, for a key whose owner has to touch it.
_TOUCH = re.compile(r"^Confirm user presence for key ")


class Life:
    """What kernel.json and Jupyter want, and what has come of it.

    Attributes:
        kind: what it is the life of, in a word for a person.
        stop_command: that ends it from elsewhere.
        interface: of the kernel.
        options: those that the interface can use.
        way: to the machine on which the session begins; None for this one.
        connection: the connection file that Jupyter wrote.
        kernel_cmd: as the person typed it.
        environment: what the kernel finds over there.
        workdir: where it starts: --workdir, or where its files were brought.
        mark: begins each line that our programs over there say.
        stage: login, queue, placing, shell, precmd, starting or up.
        said: the last lines that the far side printed, of the stage.
        node: on which the kernel runs.
        copy_path: of the connection file over there.
        far_status: how the kernel ended; None while it runs.
        terminated_by: the signal by which we were told to end; 0 for none.
        session_status: how the session ended; None while it is open.
        was_left: it is kept over there, and was left in order.
        where: tells where it runs, with the way there.
        trace: of the way, where somebody checks it; None elsewhere.
        questions: of the login; None where there is none.
        kept_login: what ``remote-kernels login`` has kept for the way; None if nothing.
        instead_of: the better machines, with why they were not taken; empty if there are none.
        spares: the other machines on which it could run.
    """

    kind: ClassVar[str] = "kernel"
    stop_command: ClassVar[str] = "remote-kernels stop"

    def __init__(self, options: KernelOptions, connection: ConnectionFile) -> None:
        """Prepare everything that needs no connection.

        Args:
            options: from kernel.json.
            connection: the connection file that Jupyter wrote.

        Raises:
            RemoteKernelsError: the options cannot be used.
        """
        self.interface = interface_named(options.interface or DEFAULT_INTERFACE)
        # An old kernel.json may hold options that its interface never used.
        unused = {name: DEFAULTS[name] for name in self.interface.unusable(options)}
        self.options = options._replace(**unused)
        self.interface.check(self.options)
        self.way = self.interface.way(self.options)
        self.connection = connection
        self.kernel_cmd = as_typed(self.options.kernel_cmd or DEFAULT_KERNEL_CMD)
        self.workdir = self.options.workdir
        self.environment = KernelEnvironment.parse(self.options.activate, self.options.env)
        self.mark = f"@rk-{os.urandom(8).hex()}"
        self.stage = "login"
        self.said: deque[str] = deque(maxlen=_LINES_SHOWN)
        self.node = ""
        self.copy_path = ""
        self.far_status: int | None = None
        self.terminated_by = 0
        self.session_status: int | None = None
        self.was_left = False
        self.log_path: Path | None = None
        self.questions: Questions | None = None
        self.kept_login: KeptLogin | None = None
        self.instead_of = ""
        self.spares: tuple[str, ...] = ()
        self.where: Callable[[], str | None] = lambda: str(self.way) if self.way else None
        self._out_of_memory = False
        self._failed = ""
        self._stopped = False
        # What we start is not to write into it.
        path = os.environ.pop(TRACE, None)
        self.trace = Trace(path, connection.secrets) if path else None
        self._pending_log: list[str] = []
        self._write_log: Callable[[str], None] = self._pending_log.append
        self._clean: Callable[[str], str] = str

    # --- what it says ---------------------------------------------------------------------------

    def log_into(
        self, write: Callable[[str], None], clean: Callable[[str], str], path: Path | None
    ) -> None:
        """Give the log a place, with what was logged before there was one.

        Args:
            write: takes a line.
            clean: makes a line fit to be seen.
            path: of the log.
        """
        self._write_log, self._clean, self.log_path = write, clean, path
        for line in self._pending_log:
            write(line)

    def log(self, text: str) -> None:
        """Write down what a person may want to read later."""
        self._write_log(text)
        if self.trace is not None:
            self.trace.tell("log", text)

    def warn(self, text: str) -> None:
        """Say something that a person should read while the kernel goes on."""
        for line in text.splitlines():
            self.log(line)
        if not self.options.verbose:
            shown = "\n".join(self._clean(line) for line in text.splitlines())
            print(shown, file=sys.stderr, flush=True)

    def error_block(self, error: RemoteKernelsError) -> str:
        """The error that ended it as the person is to read it."""
        if error.host is None and self.interface.carries:
            error.host = self.where()
        error.clean(self._clean)
        if self.trace is not None:
            self.trace.tell("error", error.data())
        return error.block(str(self.log_path) if self.log_path else None)

    # --- what happens ---------------------------------------------------------------------------

    def line(self, text: str) -> tuple[str, str]:
        """Note a line of the far side.

        Returns:
            What stands before our mark, and the event behind it; empty where there is none.
        """
        if self.trace is not None and text.startswith(_TOLD_BY_SSH):
            self.trace.tell("ssh", text.removeprefix("debug1: "))
            return "", ""
        before, mark, event = text.partition(self.mark + " ")
        if before.strip() and READY not in before and not _NOISE.search(before):
            self.log(f"> {before}")
            self.said.append(before[:LONGEST_SHOWN])
            if self.stage == "login" and _TOUCH.search(before):
                self.warn(f"remote-kernels: {self.way}: {before}")
        if mark:
            self.log(f"far side: {event}")
        if self.questions is not None and (mark or READY in before):
            self.questions.end()
        return before, event

    def event(self, text: str) -> None:
        """Note an event of the kernel's start or end.

        Raises:
            ConnectionLostError: it makes no sense.
        """
        words = text.split()
        match words:
            case ["HELLO", node, *_]:
                self.node = node
                self._now("placing")
            case ["FAIL", what]:
                self.far_status = 1
                self._failed = what
            case ["COPY", *_]:
                self.copy_path = text.partition(" ")[2]
                self._now("shell", keep=True)
            case ["SHELL"]:
                self._now("precmd" if self.options.precmd else "starting")
            case ["PRECMD", status]:
                self._now("precmd" if number(status) else "starting", keep=True)
            case ["UP"]:
                self._now("up")
            case ["STOPPED"]:
                self._stopped = True
            case ["EXIT", status, *why]:
                self.far_status = number(status)
                self._out_of_memory = why == ["MEMORY"]

    def _now(self, stage: str, keep: bool = False) -> None:
        # What a shell's start-up files print may come late.
        if self.stage != "up":
            self.stage = stage
            if not keep:
                self.said.clear()

    # --- what that means ------------------------------------------------------------------------

    @property
    def could_not_start(self) -> bool:
        """Whether the far side has said that the kernel cannot be started."""
        return bool(self._failed)

    @property
    def ended_well(self) -> bool:
        """Whether the kernel ended in order, or was left as it is."""
        ended = self.far_status == 0 and self.stage == "up" and not self._stopped
        return self.was_left or ended

    @property
    def is_asking(self) -> bool:
        """Whether somebody is being asked for what the login needs."""
        return self.questions is not None and self.questions.is_open

    def end_error(self, private: Path) -> RemoteKernelsError:
        """Why it ended, where nobody wanted that.

        Args:
            private: the directory in which ssh's configuration lies.
        """
        status, said = self.far_status, self.said
        if self._stopped:
            return errors.KernelStoppedError(
                f"the {self.kind} was stopped with '{self.stop_command}'"
            )
        if self._failed:
            return self._placing_error(self._failed)
        if self.stage == "login":
            return self._login_error(private)
        if status is None:
            return errors.ConnectionLostError(
                f"the connection broke ({self.session_status})", said=said
            )
        ended = f"ended with status {status}" + (
            f" ({signal.Signals(status - 128).name})" if status - 128 in set(signal.Signals) else ""
        )
        if self.stage == "shell":
            return errors.ShellError(
                f"the login shell over there {ended} before it ran our command", said=said
            )
        if self.stage == "precmd":
            return errors.PrecommandError(
                f"the pre-command {ended}: {self.options.precmd}", said=said
            )
        if self._out_of_memory:
            return errors.KernelDiedError(
                f"the {self.kind} used more memory than it may, and was killed",
                said=said,
                advice="let it use less, or ask for more (for a job: --memory)",
            )
        if self.stage == "starting":
            return self._start_error(status, ended)
        return errors.KernelDiedError(f"the {self.kind} {ended}", said=said)

    def advice_when_refused(self) -> str:
        """What to try when the way back was refused, which is not tried again by itself."""
        return (
            "then interrupt the kernel: that makes another attempt (a remote-kernels login does "
            "so, too)"
        )

    def _start_error(self, status: int, ended: str) -> RemoteKernelsError:
        if status in (126, 127) or any("Command not found" in line for line in self.said):
            return errors.CommandNotFoundError(
                f"the kernel command was not found: {self.kernel_cmd}", said=self.said
            )
        if missing := next(filter(None, map(_NO_MODULE.search, self.said)), None):
            return errors.KernelStartError(
                f"the Python of the kernel command has no {missing[1]}: {self.kernel_cmd}",
                said=self.said,
                advice="install it over there, with that Python's own pip; or name another Python "
                "in --kernel_cmd",
            )
        return errors.KernelStartError(
            f"the kernel {ended} before it could be used: {self.kernel_cmd}", said=self.said
        )

    def _login_error(self, private: Path) -> RemoteKernelsError:
        failure = self.questions.failure(self.way) if self.questions is not None else None
        if self.way is not None and any(map(_EXPIRED.search, self.said)):
            by_hand = shlex.join(["ssh", "-t", *self.way.destination])
            return errors.PermissionDeniedError(
                f"the password of {self.way.host} has expired",
                said=self.said,
                advice=f"log in by hand, and choose a new one: {by_hand}",
            )
        if self.way is None or (self.session_status != 255 and failure is None):
            return errors.ShellError(
                "the login worked, but our command was not run over there", said=self.said
            )
        return self.refusal(self.said, private)

    def refusal(self, said: Sequence[str], private: Path) -> errors.LoginError:
        """Why ssh has failed.

        Args:
            said: the lines that it printed.
            private: the directory in which ssh's configuration lies.
        """
        from remote_kernels.refusals import why_refused

        assert self.way is not None
        return why_refused(self.way, said, private, self.questions, self.kept_login)

    def _placing_error(self, what: str) -> RemoteKernelsError:
        if what == "WORKDIR":
            return errors.WorkdirError(
                f"cannot enter the working directory {self.workdir}", said=self.said
            )
        if what == "KERNEL":
            return errors.NoKernelError("there is no such kernel to attach to", said=self.said)
        if what == "NETWORK":
            return errors.KernelNetworkError(
                "the kernel runs in a network namespace of its own, which we may not enter",
                host=self.where(),
                said=self.said,
            )
        if what == "ENVIRONMENT":
            return errors.ActivationError(
                f"cannot activate the environment {self.options.activate}", said=self.said
            )
        if what == "FILE":
            return errors.ConnectionCopyError(
                f"cannot write {self.connection.copy_name} over there", said=self.said
            )
        return errors.PortsError("found no five free ports over there", said=self.said)


def number(word: str) -> int:
    """A number that a program of ours has said over there: a status, a port.

    Raises:
        ConnectionLostError: it is none.
    """
    if not _NUMBER.fullmatch(word):
        raise nonsense(f"{word} where a number should be")
    return int(word)


def parted(kind: str) -> errors.ConnectionLostError:
    """Why a launcher ends that was away from what is kept, and was taken for lost.

    Args:
        kind: what is kept, in a word for a person.
    """
    return errors.ConnectionLostError(
        f"the {kind} took this machine for lost, and goes on without it",
        advice="start it again: that is the way back to it",
    )


def nonsense(what: str) -> RemoteKernelsError:
    """The error where somebody else speaks over there than a program of ours.

    Args:
        what: was said.
    """
    return errors.ConnectionLostError(
        f"the far side says what makes no sense: {what[:LONGEST_SHOWN]}"
    )
