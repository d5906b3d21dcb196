"""A directory as one side of a sync has it: what is in it, and how that is changed.

Both sides run this, so that both are told of in one form. Paths are relative to the directory, and
bytes of a name that are no UTF-8 stand in it as lone surrogates. What a path leads to is told as a
list, FACTS. Nothing is changed that is not as it was when it was looked at, no link is followed,
and what arrives lies in a directory of its own until it is whole. The far side runs this file:
Python 3.6, the standard library alone.
"""

import errno
import hashlib
import os
import shutil
import signal
import stat
import time
from contextlib import suppress

from remote_kernels.answers import CannotAnswer
from remote_kernels.login_environment import login_environment, output_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    Facts = list[Any]
    Row = list[Any]

#: What there can be; what is none of the first three is left alone.
FILE, DIRECTORY, LINK, OTHER = "file", "directory", "link", "other"
#: What facts are, in their order: modified is in nanoseconds since 1970, target that of a link.
FACTS = ("kind", "size", "modified", "mode", "target")
#: Begins the name of a directory for what is on its way; the name of the sync follows.
PARTIAL = ".remote-kernels-partial-"
#: In that: what arrives, and the process of the rsync over there that receives it.
ARRIVES, RECEIVER = "files", "receiver"

# Of a file with rules, in bytes.
_LARGEST_RULES = 1 << 20
# So much of a directory, or of what was done, is told at once.
_AT_ONCE = 1000
# Of a file, between two signs of life.
_PIECE, _TOLD_AFTER = 1 << 20, 1 << 28
# Where programs are that a command which ssh runs may not find.
_PLACES = (
    *("/usr/local/bin", "/opt/homebrew/bin", "/opt/local/bin", "/usr/bin", "/bin"),
    *("~/.local/bin", "~/bin"),
)
# Seconds for an rsync whose line was lost to end.
_END_PATIENCE = 5.0


# --- the directory --------------------------------------------------------------------------------


def start(path: str, makes: bool) -> "Iterator[list[Any]]":
    """The absolute path of a directory, and whether it was there.

    Args:
        path: of it; ``~`` is the home, which relative ones begin at as well.
        makes: make it, if it is not there.
    """
    home = os.path.expanduser(b"~")
    directory = os.path.abspath(os.path.join(home, os.path.expanduser(_as_bytes(path))))
    is_there = os.path.isdir(directory)
    if not is_there and os.path.lexists(directory):
        raise CannotAnswer(f"{_as_text(directory)} is no directory")
    if not is_there and makes:
        try:
            os.makedirs(directory)
        except OSError as error:
            raise CannotAnswer(
                f"cannot make the directory {_as_text(directory)}: {error.strerror}"
            ) from None
    yield [_as_text(directory), is_there]


def program(root: str, name: str, option: str, by_login: bool) -> "Iterator[list[str]]":
    """Where a program is, and what it says of its version; both are empty where it is not there.

    Args:
        root: the directory.
        name: of the program.
        option: that lets it say its version.
        by_login: ask a login shell, too, which may take a while.
    """
    places = [os.environ.get("PATH", ""), *map(os.path.expanduser, _PLACES)]
    path = shutil.which(name, path=os.pathsep.join(places))
    if path is None and by_login:
        path = shutil.which(name, path=login_environment().get("PATH", ""))
    said = path and output_of([path, option], dict(os.environ))
    yield [path or "", (said or "")[:1000]]


def free(root: str) -> "Iterator[int]":
    """How many bytes the user can write into the directory."""
    status = os.statvfs(_as_bytes(root))
    yield status.f_bavail * status.f_frsize


def look(root: str, directories: "Iterable[str]", rules: "Sequence[str]") -> "Iterator[list[Any]]":
    """What is in directories: each with names and facts, and with texts of rules by their names.

    Args:
        root: the directory.
        directories: in it; the empty one is itself.
        rules: names of files whose texts are wanted.

    Yields:
        A directory, pairs of a name and its facts, and texts; a directory with much in it more than
        once. Where it cannot be read, None in place of the pairs, and why in that of the texts.
    """
    for directory in directories:
        rows: list[Row] = []
        texts: dict[str, str] = {}
        try:
            with os.scandir(_at(root, directory)) as entries:
                for entry in entries:
                    name = _as_text(entry.name)
                    found = facts(entry.path)
                    if found is None:
                        # It has just gone.
                        continue
                    rows.append([name, found])
                    if name in rules and found[0] == FILE and found[1] <= _LARGEST_RULES:
                        texts[name] = _text_of(entry.path)
                    if len(rows) == _AT_ONCE:
                        yield [directory, rows, {}]
                        rows = []
        except OSError as error:
            yield [directory, None, error.strerror]
        else:
            yield [directory, rows, texts]


