"""What ssh asks on the way in reaches the person, and nothing else is ever answered."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import asyncssh
import pytest

from bed import Bed, wait_until
from bed.plan import BY_PASSWORD
from frontend import (
    Kernel,
    Person,
    Site,
    add_kernel,
    assert_block,
    failing,
    log_text,
    ours,
    remote_kernels,
)

PASSWORD = "correct horse"
# The secret of a one-time code, as oathtool and libpam-oath write it.
SEED = "3132333435363738393031323334353637383930"

OATH = "auth required pam_oath.so usersfile=/run/oath"
BY_CODE = (BY_PASSWORD[0], OATH, BY_PASSWORD[1])
# It takes its time behind the last answer, for as long as there is a file.
SLOW = "account required pam_exec.so /bin/sh /run/slow"
SLOW_PROGRAM = "while [ -e /run/held ]; do sleep 0.05; done\n"

# The other way in which sshd asks for a password.
BY_METHOD_PASSWORD = ("PasswordAuthentication yes", "KbdInteractiveAuthentication no")

CODE = "import platform; print('node', platform.node())"


def site(bed: Bed, *options: str) -> Site:
    return Site(bed.far, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@far", *options])


def asks_code(spec: str, directory: Path) -> Person:
    """A person who runs a cell, with Jupyter in the foreground of their terminal."""
    cell = directory / "cell.py"
    cell.write_text(CODE)
    return Person(sys.executable, "-m", "jupyter", "run", f"--kernel={spec}", str(cell))


@pytest.fixture(autouse=True)
def _log_out() -> Iterator[None]:
    yield
    ours("logout", "--all").end()


@contextmanager
def with_code(bed: Bed, *more: str) -> Iterator[None]:
    """``far`` wants ada's password and a one-time code, and what more lines of PAM say."""
    bed.far.set_password("ada", PASSWORD)
    bed.far.run(["tee", "/run/oath"], input=f"HOTP/T30 ada - {SEED}\n")
    bed.far.run(["chmod", "600", "/run/oath"])
    with bed.far.asking(*BY_CODE, *more):
        yield
    bed.far.run(["rm", "/run/oath"])


def code(bed: Bed) -> str:
    return bed.far.run(["oathtool", "--totp", SEED]).stdout.strip()


@contextmanager
def with_password(bed: Bed, *settings: str) -> Iterator[None]:
    """``far`` wants ada's password."""
    with bed.far.wanting_password("ada", PASSWORD, *settings):
        yield


# --- at the terminal ----------------------------------------------------------------------------


def test_a_password_at_the_terminal_in_which_jupyter_runs(bed: Bed, tmp_path: Path) -> None:
    with with_password(bed, *BY_METHOD_PASSWORD):
        person = asks_code(add_kernel(site(bed)), tmp_path)
        person.sees("remote-kernels: ada@far asks:\r\nada@far's password: ")
        person.types("wrong")
        # It is asked for as often as ssh does, with what ssh says of it.
        person.sees("Permission denied, please try again")
        person.sees("remote-kernels: ada@far asks:\r\nada@far's password: ")
        person.types(PASSWORD)
        shown = person.sees("node far")
        assert PASSWORD not in shown
        assert person.end()[0] == 0
    assert PASSWORD not in log_text()


def test_what_is_given_up_with_control_c(bed: Bed, tmp_path: Path) -> None:
    with with_password(bed):
        person = ours("login", "ada@far")
        person.sees("Password: ")
        person.presses("c")
        status, said = person.end()
    assert status == 50
    assert "the login to ada@far was given up" in said
    assert bed.far.logins() == []


# --- remote-kernels login -----------------------------------------------------------------------


def test_a_login_with_password_and_code_serves_all_kernels(bed: Bed, tmp_path: Path) -> None:
    spec = add_kernel(site(bed))
    with with_code(bed):
        person = ours("login", "ada@far")
        person.sees("remote-kernels: ada@far asks:\r\n.*Password: ")
        person.types(PASSWORD)
        person.sees("remote-kernels: ada@far asks:\r\n.*One-time password.*: ")
        person.types(code(bed))
        status, said = person.end()
        assert status == 0, said
        with Kernel(spec, tmp_path) as first, Kernel(spec, tmp_path) as second:
            assert [first.value("6 * 7"), second.value("6 * 7")] == [42, 42]
        with Kernel(add_kernel(site(bed, "--channel=forward"), name="Plain"), tmp_path) as plain:
            assert plain.value("6 * 7") == 42
        assert bed.far.logins() == ["ada"]


