"""A reverse tunnel without a server: its port, notes, pauses, program and service."""

from __future__ import annotations

import os
import plistlib
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from remote_kernels import errors, reverse, reverse_service
from remote_kernels.errors import RemoteKernelsError
from remote_kernels.hosts import Host
from remote_kernels.reverse import (
    Holding,
    Tunnel,
    address_of,
    box_id,
    look_for_sshd,
    usual_port,
)
from remote_kernels.shell_text import TELL
from remote_kernels.tunnel_notes import CONNECTED, TunnelNote, TunnelTurn, name_of
from remote_kernels.tunnel_script import tunnel_program
from remote_kernels.way import Way

NASTY = ("it's", "a b", '"q"', "$HOME", "${HOME}", "%h", "%", "back\\slash", ";", "é", "'", "$$")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is new."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    return home


def tunnel(way: Way | None = None, port: int = 19506) -> Tunnel:
    return Tunnel(way or Way(Host("server", "me")), "me@server.example.org", port, 22)


# --- which port -----------------------------------------------------------------------------------


def test_the_port_is_always_the_same() -> None:
    ports = {usual_port(f"me@server{number}") for number in range(50)}
    assert ports == {usual_port(f"me@server{number}") for number in range(50)}
    assert len(ports) > 40
    # Neither root's nor one that Linux gives to whoever asks for any.
    assert all(10000 < port < 32768 for port in ports)
    number = Path("/etc/machine-id").read_text().strip() if Path("/etc/machine-id").exists() else ""
    assert not number or number not in box_id()


def test_the_port_that_it_had_stays(tmp_path: Path) -> None:
    way = Way(Host("server.example.org", "me"), users_config="none")
    first = Tunnel.wanted(way, None, None)
    assert (first.address, first.to) == ("me@server.example.org", 22)
    assert first.port == usual_port("me@server.example.org")
    Tunnel.wanted(way, 19506, 2022).note().write()
    assert Tunnel.wanted(way, None, None)[2:] == (19506, 2022)
    assert Tunnel.wanted(way, 19507, None)[2:] == (19507, 2022)


def test_a_server_under_each_of_its_names_is_one(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host tesla\n HostName server.example.org\n User me\n Port 2222\n")
    for host in (Host("tesla"), Host("server.example.org", "me", 2222)):
        way = Way(host, users_config=str(config))
        assert address_of(way) == "me@server.example.org:2222"
    assert address_of(Way(Host("::1", "me"), users_config=str(config))) == "me@[::1]"


def test_no_two_servers_share_a_name() -> None:
    addresses = ["a@b", "a_at_b", "a-at-b", "a@b:1", "a@b_1", "a@[::1]:2", "a@::1", "é@b", "e@b"]
    names = [name_of(address) for address in addresses]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and set(name) <= reverse_chars() for name in names)
    assert name_of("me@server.example.org:2222") == "me_at_server.example.org_port_2222"


def reverse_chars() -> set[str]:
    """What may be in the name of a unit, of a file, and of a label, and needs no quoting."""
    return set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


# --- notes ----------------------------------------------------------------------------------------


def test_a_note_is_private_and_whole(home: Path) -> None:
    note = tunnel(Way(Host("server"), (Host("gate"),))).note()._replace(state=CONNECTED, pid=7)
    note.write()
    note._replace(connects=2).write()
    assert TunnelNote.read(note.address) == note._replace(connects=2)
    (path,) = (home / ".local/state/remote-kernels/reverse").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(TunnelNote.all()) == [note._replace(connects=2)]
    for nonsense in ("", "[]", '{"port": 1}', "\xff"):
        path.write_text(nonsense)
        assert TunnelNote.read(note.address) is None
        assert list(TunnelNote.all()) == []


def test_one_process_at_a_time_holds_it() -> None:
    note = tunnel().note()
    assert not note.is_held()
    first, second = TunnelTurn(note.address), TunnelTurn(note.address)
    assert first.take()
    assert note.is_held()
    assert not second.take(patience=0.0)
    assert TunnelTurn("me@elsewhere").take()
    first.give()
    assert not note.is_held()
    assert second.take()


# --- this machine's sshd --------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=5) as server:
        yield server


