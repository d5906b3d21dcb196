"""remote-kernels reverse: a machine that can only dial out, reached through a server.

``box`` is that machine, ``far`` the server.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from bed import Bed, wait_until
from behind_nat import HOME, Box, at_box
from frontend import Kernel, Person, Site, add_kernel, ours

# A dead line is noticed after three seconds, and not after 45.
IMPATIENT = "--remote-launch-args=-o ServerAliveInterval=1"


@pytest.fixture
def box(bed: Bed) -> Iterator[Box]:
    """The box."""
    with at_box(bed) as box:
        yield box


def listeners(bed: Bed) -> dict[int, set[str]]:
    """The addresses on which somebody listens on ``far``, by their ports."""
    found: dict[int, set[str]] = {}
    for row in bed.far.run(["ss", "-Hntl"]).stdout.splitlines():
        address, _, port = row.split()[3].rpartition(":")
        found.setdefault(int(port), set()).add(address)
    return found


def site(bed: Bed, port: int) -> Site:
    options = ["-i", "ssh", "-x", f"ada@localhost:{port}", "--tunnel-hosts", "ada@far"]
    return Site(bed.box, "ada", bed.far_python, options)


def test_a_kernel_on_the_machine_that_nobody_reaches(
    bed: Bed, box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = box.holds("ada@far")
    with Kernel(add_kernel(site(bed, held.port)), tmp_path) as kernel:
        assert kernel.value("__import__('platform').node()") == "box"
    assert listeners(bed)[held.port] == {"127.0.0.1"}

    # What it says is what helps.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    lines = [shlex.split(x) for x in held.said().splitlines() if x.startswith("  ")]
    commands = [words for words in lines if words[0] == "remote-kernels"]
    for words in [*commands, ["remote-kernels", "ps", "box"]]:
        done = subprocess.run(
            [sys.executable, "-m", *words[:1][0].replace("-", "_").split(), *words[1:]],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
    (by_hand,) = [words for words in lines if words[0] == "ssh"]
    by_hand[1:1] = ["-oStrictHostKeyChecking=accept-new", "-oBatchMode=yes"]
    assert subprocess.run([*by_hand, "uname -n"], capture_output=True).stdout == b"box\n"

    again = box.reverse("ada@far")
    assert (again.status, f"held already, by process {held.pid}" in again.stderr) == (1, True)
    status = box.status()
    assert (status["state"], status["port"], status["to"]) == ("connected", held.port, 22)
    assert (status["pid"], status["connects"]) == (int(held.pid), 1)
    notes = bed.far.run(["sh", "-c", "stat -c '%a %n' /home/ada/.rk-*"]).stdout
    assert notes == f"600 /home/ada/.rk-reverse-far-{held.port}\n"

    held.end()
    assert held.said().endswith("The tunnel to ada@far has ended.\n")
    wait_until(lambda: held.port not in listeners(bed), 10, "the port to be free")
    assert box.status()["state"] == "ended"
    # Its port stays the same.
    second = box.holds("ada@far")
    assert second.port == held.port
    second.end("INT")


def test_a_line_that_is_cut_comes_back_by_itself(bed: Bed, box: Box) -> None:
    held = box.holds("ada@far", IMPATIENT)
    bed.box.cut()
    held.says("no tunnel to ada@far: the connection broke (Timeout, server far not responding.)")
    away = box.status()
    assert (away["state"], away["why"]) == ("away", "the connection broke")
    bed.box.mend()
    held.says("the tunnel to ada@far is back after")
    assert (box.status()["state"], box.status()["connects"]) == ("connected", 2)
    held.end()


@contextmanager
def another_address(bed: Bed) -> Iterator[None]:
    """``box`` is in another network: no word of its old connections ever reaches the server."""

    def change(old: str, new: str) -> None:
        for what, address in (("del", old), ("add", new)):
            bed.box.run(["ip", "address", what, f"{address}/24", "dev", "to-far"])

    change("10.66.7.2", "10.66.7.3")
    yield
    change("10.66.7.3", "10.66.7.2")


def test_another_network_and_a_dead_tunnel(bed: Bed, box: Box, tmp_path: Path) -> None:
    # far4: over IPv4 alone.
    held = box.holds("ada@far4")
    with Kernel(add_kernel(site(bed, held.port)), tmp_path) as kernel:
        kernel.run("kept = 42")
        with another_address(bed):
            # Long before ssh would notice.
            held.says("no tunnel to ada@far4: nothing came within 5 s")
            # The server's sshd does not notice at all, and holds the port on.
            said = held.says("the tunnel to ada@far4 is back after")
            assert re.search("A dead tunnel of ours, made at .*, held the port; it was ended", said)
            assert kernel.value("kept", timeout=60) == 42
            assert kernel.shut_down() == 0
            held.end()


def test_whoever_kills_it_frees_the_port(bed: Bed, box: Box) -> None:
    held = box.holds("ada@far", "--port", "19506")
    assert held.port == 19506
    # Somebody goes through the tunnel, and would keep it.
    (Path.home() / ".ssh/config").write_text("StrictHostKeyChecking accept-new\n")
    ssh = ["ssh", "-J", "ada@far", "-p19506", "ada@localhost", "echo in; cat"]
    with subprocess.Popen(ssh, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as through:
        assert through.stdout is not None
        assert through.stdout.readline() == b"in\n"
        held.end("KILL")
        wait_until(lambda: 19506 not in listeners(bed), 10, "the port to be free")
    # The next one removes what it has left.
    box.holds("ada@far").end()


@pytest.mark.needs("tcsh", "fish")
@pytest.mark.parametrize("user", ["cora", "fred"])
def test_other_shells_on_the_server(box: Box, user: str) -> None:
    box.holds(f"{user}@far").end()


def test_a_port_of_somebody_else(bed: Bed, box: Box) -> None:
    theirs = box.holds("bela@far", "--port", "19506")
    taken = box.reverse("ada@far", "--port", "19506")
    assert taken.status == 70
    assert "port 19506 of ada@far is held by something else there" in taken.stderr
    assert "try:   choose another with --port" in taken.stderr
    theirs.end()

    mine = box.holds("ada@far", "--port", "19506")
    # As the note of another machine would be, with the same account.
    change = "s/^[0-9a-f]*/x/; s/box$/p507/"
    bed.far.run(["sed", "-i", change, "/home/ada/.rk-reverse-far-19506"], user="ada")
    held = box.reverse("ada@far", "--port", "19506", state="other")
    assert held.status == 70
    assert "port 19506 of ada@far is held by the tunnel of p507, made at" in held.stderr
    assert mine.is_there()
    mine.end()
    bed.far.run(["rm", "/home/ada/.rk-reverse-far-19506"], user="ada")


@pytest.mark.parametrize(
    ("setting", "status", "sentence"),
    [
        ("GatewayPorts yes", 72, "sshd of ada@far opens port 19506 to other machines, too"),
        ("AllowTcpForwarding local", 71, "sshd of ada@far does not let its port 19506 lead here"),
    ],
)
def test_what_the_server_does_not_do(
    bed: Bed, box: Box, setting: str, status: int, sentence: str
) -> None:
    with bed.far.sshd(setting):
        done = box.reverse("ada@far", "--port", "19506")
        wait_until(lambda: 19506 not in listeners(bed), 10, "the port to be free")
    assert done.status == status
    assert sentence in done.stderr
    assert "no tunnels" in box.reverse("--status").stdout


def test_a_first_failure_is_the_end_where_somebody_is(bed: Bed, box: Box) -> None:
    nothing_there = box.reverse("ada@far", "--to", "2022")
    assert nothing_there.status == 73
    assert "no ssh server answers at port 2022 of this machine" in nothing_there.stderr
    assert "sudo apt install openssh-server" in nothing_there.stderr
    assert box.reverse("stranger@far").status == 17
    # A server that only lets through gives no place for the note.
    assert box.reverse("nolan@far").status == 20
    assert box.reverse("ada@nowhere").status == 12


def test_unattended_it_waits_for_the_server(bed: Bed, box: Box) -> None:
    bed.far.stop_sshd()
    held = box.begins("ada@far", "--unattended")
    held.says("no tunnel to ada@far: ada@far refused the connection")
    assert box.status()["state"] == "away"
    bed.far.restore()
    held.says("leads to port 22 here")
    held.end()


@pytest.fixture
def own_sshd() -> Iterator[int]:
    """The port of something on the laptop that says that it is an ssh server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                    connection.close()

        thread = Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_what_a_person_had_to_answer_once(bed: Bed, own_sshd: int) -> None:
    def begins() -> Person:
        person = ours("reverse", "stranger@far", "--to", str(own_sshd))
        person.sees("remote-kernels: stranger@far asks:\r\n.*password: ")
        person.types("correct horse")
        person.sees(f"Port .* of stranger@far leads to port {own_sshd} here")
        person.sees("ssh -J stranger@far .*\r\n")
        return person

    bed.far.set_password("stranger", "correct horse")
    with bed.far.sshd("PasswordAuthentication yes"):
        person = begins()
        person.presses("c")
        status, said = person.end()
        assert (status, "The tunnel to stranger@far has ended." in said) == (0, True)
        person = begins()
        bed.far.run(["pkill", "-u", "stranger", "sshd"])
        # Nobody answers when it is lost at night.
        status, said = person.end()
        assert status == 50
        assert "no tunnel to stranger@far: the connection broke" in said
        assert "it asks for a password or a code, and nobody here can answer" in said


