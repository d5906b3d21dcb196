"""Looks on the far side for the Jupyter servers of the user that run there, and ends them.

They are known by the files in which they say where they listen, and ours by their keepers as well.
The far side runs this file: Python 3.6, the standard library alone.
"""

import os
import re
import socket
import time

from remote_kernels import running
from remote_kernels.answers import CannotAnswer
from remote_kernels.processes import environment_of, processes, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from remote_kernels.processes import Process
    from remote_kernels.running import Facts

    Address = str | tuple[str, int]

# As jupyter_server and, before it, notebook name the file of a server.
_FILES = ("jpserver-{}.json", "nbserver-{}.json")
# Of such a file, or a token's, in bytes.
_LARGEST_FILE = 1 << 16
_PATIENCE = 1.0
# Seconds for a server to end its kernels.
_END_PATIENCE = 25.0
_LOOK_AGAIN = 0.05

# By where a server says that it listens, where it can be reached.
_ALL = ("127.0.0.1", "::1")
_REACHED_AT = {**dict.fromkeys(("", "*", "localhost", "0.0.0.0"), _ALL), "::": _ALL[::-1]}

# An interpreter comes before what it runs.
_INTERPRETER = re.compile(r"python[\d.]*|env|-m")


def servers(directory: str) -> "Iterator[list[Facts]]":
    """The servers that run on this machine, ours and then others, the newest first.

    Of one in a job on this machine both keepers tell: its own, and that which holds the job.

    Args:
        directory: of which is told whether a server has it; empty for the home.
    """
    wanted = _real(directory or "~")
    known = {process.pid: process for process in processes()}
    told = {info["pid"]: info for info in _told(known)}
    ours = [_ours(kept, known.values(), told) for kept in running.kept_servers()]
    kept_pids = {server["pid"] for server in ours}
    others = [_other(info, known[pid]) for pid, info in told.items() if pid not in kept_pids]
    for server in [*ours, *others]:
        # What it serves may be another directory than that in which it was started.
        places = {server["directory"], server.pop("started_in", "")} - {""}
        server["here"] = wanted in map(_real, places)
    ours.sort(key=lambda server: -server["since"])
    others.sort(key=lambda server: -server["since"])
    yield [*ours, *others]


def _real(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))


def _told(pids: "Iterable[int]") -> "Iterator[Facts]":
    """What servers have said of themselves that run on this machine.

    Where machines share a home, there may be files of others; and numbers of processes come again.
    So who has written a file has to listen where that says.
    """
    usual = running.runtime_directories()
    for pid in pids:
        if not words_of(pid):
            # Another user's.
            continue
        for path in _files_of(pid, usual):
            info = _read(path)
            if info is not None and info["pid"] == pid and _has_open(pid, _place_of(info)):
                info["address"] = _address(info)
                if info["address"] is not None:
                    yield info
                    break


def _files_of(pid: int, usual: "list[str]") -> "Iterator[str]":
    """Where a process would have its file if it were a server."""
    env = environment_of(pid)
    data = env.get("JUPYTER_DATA_DIR"), env.get("XDG_DATA_HOME"), env.get("HOME")
    below = ("runtime", "jupyter/runtime", ".local/share/jupyter/runtime")
    own = [os.path.join(base, rest) for base, rest in zip(data, below) if base]  # noqa: B905
    for directory in dict.fromkeys([env.get("JUPYTER_RUNTIME_DIR") or "", *own, *usual]):
        for name in _FILES if directory else ():
            yield os.path.join(directory, name.format(pid))


def _read(path: str) -> "Facts | None":
    """What the file of a server says; None if it is none of ours to read."""
    info = running.own_object(path)
    known = info is not None and all(isinstance(info.get(name), int) for name in ("pid", "port"))
    return info if known else None


def _place_of(info: "Facts") -> str:
    """Where a server listens, as the tables of /proc/net have it."""
    return str(info.get("sock") or f"{info['port']:04X}")


def _has_open(pid: int, place: str) -> bool:
    """Whether a process has a socket open that listens there."""
    found = {
        f"socket:[{inode}]"
        for table in ("tcp", "tcp6", "unix")
        for where, inode in running.listening_in(f"/proc/{pid}/net/{table}")
        if where == place
    }
    return not found.isdisjoint(running.open_files(pid) if found else ())


