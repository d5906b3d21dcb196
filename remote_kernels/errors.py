"""What can go wrong, each cause with its sentence, its advice and its exit code.

A class is one cause that a person can act on. Its docstring is what the manual page says of
its exit code; :func:`documented_exit_codes` lists them all. An error is raised or logged, never
both; the launcher prints it as one block, last of all.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from remote_kernels import steps


class RemoteKernelsError(Exception):
    """Something else failed that a person can do something about."""

    exit_code = 1
    #: The step of a kernel's way in which this happens.
    step = steps.NONE
    #: Whether the launcher that Jupyter starts next by itself is to fail as well, at once.
    refused = False
    #: What to try, when the place that raises knows nothing better.
    advice = ""

    def __init__(
        self,
        sentence: str,
        *,
        host: str | None = None,
        said: Sequence[str] = (),
        advice: str | None = None,
        command: str | None = None,
    ) -> None:
        """Say what failed.

        Args:
        sentence: what failed, as one sentence without a full stop.
        host: the machine on which it failed, with the way there.
        said: the lines that that side printed, oldest first.
        advice: what to try; the class's own when not given.
        command: that was run over there.
        """
        super().__init__(sentence)
        self.sentence = sentence
        self.host = host
        self.said = tuple(said)
        self.command = command
        if advice is not None:
            self.advice = advice

    def data(self) -> dict[str, Any]:
        """The error for programs."""
        return {
            "error": type(self).__name__.removesuffix("Error"),
            "exit_code": self.exit_code,
            "step": self.step.name,
            "sentence": self.sentence,
            "host": self.host,
            "ran": self.command,
            "said": list(self.said),
            "try": self.advice.splitlines(),
        }

    def clean(self, fit: Callable[[str], str]) -> None:
        """Let nothing be shown that a terminal would obey: any of it may be the far side's words.

        Args:
            fit: makes a line fit to be seen.
        """

        def lines(text: str) -> str:
            return "\n".join(map(fit, text.split("\n")))

        self.sentence, self.advice = lines(self.sentence), lines(self.advice)
        self.host = self.host and lines(self.host)
        self.command = self.command and lines(self.command)
        self.said = tuple(map(fit, self.said))

    def block(self, log: str | None = None) -> str:
        """The error as one block of lines for standard error.

        Args:
            log: path of the kernel's log, named in the last line when given.
        """
        lines = [f"remote-kernels: {self.sentence}."]
        if self.step.stage:
            lines.append(f"  stage: {self.step.stage}")
        if self.host:
            lines.append(f"  host:  {self.host}")
        if self.command:
            lines.append(f"  ran:   {self.command}")
        lines.extend(f"  said:  {line}" for line in self.said)
        lines.extend(f"  try:   {line}" for line in self.advice.splitlines())
        if log:
            lines.append(f"  log:   {log}")
        return "\n".join(lines)


class OptionsError(RemoteKernelsError):
    """An option is missing, unknown, or of no use to the interface."""

    exit_code = 2
    step = steps.OPTIONS


class ConnectionFileError(RemoteKernelsError):
    """The connection file that Jupyter wrote cannot be read or used."""

    exit_code = 3
    step = steps.CONNECTION_FILE
    advice = "start the kernel again; if it stays so, look at Jupyter's runtime directory"


class KernelSpecError(RemoteKernelsError):
    """A kernelspec cannot be written, changed or removed."""

    exit_code = 5
    step = steps.KERNELSPECS


class ProfileError(RemoteKernelsError):
    """The file of host profiles cannot be used, or a profile is not there."""

    exit_code = 7
    step = steps.OPTIONS


class ServerError(RemoteKernelsError):
    """A Jupyter server over there could not be started, or has died."""

    exit_code = 8
    step = steps.SERVER


class DemoError(RemoteKernelsError):
    """A step of the demo did not do what it shows."""

    exit_code = 6
    step = steps.DEMO


class InstallationError(RemoteKernelsError):
    """What code needs could not be installed over there."""

    exit_code = 60


class LoginError(RemoteKernelsError):
    """The login failed for a reason that is not listed here."""

    exit_code = 10
    step = steps.LOGIN
    advice = "log in by hand with ssh: what it says there holds here, too"


class SshNotFoundError(LoginError):
    """There is no ssh program on this machine."""

    exit_code = 11
    advice = "install OpenSSH's client, or name another program with --launch-cmd"


class HostUnknownError(LoginError):
    """No machine of that name is known."""

    exit_code = 12
    step = steps.REACH
    advice = "check the spelling of --host and your ssh configuration"


class HostRefusedError(LoginError):
    """The machine is there, but no ssh server answers at that port."""

    exit_code = 13
    step = steps.REACH
    advice = "check the port (HOST:PORT), and whether an ssh server runs there"


class HostUnreachableError(LoginError):
    """The machine did not answer in time, or there is no way to it."""

    exit_code = 14
    step = steps.REACH
    advice = "check that the machine is on and that you can reach it (VPN, --tunnel-hosts)"


class HostKeyChangedError(LoginError):
    """The machine's host key is not the one that is known for it."""

    exit_code = 15
    step = steps.HOST_KEY
    refused = True
    advice = (
        "if the machine was set up anew, remove its old key with ssh-keygen -R; "
        "if not, ask its administrator before you go on"
    )


