"""Looks on the far side for the kernels that run there: ours, and those of other programs.

Ours are known by their keepers, which tell how they stand. Others are known by the connection file
that a process was given, or that lies where Jupyter's programs put theirs. The far side runs this
file: Python 3.6, the standard library alone.
"""

import glob
import json
import os
import re
import signal
import socket
import stat
import time

from remote_kernels.answers import CannotAnswer
from remote_kernels.login_environment import login_environment, output_of
from remote_kernels.processes import Process, lives, processes, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    Facts = dict[str, Any]
    Predicate = Callable[[], bool]

#: Seconds for a keeper to answer where the kernel would be taken for gone without.
KEPT_PATIENCE = 5.0

_HOME = os.path.expanduser("~")
# Where keepers may have their private directories.
_PLACES = (os.environ.get("TMPDIR") or "/tmp", "/tmp", "/var/tmp", "/dev/shm")
_PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Of a file that says where a kernel or a server listens, in bytes.
_LARGEST_FILE = 1 << 16
# Of a keeper, with all that its kernel has published.
_LARGEST_ANSWER = 1 << 24
# Seconds for somebody on this machine to answer, and for a process to end in order.
_PATIENCE, _END_PATIENCE = 1.0, 5.0
# How what ZeroMQ says begins.
_GREETING = b"\xff"
# A program that only uses a kernel names its file behind one of these.
_OF_USERS = ("--existing", "--connection-file")
_LAUNCHERS = (["-m", "remote_kernels"], ["-m", "remote_ikernel"])
# What is mounted here; blanks and backslashes of a path are written as in \040.
_MOUNTS, _ESCAPED = "/proc/self/mounts", re.compile(r"\\([0-7]{3})")
# How what listens is marked in the tables of /proc/net.
_TCP_LISTENS, _ACCEPTS = "0A", "00010000"


# --- ours -----------------------------------------------------------------------------------------


def _keepers() -> "Iterator[str]":
    """The sockets of keepers, also of dead ones."""
    for place in dict.fromkeys(_PLACES):
        for path in sorted(glob.glob(os.path.join(glob.escape(place), "rk-*-*/keeper"))):
            try:
                if os.lstat(os.path.dirname(path)).st_uid == os.getuid():
                    yield path
            except OSError:
                # It has just ended.
                continue


def _asked(path: str, word: str, patience: float = _PATIENCE) -> str:
    """What a keeper answers.

    Raises:
        OSError: it does not.
    """
    with socket.socket(socket.AF_UNIX) as keeper:
        keeper.settimeout(patience)
        keeper.connect(path)
        keeper.sendall(word.encode("ascii"))
        said = b""
        while len(said) < _LARGEST_ANSWER:
            more = keeper.recv(1 << 16)
            if not more:
                break
            said += more
    return said.decode("utf-8", "replace")


def _kept(path: str, patience: float = _PATIENCE) -> "Facts | None":
    """A kernel of ours; None if its keeper does not answer."""
    try:
        status = json.loads(_asked(path, "STATUS", patience))
    except (OSError, ValueError):
        return None
    if "visits" in status:
        return None
    about = status.pop("about")
    job = {name: about.pop(name, "") for name in ("job", "job_name", "says", "node")}
    # Of one in a job its own keeper has told the login host's.
    kernel = about.pop("kernel", None) or {}
    known = {**kernel, **{name: value for name, value in status.items() if value is not None}}
    if "group" not in status:
        known["since"] = status["since"]
    if known.get("visitor"):
        # One that was come back to has another launcher than the first.
        pid, _, about["from"] = known["visitor"].partition(" ")
        about["launcher"] = int(pid)
    return {
        **about,
        **job,
        "ours": True,
        "keeper": path,
        "kind": about.get("kind") or "kernel",
        "addresses": known.get("addresses"),
        "workdir": known.get("workdir") or about.get("workdir"),
        "id": str(about.get("id") or "")[:8],
        "pid": status.get("group") or 0,
        "file": known.get("file") or "",
        "since": known.get("began") or known["since"],
        "state": "waiting" if job["says"] else known.get("state") or "",
        "active": known.get("active"),
        "memory": known.get("memory"),
        "cpu": known.get("cpu"),
        "connected": status["connected"],
        "is_visited": bool(known.get("visitor")) and status["connected"],
        "lease_left": status["lease_left"],
        "stale": False,
    }