def test_nothing_answers(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(errors.NoSshServerError, match=f"no ssh server answers at port {port}"):
        look_for_sshd(port)


def test_what_answers_has_to_speak_ssh(listener: socket.socket) -> None:
    def answer() -> None:
        for banner in (b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail\r\n"):
            connection, _ = listener.accept()
            connection.sendall(banner)
            connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    look_for_sshd(listener.getsockname()[1])
    with pytest.raises(errors.NoSshServerError, match="is no ssh server"):
        look_for_sshd(listener.getsockname()[1])
    thread.join()


# --- pauses ---------------------------------------------------------------------------------------


def test_how_long_it_waits() -> None:
    lost = errors.ConnectionLostError("lost")
    growing = [reverse._pause_after(lost, failures) for failures in range(10)]
    assert growing == [0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0, 30.0]
    assert reverse._pause_after(errors.PermissionDeniedError("no"), 0) == 300.0
    assert reverse._pause_after(errors.PortTakenError("taken"), 0) == 60.0


class Network:
    """Changes of the network that a test makes."""

    def __init__(self) -> None:
        self.descriptor, self.change = os.pipe()

    def take(self) -> None:
        os.set_blocking(self.descriptor, False)
        with suppress(BlockingIOError):
            os.read(self.descriptor, 100)

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self.change)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("why", ["network", "sleep"])
def test_it_waits_no_longer_when_there_is_reason_to_hope(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = Holding(
        tunnel(),
        unattended=True,
        log=lambda word: None,
        up=lambda *told: None,
        away=lambda *told: None,
    )
    network = Network()
    holding._network = network  # type: ignore[assignment]
    slept = iter([False, why == "sleep", *[False] * 100])
    monkeypatch.setattr(holding._sleep, "has_slept", lambda: next(slept))
    monkeypatch.setattr(reverse, "_BEAT", 0.05)
    take = network.take

    def change_after_the_first() -> None:
        take()
        if why == "network":
            os.write(network.change, b"x")
            network.take = take  # type: ignore[method-assign]

    network.take = change_after_the_first  # type: ignore[method-assign]
    # Of the test's own limit nothing would be left.
    holding._pause(300.0, hopes=True)
    network.close()


def refusal() -> RemoteKernelsError:
    return errors.PermissionDeniedError("no")


def test_when_it_gives_up() -> None:
    def goes_on(*, unattended: bool, connects: int, asked: bool) -> dict[str, bool]:
        how: dict[str, Any] = dict.fromkeys(("log", "up", "away"), lambda *told: None)
        holding = Holding(tunnel(), unattended=unattended, **how)
        holding._note = holding._note._replace(connects=connects)
        holding._asked = asked
        lost = errors.ConnectionLostError("lost")
        return {"lost": holding._goes_on(lost), "refused": holding._goes_on(refusal())}

    both, neither = {"lost": True, "refused": True}, {"lost": False, "refused": False}
    assert goes_on(unattended=True, connects=0, asked=False) == both
    assert goes_on(unattended=False, connects=0, asked=False) == neither
    assert goes_on(unattended=False, connects=1, asked=False) == both
    # Nobody answers again what a person has answered once.
    assert goes_on(unattended=False, connects=1, asked=True) == {"lost": True, "refused": False}


# --- the program over there -----------------------------------------------------------------------

SHELLS = {
    "dash": ["dash"],
    "bash": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "zsh": ["zsh", "--emulate", "sh"],
}


def told(
    shell: str, port: int, *questions: str, home: Path, path: str = "", change: str = ""
) -> list[str]:
    """What the program says when it is asked, in a home."""
    if shutil.which(shell) is None:
        pytest.skip(f"absent: {shell}")
    program = tunnel_program(port, "ours", "box")
    if change:
        assert "/proc/net/tcp" in program
        program = program.replace("/proc/net/tcp", change)
    done = subprocess.run(
        [*SHELLS[shell], "-c", f"rk_mark=@mark\n{TELL}\nkill() {{ echo kill $*; }}\n{program}"],
        input="".join(f"{question}\n" for question in questions),
        env={"HOME": str(home), "PATH": f"{path}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    return [x.removeprefix("@mark ") for x in done.stdout.splitlines() if x.startswith("@mark ")]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_port_is_looked_at(shell: str, home: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert told(shell, port, "LOOK", "OPENED", "PING", home=home) == ["TAKEN", "OPEN", "PONG"]
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        open_port = everywhere.getsockname()[1]
        assert told(shell, open_port, "OPENED", home=home) == ["EXPOSED 00000000"]
    assert told(shell, open_port, "LOOK", "OPENED", home=home) == ["FREE", "UNSEEN"]
    # Nothing of it is left.
    assert list(home.iterdir()) == []


def test_both_loopbacks_are_the_machine_itself(home: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("absent: IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert told("dash", server.getsockname()[1], "OPENED", home=home) == ["OPEN"]
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with both as server:
        word, *_ = told("dash", server.getsockname()[1], "OPENED", home=home)[0].split()
        assert word == "EXPOSED"


# As macOS and FreeBSD tell, which have no /proc.
NETSTAT = """\
#!/bin/sh
cat <<'END'
Active Internet connections (including servers)
Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)
tcp4       0      0  127.0.0.1.19506        *.*                    LISTEN
tcp6       0      0  ::1.19506              *.*                    LISTEN
tcp4       0      0  *.19507                *.*                    LISTEN
tcp4       0      0  127.0.0.1.19508        127.0.0.1.51000        ESTABLISHED
END
"""


@pytest.mark.parametrize(
    ("port", "said"),
    [(19506, ["TAKEN", "OPEN"]), (19507, ["TAKEN", "EXPOSED *"]), (19508, ["FREE", "UNSEEN"])],
)
def test_a_server_without_proc(port: int, said: list[str], home: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/netstat").write_text(NETSTAT)
    (tmp_path / "bin/netstat").chmod(0o755)
    how = {"path": f"{tmp_path}/bin:", "change": "/nowhere/tcp"}
    assert told("dash", port, "LOOK", "OPENED", home=home, **how) == said


def test_a_note_that_is_not_about_who_holds_the_port(home: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    note = home / f".rk-reverse-{os.uname().nodename}-{port}"
    # A process that is no sshd, one that has ended, and no note at all.
    for text in (f"ours {os.getpid()} 1 1700000000 box", "ours 999999999 1 1700000000 box", "x"):
        note.write_text(f"{text}\n")
        assert told("dash", port, "LOOK", home=home) == ["TAKEN"]


# --- services -------------------------------------------------------------------------------------


def systemds_view(tmp_path: Path, unit: str) -> str:
    """The command that systemd itself reads in a unit."""
    directory = tmp_path / "config/systemd/user"
    directory.mkdir(parents=True)
    (directory / "x.service").write_text(unit)
    places = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(directory / "x.service")],
        env={**os.environ, **places, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    shown = subprocess.run(
        ["/lib/systemd/systemd", "--user", "--test", "--unit=x.service"],
        env={**os.environ, **places, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    of_unit = shown.stdout.partition("-> Unit x.service:")[2]
    line = of_unit.partition("-> ExecStart:")[2].partition("Command Line: ")[2]
    return line.partition("\n")[0]


@pytest.mark.needs("systemd")
@pytest.mark.skipif(os.getuid() == 0, reason="systemd tells root nothing of what it would do")
def test_the_unit_says_what_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/a b/$x%h")
    way = Way(Host("server", "me"), (Host("gate"),), args=NASTY)
    wanted = tunnel(way)
    unit = reverse_service.unit_text(wanted)
    # It shows the words as a shell wants them. What it replaces when it starts the command stands.
    found = [word.replace("\\$\\$", "$") for word in shlex.split(systemds_view(tmp_path, unit))]
    assert found == reverse_service.command_of(wanted)
    assert found[:4] == [sys.executable, "-m", "remote_kernels", "reverse"]
    assert shlex.split(found[found.index("me@server") + 3].partition("=")[2]) == list(NASTY)
    assert 'Environment="XDG_STATE_HOME=/a b/$x%%h"\n' in unit


def test_a_python_whose_path_systemd_would_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/$ORIGIN/python")
    unit = reverse_service.unit_text(tunnel())
    assert 'ExecStart="/usr/bin/env" "/opt/$$ORIGIN/python" "-m" "remote_kernels"' in unit


def test_the_agent_of_launchd() -> None:
    found = plistlib.loads(reverse_service.agent_plist(tunnel(Way(Host("server"), args=NASTY))))
    assert found["Label"] == "remote-kernels-reverse-me_at_server.example.org"
    wanted = tunnel(Way(Host("server"), args=NASTY))
    assert found["ProgramArguments"] == reverse_service.command_of(wanted)
    assert (found["RunAtLoad"], found["KeepAlive"]) == (True, {"SuccessfulExit": False})


def stub(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Path:
    """A command of the system that notes what it is asked; the file with that."""
    directory.mkdir(exist_ok=True)
    asked = directory / "asked"
    (directory / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{asked}\n{text}\n')
    (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return asked


def test_a_service_that_does_not_start_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'case $* in *restart*) echo "Failed to connect to bus" >&2; exit 1 ;; esac'
    stub(tmp_path / "bin", monkeypatch, "systemctl", text)
    with pytest.raises(RemoteKernelsError, match="systemctl --user restart failed: Failed to con"):
        reverse_service.install(tunnel())
    assert list((home / ".config/systemd/user").iterdir()) == []
    assert not reverse_service.remove("me@server.example.org")


def test_who_may_not_let_it_linger_is_told_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(tmp_path / "bin", monkeypatch, "systemctl", "")
    asked = stub(tmp_path / "bin", monkeypatch, "loginctl", "exit 1")
    service = reverse_service.install(tunnel())
    assert "sudo loginctl enable-linger" in service.hints[-1]
    assert asked.read_text().splitlines()[-1] == "loginctl --no-ask-password enable-linger"
    stub(tmp_path / "bin", monkeypatch, "loginctl", "echo yes")
    assert "linger" not in " ".join(reverse_service.install(tunnel()).hints)


def test_without_systemd_cron_can_do_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RemoteKernelsError, match="no systemd") as failed:
        reverse_service.install(tunnel())
    assert "@reboot" in failed.value.advice
    assert "--unattended --port=19506 --to=22" in failed.value.advice


def test_a_mac(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stub(tmp_path / "bin", monkeypatch, "launchctl", "")
    monkeypatch.setattr(sys, "platform", "darwin")
    service = reverse_service.install(tunnel())
    label = "remote-kernels-reverse-me_at_server.example.org"
    assert service.file == home / f"Library/LaunchAgents/{label}.plist"
    domain = f"gui/{os.getuid()}"
    bootstrap = f"launchctl bootstrap {domain} {service.file}"
    assert asked.read_text().splitlines() == [f"launchctl bootout {domain}/{label}", bootstrap]
    assert reverse_service.state_of("me@server.example.org") == (True, True, True)
    assert reverse_service.remove("me@server.example.org")
    assert not service.file.exists()
