"""A session for questions, to this machine: what is asked and answered, and how it can go wrong.

Nothing is left of it in any case: no process, no descriptor and no file.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bed.waiting import wait_until
from remote_kernels import errand as module
from remote_kernels.discovery import MODULES
from remote_kernels.errand import Errand
from remote_kernels.errors import ConnectionLostError, RemoteKernelsError, ShellError
from remote_kernels.keeper_text import start_of_program
from remote_kernels.lines import LONGEST_LINE
from unit.processes import parent_of

# What plays the far side; it is told how a line of ours begins.
FAR = """
import json, os, signal, sys, time, zlib
mark = sys.argv[1].encode()
def write(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
def pack(found):
    return zlib.compress(json.dumps(found).encode())
def frame(kind, data, size=None):
    size = str(len(data)).encode() if size is None else size
    write(b"\\n" + mark + b" " + kind + b" " + size + b"\\n" + data)
def tell(found):
    frame(b"TELL", pack(found))
def done():
    frame(b"DONE", pack(None))
def asked():
    return json.loads(sys.stdin.buffer.readline().decode())
"""
LOGIN = "tell('node')\nasked()\n"
STAYS = "\ntime.sleep(20)"


def children() -> set[int]:
    """The processes that this one has started, and that are still there, zombies among them."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if parent_of(int(path.name)) == os.getpid():
                found.add(int(path.name))
        except OSError:
            continue
    return found


def commands() -> str:
    """The command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(found)


def descriptors() -> set[str]:
    """Those that are open, but for the one that looks."""
    names = os.listdir("/proc/self/fd")
    return {name for name in names if os.path.lexists(f"/proc/self/fd/{name}")}


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, descriptor or file is left of a session, however it ended."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(private))
    before = children(), descriptors()
    yield
    assert (children(), descriptors()) == before
    assert list(private.iterdir()) == []
    # Nor one that somebody else has taken over.
    wait_until(lambda: str(tmp_path) not in commands(), 5, "the far side's end")


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Far:
    """Something that plays the far side."""
    return Far(tmp_path, monkeypatch)


class Far:
    """Plays the far side."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = place / "far.py"
        self.monkeypatch = monkeypatch

    def plays(self, text: str) -> None:
        """From now on the far side is this program."""
        self.path.write_text(FAR + text)
        self.runs(f"exec {shlex.quote(sys.executable)} -ES {shlex.quote(str(self.path))} ")

    def runs(self, command: str) -> None:
        """From now on it is this command, which is followed by how a line of ours begins."""

        def start(modules: Sequence[str], call: str, mark: str) -> tuple[bytes, ...]:
            return (f"rk_=; {command}{shlex.quote(mark)}\n".encode(),)

        self.monkeypatch.setattr(module, "start_of_program", start)

    def answers(self, functions: str) -> None:
        """From now on it is our own program, with these functions."""

        def start(modules: Sequence[str], call: str, mark: str) -> tuple[bytes, bytes]:
            return start_of_program(
                ("answers",), f"{functions}\nanswer({mark!a}, functions, 0)", mark
            )

        self.monkeypatch.setattr(module, "start_of_program", start)


def errand(log: list[str] | None = None) -> Errand:
    """A session to this machine."""
    return Errand(None, MODULES, (log if log is not None else []).append)


def failure(*words: Any) -> RemoteKernelsError:
    """How the session ends where it should not, at the login or when something is asked."""
    with pytest.raises(RemoteKernelsError) as failed, errand() as session:
        session.ask(*(words or ("anything",)))
    error = failed.value
    shown = [error.sentence, *error.said]
    assert all(text.replace("\t", " ").isprintable() for text in shown), shown
    assert error.host == "this machine"
    return error


# --- what is asked, and answered -----------------------------------------------------------------


def test_one_session_is_for_many_questions(tmp_path: Path) -> None:
    (tmp_path / "logo-a.png").write_bytes(b"x")
    log: list[str] = []
    told: list[Any] = []
    with errand(log) as session:
        assert session.node == os.uname().nodename
        assert session.ask("missing", [("/no/such", "/"), ("/", "/")]) == ["/no/such"]
        places = [str(tmp_path), "/no/such", str(tmp_path)]
        assert session.ask("files", places, told=told.append) == {"logo-a.png": "eA=="}
        assert told == [{"logo-a.png": "eA=="}, {}]
        assert session.ask("files", []) is None
        with pytest.raises(RemoteKernelsError, match="it ended with status 3"):
            session.ask("install", "exit 3")
        assert session.ask("install", "echo again") == "again"
    # Nobody was asked for anything.
    assert log == []


def test_all_parts_but_the_last_are_told(far: Far) -> None:
    far.answers("functions = {'give': lambda *parts: iter(parts)}")
    with errand() as session:
        answers: list[list[Any]] = [[], [1], [None], [1, None], [None, 0, "", [], {}]]
        for parts in answers:
            told: list[Any] = []
            last = session.ask("give", *parts, told=told.append)
            assert [*told, last] == (parts or [None])
            assert session.ask("give", *parts, 3) == 3


def test_parts_are_told_as_they_come(far: Far) -> None:
    # It goes on when it has been heard; which part is the last is known a moment later.
    far.monkeypatch.setattr(module, "_PATIENCE", 10)
    heard = far.path.with_name("heard")
    far.answers(
        f"""
import os, time
def wait():
    yield "first"
    yield "second"
    while not os.path.exists({str(heard)!a}):
        time.sleep(0.01)
    yield "last"
functions = {{"wait": wait}}
"""
    )
    told: list[str] = []

    def hear(part: str) -> None:
        told.append(part)
        heard.touch()

    with errand() as session:
        assert session.ask("wait", told=hear) == "last"
    assert told == ["first", "second"]


def test_much_goes_both_ways() -> None:
    # More than a pipe holds.
    paths = [f"/no/such/{os.urandom(20).hex()}" for _ in range(10_000)]
    with errand() as session:
        assert session.ask("missing", [(path, "/") for path in paths]) == paths


def test_what_is_no_utf_8_goes_both_ways() -> None:
    path = os.fsdecode(b"/no/such/\xff")
    with errand() as session:
        assert session.ask("missing", [(path, "/")]) == [path]


def test_what_it_cannot_do_is_a_sentence(far: Far) -> None:
    far.answers(
        """
def fail():
    yield 1
    raise CannotAnswer("no \\x1b[2J such thing")
def lose():
    open("/no/such")
functions = {"fail": fail, "lose": lambda: iter(lose, 0)}
"""
    )
    told: list[Any] = []
    with errand() as session:
        with pytest.raises(RemoteKernelsError) as failed:
            session.ask("fail", told=told.append)
        # What an installation has said last is why it has failed.
        assert told == [1]
        assert failed.value.sentence == "no \\x1b[2J such thing"
        assert failed.value.host == "this machine"
        assert type(failed.value) is RemoteKernelsError
        with pytest.raises(RemoteKernelsError, match="No such file or directory"):
            session.ask("lose")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError, RemoteKernelsError])