def test_a_login_through_gateways_names_which_asks(bed: Bed, tmp_path: Path) -> None:
    options = ["--tunnel-hosts", "gina@gw1", "gina@gw2"]
    here = Site(bed.inner, "ada", bed.far_python, ["-i", "ssh", "-x", "ada@inner", *options])
    spec = add_kernel(here)
    for machine, user in ((bed.gw1, "gina"), (bed.gw2, "gina"), (bed.inner, "ada")):
        machine.set_password(user, f"{PASSWORD} of {machine.name}")
    with (
        bed.gw1.asking(*BY_PASSWORD),
        bed.gw2.asking(*BY_PASSWORD),
        bed.inner.asking(*BY_PASSWORD, settings=BY_METHOD_PASSWORD),
    ):
        # The gateways are those of the kernel.
        person = ours("login", "ada@inner")
        for asker in ("the gateway gina@gw1", "the gateway gina@gw2", "ada@inner"):
            person.sees(f"remote-kernels: {asker} asks:\r\n.*[Pp]assword: ")
            person.types(f"{PASSWORD} of {asker.rpartition('@')[2]}")
        status, said = person.end()
        assert status == 0, said
        with Kernel(spec, tmp_path) as kernel:
            assert kernel.value("__import__('platform').node()") == "inner"
    assert [m.logins() for m in (bed.gw1, bed.gw2, bed.inner)] == [["gina"], ["gina"], ["ada"]]


def test_where_nobody_can_answer_the_launcher_says_what_to_do(bed: Bed, tmp_path: Path) -> None:
    spec = add_kernel(site(bed))
    with with_password(bed):
        status, stderr = failing(spec, tmp_path)
        assert status == 50
        asks = "it asks for a password or a code, and nobody here can answer"
        sentence = f"ada@far denied permission: {asks}"
        assert_block(stderr, sentence, "logging in", "ada@far", "keyboard-interactive")
        line = stderr.partition("in a terminal: remote-kernels ")[2].splitlines()[0]
        person = ours(*line.split())
        person.sees("Password: ")
        person.types(PASSWORD)
        assert person.end()[0] == 0
        with Kernel(spec, tmp_path) as kernel:
            assert kernel.value("6 * 7") == 42


def test_a_login_that_has_run_out(bed: Bed, tmp_path: Path) -> None:
    spec = add_kernel(site(bed))
    with with_password(bed):
        person = ours("login", "ada@far", "--for", "3s")
        person.sees("Password: ")
        person.types(PASSWORD)
        assert person.end()[0] == 0
        with Kernel(spec, tmp_path) as kernel:
            wait_until(lambda: "has run out" in ours("login").end()[1], 20, "the end of the login")
            # What runs over it goes on.
            assert kernel.value("6 * 7") == 42
            status, stderr = failing(spec, tmp_path)
        assert status == 51
        assert re.search(r"the login to ada@far has run out at \d\d:\d\d", stderr)
        assert "in a terminal: remote-kernels login ada@far" in stderr