# --- others ---------------------------------------------------------------------------------------


def runtime_directories() -> "list[str]":
    """Where Jupyter's programs put their files, by the rules of jupyter_core and IPython."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(_HOME, ".local/share")
    found = [
        os.environ.get("JUPYTER_RUNTIME_DIR") or "",
        os.path.join(data, "jupyter/runtime"),
        os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "jupyter"),
        os.path.join(_HOME, "Library/Jupyter/runtime"),
        *glob.glob(os.path.join(glob.escape(_HOME), ".ipython/profile_*/security")),
    ]
    return [directory for directory in dict.fromkeys(found) if directory]


def connection_info(path: str) -> "Facts | None":
    """What a connection file says; None if it is none of ours to read.

    Args:
        path: of the file.
    """
    info = own_object(path)
    known = info is not None and all(isinstance(info.get(port), int) for port in _PORTS)
    return info if known else None


def own_object(path: str) -> "Facts | None":
    """The JSON object in a file of the user's; None if there is none, or it is another's.

    Args:
        path: of the file.
    """
    try:
        if os.stat(path).st_uid != os.getuid():
            return None
        with open(path, "rb") as file:
            found = json.loads(file.read(_LARGEST_FILE).decode("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _files_of(words: "Sequence[str]") -> "Iterator[str]":
    """The words of a command line that may be a kernel's connection file."""
    for before, word in zip(["", *words], words):  # noqa: B905 - Python 3.6
        name, equals, value = word.partition("=")
        file = value if equals and name.startswith("-") else word
        user = before if not equals else name
        if file.endswith(".json") and user not in _OF_USERS:
            yield file


class _Given:
    """A process that was given a connection file.

    Attributes:
        path: of the file, as it is seen from here.
        root: what is put in front of the paths that the process knows; empty if nothing is.
        process: the process.
        words: of its command line.
    """

    def __init__(self, path: str, root: str, process: Process, words: "list[str]") -> None:
        self.path = path
        self.root = root
        self.process = process
        self.words = words


class _Others:
    """Kernels by their connection files."""

    def __init__(self) -> None:
        eldest_first = sorted(processes(), key=lambda process: (process.began, process.pid))
        self.all = {process.pid: process for process in eldest_first}
        self._sockets = _Sockets(eldest_first)
        # Of each file the processes that were given it, the youngest last.
        self._given: dict[tuple[int, int], list[_Given]] = {}
        # The files that launchers were given, which may not listen before a job has started.
        self._launched: set[tuple[int, int]] = set()
        for process in eldest_first:
            words = words_of(process.pid)
            for file in _files_of(words):
                path, root = _seen_from_here(process.pid, file)
                identity = _identity(path)
                if identity is not None and words[1:3] in _LAUNCHERS:
                    self._launched.add(identity)
                elif identity is not None:
                    given = _Given(path, root, process, words)
                    self._given.setdefault(identity, []).append(given)

    def kernels(self, ours: "set[str]") -> "Iterator[Facts]":
        """All of them, but for some files.

        Args:
            ours: the files of our own kernels.
        """
        in_runtime = [
            os.path.join(directory, name)
            for directory in runtime_directories()
            for name in names_in(directory)
            if name.endswith(".json")
        ]
        seen = set(map(_identity, ours)) | {None}
        for path in [*in_runtime, *(given[-1].path for given in self._given.values())]:
            identity = _identity(path)
            if identity in seen:
                continue
            seen.add(identity)
            info = connection_info(path)
            kernel = self._kernel(path, info) if info is not None else None
            if kernel is not None and not (kernel["stale"] and identity in self._launched):
                yield kernel

    def _process(self, path: str, info: "Facts") -> "_Given | None":
        """The process of a kernel."""
        identity = _identity(path)
        given = self._given.get(identity, []) if identity is not None else []
        # What a kernel has forked has its command line and its sockets, too.
        for each in given:
            if self._sockets.has_heartbeat(each.process, info):
                return each
        # Not all are told their file, and who was told may but read it.
        process = self._sockets.owner(info)
        if process is not None:
            return _Given(path, "", process, words_of(process.pid))
        # One that does not listen yet is behind its shells, and may have forked, too.
        not_forked = [each for each in given if each.words != words_of(each.process.parent)]
        return next(iter(reversed(not_forked or given)), None)

    def _kernel(self, path: str, info: "Facts") -> "Facts":
        given = self._process(path, info)
        process = given.process if given is not None else None
        tree = list(self._below(process.pid)) if process is not None else []
        name = os.path.basename(path)[: -len(".json")]
        found = _UUID.search(name)
        try:
            written = os.stat(path).st_mtime
        except OSError:
            written = 0.0
        kernel_name = str(info.get("kernel_name") or "")
        return {
            "ours": False,
            "id": found[0][:8] if found else re.sub(r"^kernel-(v3)?", "", name),
            "name": kernel_name or name,
            "file": path,
            "transport": str(info.get("transport") or "tcp"),
            "pid": process.pid if process is not None else 0,
            "began": process.began if process is not None else 0.0,
            "since": process.began if process is not None else written,
            "written": written,
            "root": given.root if given is not None else "",
            "command": " ".join(given.words)[:300] if given is not None else "",
            "memory": sum(x.memory for x in tree) if process is not None else None,
            "cpu": round(sum(x.cpu for x in tree), 2) if process is not None else None,
            "stale": process is None and not _answers(info),
        }

    def _below(self, pid: int) -> "Iterator[Process]":
        yield self.all[pid]
        for other in list(self.all.values()):
            if other.parent == pid and other.pid != pid:
                yield from self._below(other.pid)