def test_an_error_of_ours_ends_the_session(far: Far, kind: type[BaseException]) -> None:
    far.plays(LOGIN + "tell(1); tell(2)" + STAYS)

    def interrupt(part: Any) -> None:
        raise kind("enough")

    with pytest.raises(kind, match="enough"), errand() as session:
        session.ask("anything", told=interrupt)


# --- how it begins -------------------------------------------------------------------------------


def program(directory: Path, name: str, text: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{text}\n")
    (directory / name).chmod(0o755)


@pytest.mark.parametrize("text", ["", 'exec /bin/sh -c "$3"'], ids=["none", "too old"])
def test_without_a_python_there_is_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    if text:
        program(tmp_path / "bin", "python3", text)
    error = failure()
    assert type(error) is ShellError
    assert error.sentence.startswith("there is no Python 3.6 or newer over there")
    assert "install one there" in error.advice


def test_a_python_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    program(
        tmp_path / "bin", "python3", "echo on standard error: \\\\033 >&2; echo and here; exit 1"
    )
    error = failure()
    assert type(error) is ConnectionLostError
    assert error.sentence == "our program was not run over there"
    assert "and here" in error.said
    assert any("on standard error" in text for text in error.said)


NOISE = {
    "lines": rb"b'Welcome\n\x1b[31mto\x1b[0m\r\n\n far'",
    "bytes": rb"bytes(range(256))",
    "a line without end": b"b'x' * 600000",
    "another program's": rb"b'@rk-0123456789abcdef TELL 3\nabc'",
    "lines without end": rb"b'y\n' * 100000",
}
# And beside it, where ssh speaks.
ASIDE = "os.write(2, b'z\\n' * 100000)"


@pytest.mark.parametrize("noise", NOISE)
def test_noise_is_passed_over(far: Far, noise: str) -> None:
    text = f"write({NOISE[noise].decode()})"
    far.plays(f"{text}\ntell('node')\nasked()\n{text}\ntell(1)\n{text}\ndone()\nasked(); {text}")
    with errand() as session:
        assert session.node == "node"
        assert session.ask("anything") == 1
        with pytest.raises(ConnectionLostError) as failed:
            session.ask("anything")
    # It is told when something goes wrong; not all of it, and not more is kept.
    assert 0 < len(failed.value.said) <= 20
    assert len(session._said) < 100
    for text in failed.value.said:
        assert text.replace("\t", " ").isprintable()
        assert len(text) <= 4 * LONGEST_LINE
    if noise == "lines":
        assert failed.value.said[:2] == ("Welcome", "\\x1b[31mto\\x1b[0m")


def test_no_more_is_kept_of_what_ssh_says(far: Far) -> None:
    far.plays(f"{ASIDE}\ntell('node')\nasked()\n{ASIDE}\ntell(1)\ndone()" + STAYS)
    with errand() as session:
        assert session.ask("anything") == 1
        assert len(session._said) < 1000


def test_a_mark_at_the_end_of_a_line_without_end_is_seen(far: Far) -> None:
    # Wherever the line is cut.
    for more in range(-3, 3):
        far.plays(f"write(b'x' * (65536 + {more}))\ntell('node')" + STAYS)
        with errand() as session:
            assert session.node == "node"


# --- how it ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "our program was not run over there"),
        ("write(b'hello')", "our program was not run over there"),
        ("write(mark + b' TELL 10\\nxx')", "our program was not run over there"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "our program was not run over there"),
        ("tell('node')", "the connection broke"),
        (LOGIN + "tell(1); tell(2)", "the connection broke"),
        (LOGIN + "frame(b'TELL', b'x', b'10')", "the connection broke"),
        (LOGIN + "write(mark + b' TEL')", "the connection broke"),
    ],
)
def test_a_far_side_that_ends_early_is_told(far: Far, text: str, sentence: str) -> None:
    far.plays(text)
    error = failure()
    assert type(error) is ConnectionLostError
    assert error.sentence == sentence


