"""The keeper over a plain pipe, under every Python that can be had, with a kernel that echoes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bed.waiting import wait_until
from remote_kernels import command_keeper
from remote_kernels.carrier import Line, Loop
from remote_kernels.channel import Channel, Stream
from remote_kernels.command_keeper import CommandOrder
from remote_kernels.keeper import FIRST_SOCKET, MESSAGES, OUTPUT, Order
from remote_kernels.keeper_text import SEND, attachment, start_of_keeper
from remote_kernels.kernel_keeper import KernelOrder
from remote_kernels.server_keeper import ServerOrder
from remote_kernels.shell_text import BOOTSTRAP, READY
from remote_kernels.socket_keeper import SERVER_SOCKETS, SOCKETS
from unit.processes import parent_of, stat_of

MARK = "@rk-test"
TOKEN = b"0123456789abcdef"

PYTHONS = sorted(Path(sys.prefix, "pythons").glob("3.*"), key=lambda path: int(path.name[2:]))

# Listens where its connection file says, and echoes.
ECHO = """
import json, os, socket, sys, threading
info = json.load(open(sys.argv[1]))
print("I am", os.getpid(), flush=True)
def serve(connection):
    while True:
        data = connection.recv(1 << 16)
        if not data:
            return connection.close()
        connection.sendall(data)
def listen(name):
    if info["transport"] == "ipc":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("%s-%d" % (info["ip"], info[name]))
    else:
        listener = socket.socket()
        listener.bind((info["ip"], info[name]))
    listener.listen(5)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
for name in info:
    if name.endswith("_port"):
        threading.Thread(target=listen, args=(name,), daemon=True).start()
while True:
    try:
        # Python does not see a signal that comes just before it begins to wait.
        threading.Event().wait(0.1)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def order(
    held: CommandOrder | KernelOrder | ServerOrder,
    on_terminal: bool = False,
    *,
    keeps: bool = False,
) -> Order:
    """The order for what is to be held."""
    return Order(
        held,
        mark=MARK,
        token=TOKEN,
        lease=30.0,
        stays_near=False,
        on_terminal=on_terminal,
        about='{"name": "Test"}',
        keeps=keeps,
    )