def _seen_from_here(pid: int, file: str) -> "tuple[str, str]":
    """A file of a process, which may have another root, and what leads to that."""
    try:
        root = os.readlink(f"/proc/{pid}/root")
        path = os.path.normpath(os.path.join(os.readlink(f"/proc/{pid}/cwd"), file))
        same = os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return "", ""
    prefix = "" if same and root == "/" else f"/proc/{pid}/root"
    return f"{prefix}{path}", prefix


def _identity(path: str) -> "tuple[int, int] | None":
    """What a file is known by, whatever path leads to it; None if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


class _Sockets:
    """Who has the sockets of kernels open, in whatever networks processes of the user's are."""

    def __init__(self, known: "Sequence[Process]") -> None:
        """Prepare; nothing is looked at before it is asked for.

        Args:
            known: the processes of this machine, the eldest first.
        """
        self._processes = known
        self._listening: dict[str, set[str]] | None = None
        self._open: dict[int, set[str]] = {}

    def has_heartbeat(self, process: Process, info: "Facts") -> bool:
        """Whether a process has the heartbeat socket of a kernel open.

        Args:
            process: the process.
            info: the connection file of the kernel.
        """
        if self._listening is None:
            self._listening = _all_listening(self._processes)
        inodes = self._listening.get(_heartbeat(info))
        if not inodes:
            return False
        if process.pid not in self._open:
            self._open[process.pid] = open_files(process.pid)
        return not inodes.isdisjoint(self._open[process.pid])

    def owner(self, info: "Facts") -> "Process | None":
        """The eldest process that has the heartbeat socket of a kernel open; None if none has.

        Args:
            info: the connection file of the kernel.
        """
        return next((x for x in self._processes if self.has_heartbeat(x, info)), None)


def _heartbeat(info: "Facts") -> str:
    """What the heartbeat socket of a kernel is known by: its path, or its port."""
    port, ip = info["hb_port"], str(info.get("ip") or "127.0.0.1")
    return f"{ip}-{port}" if info.get("transport") == "ipc" else f"{port:04X}"


def _all_listening(known: "Iterable[Process]") -> "dict[str, set[str]]":
    """The open files on which something listens, by path or port, as they are shown.

    Of all networks: a container may have one of its own, and its processes are seen here.
    """
    networks: dict[str, int] = {}
    for process in known:
        try:
            networks.setdefault(os.readlink(f"/proc/{process.pid}/ns/net"), process.pid)
        except OSError:
            # It is another's, or has ended.
            continue
    found: dict[str, set[str]] = {}
    for pid in ("self", *networks.values()):
        for table in ("tcp", "tcp6", "unix"):
            for where, inode in listening_in(f"/proc/{pid}/net/{table}"):
                found.setdefault(where, set()).add(f"socket:[{inode}]")
    return found