def test_last_words_are_heard(far: Far) -> None:
    far.plays("os.dup2(2, 1); time.sleep(0.3); os.write(2, b'No space left\\n')")
    assert failure().said == ("No space left",)


def test_what_came_before_the_end_was_told(far: Far) -> None:
    far.plays(LOGIN + "tell(1); tell(2); tell(3)")
    told: list[Any] = []
    with errand() as session, pytest.raises(ConnectionLostError):
        session.ask("anything", told=told.append)
    assert told == [1, 2, 3]


def test_nothing_can_be_asked_after_the_end(far: Far) -> None:
    far.plays(LOGIN + "tell(1); done()")
    with errand() as session:
        assert session.ask("anything") == 1
        for _ in range(2):
            with pytest.raises(ConnectionLostError, match="the connection broke"):
                session.ask("anything")


@pytest.mark.parametrize("text", ["", LOGIN, "write(b'hello')"])
def test_a_far_side_that_says_nothing_is_left(far: Far, text: str) -> None:
    far.monkeypatch.setattr(module, "_PATIENCE", 0.3)
    # A Python has to start until then.
    far.monkeypatch.setattr(module, "LOGIN_PATIENCE", 5 if text == LOGIN else 0.3)
    far.plays(text + STAYS)
    error = failure()
    assert type(error) is ConnectionLostError
    assert error.sentence == "nothing came within 0 s"


def test_what_takes_its_time_is_waited_for(far: Far) -> None:
    far.monkeypatch.setattr(module, "_PATIENCE", 0.01)
    far.plays("tell('node')\nasked()\nsignal.alarm(20)\ntime.sleep(0.3)\ntell(1); done()\nasked()")
    with errand() as session:
        assert session.ask("install", patience=math.inf) == 1


@pytest.mark.parametrize("text", ["", "signal.signal(signal.SIGHUP, signal.SIG_IGN)"])
def test_a_far_side_that_stays_is_ended(far: Far, text: str) -> None:
    far.monkeypatch.setattr(module, "_LAST_WORDS", 0.1)
    far.plays(f"{text}\n{LOGIN}os.close(1)" + STAYS)
    assert failure().sentence == "the connection broke"


def test_a_session_that_is_closed_ends_the_far_side(far: Far) -> None:
    far.plays(f"tell('node'){STAYS}")
    with errand():
        assert str(far.path) in commands()


