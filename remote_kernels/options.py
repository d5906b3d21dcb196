r"""The options of a kernel, each declared once.

``manage --add`` fills a :class:`KernelOptions`, :func:`to_argv` writes it into kernel.json, the
launcher reads it back with :func:`from_argv`. Command line, kernel.json, ``--show`` and the manual
all render the same fields.

Jupyter replaces ``{word}`` in each element of kernel.json's argv for the words it knows
(``connection_file``, ``prefix``, ``resource_dir``, and any launch argument such as ``env`` or
``cwd``), so a brace before a word is written as ``{\word}`` there and nowhere else.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from remote_kernels.errors import OptionsError

INTERFACE_NAMES = ("local", "ssh", "pbs", "sge", "sge_qrsh", "slurm", "lsf")

#: Of ``--channel`` and ``--transport``.
CHANNELS = ("keeper", "forward")
TRANSPORTS = ("ipc", "tcp")

#: What stands for the connection file in a stored kernel command. It must not contain the text
#: "{connection_file}": VS Code takes the first element that does for the connection file itself.
STORED_PLACEHOLDER = "{host_connection_file}"

#: remote_ikernel's own defaults, for a kernel.json that says nothing.
DEFAULT_INTERFACE = "local"
DEFAULT_KERNEL_CMD = "ipython kernel -f {connection_file}"


class Option(NamedTuple):
    """What the command lines need to know of one field.

    Attributes:
        flags: the flags that ``manage`` takes, the one to show first; old spellings follow.
        help: one or two sentences for ``--help`` and the manual.
        metavar: stands for the value in the help; empty for a switch.
        launcher_flag: the flag in kernel.json's argv; None when the launcher does not need it.
        general: every interface can use it; otherwise the interface says so itself.
        new: remote_ikernel did not have it.
        choices: the values that it can have; empty for any.
    """

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    launcher_flag: str | None = None
    general: bool = False
    new: bool = False
    choices: tuple[str, ...] = ()


_declared: list[Option] = []


def _option(default: Any, option: Option) -> Any:
    """A field's default; what is declared for the field is kept in the order of the fields."""
    _declared.append(option)
    return default


def _taken(fields: tuple[str, ...]) -> dict[str, Option]:
    """What the fields were declared with of the class that has just been made."""
    taken = dict(zip(fields, _declared, strict=True))
    _declared.clear()
    return taken