def test_a_login_that_sleep_has_made_older_than_it_may_be(bed: Bed, tmp_path: Path) -> None:
    person = ours("login", "ada@far")
    assert person.end()[0] == 0
    (note,) = Path(os.environ["XDG_RUNTIME_DIR"]).glob("rk-*.login")
    assert note.stat().st_mode & 0o777 == 0o600
    until = re.search(r'"until": ([0-9.]+)', note.read_text())
    assert until is not None
    note.write_text(note.read_text().replace(until[1], "1"))
    with Kernel(add_kernel(site(bed)), tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
        assert bed.far.logins() == ["ada", "ada"]
    # By itself it notices within a minute.
    bed.laptop.run(["pkill", "-u", "mia", "-x", "ssh"])


def test_the_list_of_logins(bed: Bed, tmp_path: Path) -> None:
    assert "There are no logins" in ours("login").end()[1]
    assert ours("login", "ada@far").end()[0] == 0
    assert re.search(r"ada@far: logged in at .*; 7 h 59 min left, at ", ours("login").end()[1])
    (listed,) = json.loads(remote_kernels("login", "--json"))
    assert (listed["host"], listed["gateways"], listed["open"]) == ("ada@far", [], True)
    assert listed["until"] - listed["since"] == 8 * 3600
    assert remote_kernels("logout", "ada@far") == "Logged out of ada@far.\n"
    assert json.loads(remote_kernels("login", "--json")) == []
    status, said = ours("logout", "ada@far").end()
    assert (status, said) == (1, "There is no login to ada@far.\r\n")


def test_a_login_that_was_lost(bed: Bed, tmp_path: Path) -> None:
    assert ours("login", "ada@far").end()[0] == 0
    bed.laptop.run(["pkill", "-KILL", "-u", "mia", "-x", "ssh"])
    said = wait_until(
        lambda: "was lost" in (text := remote_kernels("login")) and text, 10, "its end"
    )
    assert re.search(r"ada@far: the login to ada@far at \d\d:\d\d was lost", said)
    assert json.loads(remote_kernels("login", "--json"))[0]["open"] is False
    # What it has left is in nobody's way.
    assert ours("login", "ada@far").end()[0] == 0
    with Kernel(add_kernel(site(bed)), tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
    assert bed.far.logins() == ["ada", "ada"]


def test_kernels_wait_for_the_next_login(bed: Bed, tmp_path: Path) -> None:
    with with_password(bed):

        def log_in() -> None:
            person = ours("login", "ada@far")
            person.sees("Password: ")
            person.types(PASSWORD)
            assert person.end()[0] == 0

        log_in()
        with Kernel(add_kernel(site(bed)), tmp_path) as kernel:
            kernel.run("precious = 42")
            remote_kernels("logout", "ada@far")
            wait_until(lambda: "remote-kernels login ada@far" in kernel.stderr(), 20, "the advice")
            log_in()
            wait_until(lambda: "back at ada@far" in kernel.stderr(), 20, "the line")
            assert kernel.value("precious") == 42
        assert bed.far.logins() == ["ada", "ada"]


def test_two_kernels_ask_once(bed: Bed, tmp_path: Path) -> None:
    spec = add_kernel(site(bed))
    starts = tmp_path / "starts.py"
    starts.write_text(TWO_KERNELS)
    bed.far.run(["tee", "/run/slow"], input=SLOW_PROGRAM)
    bed.far.run(["touch", "/run/held"])
    with with_code(bed, SLOW):
        person = Person(sys.executable, str(starts), spec)
        person.sees("remote-kernels: ada@far asks:\r\n.*Password: ")
        wait_until(lambda: len(logging_in(bed)) == 2, 20, "two that log in")
        person.types(PASSWORD)
        assert "Password" not in person.sees("One-time password.*: ")
        person.types(code(bed))
        wait_until(lambda: len(logging_in(bed)) == 1, 20, "the last answer")
        # Nor does the other ask while it is not yet known what has come of the answers.
        (waiting,) = logging_in(bed)
        enough = writes(waiting) + 3
        wait_until(lambda: writes(waiting) >= enough, 20, "three requests for a turn")
        bed.far.run(["rm", "/run/held", "/run/slow"])
        shown = person.sees("both are ready")
        assert "asks" not in shown
        assert person.end()[0] == 0
        assert bed.far.logins() == ["ada"]


def writes(pid: int) -> int:
    """How often a process has written; one that waits for its turn does for every request."""
    return int(re.search(r"syscw: (\d+)", Path(f"/proc/{pid}/io").read_text())[1])  # type: ignore[index]


TWO_KERNELS = """
import sys
from jupyter_client.manager import KernelManager

managers = [KernelManager(kernel_name=sys.argv[1]) for _ in range(2)]
for manager in managers:
    manager.start_kernel()
for manager in managers:
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    client.stop_channels()
print("both are ready", flush=True)
for manager in managers:
    manager.shutdown_kernel()
"""


def logging_in(bed: Bed) -> list[int]:
    """The programs of ours that ask, or wait for their turn."""
    return [x.pid for x in bed.laptop.processes("mia") if "remote_kernels.askpass" in x.args]


def test_a_check_asks_at_its_terminal(bed: Bed, tmp_path: Path) -> None:
    spec = add_kernel(site(bed))
    with with_password(bed):
        person = ours("check", spec)
        person.sees("remote-kernels: ada@far asks:\r\n.*Password: ")
        person.types(PASSWORD)
        shown = person.sees("nothing left behind")
        assert "far: keyboard-interactive" in shown
        assert "asks" not in shown
        assert person.end()[0] == 0
        assert bed.far.logins() == ["ada"]


# --- other questions ----------------------------------------------------------------------------


def test_a_new_host_key(bed: Bed, tmp_path: Path) -> None:
    Path.home().joinpath(".ssh/config").write_text("Host far\n  StrictHostKeyChecking ask\n")
    person = ours("login", "ada@far")
    shown = person.sees(r"Are you sure .*\? ")
    assert "remote-kernels: ada@far asks:" in shown
    assert re.search(r"ED25519 key fingerprint is SHA256:\S+", shown)
    # No secret: it is seen while it is typed.
    person.types("yes")
    person.sees("yes")
    assert person.end()[0] == 0


def test_the_passphrase_of_a_key(bed: Bed, tmp_path: Path) -> None:
    key = tmp_path / "key"
    shutil.copy(Path.home() / ".ssh/id_ed25519", key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", PASSWORD, "-f", key], check=True)
    person = ours("login", "ada@far", f"--remote-launch-args=-F none -i {key}")
    person.sees(f"remote-kernels: ada@far asks:\r\nEnter passphrase for key '{key}': ")
    person.types(PASSWORD)
    assert person.end()[0] == 0


def test_a_question_that_nobody_answers(bed: Bed, tmp_path: Path) -> None:
    impatient = (
        "from remote_kernels import cli, questions; questions.PATIENCE = 1.0; "
        "cli.main(['login', 'ada@far'])"
    )
    with with_password(bed):
        person = Person(sys.executable, "-c", impatient)
        person.sees("Password: ")
        status, said = person.end()
    assert status == 50
    assert "nobody answered within 1 s what ada@far asked" in said


def test_what_only_looks_like_a_question_is_none(bed: Bed, tmp_path: Path) -> None:
    spec = add_kernel(site(bed, "--remote-precmd=echo Password: >&2; echo 'ada@far password: '"))
    bed.far.run(["tee", "/run/banner"], input="\x1b[31mada@far's password: \n")
    bed.far.write(
        "/home/ada/.bash_profile", "echo Passphrase:\nread -t 1 x\necho got $x\n", user="ada"
    )
    with bed.far.sshd("Banner /run/banner"):
        person = asks_code(spec, tmp_path)
        shown = person.sees("node far")
        assert person.end()[0] == 0
    bed.far.run(["rm", "/run/banner", "/home/ada/.bash_profile"])
    assert "asks" not in shown
    assert "\x1b" not in shown + log_text()


class Duo(asyncssh.SSHServer):
    """A server that asks as Duo's does, with a menu of its own and then a code."""

    def __init__(self) -> None:
        self.answers: list[str] = []

    def begin_auth(self, username: str) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> asyncssh.KbdIntChallenge:
        menu = "Enter a passcode or select one of the following options:\n\n 1. Duo Push\n 2. Phone"
        return ("Duo two-factor login for ada", f"\x1b[2J{menu}\n", "", [(MENU, True)])

    def validate_kbdint_response(
        self, username: str, responses: Sequence[str]
    ) -> asyncssh.KbdIntChallenge | bool:
        self.answers += responses
        if self.answers == ["1"]:
            return ("", "Pushed a login request to your device...", "", [("Code: ", False)])
        return self.answers == ["1", "123456"]


MENU = "Passcode or option (1-2): "


@contextmanager
def duo() -> Iterator[int]:
    """The port of such a server, on this machine."""

    async def shell(process: Any) -> None:
        process.stdout.write(process.command.split()[1].removesuffix(";") + "\n")
        await process.stdin.read()
        process.exit(0)

    async def start() -> Any:
        key = asyncssh.generate_private_key("ssh-ed25519")
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[key], server_factory=Duo, process_factory=shell
        )

    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)

    async def stop() -> None:
        server.close()
        await server.wait_closed()

    try:
        yield server.get_port()
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_menu_and_then_a_code(bed: Bed) -> None:
    with duo() as port:
        person = ours("login", f"ada@127.0.0.1:{port}")
        # What belongs to the question is shown with it, harmless.
        shown = person.sees(re.escape(MENU))
        assert "Duo two-factor login for ada" in shown
        assert " 1. Duo Push" in shown
        assert "\x1b" not in shown
        person.types("1")
        # The number of an option is no secret.
        shown = person.sees("Code: ")
        assert "1\r\n" in shown
        assert "Pushed a login request to your device" in shown
        person.types("123456")
        status, said = person.end()
        assert (status, "123456" in said) == (0, False), said
        ours("logout", "--all").end()


# --- with a desktop -----------------------------------------------------------------------------


@contextmanager
def desktop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A display of this machine's own."""
    reads, writes = os.pipe()
    command = ["Xvfb", "-displayfd", str(writes), "-nolisten", "tcp", "-screen", "0", "640x480x24"]
    with subprocess.Popen(command, pass_fds=[writes], stderr=subprocess.DEVNULL) as server:
        os.close(writes)
        with open(reads) as said:
            monkeypatch.setenv("DISPLAY", f":{said.readline().strip()}")
        try:
            yield
        finally:
            server.terminate()


def windows() -> list[str]:
    """The windows in which somebody asks."""
    done = subprocess.run(
        ["xdotool", "search", "--onlyvisible", "--name", "OpenSSH"], capture_output=True, text=True
    )
    return done.stdout.split()


@pytest.mark.needs("desktop")
def test_a_prompt_of_the_desktop(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = add_kernel(site(bed))
    with with_password(bed), desktop(monkeypatch):
        kernel = Kernel(spec, tmp_path)
        kernel.start()
        wait_until(windows, 60, "the prompt")
        subprocess.run(["xdotool", "type", f"{PASSWORD}\n"], check=True)
        kernel.wait_for_ready()
        assert kernel.value("6 * 7") == 42
        kernel.__exit__(None, None, None)
        sockets = Path(os.environ["XDG_RUNTIME_DIR"])
        wait_until(lambda: not list(sockets.iterdir()), 20, "the end of the shared login")
        # Closed without an answer.
        kernel = Kernel(spec, tmp_path)
        kernel.start()
        wait_until(windows, 60, "the prompt")
        subprocess.run(["xdotool", "key", "Escape"], check=True)
        assert kernel.launcher_status(timeout=20) == 50
        assert "the login to ada@far was given up" in kernel.stderr()
        kernel.__exit__(None, None, None)


# --- a PIN --------------------------------------------------------------------------------------


@pytest.mark.needs("softhsm2")
def test_the_pin_of_a_hardware_key(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    pkcs8 = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", key, "-out", tmp_path / "key.p8"]
    subprocess.run(pkcs8, check=True)
    softhsm = ["softhsm2-util", "--token", "card", "--pin", "4711"]
    init = ["softhsm2-util", "--init-token", "--free", "--label", "card", "--so-pin", "0815"]
    subprocess.run([*init, "--pin", "4711"], check=True, capture_output=True)
    put = ["--import", tmp_path / "key.p8", "--label", "mia", "--id", "01"]
    subprocess.run([*softhsm, *put], check=True, capture_output=True)
    listed = subprocess.run(["ssh-keygen", "-D", PKCS11], capture_output=True, text=True)
    before = bed.far.read("/home/ada/.ssh/authorized_keys")
    bed.far.write("/home/ada/.ssh/authorized_keys", listed.stdout, user="ada")
    try:
        person = ours("login", "ada@far", f"--remote-launch-args=-F none -I {PKCS11}")
        person.sees("remote-kernels: ada@far asks:\r\nEnter PIN for 'card': ")
        person.types("4711")
        status, said = person.end()
        assert (status, "4711" in said) == (0, False), said
    finally:
        bed.far.write("/home/ada/.ssh/authorized_keys", before, user="ada")


PKCS11 = "/usr/lib/softhsm/libsofthsm2.so"