class Near:
    """The launcher's end, as small as it can be."""

    def __init__(
        self, directory: Path, python: str, on_terminal: bool = False, **changes: Any
    ) -> None:
        self.directory = directory
        self.path = python
        (directory / "echo.py").write_text(ECHO)
        file: list[Any] = ["{"]
        for name in (*SOCKETS, "ip", "transport"):
            quote = '"' if name in ("ip", "transport") else ""
            file += [f'"{name}": {quote}', [name], f"{quote}, "]
        command = [f"exec {sys.executable} {directory}/echo.py ", ["path"]]
        values: dict[str, Any] = {
            "sockets": SOCKETS,
            "file": [*file, '"key": "secret"}'],
            "file_name": "copy.json",
            "is_private": False,
            "texts": {"sh": [f"echo {MARK} SHELL\n", *command]},
            "variables": {},
            "shell": ["/bin/sh"],
            "workdir": str(directory),
            "near_directory": "",
            "transport": "ipc",
            "ip": "",
            "ports": [],
            "unset": ["NOT_FOR_THE_KERNEL"],
            "job_variable": "JOB",
            "cancel": "",
            "spool": 1 << 20,
            "end_patience": 1.5,
        }
        self.kernel = KernelOrder(**{**values, **changes})
        self.order = order(self.kernel, on_terminal)
        self.loop = Loop()
        self.channel = Channel(TOKEN, on_terminal)
        self.arrived: dict[int, bytearray] = {}
        self.messages = self.open(MESSAGES)
        self.output = self.open(OUTPUT)
        self.line: Line | None = None
        self.ended = False
        self.sessions: list[subprocess.Popen[bytes]] = []

    def open(self, number: int) -> Stream:
        stream = self.channel.open(number, number)
        arrived = self.arrived[number] = bytearray()

        def take(data: memoryview) -> None:
            arrived.extend(data)
            stream.consumed(len(data))

        stream.receiver = take
        return stream

    def session(self, sent: tuple[bytes, bytes], shell: Sequence[str] = ("/bin/sh", "-c")) -> str:
        """Begin a session; what it says of itself."""
        near, far = socket.socketpair()
        env = {**os.environ, "PATH": f"{self.path}:{os.environ['PATH']}", "JOB": "4711"}
        process = subprocess.Popen(
            [*shell, BOOTSTRAP], stdin=far, stdout=far, env=env, start_new_session=True
        )
        self.sessions.append(process)
        far.close()
        near.sendall(b"".join(sent))
        word, said = "", bytearray()
        while word in ("", SEND):
            said += near.recv(1)
            if said.endswith(b"\n"):
                word = said.partition(MARK.encode())[2].decode().strip()
                said.clear()
        if self.line is not None:
            self.line.close()
        self.socket = near
        self.ended = False
        if word.startswith("KEEPER"):
            descriptors = (near.fileno(), near.fileno())
            self.line = Line(self.loop, self.channel, descriptors, self.on_end)
        return word

    def on_end(self) -> None:
        self.ended = True
        assert self.line is not None
        self.line.close()

    def until(self, condition: Callable[[], object], what: str) -> None:
        timer = self.loop.after(20, lambda: None)
        while not condition():
            if timer.when is None:
                raise AssertionError(f"waited for {what}; {self.arrived}")
            self.loop.turn()

    def heard(self, text: str, stream: int = MESSAGES) -> None:
        self.until(lambda: text.encode() in self.arrived[stream], text)

    def pid_of_kernel(self) -> int:
        """As it has said it."""
        said = re.compile(rb"I am (\d+)\n")
        self.until(lambda: said.search(self.arrived[OUTPUT]), "its number")
        return int(said.findall(self.arrived[OUTPUT])[-1])

    def tell(self, *words: str) -> None:
        self.messages.write(" ".join(words).encode() + b"\n")

    def close(self) -> None:
        for process in self.sessions:
            process.kill()
            process.wait()