def listening_in(table: str) -> "Iterator[tuple[str, str]]":
    """What listens by a table of /proc/net: each path or port, and the number of its socket.

    Args:
        table: its path; ports are written as there, with four hexadecimal digits.
    """
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            # The path of a socket may hold blanks.
            rows = [line.rstrip("\n").split(None, 7) for line in file][1:]
    except OSError:
        return
    for row in rows:
        if len(row) == 8 and row[3] == _ACCEPTS:
            yield row[7], row[6]
        elif len(row) == 8 and row[3] == _TCP_LISTENS:
            yield row[1].rpartition(":")[2], row[7].split()[2]


def open_files(pid: int) -> "set[str]":
    """What the open files of a process are; none if it is another's.

    Args:
        pid: its number.
    """
    found = set()
    for path in names_in(f"/proc/{pid}/fd"):
        try:
            found.add(os.readlink(f"/proc/{pid}/fd/{path}"))
        except OSError:
            continue
    return found


def names_in(directory: str) -> "list[str]":
    """What is in a directory; nothing if it cannot be read.

    Args:
        directory: its path.
    """
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _answers(info: "Facts") -> bool:
    """Whether something that speaks ZeroMQ listens where a connection file says."""
    ip, port = str(info.get("ip") or "127.0.0.1"), info["hb_port"]
    try:
        if info.get("transport") == "ipc":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_PATIENCE)
                probe.connect(f"{ip}-{port}")
                return probe.recv(1) == _GREETING
        with socket.create_connection((ip, port), _PATIENCE) as probe:
            return probe.recv(1) == _GREETING
    except (OSError, ValueError):
        return False


# --- what can be asked for ------------------------------------------------------------------------


def kernels(but: str = "", patience: float = _PATIENCE) -> "Iterator[list[Facts]]":
    """All kernels of the user on this machine: ours, and then others, the newest first.

    Of one in a job on this machine both keepers tell: its own, and that which holds the job.

    Args:
        but: the socket of a keeper that is not asked.
        patience: seconds for each keeper to answer.
    """
    kept = (_kept(path, patience) for path in _keepers() if path != but)
    ours = [kernel for kernel in kept if kernel is not None and kernel["kind"] == "kernel"]
    others = list(_Others().kernels({kernel["file"] for kernel in ours if kernel["file"]}))
    others.sort(key=lambda kernel: (not kernel["stale"], kernel["since"]), reverse=True)
    yield [*ours, *others]


def each_kernel() -> "Iterator[list[Facts]]":
    """All kernels of the user on this machine, each once.

    Of one in a job on this machine the keeper tells that holds the job; its own is noted there as
    "kernel_keeper". See :func:`kernels`.
    """
    (found,) = kernels()
    started = [kernel for kernel in found if kernel.get("job_name") and not kernel["says"]]
    jobs = {kernel["id"]: kernel for kernel in started}
    told = []
    for kernel in found:
        job = jobs.get(kernel["id"], kernel)
        is_same = kernel["ours"] and job["file"] in ("", kernel["file"])
        if job is not kernel and is_same and not kernel["job_name"]:
            job["kernel_keeper"] = kernel["keeper"]
        else:
            told.append(kernel)
    yield told


def kept_servers() -> "list[Facts]":
    """The Jupyter servers of the user that keepers on this machine hold, or whose jobs they do."""
    kept = map(_kept, _keepers())
    return [server for server in kept if server is not None and server["kind"] == "server"]


def claimed(kept_as: str, visitor: str, in_job: bool = False) -> "Facts | None":
    """The newest kernel that was kept under a name and was alone; None if none is.

    From now on it is the visitor's.

    Args:
        kept_as: what tells it from others.
        visitor: process number and machine of the launcher that wants to come back to it.
        in_job: what holds its job is wanted, and not what holds itself.
    """
    deadline = time.monotonic() + KEPT_PATIENCE
    found = _kept_as(kept_as, in_job)
    while any(kernel["state"] == "restarting" for kernel in found) or (
        in_job and not found and _may_part(kept_as, visitor)
    ):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
        found = _kept_as(kept_as, in_job)
    for kernel in sorted(found, key=lambda kernel: kernel["since"], reverse=True):
        # Of a kernel whose file cannot be had nobody could make any use.
        is_ours = asked(kernel["keeper"], f"CLAIM {visitor}") == "yes"
        if is_ours and (in_job or connection_info(kernel["file"]) is not None):
            return kernel
        if is_ours:
            asked(kernel["keeper"], f"AWAY {visitor}")
    return None


