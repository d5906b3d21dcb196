"""``remote-kernels copy-id``: the person's key opens a host, and each gateway on the way there."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from remote_kernels.errors import (
    ConnectionLostError,
    HostKeyUnknownError,
    KeyNotTakenError,
    LoginError,
    LoginExpiredError,
    PermissionDeniedError,
    QuestionError,
    RemoteKernelsError,
    ShellError,
)
from remote_kernels.hosts import Host
from remote_kernels.kernel_log import printable
from remote_kernels.key_script import ADDED, END, FAILED, LOOSE, SETTING, THERE, key_program
from remote_kernels.keys import Agent, Key, agent_of, files_of, is_there, key_of, make_key, own_key
from remote_kernels.questions import Answerer, find_answerer
from remote_kernels.shell_errand import ShellErrand
from remote_kernels.ssh_connection import settings_of
from remote_kernels.way import NOT_SHARED, Way

# Of a login that is to show whether a key opens the door. They hold for the last machine alone: a
# gateway before it that asks for something may do so.
_BY_KEY = (
    *("RemoteCommand=none", "ClearAllForwardings=yes", "LogLevel=DEBUG1", NOT_SHARED),
    "PreferredAuthentications=publickey",
)
_UNASKED = "BatchMode=yes"
# Of the login that brings the key. It goes over a connection that is there, and leaves none.
_TO_BRING = (
    *("RemoteCommand=none", "ClearAllForwardings=yes", "LogLevel=VERBOSE", "ControlMaster=no"),
)
# Of the program over there; a home does not lie so deep.
_MOST_WORDS = 200
# ssh goes on to a first gateway as its configuration says, which may be through others.
_MOST_GATEWAYS = 10


class Door(NamedTuple):
    """What has come of a login by key.

    Attributes:
        is_open: it got in.
        accepted: the fingerprint of the key.
        wants_more: the key was taken, and something else is wanted, as a code.
        said: the last lines that ssh printed.
    """

    is_open: bool
    accepted: str = ""
    wants_more: bool = False
    said: tuple[str, ...] = ()

    def was_opened_by(self, key: Key | None) -> bool:
        """Whether it was this key that got in; an old ssh does not tell."""
        return self.is_open and (key is None or self.accepted in ("", key.fingerprint))


class Put(NamedTuple):
    """A key that is over there.

    Attributes:
        path: of the file in which it is.
        was_there: it had been before.
        doubts: why sshd may not look at it.
        advice: what helps then.
    """

    path: str
    was_there: bool
    doubts: tuple[str, ...]
    advice: tuple[str, ...]


def machines(way: Way) -> list[Way]:
    """The ways to all machines on a way, the nearest first, and then the way itself.

    Args:
        way: its gateways may also be those of ssh's configuration (ProxyJump).
    """
    # What the person gives to ssh is for the last machine.
    plain = way._replace(args=())
    gateways = _gateways(way, _MOST_GATEWAYS)
    return [
        *(plain._replace(host=host, gateways=gateways[:n]) for n, host in enumerate(gateways)),
        way,
    ]


def _gateways(way: Way, most: int) -> tuple[Host, ...]:
    found = way.gateways or _jumps(settings_of(way.plain_command()))
    if not found or most <= 0:
        return ()
    return (*_gateways(way._replace(host=found[0], gateways=(), args=()), most - 1), *found)


def _jumps(settings: Mapping[str, Sequence[str]]) -> tuple[Host, ...]:
    (text,) = settings.get("proxyjump", ["none"])[:1]
    names = [] if text == "none" else text.split(",")
    return tuple(Host.parse(name.removeprefix("ssh://").rstrip("/")) for name in names)


class Copying:
    """A key that is given to the machines on a way, one after the other."""

    def __init__(
        self, way: Way, identity: Path | None, *, passphrase: bool, tell: Callable[[str], None]
    ) -> None:
        """Prepare.

        Args:
            way: to the host.
            identity: of the key that the person wants; None for the one that ssh would use.
            passphrase: a new key is to have one.
            tell: takes a line for the person.
        """
        self._way, self._identity, self._passphrase, self._tell = way, identity, passphrase, tell
        self._answerer = find_answerer(os.environ, terminal_first=True)
        self._locked: set[str] = set()

    def run(self) -> None:
        """Let all of them be opened by the key.

        Raises:
            RemoteKernelsError: the host is not.
        """
        *gateways, host = machines(self._way)
        for gateway in gateways:
            try:
                self._open(gateway)
            except (KeyNotTakenError, ShellError) as error:
                # Kernels can do with a gateway that asks, or lets nobody in but to go on.
                self._tell(f"{gateway.host}: goes on asking, since {error.sentence}")
                for line in error.advice.splitlines():
                    self._tell(f"  try: {line}")
        self._open(host)

    def _open(self, way: Way) -> None:
        """Let one machine be opened by the key."""
        settings = settings_of(way.plain_command())
        agent = agent_of(settings)
        named = None
        if self._identity is not None:
            named = key_of(self._identity, agent) if is_there(self._identity) else self._new_key([])
        if self._is_open(way, named):
            return
        key = named or own_key(settings, agent) or self._new_key(files_of(settings))
        if self._unlock(key, agent) and self._is_open(way, key):
            return
        self._tell(f"{way.host}: is given the key {key}")
        put = self._put(way, key, files_of(settings))
        where = f"{put.path} on {way.host.name}"
        self._tell(f"{way.host}: has it in {where}{' already' if put.was_there else ' now'}")
        self._verify(way, key, put)

    # --- the key --------------------------------------------------------------------------------

    def _new_key(self, places: Sequence[Path]) -> Key:
        """Make one.

        Args:
            places: where ssh would look for it.
        """
        usual = [path for path in places if path.name == "id_ed25519"]
        path = self._identity or next(iter([*usual, *places]), None)
        if path is None:
            raise LoginError(
                "your ssh configuration names no place for a key",
                advice="name one with --identity FILE",
            )
        if self._passphrase and not os.isatty(0):
            raise LoginError(
                "there is no key yet, and no terminal in which the passphrase of a new one "
                "could be asked for",
                advice=f"in a terminal: {self._line()}\n"
                "without a passphrase, which lets in whoever gets at the file: --no-passphrase",
            )
        self._tell(f"There is no key yet; ssh-keygen makes {path}.")
        make_key(path, passphrase=self._passphrase)
        return key_of(path)

    def _unlock(self, key: Key, agent: Agent | None) -> bool:
        """Let the agent have a key whose passphrase nobody has typed yet.

        Returns:
            Whether it has it since now.
        """
        if key.fingerprint in self._locked or not key.is_locked():
            return False
        if agent is not None and os.isatty(0):
            self._tell(
                f"Your agent is given the key {key}, so that nothing asks for its passphrase."
            )
            if agent.add(key):
                return True
        self._locked.add(key.fingerprint)
        return False

    def _line(self) -> str:
        return shlex.join(["remote-kernels", "copy-id", *self._way.words()])

    # --- the door -------------------------------------------------------------------------------

    def _is_open(self, way: Way, key: Key | None) -> bool:
        """Whether the door is open already, which is said."""
        door = self._try(way, key)
        if not door.is_open or (self._identity is not None and not door.was_opened_by(key)):
            return False
        self._tell(f"{way.host}: lets you in with a key already")
        return True

    def _try(self, way: Way, key: Key | None, *, asks: bool = False) -> Door:
        """Log in by key alone.

        Args:
            way: to the machine.
            key: that is tried first; None for what ssh tries by itself.
            asks: for a passphrase.

        Raises:
            LoginError: it did not come so far.
        """
        options = [*_BY_KEY, *([] if asks else [_UNASKED])]
        if key is not None and key.file is not None:
            options += ["IdentitiesOnly=yes", f"IdentityFile={_quoted(key.file)}"]
        errand = ShellErrand(
            *(way, "exit 0", _nobody), alone=True, options=options, answerer=self._answerer
        )
        try:
            with errand:
                errand.hear_last_words()
        except ShellError:
            # To come in is all that is wanted.
            return Door(True, errand.accepted)
        except RemoteKernelsError as error:
            # Of a host key that is not known a person may be asked later.
            if not isinstance(error, HostKeyUnknownError) and not _is_denial(error, self._answerer):
                raise
            return Door(False, wants_more=errand.half_way, said=error.said)
        return Door(True, errand.accepted)

    def _put(self, way: Way, key: Key, others: Sequence[Path]) -> Put:
        """Bring the key.

        Args:
            way: to the machine.
            key: for it.
            others: files of keys that may open the door; those that ssh knows by itself it forgets
                when it is told of one.

        Raises:
            RemoteKernelsError: the login failed, or there is no place for it over there.
        """
        options = list(_TO_BRING)
        if key.file is not None:
            files = dict.fromkeys([key.file, *(path for path in others if path.exists())])
            options += [f"IdentityFile={_quoted(path)}" for path in files]
        errand = ShellErrand(
            *(way, key_program(key.line), _nobody), options=options, answerer=self._answerer
        )
        words: list[tuple[str, str]] = []
        try:
            with errand:
                while not words or words[-1][0] not in (END, FAILED):
                    word, *rest = errand.hear()
                    words.append((word, printable(" ".join(rest))))
                    if len(words) > _MOST_WORDS:
                        raise ConnectionLostError("the far side does not end to talk")
        except RemoteKernelsError as error:
            if _is_denial(error, self._answerer):
                self._advise(error, key)
            raise
        if words[-1][0] == FAILED:
            raise RemoteKernelsError(f"{way.host} cannot keep the key: {words[-1][1]}")
        return _put_of(words, way)

    def _advise(self, error: RemoteKernelsError, key: Key) -> None:
        """Say what helps where nobody is let in, not even to bring the key."""
        asks = any("password" in line or "keyboard" in line for line in error.said)
        if asks and not self._answerer.kind:
            error.advice = f"in a terminal: {self._line()}"
        elif not asks:
            error.advice = (
                "it takes keys only: let somebody who can log in there add this line to "
                f"~/.ssh/authorized_keys\n{key.line}"
            )

    def _verify(self, way: Way, key: Key, put: Put) -> None:
        """Log in once more, by key alone.

        Raises:
            KeyNotTakenError: that does not work.
        """
        asks = key.fingerprint in self._locked and bool(self._answerer.kind)
        door = self._try(way, None, asks=asks)
        if door.is_open and (self._identity is None or door.was_opened_by(key)):
            self._tell(f"{way.host}: lets you in with it")
        elif self._identity is not None and self._try(way, key, asks=asks).was_opened_by(key):
            self._tell(f"{way.host}: lets you in with it, but ssh does not use it by itself.")
            self._tell("Put this into ~/.ssh/config:")
            self._tell(f"Host {way.host.name}\n    IdentityFile {_quoted(key.file)}")
        else:
            raise _not_taken(way, key, put, door, locked=key.fingerprint in self._locked)
        if key.fingerprint in self._locked:
            self._tell("ssh asks for its passphrase each time, unless an agent has it: ssh-add")


def _put_of(words: Sequence[tuple[str, str]], way: Way) -> Put:
    """What the program over there has told."""
    doubts, advice = [], []
    for word, text in words:
        what, _, path = text.partition(" ")
        if word == LOOSE and what == "write":
            doubts.append(f"others can write to {path}")
            advice.append(f"on {way.host.name}: {shlex.join(['chmod', 'go-w', path])}")
        elif word == LOOSE:
            doubts.append(f"somebody else owns {path}")
        elif word == SETTING:
            doubts.append(f"its sshd has {text}")
    path = next((text for word, text in words if word in (ADDED, THERE)), "")
    was_there = any(word == THERE for word, _ in words)
    return Put(path, was_there, tuple(doubts), tuple(advice))


def _not_taken(way: Way, key: Key, put: Put, door: Door, *, locked: bool) -> KeyNotTakenError:
    """Why a key that is over there does not open the door."""
    if door.wants_more:
        sentence = f"{way.host} takes the key, and wants more than a key"
        advice = f"log in once for all that follows: {way.login_line()}"
    elif locked:
        sentence = f"the key {key} has a passphrase, for which nobody could be asked"
        advice = f"let an agent have it: ssh-add {_quoted(key.file)}"
    else:
        because = f": {'; '.join(put.doubts)}" if put.doubts else ""
        sentence = f"{way.host} does not take the key, which is in {put.path} there{because}"
        advice = "\n".join(put.advice) or KeyNotTakenError.advice
    return KeyNotTakenError(sentence, host=str(way), said=door.said, advice=advice)


def _is_denial(error: RemoteKernelsError, answerer: Answerer) -> bool:
    """Whether the door was reached, and stayed shut; somebody who gave up has not knocked."""
    if isinstance(error, QuestionError):
        return not answerer.kind
    return isinstance(error, (PermissionDeniedError, LoginExpiredError))


def _quoted(path: Path | None) -> str:
    """A path as a value of ssh_config(5)."""
    text = str(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if any(c in text for c in ' "\\#') else text


def _nobody(word: str) -> None:
    """Nothing is shown that would have to make room for a question."""