# --- what makes no sense -------------------------------------------------------------------------

NONSENSE = {
    "another word": "frame(b'TOLD', pack(1))",
    "no word": "frame(b'', b'')",
    "no size": "write(b'\\n' + mark + b' TELL\\n')",
    "too large": "frame(b'TELL', b'', str((1 << 25) + 1).encode())",
    "much too large": "frame(b'TELL', b'', b'9' * 5000)",
    "negative": "frame(b'TELL', b'', b'-1')",
    "no number": "frame(b'TELL', b'', b'\\xc2\\xb2')",
    "spaces": "frame(b'TELL', pack(1), b' 9')",
    "control characters": "frame(b'\\x1b[2J', b'')",
    "not packed": "frame(b'TELL', b'12345')",
    "nothing": "frame(b'TELL', b'')",
    "half": "frame(b'TELL', pack('a' * 1000)[:-8])",
    "no JSON": "frame(b'TELL', zlib.compress(b'{'))",
    "no UTF-8": "frame(b'TELL', zlib.compress(b'\"\\xff\"'))",
    "deep": "frame(b'TELL', zlib.compress(b'[' * 100000 + b']' * 100000))",
    "a long number": "frame(b'TELL', zlib.compress(b'9' * 5000))",
    "much that is packed well": "frame(b'TELL', zlib.compress(b' ' * 20000 + b'1'))",
}


@pytest.mark.parametrize(
    ("what", "before"),
    [*((what, LOGIN) for what in NONSENSE), ("no size", ""), ("half", "")],
    ids=[*NONSENSE, "no size at the login", "half at the login"],
)
def test_what_makes_no_sense_ends_the_session(far: Far, what: str, before: str) -> None:
    far.monkeypatch.setattr(module, "_LARGEST_UNPACKED", 10_000)
    far.plays(before + NONSENSE[what] + STAYS)
    error = failure()
    assert type(error) is ConnectionLostError
    assert error.sentence.startswith("the far side says what makes no sense: ")
    assert len(error.sentence) < 1000


@pytest.mark.parametrize("kind", ["DONE", "FAIL"])
def test_a_login_is_told_of_and_no_more(far: Far, kind: str) -> None:
    far.plays(f"frame(b'{kind}', pack('x')){STAYS}")
    assert failure().sentence == f"the far side says what makes no sense: {kind}"


class Line:
    """A session of which all that the far side says is there already."""

    said: tuple[bytes, ...] = ()
    open = False

    def __init__(self, command: Sequence[str], questions: None) -> None:
        self.read_from, write_to = os.pipe()
        os.write(write_to, b"".join(self.said))
        os.close(write_to)

    def send(self, data: bytes) -> None:
        pass

    def read_messages(self) -> list[str]:
        return []

    def close(self) -> None:
        os.close(self.read_from)


def packed(text: bytes, kind: bytes = b"TELL") -> bytes:
    data = zlib.compress(text)
    return b"\nMARK %s %d\n%s" % (kind, len(data), data)


PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"\n", b"MARK", b"MARK ", b"MARK TELL ", b"TELL 3\n", b"DONE 0\n", b"\x1b"]),
    st.builds(packed, st.binary(max_size=9), st.sampled_from([b"TELL", b"DONE", b"FAIL", b"X"])),
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=4,
    ).map(lambda found: packed(json.dumps(found).encode())),
    st.builds(
        lambda kind: packed(b'"x"', kind), st.sampled_from([b"TELL", b"DONE", b"DONE", b"FAIL"])
    ),
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(greets=st.booleans(), pieces=st.lists(PIECES, max_size=8))
@example(greets=True, pieces=[b"\nMARK TELL " + b"1" * 4999 + b"\n"])
def test_a_far_side_says_anything(
    monkeypatch: pytest.MonkeyPatch, greets: bool, pieces: list[bytes]
) -> None:
    session = errand()
    mark = session._mark.encode()
    said = [
        piece.replace(b"MARK", mark) for piece in ([packed(b'"node"')] if greets else []) + pieces
    ]
    monkeypatch.setattr(Line, "said", tuple(said))
    monkeypatch.setattr(module, "PipeSession", Line)
    told: list[Any] = []
    with pytest.raises(RemoteKernelsError) as failed, session:
        # Until nothing comes any more.
        tuple(map(partial(session.ask, told=told.append), ["anything"] * 9))
    for text in (failed.value.sentence, *failed.value.said):
        assert text.replace("\t", " ").isprintable()
    assert len(told) <= len(pieces)