def _may_part(kept_as: str, visitor: str) -> bool:
    """Whether a visitor of the same machine is at a kernel in a job.

    It may be the launcher before this one: that it has left, the keeper here hears from the node.
    """
    machine = visitor.partition(" ")[2]
    kept = (_kept(path, KEPT_PATIENCE) for path in _keepers())
    return any(
        kernel is not None
        and kernel.get("kept_as") == kept_as
        and bool(kernel["job_name"])
        and kernel["is_visited"]
        and kernel.get("from") == machine
        for kernel in kept
    )


def _kept_as(kept_as: str, in_job: bool) -> "list[Facts]":
    """Those that were kept under a name and are alone."""
    return [
        kernel
        for kernel in (_kept(path, KEPT_PATIENCE) for path in _keepers())
        if kernel is not None
        and kernel.get("kept_as") == kept_as
        and bool(kernel["job_name"]) == in_job
        and not kernel["connected"]
        and kernel["state"] in ("starting", "restarting", "idle", "busy")
    ]


def come_back(kept_as: str, visitor: str) -> "Iterator[Facts | None]":
    """Let a kernel in a job that was kept know that somebody is on the way to its node.

    Args:
        kept_as: what tells it from others.
        visitor: see :func:`claimed`.

    Returns:
        The kernel; None if there is none that is alone.
    """
    yield claimed(kept_as, visitor, in_job=True)


def missed(keeper: str) -> "Iterator[str]":
    """What a kernel has published while nobody was there, as JSON.

    Args:
        keeper: path of its keeper's socket.
    """
    yield _asked(keeper, "OUTPUT")