def _address(info: "Facts") -> "Address | None":
    """Where a server can be reached; None if it cannot."""
    if info.get("sock"):
        addresses: list[Address] = [str(info["sock"])]
    else:
        host = str(info.get("hostname") or "")
        addresses = [(ip, info["port"]) for ip in _REACHED_AT.get(host, (host,))]
    return next(filter(_listens, addresses), None)


def _listens(address: "Address") -> bool:
    try:
        if isinstance(address, str):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_PATIENCE)
                probe.connect(address)
        else:
            socket.create_connection(address, _PATIENCE).close()
    except OSError:
        return False
    return True


def _of_info(info: "Facts") -> "Facts":
    """What its file tells of a server."""
    return {
        "told": True,
        "base_url": str(info.get("base_url") or "/"),
        "token": str(info.get("token") or ""),
        "password": bool(info.get("password")),
        "secure": bool(info.get("secure")),
        "directory": str(info.get("root_dir") or info.get("notebook_dir") or ""),
        "version": str(info.get("version") or ""),
    }


_NO_FILE = {"told": False, "base_url": "/", "password": False, "secure": False, "version": ""}


def _ours(kept: "Facts", known: "Iterable[Process]", told: "dict[int, Facts]") -> "Facts":
    """One that a keeper holds, which may have said nothing of itself."""
    addresses = kept.get("addresses") or [None]
    address = addresses[0]
    pids, place = [], ""
    if kept["pid"] and address is not None:
        pids = [x.pid for x in known if kept["pid"] in (x.group, x.session)]
        place = address if isinstance(address, str) else f"{address[1]:04X}"
    pid = next((x for x in pids if x in told and _place_of(told[x]) == place), 0)
    own = {"directory": kept.get("workdir") or "", **_NO_FILE}
    if pid:
        own.update(_of_info(told[pid]))
    else:
        # Who else may listen there is not to have it.
        own["token"] = _token(kept["file"]) if any(_has_open(x, place) for x in pids) else ""
    names = ("id", "name", "interface", "keeper", "since", "state", "job", "job_name", "says")
    return {
        **own,
        **{name: kept.get(name) or "" for name in names},
        "ours": True,
        "started_in": kept.get("workdir") or "",
        "node": kept["node"] or os.uname().nodename,
        "pid": pid or kept["pid"],
        "address": address,
    }


def _token(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read(_LARGEST_FILE)
    except (OSError, ValueError):
        return ""


def _other(info: "Facts", process: "Process") -> "Facts":
    words = map(os.path.basename, words_of(process.pid))
    return {
        **_of_info(info),
        **dict.fromkeys(("keeper", "interface", "job", "job_name", "says"), ""),
        "ours": False,
        "id": str(process.pid),
        "pid": process.pid,
        "address": info["address"],
        "name": next((x for x in words if not _INTERPRETER.fullmatch(x)), "jupyter server"),
        "state": "running",
        "since": process.began,
        "node": os.uname().nodename,
    }


def stop(keeper: str, pid: int) -> "Iterator[bool]":
    """End a server with its kernels.

    Args:
        keeper: path of its keeper's socket; empty for a server of somebody else's.
        pid: of its process, where it has no keeper.

    Raises:
        CannotAnswer: it does not end.
    """
    if keeper:
        if running.asked(keeper, "STOP") != "yes":
            raise CannotAnswer("its keeper cannot do that now")
        _wait_until_gone(lambda: not os.path.exists(keeper))
    else:
        next(running.send_signal(pid, _began(pid), "STOP", _END_PATIENCE))
    yield True


def _began(pid: int) -> float:
    found = [process.began for process in processes() if process.pid == pid]
    if not found:
        raise CannotAnswer("it is not there any more")
    return found[0]


def _wait_until_gone(is_gone: "running.Predicate") -> None:
    deadline = time.monotonic() + _END_PATIENCE
    while not is_gone():
        if time.monotonic() > deadline:
            raise CannotAnswer(f"it has not ended within {_END_PATIENCE:.0f} s")
        time.sleep(_LOOK_AGAIN)


FUNCTIONS = {"servers": servers, "stop": stop}