class HostKeyUnknownError(LoginError):
    """The machine's host key is not known, and your configuration wants it to be."""

    exit_code = 16
    step = steps.HOST_KEY
    refused = True
    advice = "log in once where you can be asked, and compare the fingerprint"


class PermissionDeniedError(LoginError):
    """The machine did not accept the login."""

    exit_code = 17
    refused = True
    advice = "check the user name and your key (ssh-add -l)"


class HostClosedError(LoginError):
    """The machine closed the connection before the login: it is overloaded, or shuts you out."""

    exit_code = 19
    advice = "try again in some minutes; ask its administrator if it stays so (PerSourcePenalties)"


class GatewayError(LoginError):
    """A gateway could not be passed; the sentence says which one and why."""

    exit_code = 18
    advice = "log in to that gateway by hand with ssh: what it says there holds here, too"


class ShellError(RemoteKernelsError):
    """The login worked, but the login shell over there did not run our command."""

    exit_code = 20
    step = steps.SHELL
    advice = (
        "run a command there by hand, as in: ssh HOST true; "
        "look for exit, exec, read or tmux in the shell's start-up files"
    )


class WorkdirError(RemoteKernelsError):
    """The working directory does not exist over there, or may not be entered."""

    exit_code = 21
    step = steps.WORKDIR
    advice = (
        "check --workdir; ~/ at its beginning is your home over there, $VARIABLES are taken "
        "as they stand (use --remote-precmd 'cd \"$DIR\"' for these)"
    )


class ConnectionCopyError(RemoteKernelsError):
    """The connection file could not be written over there."""

    exit_code = 22
    step = steps.FILE
    advice = "check space, quota and permissions of the directory, or choose another --workdir"


class PrecommandError(RemoteKernelsError):
    """The pre-command failed."""

    exit_code = 23
    step = steps.PRECMD
    advice = "run the pre-command by hand over there; it must end with status 0"


class ActivationError(RemoteKernelsError):
    """The environment that is to be activated is not there."""

    exit_code = 29
    step = steps.COMMAND
    advice = "look for it over there: remote-kernels discover HOST; change --activate"


class CommandNotFoundError(RemoteKernelsError):
    """The kernel command was not found over there."""

    exit_code = 24
    step = steps.COMMAND
    advice = (
        "give the full path in --kernel_cmd, or make it known with --remote-precmd "
        "(as in: conda activate NAME)"
    )


class KernelStartError(RemoteKernelsError):
    """The kernel ended before it could be used."""

    exit_code = 25
    step = steps.ANSWER
    advice = "run the kernel command by hand over there"


class KernelDiedError(RemoteKernelsError):
    """The kernel ended by itself, or was killed."""

    exit_code = 26
    step = steps.CELL
    advice = "look for a lack of memory or a crash over there (dmesg, journalctl)"


class ConnectionLostError(RemoteKernelsError):
    """The connection to the far side broke while the kernel was running."""

    exit_code = 27
    step = steps.CELL
    advice = "start the kernel again when the machine can be reached"


class NoKernelError(RemoteKernelsError):
    """There is no such kernel to attach to."""

    exit_code = 33
    step = steps.ANSWER
    advice = "see what runs there: remote-kernels ps HOST"


class KernelNetworkError(RemoteKernelsError):
    """The kernel is in a network of its own, as in a container, which may not be entered."""

    exit_code = 34
    step = steps.ANSWER
    advice = (
        "let the container publish the kernel's ports; or share a directory with it, and let the "
        "kernel use the transport ipc there"
    )


class KernelStoppedError(RemoteKernelsError):
    """The kernel was stopped by ``remote-kernels stop``."""

    exit_code = 32
    step = steps.CELL
    advice = "start it again when you want it"
    refused = True


class PortsError(RemoteKernelsError):
    """No free ports were found over there."""

    exit_code = 28
    step = steps.PORTS
    advice = "look over there for awk, and for what holds so many ports (ss -tln)"


class ForwardError(RemoteKernelsError):
    """The kernel's sockets could not be carried through ssh."""

    exit_code = 30
    step = steps.CHANNEL
    advice = "ask the administrator whether sshd allows AllowTcpForwarding"


class NodeForwardError(ForwardError):
    """The node on which the kernel runs did not let us in by ssh."""

    exit_code = 31
    advice = (
        "log in to the node by hand, through the login host, while a job of yours runs there; "
        "ask the administrator whether nodes let their jobs' owners in"
    )