# --- a service ------------------------------------------------------------------------------------

# No systemd runs on the bed. It notes what it is asked, and starts what the unit says.
SYSTEMCTL = """\
#!/bin/sh
cd {home} || exit
echo "$*" >>asked
case $* in
  *--quiet*) [ -e running ] ;;
  *restart*) touch running ;;
  *disable*) rm -f running ;;
esac
"""
LOGINCTL = """\
#!/bin/sh
echo "loginctl $*" >>{home}/asked
[ ! -e {home}/administrator ]
"""


@pytest.fixture
def systemd(bed: Bed, box: Box) -> Iterator[dict[str, str]]:
    """Where the commands of systemd are stubs; the variables for that."""
    for name, text in (("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL)):
        bed.box.write(f"{HOME}/bin/{name}", text.format(home=HOME), user="ada", mode="755")
    yield {"PATH": f"{HOME}/bin:/usr/bin:/bin"}
    bed.box.run(["rm", "-rf", "/home/ada/.config"], user="ada")


UNIT = "remote-kernels-reverse-ada_at_far.service"
UNITS = "/home/ada/.config/systemd/user"


def test_a_service_holds_it_after_boot(bed: Bed, box: Box, systemd: dict[str, str]) -> None:
    done = box.reverse("ada@far", "--port", "19506", "--service", **systemd)
    assert done.status == 0, done.stderr
    assert f"The service {UNIT} holds the tunnel" in done.stdout
    assert "administrator" not in done.stdout
    asked = bed.box.read(f"{HOME}/asked").splitlines()
    told = ["daemon-reload", f"enable {UNIT}", f"restart {UNIT}"]
    assert [x for x in asked if x.startswith("--user ")] == [f"--user {x}" for x in told]
    assert asked[-1] == "loginctl --no-ask-password enable-linger"
    assert bed.box.run(["stat", "-c", "%a", f"{UNITS}/{UNIT}"]).stdout == "600\n"
    assert bed.box.run(["ls", UNITS]).stdout == f"{UNIT}\n"

    # What the unit starts does it.
    line = re.search(r"^ExecStart=(.*)$", bed.box.read(f"{UNITS}/{UNIT}"), re.MULTILINE)
    assert line is not None
    words = shlex.split(line[1])
    assert words[:4] == [sys.executable, "-m", "remote_kernels", "reverse"]
    held = box.holds(*words[4:])
    state = box.reverse("--status", "--json", **systemd)
    assert json.loads(state.stdout)[0]["service"] == {
        "installed": True,
        "enabled": True,
        "running": True,
    }
    assert "its service runs, and starts after boot" in box.reverse("--status", **systemd).stdout
    held.end()

    removed = box.reverse("ada@far", "--service", "--remove", **systemd)
    assert removed.stdout == "The service for ada@far has ended, and was removed.\n"
    assert bed.box.run(["ls", UNITS]).stdout == ""
    asked = bed.box.read(f"{HOME}/asked").splitlines()
    assert asked[-2:] == [f"--user disable --now {UNIT}", "--user daemon-reload"]
    assert box.reverse("ada@far", "--service", "--remove", **systemd).status == 1


def test_a_service_that_could_not_log_in_is_not_installed(
    bed: Bed, box: Box, systemd: dict[str, str]
) -> None:
    refused = box.reverse("stranger@far", "--service", **systemd)
    assert refused.status == 17
    assert "let a key open that host first: remote-kernels copy-id stranger@far" in refused.stderr
    # A key that only an agent has is not there after boot.
    start = (
        'eval "$(ssh-agent)" >/dev/null; ssh-add -q; mv .ssh/id_ed25519 .ssh/before; '
        '"$@"; status=$?; mv .ssh/before .ssh/id_ed25519; kill "$SSH_AGENT_PID"; exit $status'
    )
    command = [sys.executable, "-m", "remote_kernels", "reverse", "ada@far", "--service"]
    env = {**box.env("state"), **systemd}
    by_agent = bed.box.run(["sh", "-c", start, "sh", *command], user="ada", env=env, check=False)
    assert by_agent.status == 50
    assert "with a key of your agent, which is not there after boot" in by_agent.stderr
    assert "/asked" not in "".join(bed.box.files(HOME))
    assert UNITS not in bed.box.files("/home/ada")

    # What it says helps.
    keys = bed.far.read("/home/ada/.ssh/authorized_keys")
    advice = re.findall(r"(?:passphrase|service): (.*)$", by_agent.stderr, re.MULTILINE)
    copy_id, option = map(shlex.split, advice)
    try:
        bed.box.run([sys.executable, "-m", "remote_kernels", *copy_id[1:]], user="ada", env=env)
        command = [*command, *option]
        by_file = ["sh", "-c", start.replace("ssh-add -q", ":"), "sh", *command]
        bed.box.run(by_file, user="ada", env=env)
        assert f"{UNITS}/{UNIT}" in bed.box.files("/home/ada")
    finally:
        bed.far.write("/home/ada/.ssh/authorized_keys", keys, user="ada")
        bed.box.run(["rm", "-f", ".ssh/id_reverse", ".ssh/id_reverse.pub"], user="ada")
