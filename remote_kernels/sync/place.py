"""A directory on either side, that can be asked; see :mod:`~remote_kernels.tree`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from remote_kernels import tree
from remote_kernels.answers import CannotAnswer
from remote_kernels.errand import Errand
from remote_kernels.errors import ConnectionLostError, RemoteKernelsError, SyncError
from remote_kernels.way import Way

#: Of ours, that work over there.
MODULES = ("answers", "login_shell", "login_environment", "tree")
# Seconds for a part of an answer: a file of a slow disk is read for its digest, or moved.
_PATIENCE = 300.0


class Place(Protocol):
    """A directory on one side."""

    def ask(self, name: str, *arguments: Any) -> Iterator[Any]:
        """Ask for something that is told in parts.

        Args:
            name: of a function of the tree's.
            arguments: for it, behind the directory.

        Raises:
            RemoteKernelsError: it says that it cannot, or is not there any more.
        """


def nonsense() -> RemoteKernelsError:
    """The far side answers in no way that is known."""
    return RemoteKernelsError("the far side tells of its files in no way that we know")


class _Sides:
    """What both have.

    Attributes:
        root: absolute path of the directory.
    """

    root = ""

    def __init__(self) -> None:
        self._programs: dict[str, tuple[str, str]] = {}

    def _ask(self, name: str, *arguments: Any) -> Iterator[Any]:
        raise NotImplementedError

    def start(self, path: str, *, makes: bool = False) -> bool:
        """Name the directory; whether it was there.

        Args:
            path: of it; see :func:`remote_kernels.tree.start`.
            makes: make it, if it is not there.
        """
        try:
            ((root, was_there),) = self._ask("start", path, makes)
            if not isinstance(root, str):
                raise TypeError
        except (TypeError, ValueError):
            raise nonsense() from None
        self.root = root
        return bool(was_there)

    def ask(self, name: str, *arguments: Any) -> Iterator[Any]:
        """See :class:`Place`."""
        return self._ask(name, self.root, *arguments)

    def program(self, name: str, option: str, *, by_login: bool) -> tuple[str, str]:
        """A program, and what it says of its version; see :func:`remote_kernels.tree.program`."""
        if name not in self._programs:
            try:
                ((path, said),) = self.ask("program", name, option, by_login)
                if not isinstance(path, str) or not isinstance(said, str):
                    raise TypeError
            except (TypeError, ValueError):
                raise nonsense() from None
            self._programs[name] = path, said
        return self._programs[name]


class Near(_Sides):
    """The directory on this side."""

    def _ask(self, name: str, *arguments: Any) -> Iterator[Any]:
        try:
            yield from tree.FUNCTIONS[name](*arguments)
        except CannotAnswer as error:
            raise SyncError(str(error), host="this machine") from None
        except OSError as error:
            raise SyncError(f"{name}: {error}", host="this machine") from None


class Far(_Sides):
    """The directory on the host, and the session in which it is asked.

    Attributes:
        alone: over a connection of its own.
    """

    def __init__(self, way: Way, log: Callable[[str], None], *, alone: bool) -> None:
        """Prepare.

        Args:
            way: to the host.
            log: takes when somebody is asked for what the login needs.
            alone: over a connection of its own.
        """
        super().__init__()
        self._way, self._log, self.alone = way, log, alone
        self._errand: Errand | None = None
        self._was_there = False

    def start(self, path: str, *, makes: bool = False) -> bool:
        """Name the directory; whether it was there. The first time, and after an end, log in."""
        if self._errand is None:
            self._open()
        return super().start(path, makes=makes)

    def _open(self) -> None:
        errand = Errand(self._way, MODULES, self._log, alone=self.alone)
        try:
            errand.__enter__()
        except ConnectionLostError:
            # A connection that hangs hangs for all that go over it.
            self.alone = self.alone or self._was_there
            raise
        self._errand, self._was_there = errand, True

    def _ask(self, name: str, *arguments: Any) -> Iterator[Any]:
        if self._errand is None:
            raise ConnectionLostError("the line was left", host=str(self._way))
        parts: list[Any] = []
        try:
            last = self._errand.ask(name, *arguments, told=parts.append, patience=_PATIENCE)
        except ConnectionLostError:
            raise
        except RemoteKernelsError as error:
            raise SyncError(error.sentence, host=error.host, said=error.said) from None
        except BaseException:
            # What it still says would be taken for the next answer.
            self.close()
            raise
        return iter([*parts, last])

    def close(self) -> None:
        """End the session; :meth:`start` begins another one."""
        errand, self._errand = self._errand, None
        if errand is not None:
            errand.__exit__(None, None, None)