@pytest.fixture(params=["/usr/bin", *(str(path) for path in PYTHONS)], ids=os.path.basename)
def near(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Near]:
    near = Near(tmp_path, request.param)
    yield near
    near.close()


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Near]:
    near = Near(tmp_path, "/usr/bin")
    yield near
    near.close()


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return stat_of(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends while it is read
        return False


@pytest.mark.needs("python3.6")
def test_the_oldest_python_is_among_those_that_are_tried() -> None:
    assert "3.6" in [path.name for path in PYTHONS]


def test_the_life_of_a_kernel(near: Near) -> None:
    keeper, host, path = near.session(start_of_keeper(near.order)).split()
    assert (keeper, host) == ("KEEPER", os.uname().nodename)
    near.tell("OPEN", str(FIRST_SOCKET), "2")
    stream = near.open(FIRST_SOCKET)
    blob = os.urandom(3 << 20)
    stream.write(b"before it listens")
    near.heard("UP")
    near.heard("I am", OUTPUT)
    near.heard("before it listens", FIRST_SOCKET)
    stream.write(blob)
    near.until(lambda: near.arrived[FIRST_SOCKET].endswith(blob[-100:]), "the echo")
    assert near.arrived[FIRST_SOCKET] == b"before it listens" + blob
    assert near.arrived[MESSAGES].startswith(f"HELLO {host} 4711\nCOPY ".encode())
    near.tell("INT")
    near.heard("interrupted", OUTPUT)
    # A new session whose launcher has lost patience is none.
    read, write = os.pipe()
    os.close(read)
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.connect(path)
        socket.send_fds(abandoned, [b"0"], [near.socket.fileno(), write])
        os.close(write)
        assert abandoned.recv(1) == b""
    # A new session in place of the old one, while bytes are on their way.
    stream.write(blob)
    assert near.session(attachment(host, path, MARK)).startswith(f"KEEPER {host} {path}")
    near.until(lambda: len(near.arrived[FIRST_SOCKET]) == 17 + 2 * len(blob), "all")
    assert near.arrived[FIRST_SOCKET] == b"before it listens" + blob + blob
    assert json.loads((near.directory / "copy.json").read_text())["key"] == "secret"
    assert stat.S_IMODE((near.directory / "copy.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
    near.tell("TERM")
    near.heard("EXIT 143")
    near.tell("END")
    near.until(lambda: near.ended, "the end")
    assert near.messages.peer_ended
    assert not Path(path).parent.exists()
    assert not (near.directory / "copy.json").exists()


def test_ports_where_they_are_wanted(one: Near) -> None:
    one.kernel.transport = "tcp"
    one.session(start_of_keeper(one.order))
    one.heard("UP")
    copy = json.loads((one.directory / "copy.json").read_text())
    assert (copy["ip"], copy["transport"]) == ("127.0.0.1", "tcp")
    ports = sorted(copy[name] for name in SOCKETS)
    assert ports == list(range(ports[0], ports[0] + 5))
    assert 15000 <= ports[0] < 32000
    one.tell("END")
    one.until(lambda: one.ended, "the end")


@pytest.mark.parametrize("victim", ["keeper", "guard"])
def test_a_keeper_that_is_killed_leaves_nothing(one: Near, victim: str) -> None:
    directory = Path(one.session(start_of_keeper(one.order)).split()[2]).parent
    one.heard("UP")
    kernel = one.pid_of_kernel()
    keeper = parent_of(kernel)
    guard = parent_of(keeper)
    if victim == "keeper":
        os.kill(keeper, signal.SIGKILL)
    else:
        os.kill(guard, signal.SIGKILL)
        one.tell("TERM")
        one.heard("EXIT 143")
        one.tell("END")
        one.until(lambda: one.ended, "the end")
    wait_until(lambda: not runs(kernel), 10, "the kernel's end")
    wait_until(lambda: not (one.directory / "copy.json").exists(), 10, "the file's end")
    wait_until(lambda: not directory.exists(), 10, "the directory's end")


def test_a_scheduler_that_kills_all_but_the_kernel_does_not_leave_it(tmp_path: Path) -> None:
    with closing(Near(tmp_path, "/usr/bin", on_terminal=True)) as one:
        directory = Path(one.session(start_of_keeper(one.order)).split()[2]).parent
        one.heard("UP")
        kernel = one.pid_of_kernel()
        keeper = parent_of(kernel)
        os.killpg(os.getpgid(parent_of(keeper)), signal.SIGKILL)
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: not runs(kernel), 10, "the kernel's end")
        wait_until(lambda: not directory.exists(), 10, "the directory's end")
        assert not (one.directory / "copy.json").exists()


def test_a_working_directory_that_is_not_there(one: Near) -> None:
    one.kernel.workdir = "/no/such/place"
    one.session(start_of_keeper(one.order))
    one.heard("FAIL WORKDIR")
    one.heard("/no/such/place: No such file or directory", OUTPUT)
    one.tell("END")
    one.until(lambda: one.ended, "the end")


def test_a_keeper_that_is_gone(one: Near) -> None:
    gone = one.session(attachment(os.uname().nodename, "/tmp/rk-0-0/keeper", MARK))
    assert gone == "GONE No such file or directory"


def test_a_lost_line_is_waited_for_and_a_closed_one_not_for_long(one: Near) -> None:
    one.order.lease = 1.0
    one.session(start_of_keeper(one.order))
    one.heard("UP")
    kernel = one.pid_of_kernel()
    assert one.line is not None
    one.line.close()
    one.socket.close()
    wait_until(lambda: not runs(kernel), 10, "the kernel's end")


def test_a_line_that_is_closed_both_ways_at_once_was_not_lost(one: Near, tmp_path: Path) -> None:
    # As a launcher does that is killed. What is left over there tells: the session's sshd lives on
    # for as long as there is something in its session.
    (tmp_path / "sshd").symlink_to("/bin/sh")
    _, host, path = one.session(start_of_keeper(one.order)).split()
    one.heard("UP")
    kernel = one.pid_of_kernel()
    sshd = (str(tmp_path / "sshd"), "-c", '/bin/sh -c "$0"; :')
    assert one.session(attachment(host, path, MARK), shell=sshd).startswith("KEEPER")
    assert one.line is not None
    one.line.close()
    one.socket.close()

    def is_over() -> bool:
        # A zombie would be taken for one that lives.
        one.sessions[-1].poll()
        return not runs(kernel)

    wait_until(is_over, 15, "the kernel's end")


# --- of a command ---------------------------------------------------------------------------------


def command(text: str) -> Order:
    """The order for a program of sh, in place of a kernel's."""
    return order(CommandOrder(["/bin/sh", "-c", text]))


def test_the_life_of_a_command(near: Near) -> None:
    near.session(start_of_keeper(command("tty; echo $$; exec cat")))
    near.heard(f"HELLO {os.uname().nodename}")
    near.until(lambda: near.arrived[OUTPUT].count(b"\n") == 2, "the command's words")
    terminal, pid = near.arrived[OUTPUT].decode().split()
    assert terminal.startswith("/dev/")
    blob = bytes(range(256)) + os.urandom(1 << 20)
    near.output.write(blob)
    near.until(lambda: near.arrived[OUTPUT].endswith(blob), "all of it")
    near.tell("RUN", str(FIRST_SOCKET), b"cat\0-u".hex())
    beside = near.open(FIRST_SOCKET)
    beside.write(blob)
    near.until(lambda: near.arrived[FIRST_SOCKET] == blob, "the same beside it")
    near.tell("END")
    near.until(lambda: near.ended, "the end")
    wait_until(lambda: not runs(int(pid)), 10, "the command's end")


def test_how_a_command_has_ended(one: Near) -> None:
    one.session(start_of_keeper(command("echo last words; exit 3")))
    one.heard("EXIT 3")
    assert one.arrived[OUTPUT] == b"last words\n"
    one.tell("END")
    one.until(lambda: one.ended, "the end")


def test_a_commands_terminal_goes_with_its_keeper(one: Near) -> None:
    one.session(start_of_keeper(command("echo $PPID $$; exec cat")))
    one.until(lambda: one.arrived[OUTPUT].endswith(b"\n"), "the command")
    keeper, pid = map(int, one.arrived[OUTPUT].split())
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: not runs(pid), 10, "the command's end")


def test_a_kernel_is_told_before_its_terminal_goes(one: Near) -> None:
    one.session(start_of_keeper(command(f"read -r nothing; read -r word; echo {READY}; cat")))
    one.tell("KERNEL", "YES")
    one.tell("END")
    one.until(lambda: one.ended, "the end")
    assert READY.encode() == command_keeper.READY


def test_what_a_killed_keeper_has_left_goes_with_the_next(one: Near, tmp_path: Path) -> None:
    directory = Path(one.session(start_of_keeper(one.order)).split()[2]).parent
    one.heard("UP")
    kernel = one.pid_of_kernel()
    keeper = parent_of(kernel)
    guard = parent_of(keeper)
    for pid in (guard, keeper, kernel):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(keeper), 10, "the keeper's end")
    assert directory.exists()
    two = Near(tmp_path, "/usr/bin")
    two.session(start_of_keeper(two.order))
    two.heard("UP")
    assert not directory.exists()
    two.tell("END")
    two.until(lambda: two.ended, "the end")
    two.close()


