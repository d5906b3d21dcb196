"""What kernel.json runs: the life of one kernel, from the way in to the last file removed."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remote_kernels import __version__, errors
from remote_kernels.connection_file import PORT_NAMES, ConnectionFile
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.base import CONFIG_NAME
from remote_kernels.options import (
    DEFAULT_INTERFACE,
    DEFAULT_KERNEL_CMD,
    KernelOptions,
    as_typed,
    from_argv,
)
from remote_kernels.private_directory import PrivateDirectory
from remote_kernels.remote_script import Script, bootstrap
from remote_kernels.session import Session
from remote_kernels.wakeups import Wakeups

if TYPE_CHECKING:
    from remote_kernels.ssh_connection import SshForwards

# An ssh that gives its login up says so; this is for a far side that accepts and then is silent.
_LOGIN_PATIENCE = 120.0
# The far side gives a kernel 1.5 s to end in order; Jupyter kills us 2.5 s after it said SIGTERM.
_END_PATIENCE = 2.2
# After the kernel is gone, for what it left running over there.
_CLOSE_PATIENCE = 0.5
_LINES_SHOWN = 20

# What an interactive shell says for want of a terminal, and at its end; of no use to anybody.
_SHELL_NOISE = re.compile("cannot set terminal process group|no job control in this shell|^logout$")
# What ssh says of a connection to one of the kernel's ports that sshd does not let through.
_FORWARD_REFUSED = re.compile(r"^channel \d+: open failed: (administratively prohibited|unknown)")


def launch(argv: Sequence[str]) -> int:
    """Start the kernel that kernel.json describes, and hold on until it has ended.

    Args:
        argv: kernel.json's argv after the module name.

    Returns:
        The exit code: 0 after a kernel that ended in order, 128 + n after signal n, or that of
        the error, which is then on standard error.
    """
    launcher: Launcher | None = None
    try:
        options, path = from_argv(argv)
        launcher = Launcher(options, ConnectionFile.read(path))
        return launcher.run()
    except RemoteKernelsError as error:
        print(launcher.error_block(error) if launcher else error.block(), file=sys.stderr)
        return error.exit_code


class Launcher:
    """One kernel: its session, its sockets and its end."""

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
        unused = self.interface.unusable(options)
        defaults: dict[str, Any] = {f.name: f.default for f in fields(options) if f.name in unused}
        self.options = replace(options, **defaults)
        self.interface.check(self.options)
        self.connection = connection
        self._kernel_cmd = as_typed(self.options.kernel_cmd or DEFAULT_KERNEL_CMD)
        self.mark = f"@rk-{os.urandom(8).hex()}"
        self.stage = "login"
        self.said: deque[str] = deque(maxlen=_LINES_SHOWN)
        self.far_ports: list[int] = []
        self._terminated_by = 0
        self._deadline: float | None = None
        self._far_status: int | None = None
        self._pending_log: list[str] = []
        self._write_log: Callable[[str], None] = self._pending_log.append
        self._log_path: Path | None = None
        self._clean: Callable[[str], str] = str

    def run(self) -> int:
        """The life of the kernel.

        Raises:
            RemoteKernelsError: it failed, or the kernel ended otherwise than in order.
        """
        with ExitStack() as stack:
            wakeups = stack.enter_context(Wakeups())
            self._log_in(stack)
            # The session is on its way; from here on there is time.
            self._open_log(stack)
            self._carry_until_the_end(wakeups, stack)
            return self._verdict()

    def error_block(self, error: RemoteKernelsError) -> str:
        """The error as the person is to read it."""
        if error.host is None and self.interface.carries:
            error.host = self.interface.way(self.options)
        error.said = tuple(self._clean(line) for line in error.said)
        return error.block(str(self._log_path) if self._log_path else None)

    # --- the way in -----------------------------------------------------------------------------

    def _log_in(self, stack: ExitStack) -> None:
        self._place = PrivateDirectory()
        stack.callback(self._place.remove)
        script = Script(
            mark=self.mark,
            info=self.connection.info,
            copy_name=self.connection.copy_name,
            kernel_cmd=self._kernel_cmd,
            precmd=self.options.precmd,
            workdir=self.options.workdir,
            near_directory=_working_directory(),
            shell=self.interface.shell(self.options),
            keep_ports=not self.interface.carries,
        )
        command, payload = bootstrap(script.text())
        config = self.interface.ssh_config(self.options, self._place.path)
        if config is not None:
            (self._place.path / CONFIG_NAME).write_text(config)
        argv = self.interface.session_command(self.options, self._place.path, command)
        self._log(f"remote-kernels {__version__}, interface {self.interface.name}")
        self._log(f"spawning {argv}")
        self._deadline = time.monotonic() + _LOGIN_PATIENCE
        try:
            self.session = Session(argv, _session_environment())
        except FileNotFoundError:
            raise errors.SshNotFoundError(f"there is no program {argv[0]} on this machine") from (
                None
            )
        stack.callback(self.session.close)
        self.session.send(payload)
        self._place.remove_stale()

    def _open_log(self, stack: ExitStack) -> None:
        from remote_kernels.kernel_log import KernelLog

        log = KernelLog(
            str(self.connection.kernel_id), self.connection.secrets, self.options.verbose
        )
        stack.callback(log.close)
        for line in self._pending_log:
            log.write(line)
        self._write_log, self._log_path, self._clean = log.write, log.path, log.clean

    # --- while it lives -------------------------------------------------------------------------

    def _carry_until_the_end(self, wakeups: Wakeups, stack: ExitStack) -> None:
        while self.session.open and self._far_status is None:
            wait = None if self._deadline is None else max(0, self._deadline - time.monotonic())
            ready = select.select([self.session, *wakeups.descriptors], [], [], wait)[0]
            for signum in wakeups.take(ready):
                self._on_signal(signum)
            for line in self.session.read_lines():
                self._on_line(line, stack)
            if self._terminated_by and (self.stage == "login" or not ready):
                return
            if not ready:
                raise errors.LoginError(
                    f"the far side did not start our program within {_LOGIN_PATIENCE:.0f} s",
                    said=self.said,
                )

    def _on_signal(self, signum: int) -> None:
        if signum != signal.SIGINT:
            self._log(f"ending the kernel: {signal.Signals(signum).name}")
            self._terminated_by = signum
            self._deadline = time.monotonic() + _END_PATIENCE
            self.session.send(b"TERM\n")
        elif self.stage == "up":
            self._log("interrupt")
            self.session.send(b"INT\n")
        else:
            # A kernel that does not listen yet runs no cell, and an interrupt would end it.
            self._log("interrupt: nothing runs yet")

    def _on_line(self, line: str, stack: ExitStack) -> None:
        before, mark, event = line.partition(self.mark + " ")
        if self.stage == "up" and _FORWARD_REFUSED.search(before):
            raise errors.ForwardError("sshd over there does not forward ports", said=[before])
        if before.strip() and not _SHELL_NOISE.search(before):
            self._log(f"> {before}")
            self.said.append(before)
        if mark:
            self._log(f"far side: {event}")
            self._on_event(event.split(), stack)

    def _on_event(self, words: list[str], stack: ExitStack) -> None:
        match words:
            case ["HELLO", *_]:
                self.stage = "placing"
                self._deadline = None
                self.said.clear()
            case ["FAIL", what]:
                self._far_status = 1
                raise self._placing_error(what)
            case ["START", _, *ports]:
                self.stage = "shell"
                self.far_ports = [int(port) for port in ports]
            case ["SHELL"]:
                self.stage = "precmd" if self.options.precmd else "starting"
                self.said.clear()
            case ["PRECMD", status]:
                self.stage = "precmd" if int(status) else "starting"
            case ["UP"]:
                self.stage = "up"
                self._carry_sockets(stack)
            case ["EXIT", status]:
                self._far_status = int(status)
                self._let_far_side_clean_up()

    def _carry_sockets(self, stack: ExitStack) -> None:
        if self.interface.carries:
            near = [self.connection.local_endpoint(name) for name in PORT_NAMES]
            forwards = self._forwards()
            stack.callback(forwards.close)
            forwards.open(near, self.far_ports)
            self._log(f"carrying {', '.join(near)} to {self.far_ports}")
        # ssh holds what it needs of it; a launcher that is killed leaves nothing.
        self._place.remove()

    def _forwards(self) -> SshForwards:
        from remote_kernels.ssh_connection import SshForwards, ssh_setting

        ask = self.interface.session_command(self.options, self._place.path, "")
        return SshForwards(
            self.interface.ssh_program(self.options),
            self._place.path,
            lambda: ssh_setting(ask, "controlpath"),
        )

    def _let_far_side_clean_up(self) -> None:
        self.session.send(b"END\n")
        self.session.wait_for_end(_CLOSE_PATIENCE)

    # --- how it ended ---------------------------------------------------------------------------

    def _log(self, text: str) -> None:
        self._write_log(text)

    def _verdict(self) -> int:
        if self._terminated_by:
            return 128 + self._terminated_by
        if self._far_status == 0 and self.stage == "up":
            return 0
        raise self._end_error()

    def _end_error(self) -> RemoteKernelsError:
        status, said = self._far_status, self.said
        ended = f"ended with status {status}" + (
            f" ({signal.Signals(status - 128).name})"
            if status is not None and status - 128 in set(signal.Signals)
            else ""
        )
        if self.stage == "login":
            return self._login_error()
        if status is None:
            return errors.ConnectionLostError(
                f"the connection broke ({self.session.exit_status})", said=said
            )
        if self.stage == "shell":
            return errors.ShellError(
                f"the login shell over there {ended} before it ran our command", said=said
            )
        if self.stage == "precmd":
            return errors.PrecommandError(
                f"the pre-command {ended}: {self.options.precmd}", said=said
            )
        if self.stage == "starting":
            if status in (126, 127) or any("Command not found" in line for line in said):
                return errors.CommandNotFoundError(
                    f"the kernel command was not found: {self._kernel_cmd}", said=said
                )
            return errors.KernelStartError(
                f"the kernel {ended} before it could be used: {self._kernel_cmd}", said=said
            )
        return errors.KernelDiedError(f"the kernel {ended}", said=said)

    def _login_error(self) -> RemoteKernelsError:
        if self.session.exit_status != 255 or not self.interface.carries:
            return errors.ShellError(
                "the login worked, but our command was not run over there", said=self.said
            )
        from remote_kernels.ssh_connection import ssh_setting

        def real_name(name: str) -> str:
            config = str(self._place.path / CONFIG_NAME)
            return ssh_setting(["ssh", "-F", config, "--", name], "hostname")

        error = self.interface.login_error(self.options, list(self.said), real_name)
        error.said = tuple(self.said)
        return error

    def _placing_error(self, what: str) -> RemoteKernelsError:
        if what == "WORKDIR":
            return errors.WorkdirError(
                f"cannot enter the working directory {self.options.workdir}", said=self.said
            )
        if what == "FILE":
            return errors.ConnectionCopyError(
                f"cannot write {self.connection.copy_name} over there", said=self.said
            )
        return errors.PortsError("found no five free ports over there", said=self.said)


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        # Somebody has removed it under us.
        return None


def _session_environment() -> dict[str, str]:
    env = dict(os.environ)
    if "SSH_ASKPASS" in env:
        # Our terminal is nobody's to type into; ssh older than 8.4 wants a DISPLAY to obey.
        env["SSH_ASKPASS_REQUIRE"] = "force"
        env.setdefault("DISPLAY", ":0")
    return env