class KernelOptions(NamedTuple):
    """What a person says about one kernel. An option that was not given is None, 1, () or False."""

    interface: str | None = _option(
        None,
        Option(
            ("--interface", "-i"),
            "How the kernel is reached: " + ", ".join(INTERFACE_NAMES) + ".",
            "INTERFACE",
            launcher_flag="--interface",
            general=True,
        ),
    )
    name: str | None = _option(
        None,
        Option(
            ("--name", "-n"),
            "Name to identify the kernel, as in 'Python 3.13'; a job is named after it.",
            "NAME",
            launcher_flag="--name",
            general=True,
        ),
    )
    language: str | None = _option(
        None,
        Option(
            ("--language", "-l"),
            "Language of the kernel, as the front ends know it (python, R, julia).",
            "LANGUAGE",
            general=True,
        ),
    )
    host: str | None = _option(
        None,
        Option(
            ("--host", "-x"),
            "Host that ssh reaches: [USER@]NAME[:PORT], or an alias of your ssh configuration.",
            "HOST",
            launcher_flag="--host",
        ),
    )
    launch_cmd: str | None = _option(
        None,
        Option(
            ("--launch-cmd", "--launch_cmd"),
            "Command that starts the session instead of the interface's own (another ssh, qrsh "
            "for qlogin, another shell for local), or its full path.",
            "COMMAND",
            launcher_flag="--launch-cmd",
        ),
    )
    pe: str | None = _option(
        None,
        Option(
            ("--pe",),
            "Parallel environment of Grid Engine.",
            "NAME",
            launcher_flag="--pe",
        ),
    )
    cpus: int = _option(
        1,
        Option(
            ("--cpus", "-c"),
            "Number of CPUs that the scheduler is asked for.",
            "N",
            launcher_flag="--cpus",
        ),
    )
    time: str | None = _option(
        None,
        Option(
            ("--time",),
            "Time limit of the job: H:MM:SS, D-HH:MM:SS, 90m, 4h or 2d.",
            "TIME",
            launcher_flag="--time",
            new=True,
        ),
    )
    memory: str | None = _option(
        None,
        Option(
            ("--memory",),
            "Memory that the scheduler is asked for, as in 16G or 512M (counted in 1024s).",
            "SIZE",
            launcher_flag="--memory",
            new=True,
        ),
    )
    gpus: int = _option(
        0,
        Option(
            ("--gpus",),
            "Number of GPUs that the scheduler is asked for.",
            "N",
            launcher_flag="--gpus",
            new=True,
        ),
    )
    queue: str | None = _option(
        None,
        Option(
            ("--queue",),
            "Queue of the scheduler; Slurm's partition.",
            "NAME",
            launcher_flag="--queue",
            new=True,
        ),
    )
    account: str | None = _option(
        None,
        Option(
            ("--account",),
            "Account that the job is charged to; the project of Grid Engine and LSF.",
            "NAME",
            launcher_flag="--account",
            new=True,
        ),
    )
    launch_timeout: str | None = _option(
        None,
        Option(
            ("--launch-timeout",),
            "Give the wait for the job up after this time, written as for --time. When it is not "
            "given, the kernel waits for as long as it takes.",
            "TIME",
            launcher_flag="--launch-timeout",
            new=True,
        ),
    )
    workdir: str | None = _option(
        None,
        Option(
            ("--workdir",),
            "Directory over there in which the kernel starts. When it is not given: the directory "
            "of the notebook if there is one of that name over there, else your home.",
            "DIR",
            launcher_flag="--workdir",
            general=True,
        ),
    )
    activate: str | None = _option(
        None,
        Option(
            ("--activate",),
            "Conda environment or virtualenv over there, by its directory; it is activated before "
            "the pre-command and the kernel command.",
            "DIR",
            launcher_flag="--activate",
            general=True,
            new=True,
        ),
    )
    env: tuple[str, ...] = _option(
        (),
        Option(
            ("--env",),
            "Variables that the kernel has over there, each NAME=VALUE; $NAME and ${NAME} in a "
            "value are read over there. One or more words after one flag; may be repeated. Values "
            "stand in kernel.json, and in no command line of a kernel.",
            "NAME=VALUE…",
            general=True,
            new=True,
        ),
    )
    precmd: str | None = _option(
        None,
        Option(
            ("--remote-precmd", "--remote_precmd"),
            "Pre-command: run in the login shell over there, in the working directory, before the "
            "kernel command, as in 'conda activate torch'.",
            "COMMAND",
            launcher_flag="--precmd",
            general=True,
        ),
    )
    launch_args: str | None = _option(
        None,
        Option(
            ("--remote-launch-args", "--remote_launch_args"),
            "More arguments for the command that starts the session, as in '-l h_rt=24:00:00' for "
            "qlogin or '-i ~/.ssh/id_lab' for ssh.",
            "ARGS",
            launcher_flag="--launch-args",
        ),
    )
    tunnel_hosts: tuple[str, ...] = _option(
        (),
        Option(
            ("--tunnel-hosts", "-t", "--tunnel_hosts"),
            "Gateways to go through, the nearest first, each [USER@]NAME[:PORT]. One or more "
            "words after one flag; may be repeated.",
            "HOST…",
            launcher_flag="--tunnel-hosts",
        ),
    )
    channel: str | None = _option(
        None,
        Option(
            ("--channel",),
            "How the kernel's sockets are carried: by the keeper, or by ssh's own forwards "
            "(forward). When it is not given: by the keeper where there is a Python over there.",
            "|".join(CHANNELS),
            launcher_flag="--channel",
            new=True,
            choices=CHANNELS,
        ),
    )
    transport: str | None = _option(
        None,
        Option(
            ("--transport",),
            "Where the kernel listens over there: on unix sockets that only you can reach (ipc), "
            "or on ports of 127.0.0.1 (tcp). When it is not given: ipc for kernels that are known "
            "to know it.",
            "|".join(TRANSPORTS),
            launcher_flag="--transport",
            new=True,
            choices=TRANSPORTS,
        ),
    )
    lease: str | None = _option(
        None,
        Option(
            ("--lease",),
            "How long a kernel waits for a launcher whose line was lost, written as for --time; 0 "
            "for not at all, or forever. When it is not given: one hour.",
            "TIME",
            launcher_flag="--lease",
            new=True,
        ),
    )
    spool: str | None = _option(
        None,
        Option(
            ("--spool",),
            "How much output may wait over there, written as for --memory. When it is not given: "
            "1G.",
            "SIZE",
            launcher_flag="--spool",
            new=True,
        ),
    )
    no_share: bool = _option(
        False,
        Option(
            ("--no-share",),
            "Log in for this kernel alone. Otherwise all kernels of a host share one login, until "
            "a moment after the last of them has ended.",
            launcher_flag="--no-share",
            new=True,
        ),
    )
    existing: str | None = _option(
        None,
        Option(
            ("--existing",),
            "Attach to a kernel that runs over there in place of starting one: its ID as "
            "'remote-kernels ps' shows it, the name or path of its connection file, or latest. "
            "Shutting down in the notebook leaves it as it is.",
            "ID|FILE|latest",
            launcher_flag="--existing",
            new=True,
        ),
    )
    keep: bool = _option(
        False,
        Option(
            ("--keep",),
            "Shutting down in the notebook leaves the kernel running; the next start in the same "
            "directory comes back to it. It ends with 'remote-kernels stop', or when nobody has "
            "come back for as long as --lease says (with --keep: 7 days).",
            launcher_flag="--keep",
            new=True,
        ),
    )
    synced: str | None = _option(
        None,
        Option(
            ("--sync",),
            "Directory of this machine whose files follow the kernel; a relative one begins at the "
            "notebook's. It is pushed to --workdir, or else to the same place below your home over "
            "there, before the kernel starts, and pulled while it runs and when it ends. With "
            "--fallback both ways, and what has changed on both sides is kept twice. Whatever "
            "fails is said, and keeps no kernel from starting.",
            "DIR",
            launcher_flag="--sync",
            new=True,
        ),
    )
    fallback: tuple[str, ...] = _option(
        (),
        Option(
            ("--fallback",),
            "Spare machines for a host that does not answer, the first that does is taken: each a "
            "host, or the name of one with options of its own (see 'remote-kernels hosts'), or "
            "local for this machine. What else is said on the command line holds for them, too, "
            "but for the way to --host.",
            "HOST…",
            launcher_flag="--fallback",
            new=True,
        ),
    )
    probe_timeout: str | None = _option(
        None,
        Option(
            ("--probe-timeout",),
            "How long the machines of --fallback have to answer, written as for --time. When it is "
            "not given: 5 seconds. A spare that answers waits for the host for a second at most.",
            "TIME",
            launcher_flag="--probe-timeout",
            new=True,
        ),
    )
    verbose: bool = _option(
        False,
        Option(
            ("--verbose", "-v"),
            "The running kernel writes its log to standard error, too.",
            launcher_flag="--verbose",
            general=True,
        ),
    )
    kernel_cmd: str | None = _option(
        None,
        Option(
            ("--kernel_cmd", "-k", "--kernel-cmd"),
            "Command that starts the kernel over there; {connection_file} in it becomes the path "
            "of the connection file.",
            "COMMAND",
            launcher_flag="--kernel_cmd",
            general=True,
        ),
    )