def _text_of(path: bytes) -> str:
    with open(path, "rb") as file:
        return _as_text(file.read(_LARGEST_RULES))


def facts(path: bytes) -> "Facts | None":
    """What a path leads to; None for nothing.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        status = os.lstat(path)
        target = _as_text(os.readlink(path)) if stat.S_ISLNK(status.st_mode) else ""
    except (FileNotFoundError, NotADirectoryError):
        return None
    mode, modified = status.st_mode & 0o777, status.st_mtime_ns
    if stat.S_ISREG(status.st_mode):
        return [FILE, status.st_size, modified, mode, ""]
    if stat.S_ISDIR(status.st_mode):
        return [DIRECTORY, 0, modified, mode, ""]
    if stat.S_ISLNK(status.st_mode):
        return [LINK, 0, modified, 0, target]
    return [OTHER, 0, 0, 0, ""]


def facts_of(root: str, paths: "Iterable[str]") -> "Iterator[list[Row]]":
    """The facts of some paths, in pairs."""
    yield from _each(paths, lambda path: [path, facts(_at(root, path))])


def digests(root: str, paths: "Iterable[str]") -> "Iterator[Row]":
    """Digests of the contents of files, in pairs; empty for what cannot be read.

    A file that takes long is told of more than once, with None until it is done.
    """
    for path in paths:
        digest, size = hashlib.blake2b(digest_size=20), 0
        try:
            with open(_at(root, path), "rb") as file:
                while True:
                    piece = file.read(_PIECE)
                    if not piece:
                        break
                    digest.update(piece)
                    size += len(piece)
                    if size % _TOLD_AFTER == 0:
                        yield [path, None]
            yield [path, digest.hexdigest()]
        except OSError:
            yield [path, ""]


def same_time(one: int, other: int) -> bool:
    """Whether two times are the same, as far as both file systems can tell.

    Args:
        one: in nanoseconds.
        other: likewise; either may have been cut off to what is written with a coarser unit.
    """
    early, late = min(one, other), max(one, other)
    # Some programs round to microseconds; nobody changes a file twice in one.
    return late - early < 2000 or any(late // unit * unit == early for unit in (10**6, 10**9))


# --- changes --------------------------------------------------------------------------------------


def make(root: str, rows: "Iterable[Row]") -> "Iterator[list[Row]]":
    """Make directories, those that others are in first.

    Args:
        root: the directory.
        rows: of each the path and the mode.

    Yields:
        Lists of triples: path, why it could not be done or empty, and facts afterwards.
    """

    def made(path: str, mode: int) -> None:
        there = _at(root, path)
        try:
            os.mkdir(there)
        except FileExistsError:
            _expect(there, [DIRECTORY])
        # Until all is in it.
        os.chmod(there, _own_bits(there) | mode | 0o300)

    yield from _done(root, rows, made)


def place(root: str, name: str, rows: "Iterable[Row]") -> "Iterator[list[Row]]":
    """Put what has arrived into its place, each in one moment.

    Args:
        root: the directory.
        name: of the sync.
        rows: of each the path, the facts that it is to have, those that are there now, and whether
            it may be another version than was wanted.

    Yields:
        As :func:`make`.
    """
    directory = _partial(root, name)

    def placed(path: str, wanted: "Facts", expected: "Facts | None", may_differ: bool) -> None:
        kind, size, modified, mode, target = wanted
        there = _at(root, path)
        if kind == LINK:
            staged = os.path.join(directory, b"link")
            os.symlink(_as_bytes(target), staged)
            os.utime(staged, ns=(modified, modified), follow_symlinks=False)
        else:
            staged = os.path.join(directory, _as_bytes(ARRIVES), _as_bytes(path))
            found = facts(staged)
            if found is None or found[0] != FILE:
                raise CannotAnswer("it did not arrive")
            is_it = found[1] == size and same_time(found[2], modified)
            if not is_it and not may_differ:
                raise CannotAnswer("it has not arrived whole")
            _give_to_group(staged, os.path.dirname(there))
            os.chmod(staged, mode)
            if is_it:
                os.utime(staged, ns=(modified, modified))
        _expect(there, expected)
        _move(staged, there)

    yield from _done(root, rows, placed)


def _own_bits(path: bytes) -> int:
    """Bits of a mode that are no permissions, as where a group shares a directory."""
    return stat.S_IMODE(os.lstat(path).st_mode) & ~0o777


def _give_to_group(path: bytes, directory: bytes) -> None:
    """Let a file have the group that it would have if it was made in a directory."""
    group = os.lstat(directory).st_gid
    if _own_bits(directory) & stat.S_ISGID and os.lstat(path).st_gid != group:
        # It may be none of the user's.
        with suppress(OSError):
            os.chown(path, -1, group)


def _move(path: bytes, there: bytes) -> None:
    try:
        os.rename(path, there)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system is mounted there.
        beside = there + b".remote-kernels-part"
        try:
            shutil.copy2(path, beside, follow_symlinks=False)
            os.rename(beside, there)
        finally:
            if os.path.lexists(beside):
                os.unlink(beside)
        os.unlink(path)


def set_facts(root: str, rows: "Iterable[Row]") -> "Iterator[list[Row]]":
    """Change modes and times.

    Args:
        root: the directory.
        rows: of each the path, the facts that are there now, the mode, and the time or None.

    Yields:
        As :func:`make`.
    """

    def changed(path: str, expected: "Facts", mode: int, modified: "int | None") -> None:
        there = _at(root, path)
        _expect(there, expected)
        if expected[0] != LINK:
            os.chmod(there, _own_bits(there) | mode)
        if modified is not None:
            os.utime(there, ns=(modified, modified), follow_symlinks=False)

    yield from _done(root, rows, changed)


def remove(root: str, rows: "Iterable[Row]") -> "Iterator[list[Row]]":
    """Remove paths; a directory only if there is nothing in it.

    Args:
        root: the directory.
        rows: of each the path and the facts that are there now.

    Yields:
        As :func:`make`.
    """

    def removed(path: str, expected: "Facts") -> None:
        there = _at(root, path)
        _expect(there, expected)
        if expected[0] == DIRECTORY:
            os.rmdir(there)
        else:
            os.unlink(there)

    yield from _done(root, rows, removed)


def keep_beside(root: str, rows: "Iterable[Row]") -> "Iterator[list[Row]]":
    """Give what is there a second name, under which it stays when the first becomes another.

    Args:
        root: the directory.
        rows: of each the path, the facts that are there now, and the second path.

    Yields:
        As :func:`make`, each with the facts of the second path as well.
    """

    def kept(path: str, expected: "Facts", second: str) -> "Facts | None":
        there, beside = _at(root, path), _at(root, second)
        _expect(there, expected)
        if not os.path.lexists(beside):
            if expected[0] == LINK:
                os.symlink(_as_bytes(expected[4]), beside)
                os.utime(beside, ns=(expected[2], expected[2]), follow_symlinks=False)
            else:
                try:
                    os.link(there, beside)
                except OSError:
                    # Not every file system has second names.
                    shutil.copy2(there, beside)
        return facts(beside)

    yield from _done(root, rows, kept)


def _done(root: str, rows: "Iterable[Row]", change: "Callable[..., Any]") -> "Iterator[list[Row]]":
    """Change each of some paths."""
    real: set[bytes] = {_at(root, "")}

    def done(row: "Row") -> "Row":
        there, more = _at(root, row[0]), None
        try:
            _refuse_links(os.path.dirname(there), real)
            more = change(*row)
        except CannotAnswer as error:
            return [row[0], str(error), facts(there)]
        except OSError as error:
            return [row[0], error.strerror or str(error), None]
        return [row[0], "", facts(there)] if more is None else [row[0], "", facts(there), more]

    yield from _each(rows, done)


def _refuse_links(directory: bytes, real: "set[bytes]") -> None:
    """Let nothing be done behind a link, which may lead out of the directory.

    Args:
        directory: in which something is to be done.
        real: those that are known to be no links.
    """
    if directory in real:
        return
    _refuse_links(os.path.dirname(directory), real)
    if not stat.S_ISDIR(os.lstat(directory).st_mode):
        raise CannotAnswer("its directory is none")
    real.add(directory)


def _expect(path: bytes, expected: "Facts | None") -> None:
    found = facts(path)
    if expected is not None and expected[0] == DIRECTORY:
        # What is in it changes its times.
        found, expected = found and found[:1], expected[:1]
    if found != expected:
        raise CannotAnswer("it has changed meanwhile")


def _each(items: "Iterable[Any]", function: "Callable[[Any], Row]") -> "Iterator[list[Row]]":
    rows = []
    for item in items:
        rows.append(function(item))
        if len(rows) == _AT_ONCE:
            yield rows
            rows = []
    yield rows


# --- what is on its way ---------------------------------------------------------------------------


def begin(root: str, name: str) -> "Iterator[list[Row]]":
    """Have a place for what is to arrive, in which nobody else writes.

    Args:
        root: the directory.
        name: of the sync.

    Yields:
        What is there from a sync that was cut off: pairs of a path and a size.
    """
    directory = _partial(root, name)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _end_receiver(directory)
        arrives = _clear(directory)
    except OSError as error:
        raise CannotAnswer(f"cannot write into {root}: {error.strerror}") from None
    found = []
    for path in _files(arrives):
        os.chmod(path, 0o600)
        found.append([_as_text(os.path.relpath(path, arrives)), os.lstat(path).st_size])
    yield from _each(found, lambda row: row)


def _files(directory: bytes) -> "Iterator[bytes]":
    for above, _, names in os.walk(directory):
        for name in names:
            yield os.path.join(above, name)


def _clear(directory: bytes) -> bytes:
    """Leave no empty directory in the way of what arrives; where that is to lie."""
    arrives = os.path.join(directory, _as_bytes(ARRIVES))
    for path, _, _ in os.walk(arrives, topdown=False):
        if not os.listdir(path):
            os.rmdir(path)
    os.makedirs(arrives, mode=0o700, exist_ok=True)
    return arrives


def _end_receiver(directory: bytes) -> None:
    """End the rsync of a line that was lost: two may not write to one file."""
    note = os.path.join(directory, _as_bytes(RECEIVER))
    try:
        with open(note, "rb") as file:
            pid = int(file.read(20))
    except (OSError, ValueError):
        return
    signals = [signal.SIGTERM, signal.SIGKILL]
    deadline = 0.0
    while os.path.basename(directory) in _command_of(pid):
        if time.time() >= deadline:
            if not signals:
                raise CannotAnswer(f"the rsync of a line that was lost does not end: {pid}")
            os.kill(pid, signals.pop(0))
            deadline = time.time() + _END_PATIENCE
        time.sleep(0.02)
    os.unlink(note)


def _command_of(pid: int) -> bytes:
    if not os.path.isdir("/proc/self"):
        said = output_of(["ps", "-o", "command=", "-p", str(pid)], dict(os.environ))
        return _as_bytes(said or "")
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def drop(root: str, name: str, paths: "Iterable[str]") -> "Iterator[None]":
    """Remove some of what has arrived in part.

    Args:
        root: the directory.
        name: of the sync.
        paths: that nobody wants any more.
    """
    directory = _partial(root, name)
    for path in paths:
        os.unlink(os.path.join(directory, _as_bytes(ARRIVES), _as_bytes(path)))
    _clear(directory)
    yield None


def end(root: str, name: str, stays: bool) -> "Iterator[None]":
    """Leave nothing of a sync.

    Args:
        root: the directory.
        name: of the sync.
        stays: what has arrived in part is to be there for the next one.
    """
    directory = _partial(root, name)
    if os.path.isdir(directory) and not (stays and any(_files(_clear(directory)))):
        shutil.rmtree(directory, ignore_errors=True)
    yield None


def _partial(root: str, name: str) -> bytes:
    return os.path.join(_as_bytes(root), _as_bytes(PARTIAL + name))


def _at(root: str, path: str) -> bytes:
    return os.path.join(_as_bytes(root), _as_bytes(path)) if path else _as_bytes(root)


def _as_text(path: bytes) -> str:
    # Whatever the locale: both sides have to mean the same.
    return path.decode("utf-8", "surrogateescape")


def _as_bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


FUNCTIONS: "dict[str, Callable[..., Iterator[Any]]]" = {
    "start": start,
    "program": program,
    "free": free,
    "look": look,
    "facts_of": facts_of,
    "digests": digests,
    "make": make,
    "place": place,
    "set_facts": set_facts,
    "remove": remove,
    "keep_beside": keep_beside,
    "begin": begin,
    "drop": drop,
    "end": end,
}
