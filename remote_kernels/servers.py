"""Looks on the far side for the Jupyter servers of the user that run there, and ends them.

They are known by the files in which they say where they listen, and ours by their keepers as well.
The far side runs this file: Python 3.6, the standard library alone.
"""

import json
import os
import re
import socket
import time

from remote_kernels import running
from remote_kernels.answers import CannotAnswer
from remote_kernels.processes import lives, processes, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from remote_kernels.running import Facts

# As jupyter_server and, before it, notebook name the file of a server.
_FILE = re.compile(r"(?:jp|nb)server-\d+\.json")
_LARGEST_FILE = 1 << 16
_PATIENCE = 1.0
# Seconds for a server to end its kernels.
_END_PATIENCE = 15.0
_LOOK_AGAIN = 0.05


def servers(directory: str) -> "Iterator[list[Facts]]":
    """The servers that run on this machine, ours and then others, the newest first.

    Args:
        directory: of which is told whether a server has it; empty for the home.
    """
    wanted = _real(directory or "~")
    told = {_text_of(info): info for info in _told()}
    ours = [_ours(kept, told) for kept in running.kept_servers()]
    known = {server["pid"] for server in ours}
    others = [_other(info) for info in told.values() if info["pid"] not in known]
    for server in [*ours, *others]:
        server["here"] = bool(server["directory"]) and _real(server["directory"]) == wanted
    ours.sort(key=lambda server: -server["since"])
    others.sort(key=lambda server: -server["since"])
    yield [*ours, *others]


def _real(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))


def _told() -> "Iterator[Facts]":
    """What living servers have said of themselves."""
    for directory in running.runtime_directories():
        for name in running.names_in(directory):
            info = _read(os.path.join(directory, name)) if _FILE.fullmatch(name) else None
            # Where machines share a home, it may be one of another.
            if info is not None and _is_ours(info["pid"]) and _listens(info):
                yield info


def _read(path: str) -> "Facts | None":
    """What the file of a server says; None if it is none of ours to read."""
    try:
        if os.stat(path).st_uid != os.getuid():
            return None
        with open(path, "rb") as file:
            info = json.loads(file.read(_LARGEST_FILE).decode("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(info, dict):
        return None
    known = isinstance(info.get("pid"), int) and isinstance(info.get("port"), int)
    return info if known else None


def _is_ours(pid: int) -> bool:
    return lives(pid) and bool(words_of(pid))


def _address(info: "Facts") -> "str | tuple[str, int]":
    if info.get("sock"):
        return str(info["sock"])
    ip = str(info.get("hostname") or "127.0.0.1")
    return ("127.0.0.1" if ip in ("*", "0.0.0.0", "localhost") else ip, info["port"])


def _text_of(info: "Facts") -> str:
    return str(info.get("sock") or info["port"])


def _listens(info: "Facts") -> bool:
    address = _address(info)
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
        "pid": info["pid"],
        "address": _address(info),
        "base_url": str(info.get("base_url") or "/"),
        "token": str(info.get("token") or ""),
        "password": bool(info.get("password")),
        "secure": bool(info.get("secure")),
        "directory": str(info.get("root_dir") or info.get("notebook_dir") or ""),
        "version": str(info.get("version") or ""),
    }


_NO_FILE = {"base_url": "/", "token": "", "password": False, "secure": False, "version": ""}


def _ours(kept: "Facts", told: "dict[str, Facts]") -> "Facts":
    """One that a keeper holds, which may have said nothing of itself."""
    addresses = kept.get("addresses") or [None]
    address = addresses[0]
    info = told.get(str(address if isinstance(address, str) else (address or [0, 0])[1]))
    # A server that is in a job on another machine has its file here all the same.
    of_info = _of_info(info) if info is not None and not kept["job"] else _NO_FILE
    own = {"directory": kept.get("workdir") or "", **of_info}
    names = ("id", "name", "interface", "keeper", "since", "state", "job", "job_name", "says")
    return {
        **own,
        **{name: kept.get(name) or "" for name in names},
        "ours": True,
        "node": kept["node"] or os.uname().nodename,
        "pid": own.get("pid") or kept["pid"],
        "address": address,
    }


def _other(info: "Facts") -> "Facts":
    began = next((x.began for x in processes() if x.pid == info["pid"]), time.time())
    words = words_of(info["pid"])
    # An interpreter comes before the script that it runs.
    scripts = [os.path.basename(word) for word in words[:2] if "python" not in word]
    return {
        **_of_info(info),
        **dict.fromkeys(("keeper", "interface", "job", "job_name", "says"), ""),
        "ours": False,
        "id": str(info["pid"]),
        "name": (scripts or ["jupyter server"])[0],
        "state": "running",
        "since": began,
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
        next(running.send_signal(pid, _began(pid), "STOP"))
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