#: What the fields of :class:`KernelOptions` were declared with, and what they are if not given.
DECLARED = _taken(KernelOptions._fields)
DEFAULTS = KernelOptions._field_defaults


#: The fields that are of a host; the others are of one kernel, wherever it runs.
OF_A_HOST = tuple(
    name
    for name in DECLARED
    if name
    not in (
        *("name", "language", "existing", "synced", "fallback", "probe_timeout", "verbose"),
        "kernel_cmd",
    )
)


#: In place of a spare host, for this machine itself.
THIS_MACHINE = "local"
#: The fields that say, beside the host, how ssh gets there.
WAY_OPTIONS = ("tunnel_hosts", "launch_cmd", "launch_args")


class ServerOptions(NamedTuple):
    """What a person says about one Jupyter server, beside the options of its host."""

    app: str = _option(
        "",
        Option(
            ("--app",),
            "Command that starts the server over there, as in 'jupyter lab' (when nothing is "
            "said), 'jupyter notebook' or 'voila report.ipynb --token'.",
            "COMMAND",
        ),
    )
    port: int = _option(
        0,
        Option(
            ("--port",),
            "Port of this machine at which the server is reached. When it is not given: the one of "
            "the time before if it is free, else any that is.",
            "N",
        ),
    )


#: What the fields of :class:`ServerOptions` were declared with, and what they are if not given.
SERVER_DECLARED = _taken(ServerOptions._fields)
SERVER_DEFAULTS = ServerOptions._field_defaults


def given(options: KernelOptions) -> dict[str, Any]:
    """The fields that differ from their defaults, in the order of their declaration."""
    return {name: value for name, value in options._asdict().items() if value != DEFAULTS[name]}


def flag_and_value(flag: str, value: Any) -> list[str]:
    """One option as elements of an argv that argparse and click read back as they stand."""
    if value is True:
        return [flag]
    if isinstance(value, tuple):
        return [flag, *value]
    text = str(value)
    # A value that begins with a dash would be taken for a flag, and in an element that begins
    # with a tilde Jupyter puts the home of this machine.
    return [f"{flag}={text}"] if text.startswith(("-", "~")) else [flag, text]