class SchedulerNotFoundError(RemoteKernelsError):
    """There is no such scheduler command on the login host."""

    exit_code = 40
    step = steps.SCHEDULER
    advice = "give the command's full path with --launch-cmd"

    @classmethod
    def of(cls, program: str, host: str) -> SchedulerNotFoundError:
        """Of one command.

        Args:
            program: the command.
            host: on which it was looked for.
        """
        look = shlex.join(["bash", "-lc", shlex.join(["command", "-v", program])])
        return cls(
            f"the command {program} cannot be run on {host}",
            advice=f"check that a login shell there knows it ({look}), or give its full path with "
            "--launch-cmd",
        )


class JobRefusedError(RemoteKernelsError):
    """The scheduler refused the job."""

    exit_code = 41
    step = steps.SCHEDULER
    advice = "run the command by hand on the login host"


class SchedulerDownError(RemoteKernelsError):
    """The scheduler itself does not answer."""

    exit_code = 42
    step = steps.SCHEDULER
    advice = "try again later, or ask the administrator of the cluster"


class LaunchTimeoutError(RemoteKernelsError):
    """The job did not start within --launch-timeout; it was given up."""

    exit_code = 43
    step = steps.QUEUE
    advice = "ask for less, choose another --queue, or wait longer (--launch-timeout)"


class JobEndedError(RemoteKernelsError):
    """The job ended under the kernel, or before it could start."""

    exit_code = 44
    step = steps.CELL
    advice = "start the kernel again for a new job"


class NodeSilentError(RemoteKernelsError):
    """The node on which the kernel runs has not answered for a while."""

    exit_code = 45
    step = steps.CELL
    advice = "the node or its network has failed; start the kernel again for a new job"


class AllocationError(RemoteKernelsError):
    """The job was granted, but its session did not run our program on a node."""

    exit_code = 46
    step = steps.NODE
    advice = "run the command by hand on the login host, and look at what the shell there does"


class KeyNotTakenError(LoginError):
    """The key was put there by ``remote-kernels copy-id``, and does not open the door alone."""

    exit_code = 53
    refused = True
    advice = "look at what the server says, with ssh -v; ask its administrator if it stays so"


class ConfigurationError(LoginError):
    """Your ssh configuration cannot be used."""

    exit_code = 52
    step = steps.CONFIGURATION
    advice = "mend the line that ssh names, and look at it with ssh -G HOST"


class QuestionError(LoginError):
    """The login asked for something (a password, a code, a new host key) that nobody answered."""

    exit_code = 50
    refused = True
    advice = "start the kernel again, or log in beforehand with remote-kernels login"


class LoginExpiredError(LoginError):
    """What remote-kernels login kept has ended, and a new login asks what nobody can answer."""

    exit_code = 51
    refused = True


class PortTakenError(RemoteKernelsError):
    """The port on the server is held by something else."""

    exit_code = 70
    advice = "choose another with --port"


class PortNotForwardedError(RemoteKernelsError):
    """The server's sshd does not let a port there lead to this machine."""

    exit_code = 71
    advice = (
        "ask the administrator of the server whether sshd allows it (AllowTcpForwarding, "
        "PermitListen); ports below 1024 are root's"
    )


class PortExposedError(RemoteKernelsError):
    """The server's sshd would let other machines connect to the tunnel."""

    exit_code = 72
    advice = (
        "ask the administrator of the server for GatewayPorts no, or clientspecified, at least for "
        "you (Match User)"
    )


class NoSshServerError(RemoteKernelsError):
    """No ssh server answers on this machine, to which a tunnel is to lead."""

    exit_code = 73


class SyncError(RemoteKernelsError):
    """A sync could not be carried out."""

    exit_code = 80
    step = steps.SYNC


class ProgramMissingError(SyncError):
    """There is no rsync on one side, or one that is too old."""

    exit_code = 81
    advice = (
        "install rsync 3.1 or newer (apt install rsync, dnf install rsync, brew install rsync; "
        "without an administrator: conda install -c conda-forge rsync)"
    )


class DiskFullError(SyncError):
    """The side that receives has no room left, or your quota is used up."""

    exit_code = 82
    advice = "make room there, and do the same again; no file there is half written"


def documented_exit_codes() -> Iterator[tuple[int, str]]:
    """Exit code and description of every failure, in the order of the codes."""

    def walk(cls: type[RemoteKernelsError]) -> Iterator[type[RemoteKernelsError]]:
        yield cls
        for below in cls.__subclasses__():
            yield from walk(below)

    for cls in sorted(walk(RemoteKernelsError), key=lambda cls: cls.exit_code):
        yield cls.exit_code, (cls.__doc__ or "").strip()