def chosen(kernels: "Iterable[Facts]", word: str) -> "Facts":
    """The kernel that a person means.

    Args:
        kernels: as :func:`kernels` gives them.
        word: the beginning of an id, a process number, the path or name of a connection file, or
            the name of a kernel; empty or "latest" for the newest.

    Raises:
        CannotAnswer: there is none, or there are more than one.
    """
    living = [kernel for kernel in kernels if not kernel["stale"]]
    if word in ("", "latest"):
        # Of one in a job the file is known a moment later.
        known = [kernel for kernel in living if kernel["file"] or kernel.get("job")]
        if not known:
            raise CannotAnswer("no kernel runs there")
        return max(known, key=lambda kernel: kernel["since"])
    name = word if word.endswith(".json") else f"{word}.json"
    for fits in (
        [kernel for kernel in living if word in (kernel["id"], str(kernel["pid"]))],
        [kernel for kernel in living if word in (kernel["file"], kernel.get("keeper"))],
        [kernel for kernel in living if name == os.path.basename(kernel["file"])],
        [kernel for kernel in living if kernel["id"].startswith(word)],
        [kernel for kernel in living if kernel["name"] == word],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            ids = ", ".join(kernel["id"] for kernel in fits)
            raise CannotAnswer(f"{word} may be any of {len(fits)} kernels: {ids}")
    raise CannotAnswer(f"there is no kernel {word} that runs")


def asked(keeper: str, word: str) -> str:
    """What a keeper answers; empty if it does not.

    Args:
        keeper: path of its socket.
        word: that is said to it.
    """
    try:
        return _asked(keeper, word)
    except OSError:
        return ""


def wish(keeper: str, word: str) -> "Iterator[bool]":
    """Ask a keeper to interrupt, restart or stop its kernel.

    Args:
        keeper: path of its socket.
        word: INT, RESTART or STOP.

    Raises:
        CannotAnswer: it cannot do that now.
    """
    before = _kept(keeper) if word == "RESTART" else None
    if _asked(keeper, word) != "yes":
        raise CannotAnswer("its keeper cannot do that now")
    deadline = time.monotonic() + _END_PATIENCE
    while word == "STOP" and os.path.exists(keeper) and time.monotonic() < deadline:
        time.sleep(0.05)
    while before is not None and time.monotonic() < deadline:
        now = _kept(keeper)
        if now is None or now["since"] != before["since"]:
            break
        time.sleep(0.05)
    yield True


def send_signal(
    pid: int, began: float, word: str, patience: float = _END_PATIENCE
) -> "Iterator[bool]":
    """Interrupt or stop a kernel or a server that we have not started.

    Args:
        pid: its process number.
        began: when that process was started, so that no other is met.
        word: INT or STOP.
        patience: seconds for it to end in order.

    Raises:
        CannotAnswer: it is not there any more.
    """
    if not _is_same(pid, began):
        raise CannotAnswer("it is not there any more")
    if word == "INT":
        os.kill(pid, signal.SIGINT)
    else:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + patience
            if _is_same(pid, began):
                os.kill(pid, signum)
            while _is_same(pid, began) and time.monotonic() < deadline:
                time.sleep(0.05)
    yield True


def _is_same(pid: int, began: float) -> bool:
    # One that has ended may stay in the list until its parent looks.
    return lives(pid) and any(x.pid == pid and abs(x.began - began) < 1.5 for x in processes())


def leftovers() -> "Iterator[Facts]":
    """What dead kernels have left here: connection files, sockets and directories of keepers.

    With them, the sockets of keepers that do not answer: what these hold is not known.
    """
    yield _leftovers()


def _leftovers() -> "dict[str, list[str]]":
    dead, silent, ours = [], [], set()
    for path in _keepers():
        kernel = _kept(path)
        if kernel is not None:
            ours.add(kernel["file"])
        elif refuses(path):
            dead.append(os.path.dirname(path))
        elif os.path.exists(path) and not asked(path, "STATUS"):
            silent.append(path)
    files = [file for directory in dead for file in _left_by_keeper(directory)]
    sockets: list[str] = []
    for kernel in _Others().kernels(ours - {""}):
        if kernel["stale"] and not is_elsewhere(kernel["file"]):
            files.append(kernel["file"])
            sockets += _sockets_of(connection_info(kernel["file"]) or {})
    return {"files": files, "sockets": sockets, "directories": dead, "silent": silent}


def _left_by_keeper(directory: str) -> "Iterator[str]":
    """The connection file that a dead keeper has left."""
    try:
        path = os.readlink(os.path.join(directory, "file"))
        if os.lstat(path).st_uid == os.getuid():
            yield path
    except OSError:
        # It was removed in order.
        pass


def _sockets_of(info: "Facts") -> "Iterable[str]":
    if info.get("transport") != "ipc":
        return []
    paths = ["{}-{}".format(info.get("ip"), info[port]) for port in _PORTS]
    return [path for path in paths if os.path.exists(path) and refuses(path)]


def refuses(path: str) -> bool:
    """Whether nobody listens on a socket that is there.

    Args:
        path: of the socket.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False


def is_elsewhere(path: str) -> bool:
    """Whether a file may be that of a kernel on another machine, which shares this directory.

    Args:
        path: of the file.
    """
    kinds = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "fuse", "afs", "9p")
    # It may be reached through a link.
    real = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, escaped, found, *_ = line.split(" ")
                place = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), escaped)
                if f"{real}/".startswith(place.rstrip("/") + "/") and len(place) >= len(best):
                    best, kind = place, found
    except OSError:
        return False
    return kind.partition(".")[0] in kinds


def clean(paths: "Sequence[str]") -> "Iterator[list[str]]":
    """Remove what dead kernels have left, as far as that is still so.

    Args:
        paths: that :func:`leftovers` has told.

    Returns:
        Those that were removed.
    """
    now = _leftovers()
    removed = []
    for path in [*now["sockets"], *now["files"]]:
        if path in paths:
            os.unlink(path)
            removed.append(path)
    for directory in now["directories"]:
        if directory in paths:
            for name in os.listdir(directory):
                os.unlink(os.path.join(directory, name))
            os.rmdir(directory)
            removed.append(directory)
    yield removed


def run(command: str) -> "Iterator[str]":
    """What a command of sh prints where the login shell has been; empty if it fails.

    Args:
        command: of a scheduler, which the login shell makes known.
    """
    yield output_of(["/bin/sh", "-c", command], login_environment()) or ""


FUNCTIONS = {
    "run": run,
    "kernels": each_kernel,
    "wish": wish,
    "missed": missed,
    "come_back": come_back,
    "send_signal": send_signal,
    "leftovers": leftovers,
    "clean": clean,
}