def as_typed(kernel_cmd: str) -> str:
    """A stored kernel command as a person types it."""
    return kernel_cmd.replace(STORED_PLACEHOLDER, "{connection_file}")


# A brace that Jupyter would replace; ours carries one backslash more than the person's.
_REPLACEABLE = re.compile(r"\{(\\*\w+)\}")
_PROTECTED = re.compile(r"\{\\(\\*\w+)\}")


def protect_braces(text: str) -> str:
    """The text so written that Jupyter does not replace anything in it."""
    kept = STORED_PLACEHOLDER
    return _REPLACEABLE.sub(lambda m: m[0] if m[0] == kept else "{\\" + m[1] + "}", text)


def restore_braces(text: str) -> str:
    """Undo :func:`protect_braces`."""
    return _PROTECTED.sub(lambda m: "{" + m[1] + "}", text)


def to_argv(options: KernelOptions) -> list[str]:
    """The launcher's options as elements of kernel.json's argv.

    Raises:
        OptionsError: a value cannot be stored.
    """
    argv: list[str] = []
    for name, value in given(options).items():
        flag = DECLARED[name].launcher_flag
        if flag is None:
            continue
        if value == "--":
            # argparse drops it, until Python 3.13 even from --flag=--.
            raise OptionsError(f"{DECLARED[name].flags[0]} cannot be '--'")
        if name == "kernel_cmd":
            value = value.replace("{connection_file}", STORED_PLACEHOLDER)
        argv.extend(protect_braces(element) for element in flag_and_value(flag, value))
    return argv


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionsError(f"the launcher cannot read kernel.json's options: {message}")


def host_and_options(text: str) -> dict[str, Any]:
    """The fields of a host that is written with options behind it, as in ``me@pc --workdir ~/p``.

    Args:
        text: words as a shell reads them; the options are those of OF_A_HOST, without variables.

    Raises:
        OptionsError: it cannot be read.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False, exit_on_error=False)
    parser.add_argument("host")
    for name in OF_A_HOST:
        if name not in ("host", "env"):
            _add_argument(parser, name, DECLARED[name].flags, argparse.SUPPRESS)
    try:
        found, unknown = parser.parse_known_args(shlex.split(text))
    except (argparse.ArgumentError, ValueError, SystemExit) as error:
        raise OptionsError(f"--fallback {text!r} cannot be read: {error}") from None
    if unknown:
        raise OptionsError(f"--fallback {text!r} cannot be read: {' '.join(unknown)}?")
    given = vars(found)
    return {n: tuple(value) if isinstance(value, list) else value for n, value in given.items()}


def with_options(fields: Mapping[str, Any]) -> str:
    """The text that :func:`host_and_options` reads.

    Args:
        fields: of a host.
    """
    words = [str(fields["host"])]
    for name in OF_A_HOST:
        if name in fields and name != "host" and fields[name] != DEFAULTS[name]:
            words += flag_and_value(DECLARED[name].flags[0], fields[name])
    return shlex.join(words)


def _add_argument(
    parser: argparse.ArgumentParser, name: str, flags: Sequence[str], default: Any
) -> None:
    """Let a parser know of a field."""
    settings: dict[str, Any] = {}
    if isinstance(DEFAULTS[name], bool):
        settings["action"] = "store_true"
    elif isinstance(DEFAULTS[name], int):
        settings["type"] = int
    elif isinstance(DEFAULTS[name], tuple):
        settings["nargs"] = "+"
    parser.add_argument(*flags, dest=name, default=default, **settings)


def from_argv(argv: Sequence[str]) -> tuple[KernelOptions, str]:
    """Read what :func:`to_argv`, or remote_ikernel before us, wrote into kernel.json.

    Args:
        argv: the elements after the module name, with Jupyter's replacements made.

    Returns:
        The options and the path of the connection file.

    Raises:
        OptionsError: an option is unknown, or has no usable value.
    """
    parser = _Parser(prog="remote-kernels", allow_abbrev=False, add_help=False)
    for name, option in DECLARED.items():
        if option.launcher_flag is not None:
            _add_argument(parser, name, [option.launcher_flag], DEFAULTS[name])
    parser.add_argument("connection_file")
    known, unknown = parser.parse_known_args(list(argv))
    found = vars(known)
    connection_file = found.pop("connection_file")
    # Front ends put words of their own after it, as "jupyter run" does its file names; a kernel
    # over there can do nothing with them.
    after = list(argv)[list(argv).index(connection_file) + 1 :]
    if strange := [word for word in unknown if word not in after]:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    for name, value in found.items():
        if isinstance(value, str):
            found[name] = restore_braces(value)
        elif isinstance(value, list):
            found[name] = tuple(restore_braces(element) for element in value)
    return KernelOptions(**found), connection_file