# --- what a person asks ---------------------------------------------------------------------------


def asked(word: str, path: str) -> str:
    """What a keeper answers to a program of the user's on its own machine."""
    with socket.socket(socket.AF_UNIX) as question:
        question.settimeout(10)
        question.connect(path)
        question.sendall(word.encode())
        return question.makefile().read()


def test_a_keeper_tells_how_it_stands(near: Near) -> None:
    said = near.session(start_of_keeper(near.order))
    near.heard("UP")
    status = json.loads(asked("STATUS", said.split()[2]))
    assert status["about"] == {"name": "Test"}
    assert status["connected"] is True
    assert (status["lease"], status["lease_left"]) == (30.0, None)
    assert status["file"] == str(near.directory / "copy.json")
    assert status["group"] == os.getpgid(near.pid_of_kernel())
    assert status["memory"] > 1000
    near.tell("ABOUT", b'{"name": "Other"}'.hex())
    assert near.line is not None
    near.line.flush()
    wait_until(lambda: "Other" in asked("STATUS", said.split()[2]), 10, "what is new of it")
    near.line.close()
    near.socket.close()

    def is_away() -> bool:
        return not json.loads(asked("STATUS", said.split()[2]))["connected"]

    wait_until(is_away, 10, "the end of the line")
    left = json.loads(asked("STATUS", said.split()[2]))
    assert 0 < left["lease_left"] <= 30


