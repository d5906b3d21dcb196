"""A program of this machine that reaches its other half through ssh, as rsync and unison do.

It goes over the connection that everything of a host shares. No name gets into its command: the
directory stands in that in digits, and what start-up files say is not for it.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from remote_kernels.errors import ConnectionLostError
from remote_kernels.kernel_log import printable
from remote_kernels.lines import Lines
from remote_kernels.questions import find_answerer
from remote_kernels.refusals import why_refused
from remote_kernels.shell_text import as_bytes
from remote_kernels.way import NOT_SHARED, OPTIONS, Way
from remote_kernels.way_in import Login, prepare

#: The file with the program's way to the other side, in its directory.
LINE = "line"
#: A word of the program's, in whose place the directory over there is put.
ROOT = "rk-root"
_STARTED = "started"
_END_PATIENCE = 3.0
_MOST_SAID = 20

# It runs in the program's directory. The first words are those of an ssh, with the host.
_SCRIPT = """#!/bin/sh
cd {private}
shift {words}
command=$(printf %s "$*" | sed 's/{root_word}/"$PWD"/')
{ssh} {before}"$command"{after} | {{
  while IFS= read -r line && [ "$line" != {mark} ]; do :; done
  : >{started}
  exec cat
}}
"""
_BEFORE = (
    'exec /bin/sh -c \'cd -P "$(printf %b/. "{root}")" && {first}printf "\\n%s\\n" {mark} && exec '
)
_AFTER = "'"


class Reach(NamedTuple):
    """Where the other half runs.

    Attributes:
        way: to the host.
        root: the directory over there.
        alone: over a connection of its own.
    """

    way: Way
    root: str
    alone: bool = False


class Ended(NamedTuple):
    """How a program has ended.

    Attributes:
        status: its exit status.
        said: what it and its ssh have said last.
        lost: why it did not reach the other side; None if it did.
    """

    status: int
    said: tuple[str, ...]
    lost: ConnectionLostError | None


def run(
    command: Sequence[str],
    reach: Reach,
    private: Path,
    *,
    words: int,
    first: str = "",
    given: bytes = b"",
    env: Mapping[str, str] = MappingProxyType({}),
    hears: Callable[[bytes], None],
    log: Callable[[str], None],
) -> Ended:
    """Run a program to its end.

    Args:
        command: its argv; LINE in the private directory leads to the other side.
        reach: where its other half runs.
        private: a directory for it alone, in which it is started.
        words: so many words before the command are for an ssh, when it runs LINE.
        first: a command of sh for the other side, with && behind it, in plain letters.
        given: its standard input.
        env: variables for it; one that is empty is not set.
        hears: takes what it writes to its standard output.
        log: takes when somebody is asked for what the login needs.

    Raises:
        LoginError: a login of its own was refused.
    """
    answerer = find_answerer(os.environ, terminal_first=True)
    login = prepare(reach.way, private, answerer, alone=reach.alone, log=log)
    try:
        _write(reach, private, words, first)
        (private / "given").write_bytes(given)
        environ = {**login.questions.environment(), **env}
        run = _Run(command, private, {name: x for name, x in environ.items() if x})
        status = run.to_the_end(login.questions.take, hears)
    finally:
        login.questions.end()
        if login.shared is not None:
            login.shared.give_turn()
    lost = None
    if status != 0 and not (private / _STARTED).exists():
        lost = _why_lost(reach, private, login, run.said)
    return Ended(status, run.said, lost)


def _why_lost(
    reach: Reach, private: Path, login: Login, said: tuple[str, ...]
) -> ConnectionLostError:
    error = why_refused(reach.way, said, private, login.questions, login.kept)
    if error.refused:
        raise error
    return ConnectionLostError(error.sentence, host=str(reach.way), said=said)


def _write(reach: Reach, private: Path, words: int, first: str) -> None:
    mark = f"@rk-{os.urandom(8).hex()}"
    options = (*OPTIONS, NOT_SHARED) if reach.alone else OPTIONS
    root = "".join(f"\\0{byte:03o}" for byte in as_bytes(reach.root))
    text = _SCRIPT.format(
        private=shlex.quote(str(private)),
        words=words,
        ssh=shlex.join(reach.way.command(private, options=options)),
        before=shlex.quote(_BEFORE.format(root=root, first=first, mark=mark)),
        after=shlex.quote(_AFTER),
        mark=mark,
        root_word=ROOT,
        started=_STARTED,
    )
    (private / _STARTED).unlink(missing_ok=True)
    (private / LINE).write_bytes(as_bytes(text))
    (private / LINE).chmod(0o700)


class _Run:
    """A program that runs.

    Attributes:
        said: what it and its ssh have said last.
    """

    def __init__(self, command: Sequence[str], private: Path, env: dict[str, str]) -> None:
        self.said: tuple[str, ...] = ()
        with (private / "given").open("rb") as given:
            self._process = subprocess.Popen(
                [as_bytes(word) for word in command],
                cwd=private,
                env=env,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A Ctrl-C is for us.
                start_new_session=True,
            )

    def to_the_end(self, take: Callable[[str], bool], hears: Callable[[bytes], None]) -> int:
        """Wait for its end; its exit status.

        Args:
            take: takes each line that it says; whether that was for us.
            hears: takes what it writes.
        """
        try:
            self._listen(take, hears)
            return self._process.wait()
        finally:
            self._end()

    def _listen(self, take: Callable[[str], bool], hears: Callable[[bytes], None]) -> None:
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        messages = Lines()

        def read(data: bytes) -> None:
            for line in messages.take(data, last=not data):
                text = line.decode("utf-8", "replace").rstrip("\r")
                if text.strip() and not take(text):
                    self.said = (*self.said, printable(text))[-_MOST_SAID:]

        with stdout, stderr, selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ, hears)
            selector.register(stderr, selectors.EVENT_READ, read)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 1 << 16)
                    key.data(data)
                    if not data:
                        selector.unregister(key.fileobj)

    def _end(self) -> None:
        """End it, with its ssh, if it runs."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signum)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_PATIENCE)
