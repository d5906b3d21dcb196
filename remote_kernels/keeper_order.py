"""What keepers are told to do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from remote_kernels.connection_file import copy_parts
from remote_kernels.interfaces.base import lease_of, spool_of
from remote_kernels.keeper import Order
from remote_kernels.kernel_keeper import END_PATIENCE, KernelOrder
from remote_kernels.kernel_log import identity
from remote_kernels.life import Life
from remote_kernels.remote_script import DIALECTS, kernel_command_parts, shell_text
from remote_kernels.socket_keeper import SERVER_SOCKETS, SOCKETS
from remote_kernels.surroundings import working_directory

if TYPE_CHECKING:
    from remote_kernels.command_keeper import CommandOrder
    from remote_kernels.kept_kernels import KeptOrder
    from remote_kernels.server_keeper import ServerOrder
    from remote_kernels.visiting_keeper import VisitOrder

# Kernels that listen on unix sockets when their connection file says so. Of these it is known from
# their sources; xeus is below xeus-python and its like.
_KNOW_IPC = re.compile(r"\b(ipykernel|ipython3? kernel|xpython|xeus)")
# What makes another kernel of one that is kept; how long it may run or wait does not.
_SHAPES = (
    *("workdir", "activate", "env", "precmd", "launch_cmd", "launch_args"),
    *("cpus", "pe", "memory", "gpus", "queue", "account"),
)
# A command that wants to know more than the file's path would not understand what it is told.
_WANTS_PORTS = re.compile(r"\{ci\[")


def order_for(
    life: Life,
    held: CommandOrder | KernelOrder | KeptOrder | ServerOrder | VisitOrder,
    token: bytes,
    *,
    on_terminal: bool = False,
) -> Order:
    """The order for one of a life's keepers.

    Args:
        life: of the kernel.
        held: what the keeper is to hold.
        token: of the channel to it.
        on_terminal: it runs in a job's terminal.
    """
    return Order(
        held,
        mark=life.mark,
        token=token,
        lease=lease_of(life.options),
        stays_near=life.way is None,
        on_terminal=on_terminal,
        about=json.dumps(about(life)),
        keeps=life.options.keep,
    )


def about(life: Life) -> dict[str, Any]:
    """What a person who asks over there is told of a kernel.

    Args:
        life: of the kernel.
    """
    options = life.options
    return {
        "id": life.connection.kernel_id,
        "kind": life.kind,
        "name": options.name or "",
        "interface": life.interface.name,
        "from": os.uname().nodename,
        "launcher": os.getpid(),
        "directory": working_directory() or "",
        **({"instead_of": life.instead_of} if life.instead_of else {}),
        **({"kept_as": kept_as(life)} if options.keep else {}),
        # While its job waits there is nobody who could tell.
        **({"workdir": options.workdir or "~"} if life.kind == "server" else {}),
    }


def kept_as(life: Life) -> str:
    """What tells a kernel that is kept from others: its kernelspec, and the directory.

    Args:
        life: of the kernel.
    """
    # OpenSSL comes with it: a megabyte, which is for kernels only that are kept.
    import hashlib

    shapes = [getattr(life.options, name) for name in _SHAPES]
    known = [identity(life.options), life.kernel_cmd, working_directory() or "", *shapes]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]


def kernel_order(life: Life, cancel: str = "") -> KernelOrder:
    """The order for the kernel of a life.

    Args:
        life: of the kernel.
        cancel: sh command that cancels its job.

    Raises:
        OptionsError: the kernel command cannot be used.
    """
    info, carries = life.connection.info, life.interface.carries
    return KernelOrder(
        sockets=SOCKETS,
        file=copy_parts(info) if carries else [json.dumps(info, indent=2)],
        file_name=life.connection.copy_name,
        is_private=False,
        near_directory=working_directory() or "",
        transport=_transport(life) if carries else str(info.get("transport") or "tcp"),
        ip="" if carries else str(info.get("ip") or ""),
        ports=[] if carries else [info[name] for name in SOCKETS],
        end_patience=END_PATIENCE,
        **_start(life, kernel_command_parts(life.kernel_cmd, info), cancel),
    )


# Where a server's port goes into its command.
_PORT = "{port}"
# Its command may be a function of the shell.
_TOKEN_FILE = {
    "sh": "export JUPYTER_TOKEN_FILE=",
    "fish": "set -gx JUPYTER_TOKEN_FILE ",
    "csh": "setenv JUPYTER_TOKEN_FILE ",
}
# A server lets its kernels end before it does.
_SERVER_END_PATIENCE = 10.0


def server_order(life: Life, cancel: str = "") -> KernelOrder:
    """The order for the Jupyter server of a life.

    Its file holds its token, which so stands in no command line; see jupyter_server's
    JUPYTER_TOKEN_FILE.

    Args:
        life: of the server.
        cancel: sh command that cancels its job.
    """
    app = life.kernel_cmd
    command: list[str | list[str]] = [["path"], "\n"]
    if _PORT in app:
        before, *others = app.split(_PORT)
        command += [before, *(part for other in others for part in (["port"], other))]
    elif life.options.transport == "ipc":
        # A port of the person's own configuration would not fit; this one counts as none.
        command += [f"{app} --no-browser --port=8888 --sock=", ["ip"], "-", ["port"]]
    else:
        # Where somebody else has taken the port, another is of no use. Written so, programs that
        # know no such option pass it over.
        rest = "--no-browser --ip=127.0.0.1 --ServerApp.port_retries=0 --port="
        command += [f"{app} {rest}", ["port"]]
    return KernelOrder(
        sockets=SERVER_SOCKETS,
        file=[life.connection.info["key"]],
        file_name="token",
        is_private=True,
        near_directory="",
        transport=life.options.transport or "tcp",
        ip="",
        ports=[],
        end_patience=_SERVER_END_PATIENCE,
        **_start(life, command, cancel, _TOKEN_FILE),
    )


def _start(
    life: Life, command: list[str | list[str]], cancel: str, before: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What an order says of the start, whatever is started.

    Args:
        life: of the kernel or the server.
        command: that starts it.
        cancel: sh command that cancels its job.
        before: what stands before the command in each dialect.
    """
    options, environment = life.options, life.environment
    texts = {d: shell_text(d, life.mark, options.precmd, environment) for d in DIALECTS}
    return {
        "texts": {d: [texts[d] + (before[d] if before else ""), *command] for d in DIALECTS},
        "variables": environment.handed_over(),
        "shell": life.interface.shell(options),
        "workdir": life.workdir or "",
        "unset": life.interface.left_behind(),
        "job_variable": life.interface.job_variable,
        "cancel": cancel,
        "spool": spool_of(options),
    }


def _transport(life: Life) -> str:
    if life.options.transport is not None:
        return life.options.transport
    asks = _WANTS_PORTS.search(life.kernel_cmd)
    return "ipc" if _KNOW_IPC.search(life.kernel_cmd) and not asks else "tcp"
