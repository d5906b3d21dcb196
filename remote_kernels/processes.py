"""The processes of this machine, as /proc tells of them; see proc(5).

The far side runs this file, too: Python 3.6, the standard library alone.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE") // 1024


class Process:
    """One process.

    Attributes:
        pid: its number.
        parent: that of the process that has started it.
        group: its process group.
        session: its session.
        cpu: seconds that it has computed.
        memory: that it has in use, in kB.
        began: when it was started, in seconds since 1970.
    """

    def __init__(self, pid: int, fields: "list[bytes]", boot: float) -> None:
        self.pid = pid
        self.parent, self.group, self.session = map(int, fields[1:4])
        self.cpu = (int(fields[11]) + int(fields[12])) / _TICKS
        self.memory = int(fields[21]) * _PAGE
        self.began = boot + int(fields[19]) / _TICKS


def processes() -> "Iterator[Process]":
    """All of them; none where there is no /proc."""
    try:
        with open("/proc/stat", "rb") as file:
            boot = next(float(x.split()[1]) for x in file if x.startswith(b"btime "))
        names = os.listdir("/proc")
    except (OSError, StopIteration):
        return
    for name in names:
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                # It has ended.
                continue
            yield Process(int(name), fields, boot)


def words_of(pid: int) -> "list[str]":
    """The command line of a process of the user's; empty if it is another's, or has ended.

    Args:
        pid: its number.
    """
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.getuid():
            return []
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode("utf-8", "surrogateescape").split("\0")[:-1]
    except OSError:
        return []


def environment_of(pid: int) -> "dict[str, str]":
    """The environment that a process of the user's was started with; empty if it cannot be read.

    Args:
        pid: its number.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            lines = file.read().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return {}
    return {name: value for name, equals, value in (x.partition("=") for x in lines) if equals}


def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie.

    Args:
        pid: its number.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def use_of(group: int) -> "tuple[int, float] | None":
    """What a process group, or the session of that number, uses: memory in kB, and CPU in seconds.

    None if there is no such process.

    Args:
        group: its number.
    """
    found = [x for x in processes() if group in (x.group, x.session)]
    if not found:
        return None
    return sum(x.memory for x in found), round(sum(x.cpu for x in found), 2)