def test_a_person_interrupts_and_stops_a_kernel(one: Near) -> None:
    said = one.session(start_of_keeper(one.order))
    one.heard("UP")
    pid = one.pid_of_kernel()
    assert asked("INT", said.split()[2]) == "yes"
    one.heard("interrupted", OUTPUT)
    assert asked("NONSENSE", said.split()[2]) == "no"
    assert asked("STOP", said.split()[2]) == "yes"
    one.heard("STOPPED")
    one.heard("EXIT")
    assert not runs(pid)


def test_one_visitor_comes_back_at_a_time(near: Near) -> None:
    path = near.session(start_of_keeper(near.order)).split()[2]
    near.heard("UP")
    assert asked("CLAIM 1 a", path) == "no"
    assert near.line is not None
    near.line.close()
    near.socket.close()
    wait_until(lambda: asked("CLAIM 1 a", path) == "yes", 10, "the end of the line")
    for word in ("CLAIM 2 b", "STAY 2 b", "AWAY 2 b"):
        assert asked(word, path) == "no"
    assert json.loads(asked("STATUS", path))["visitor"] == "1 a"
    assert asked("STAY 1 a /none", path) == "yes"
    assert asked("AWAY 1 a", path) == "yes"
    left = json.loads(asked("STATUS", path))["lease_left"]
    # Who is still away does not make the lease longer.
    assert asked("AWAY 1 a", path) == "yes"
    assert json.loads(asked("STATUS", path))["lease_left"] < left
    assert asked("CLAIM 2 b", path) == "yes"
    asked("STOP", path)


def test_who_visits_a_kernel_hears_that_a_person_has_stopped_it(near: Near, tmp_path: Path) -> None:
    path = near.session(start_of_keeper(near.order)).split()[2]
    near.heard("UP")
    near.close()
    with socket.socket(socket.AF_UNIX) as visit:
        visit.bind(str(tmp_path / "visit"))
        visit.listen()
        visit.settimeout(10)
        wait_until(lambda: asked(f"STAY 1 a {tmp_path}/visit", path) == "yes", 10, "the visit")
        assert asked("STOP", path) == "yes"
        heard, _ = visit.accept()
        with heard:
            assert heard.makefile().read() == "STOPPED"


def test_a_person_restarts_a_kernel(near: Near) -> None:
    said = near.session(start_of_keeper(near.order))
    near.heard("UP")
    before = near.pid_of_kernel()
    ports = (near.directory / "copy.json").read_text()
    assert asked("RESTART", said.split()[2]) == "yes"
    near.until(lambda: near.arrived[MESSAGES].count(b"UP\n") == 2, "the second start")
    near.until(lambda: near.arrived[OUTPUT].count(b"I am ") == 2, "its number")
    after = near.pid_of_kernel()
    assert after != before
    assert not runs(before)
    assert (near.directory / "copy.json").read_text() == ports
    assert b"EXIT" not in near.arrived[MESSAGES]
    # What is killed now takes the second kernel with it.
    near.close()
    status = json.loads(asked("STATUS", said.split()[2]))
    assert status["group"] == os.getpgid(after)
    asked("STOP", said.split()[2])
    wait_until(lambda: not runs(after), 10, "its end")


# --- a Jupyter server -----------------------------------------------------------------------------

FLOOD = "head -c 4000000 /dev/zero | tr '\\0' x\n"
SERVER_FILE = ['{"a_port": ', ["port"], ', "ip": "', ["ip"], '", "transport": "tcp"}']


def of_server(directory: Path, before: str = "") -> Near:
    """The launcher's end of a server, which echoes."""
    program = [f"{before}exec {sys.executable} {directory}/echo.py ", ["path"]]
    return Near(
        *(directory, "/usr/bin"),
        sockets=SERVER_SOCKETS,
        file=SERVER_FILE,
        file_name="token",
        is_private=True,
        transport="tcp",
        texts={"sh": program},
        end_patience=60.0,
    )


def test_a_server_goes_on_though_nobody_takes_what_it_prints(tmp_path: Path) -> None:
    near = of_server(tmp_path, FLOOD)
    printed: list[int] = []

    def leave(data: memoryview) -> None:
        printed.append(len(data))

    near.output.receiver = leave
    try:
        near.session(start_of_keeper(near.order))
        near.heard("UP")
        near.tell("OPEN", str(FIRST_SOCKET), "0")
        blob = os.urandom(3 << 20)
        near.open(FIRST_SOCKET).write(blob)
        near.until(lambda: near.arrived[FIRST_SOCKET] == blob, "the echo")
        near.tell("TERM")
        near.heard("EXIT 143")
        assert b"PAUSED" not in near.arrived[MESSAGES]
        # The rest of it was not kept.
        near.output.consumed(sum(printed))
        near.until(lambda: near.output.peer_ended, "the end of what it has printed")
        assert sum(printed) < 2 << 20
    finally:
        near.close()


def test_a_server_that_is_stopped_while_nobody_is_there_is_over_at_once(tmp_path: Path) -> None:
    near = of_server(tmp_path)
    near.order = order(near.kernel, keeps=True)
    try:
        path = near.session(start_of_keeper(near.order)).split()[2]
        near.heard("UP")
        (token,) = Path(path).parent.glob("token")
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        near.tell("LEAVE", "0")
        near.until(lambda: near.ended, "the end of the line")
        assert json.loads(asked("STATUS", path))["state"] == "running"
        assert asked("STOP", path) == "yes"
        # Long before its patience is at an end.
        wait_until(lambda: not Path(path).parent.exists(), 10, "the end of its keeper")
    finally:
        near.close()


def test_the_way_to_a_server_that_runs(near: Near, tmp_path: Path) -> None:
    file = tmp_path / "server.json"
    address = str(tmp_path / "server-1")
    file.write_text(json.dumps({"transport": "ipc", "ip": address[:-2], "a_port": 1}))
    with subprocess.Popen([sys.executable, str(tmp_path / "echo.py"), str(file)]) as server:
        try:
            visit = order(ServerOrder(address, server.pid))
            path = near.session(start_of_keeper(visit)).split()[2]
            near.heard("UP")
            assert json.loads(asked("STATUS", path))["visits"] == address
            near.tell("OPEN", str(FIRST_SOCKET), "0")
            near.open(FIRST_SOCKET).write(b"here")
            near.heard("here", FIRST_SOCKET)
            # It can be left, and does not end what it leads to.
            assert asked("STOP", path) == "yes"
            near.heard("EXIT 0")
            near.tell("END")
            near.until(lambda: near.ended, "the end")
            assert runs(server.pid)
        finally:
            server.kill()


def test_the_way_to_a_server_that_ends(one: Near, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with subprocess.Popen(["sleep", "60"]) as server:
            visit = order(ServerOrder(listener.getsockname(), server.pid))
            one.session(start_of_keeper(visit))
            one.heard("UP")
            server.kill()
        one.heard("EXIT 0")
