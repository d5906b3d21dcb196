"""A far side that is hostile or broken: it ends in words within its deadline, or works."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from jupyter_client.kernelspec import KernelSpecManager

from bed import Bed, Machine, wait_until
from frontend import Kernel, Site, add_kernel, assert_block, failing
from stubs import liar

#: Bytes of noise, and what a launcher may take of memory for it, in kB.
NOISE, MOST_MEMORY = 20_000_000, 60_000
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
# What a terminal would obey: a title, an emptied screen, C1's own CSI, and a line written over.
ESCAPES = r"\033]0;owned\007\033[2J\302\23331m over\rwritten"


def site(bed: Bed, user: str = "ada", *options: str) -> Site:
    # A connection that others may share stays open for a moment.
    way = ["-i", "ssh", "-x", f"{user}@far", "--no-share"]
    return Site(bed.far, user, bed.far_python, [*way, *options])


def assert_harmless(kernel_or_text: str) -> None:
    """Nothing that a terminal would obey is on standard error or in the log."""
    logs = Path(os.environ["XDG_STATE_HOME"]).rglob("*.log")
    # As bytes: whoever reads text takes a \r for a line's end.
    log = "".join(path.read_bytes().decode("utf-8", "replace") for path in logs)
    assert re.findall(r"[^\n\t -~]", re.sub(r"[^\x00-\x9f]", "", kernel_or_text + log)) == []


@pytest.fixture(autouse=True)
def _remove_what_others_leave(nothing_remains: None, bed: Bed) -> Iterator[None]:
    """IPython without a home, tmux and libfaketime leave files of theirs."""
    yield
    theirs = "rm -rf /tmp/tmp* /tmp/tmux-* /dev/shm/*faketime*"
    bed.far.run(["sh", "-c", theirs])


@contextlib.contextmanager
def dotfile(machine: Machine, user: str, name: str, text: str) -> Iterator[None]:
    """Put something before a start-up file."""
    path = f"/home/{user}/{name}"
    before = machine.run(["cat", path], user=user, check=False)
    machine.write(path, text + "\n" + before.stdout, user=user, mode="644")
    try:
        yield
    finally:
        if before.status:
            machine.run(["rm", path], user=user)
        else:
            machine.write(path, before.stdout, user=user, mode="644")


def assert_works(spec: str, directory: Path) -> None:
    """A kernel answers, takes little memory, and says nothing."""
    with Kernel(spec, directory) as kernel:
        assert kernel.value("6 * 7") == 42
        assert 0 < kernel.most_memory() < MOST_MEMORY
        # What has been printed until then comes first.
        assert kernel.shut_down(timeout=20) == 0
        assert kernel.stderr() == ""
    assert_harmless("")


def impatient(spec: str, module: str, **constants: float) -> str:
    """Give a kernelspec a launcher that has less patience than ours."""
    path = Path(KernelSpecManager().get_kernel_spec(spec).resource_dir, "kernel.json")
    data = json.loads(path.read_text())
    assert data["argv"][1:3] == ["-m", "remote_kernels"]
    lines = [
        f"from remote_kernels import {module} as module",
        *(f"module.{name} = {value}" for name, value in constants.items()),
        "from remote_kernels.__main__ import main",
        "raise SystemExit(main())",
    ]
    data["argv"][1:3] = ["-c", "\n".join(lines)]
    path.write_text(json.dumps(data))
    return spec


# --- the login ----------------------------------------------------------------------------------


class Talker(asyncssh.SSHServer):
    """A server that has much to say, and lets nobody in."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn

    def begin_auth(self, username: str) -> bool:
        line = "\x1b[31mno one shall pass\x07" + "!" * 79 + "\n"
        banner = line * (200_000 // len(line))
        # One packet holds no more than 256 KiB.
        for _ in range(NOISE // len(banner)):
            self._conn.send_auth_banner(banner)
        return True


@contextlib.contextmanager
def talker() -> Iterator[int]:
    """The port of a server that has much to say."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> asyncssh.SSHAcceptor:
        key = asyncssh.generate_private_key("ssh-ed25519")
        return await asyncssh.create_server(Talker, "127.0.0.1", 0, server_host_keys=[key])

    async def end(server: asyncssh.SSHAcceptor) -> None:
        server.close()
        await server.wait_closed()

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        yield server.get_port()
    finally:
        asyncio.run_coroutine_threadsafe(end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_megabytes_of_banner(bed: Bed, tmp_path: Path) -> None:
    with talker() as port:
        options = [
            "-i",
            "ssh",
            "-x",
            f"ada@127.0.0.1:{port}",
            "--remote-launch-args=-o BatchMode=yes",
        ]
        spec = add_kernel(Site(bed.laptop, "ada", "python", options))
        kernel = Kernel(spec, tmp_path)
        kernel.start()
        try:
            memory = kernel.most_memory_until_its_end(50)
        finally:
            kernel.__exit__(None, None, None)
    assert kernel.launcher.returncode == 17
    stderr = kernel.stderr_path.read_bytes().decode()
    assert_block(stderr, f"ada@127.0.0.1:{port} denied permission", "logging in", None, "no one")
    assert_harmless(stderr)
    assert 0 < memory < MOST_MEMORY


def test_a_long_banner_of_a_login_that_works(bed: Bed, tmp_path: Path) -> None:
    bed.far.run(["tee", "/run/banner"], input="\x1b[31mwelcome\x07\n" * 10_000)
    try:
        with bed.far.sshd("Banner /run/banner"):
            assert_works(add_kernel(site(bed)), tmp_path)
    finally:
        bed.far.run(["rm", "/run/banner"])


def test_a_port_that_accepts_and_says_nothing(bed: Bed, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"ada@127.0.0.1:{server.getsockname()[1]}"
        options = ["-i", "ssh", "-x", host, "--remote-launch-args=-o ConnectTimeout=1"]
        status, stderr = failing(add_kernel(Site(bed.laptop, "ada", "x", options)), tmp_path)
    assert status == 14
    assert_block(stderr, f"{host} could not be reached", "logging in", None, "timed out")


@pytest.mark.parametrize("text", ["exec sleep 6", "while read line; do :; done"])
def test_a_start_up_file_that_keeps_the_login(bed: Bed, tmp_path: Path, text: str) -> None:
    with dotfile(bed.far, "bela", ".bashrc", text):
        spec = impatient(add_kernel(site(bed, "bela")), "kept_channel", LOGIN_PATIENCE=2)
        status, stderr = failing(spec, tmp_path)
    assert status == 10
    sentence = "the far side did not start our program within 2 s"
    assert_block(stderr, sentence, "logging in", "bela@far", None)


@pytest.mark.parametrize("channel", ["kept_kernel", "plain_kernel"])
def test_a_start_up_file_that_keeps_the_kernels_shell(
    bed: Bed, tmp_path: Path, channel: str
) -> None:
    options = ["--channel=forward"] if channel == "plain_kernel" else []
    with dotfile(bed.far, "bela", ".bash_profile", "echo mounting; sleep 1000"):
        spec = impatient(add_kernel(site(bed, "bela", *options)), channel, _SHELL_PATIENCE=2)
        status, stderr = failing(spec, tmp_path)
    assert status == 20
    sentence = "the login shell over there did not run our command within 2 s"
    assert_block(stderr, sentence, "starting the shell over there", "bela@far", "mounting")


# --- start-up files -----------------------------------------------------------------------------

LINES = f"yes 'no such module: gcc/4' | head -c {NOISE}"
ONE_LINE = f"head -c {NOISE} /dev/zero | tr '\\0' x"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".bashrc", LINES),
        (".bashrc", f"{LINES} >&2"),
        (".bash_profile", LINES),
        (".bash_profile", ONE_LINE),
    ],
)
def test_megabytes_of_start_up_output(bed: Bed, tmp_path: Path, name: str, text: str) -> None:
    with dotfile(bed.far, "bela", name, text):
        assert_works(add_kernel(site(bed, "bela")), tmp_path)


def test_escape_sequences_are_shown_and_not_obeyed(bed: Bed, tmp_path: Path) -> None:
    say = f"printf '{ESCAPES} %s\\n'"
    with (
        dotfile(bed.far, "bela", ".bashrc", f"{say} rc; {say} rc-error >&2"),
        dotfile(bed.far, "bela", ".bash_profile", f"{say} profile"),
    ):
        where = site(bed, "bela")
        spec = add_kernel(where, f"--remote-precmd={say} precmd", kernel_cmd=f"{say} cmd; exit 3")
        kernel = Kernel(spec, tmp_path)
        kernel.start()
        assert kernel.launcher_status(timeout=30) == 25
        kernel.__exit__(None, None, None)
        stderr = kernel.stderr_path.read_bytes().decode()
        assert "written precmd" in stderr
        assert "written cmd" in stderr
        assert_harmless(stderr)
        status, stderr = failing(
            add_kernel(where, f"--remote-precmd={say} {liar.ESCAPES}; false"), tmp_path
        )
        assert status == 23
        assert_harmless(stderr)
        assert_works(add_kernel(where), tmp_path)


NOT_RUN = (20, "the login worked, but our command was not run over there")
NO_SHELL = (20, "the login shell over there ended with status {} before it ran our command")
WORKS = (0, "")
TRAPS = "trap '' HUP TERM QUIT; trap 'echo bye' EXIT INT"


@pytest.mark.needs("tcsh", "fish", "zsh", "tmux", "screen")
@pytest.mark.parametrize(
    ("user", "name", "text", "ends"),
    [
        ("bela", ".bashrc", "read answer", NOT_RUN),
        ("bela", ".bashrc", "exec tmux", NOT_RUN),
        ("bela", ".bashrc", "exec screen", NOT_RUN),
        ("bela", ".bashrc", "exec bash", NO_SHELL),
        ("bela", ".bashrc", "exec zsh", NO_SHELL),
        ("bela", ".bashrc", f"tmux; screen; {TRAPS}; printf 'bela> '", WORKS),
        ("bela", ".bash_profile", "exec tmux", NO_SHELL),
        ("bela", ".bash_profile", "exec screen", NO_SHELL),
        ("bela", ".bash_profile", "exec zsh", NO_SHELL),
        ("bela", ".bash_profile", "set -e; false", NO_SHELL),
        ("bela", ".bash_profile", f"read answer; {TRAPS}; zsh; tmux; printf 'bela> '", WORKS),
        ("dora", ".profile", "exit 1", NO_SHELL),
        ("zoe", ".zshenv", "exit 1", NOT_RUN),
        ("zoe", ".zshenv", "read answer", NOT_RUN),
        ("cora", ".tcshrc", "exit 1", WORKS),  # it ends this file alone
        ("cora", ".tcshrc", "set answer = $<", NOT_RUN),
        ("fred", ".config/fish/config.fish", "exit 1", WORKS),  # likewise
        ("fred", ".config/fish/config.fish", "read answer", NOT_RUN),
    ],
)
def test_what_start_up_files_do(
    bed: Bed, tmp_path: Path, user: str, name: str, text: str, ends: tuple[int, str]
) -> None:
    with dotfile(bed.far, user, name, text):
        spec = add_kernel(site(bed, user))
        if ends is WORKS:
            assert_works(spec, tmp_path)
            return
        status, stderr = failing(spec, tmp_path)
    expected, sentence = ends
    assert status == expected
    found = re.search(r"ended with status (\d+)", stderr)
    sentence = sentence.format(found[1] if found else "")
    assert_block(stderr, sentence, "starting the shell over there", f"{user}@far", None)
    assert_harmless(stderr)


# --- a keeper that lies -------------------------------------------------------------------------


def lying(bed: Bed, lie: str, directory: Path) -> str:
    """A kernelspec for a far side that lies."""
    command = shlex.join([sys.executable, liar.__file__, lie, str(directory)])
    return add_kernel(site(bed, "ada", f"--launch-cmd={command}"))


BROKEN = "the keeper does not keep to the protocol: "
NONSENSE = "the far side says what makes no sense: "


@pytest.mark.parametrize(
    ("lie", "status", "sentence"),
    [
        *((lie, 26, "the kernel ended with status 7") for lie in ["harmless", "escapes"]),
        *((lie, 27, BROKEN) for lie in liar.BROKEN),
        *((lie, 27, NONSENSE) for lie in [*liar.WORDS, "KEEPER", "WHATEVER", "GONE"]),
    ],
)
def test_a_keeper_that_lies(bed: Bed, tmp_path: Path, lie: str, status: int, sentence: str) -> None:
    ended, _ = failing(lying(bed, lie, tmp_path), tmp_path)
    (stderr,) = (path.read_bytes().decode() for path in tmp_path.glob("stderr-*"))
    assert ended == status
    assert f"\nremote-kernels: {sentence}" in f"\n{stderr}"
    assert "Traceback" not in stderr
    assert_harmless(stderr)


ENDLESS = ("elsewhere", "line", "lines", "errors", "message", "messages")


@pytest.mark.parametrize("lie", [*liar.ENDLESS, *(f"endless-{what}" for what in ENDLESS)])
def test_a_far_side_that_never_ends(bed: Bed, tmp_path: Path, lie: str) -> None:
    kernel = Kernel(lying(bed, lie, tmp_path), tmp_path)
    kernel.start()
    try:
        begun = kernel.has_read()
        enough = 0 if lie == "endless-elsewhere" else NOISE
        wait_until(
            lambda: kernel.launcher.poll() is not None or kernel.has_read() - begun > enough,
            30,
            "much to be read",
        )
        if lie == "endless-elsewhere":
            assert kernel.launcher_status(timeout=20) == 27
            return
        assert 0 < kernel.most_memory() < MOST_MEMORY
        kernel.signal_launcher(signal.SIGTERM)
        assert kernel.launcher_status(timeout=10) == 128 + signal.SIGTERM
        assert "Traceback" not in kernel.stderr()
    finally:
        kernel.__exit__(None, None, None)


# --- its disks ----------------------------------------------------------------------------------


@pytest.fixture
def keys(bed: Bed) -> Iterator[None]:
    """ada's key opens her account without her home."""
    bed.far.run(["cp", "/home/ada/.ssh/authorized_keys", "/etc/ssh/keys"])
    bed.far.run(["chmod", "644", "/etc/ssh/keys"])
    with bed.far.sshd("AuthorizedKeysFile /etc/ssh/keys"):
        yield
    bed.far.run(["rm", "/etc/ssh/keys"])


@contextlib.contextmanager
def mounted(machine: Machine, *argv: str) -> Iterator[None]:
    """Mount something, the last of the words, as long as it takes."""
    machine.run(["mount", *argv])
    try:
        yield
    finally:
        machine.run(["umount", "--lazy", argv[-1]])


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("home", ["/home/nowhere", "/"])
def test_no_home(bed: Bed, tmp_path: Path, home: str) -> None:
    before = bed.far.read("/etc/passwd")
    bed.far.run(["tee", "/etc/passwd"], input=before.replace(":/home/ada:", f":{home}:"))
    try:
        assert_works(add_kernel(site(bed)), tmp_path)
    finally:
        bed.far.run(["tee", "/etc/passwd"], input=before)


def test_a_read_only_home(bed: Bed, tmp_path: Path) -> None:
    with mounted(bed.far, "--bind", "-o", "ro", "/home/ada", "/home/ada"):
        bed.far.run(["mount", "-o", "remount,bind,ro", "/home/ada"])
        assert_works(add_kernel(site(bed)), tmp_path)


@pytest.mark.usefixtures("keys")
def test_a_full_home(bed: Bed, tmp_path: Path) -> None:
    with bed.far.small_tmpfs("/home/ada", "4k", "ada"):
        bed.far.run(["dd", "if=/dev/zero", "of=x", "bs=4k"], user="ada", check=False)
        status, stderr = failing(add_kernel(site(bed)), tmp_path)
    assert status == 22
    assert "No space left on device" in stderr


PLACES = ("/tmp", "/var/tmp", "/dev/shm")


@pytest.mark.parametrize("full", [1, 3])
def test_no_room_for_temporary_files(bed: Bed, tmp_path: Path, full: int) -> None:
    with contextlib.ExitStack() as stack:
        for place in PLACES[:full]:
            how = ("-t", "tmpfs", "-o", "mode=1777,nr_inodes=1", "bed", place)
            stack.enter_context(mounted(bed.far, *how))
        if full < len(PLACES):
            assert_works(add_kernel(site(bed)), tmp_path)
            return
        status, stderr = failing(add_kernel(site(bed)), tmp_path)
    assert status == 22
    why = ", ".join(f"{place}: No space left on device" for place in PLACES)
    sentence = f"no private directory can be made over there: {why}"
    assert_block(stderr, sentence, "copying the connection file", "ada@far", None)


@pytest.mark.needs("btrfs")
def test_a_quota_that_is_exceeded(bed: Bed, tmp_path: Path) -> None:
    image, place = "/srv/quota", "/home/ada/quota"
    bed.far.run(["truncate", "--size=128M", image])
    bed.far.run(["mkfs.btrfs", "-q", image])
    bed.far.run(["mkdir", place])
    try:
        with mounted(bed.far, "-o", "loop", image, place):
            bed.far.run(["chown", "ada", place])
            bed.far.run(["btrfs", "quota", "enable", place])
            bed.far.run(["btrfs", "qgroup", "limit", "1M", "0/5", place])
            bed.far.run(["dd", "if=/dev/zero", f"of={place}/x", "bs=64k"], user="ada", check=False)
            status, stderr = failing(add_kernel(site(bed, "ada", "--workdir=~/quota")), tmp_path)
    finally:
        bed.far.run(["rm", "-r", image, place])
    assert status == 22
    assert "Disk quota exceeded" in stderr
    assert "check space, quota and permissions" in stderr


# --- its clock ----------------------------------------------------------------------------------


def wrong(offset: str) -> list[str]:
    """The variables of a program whose clock is wrong, by so much from its start to its end."""
    # With DONT_FAKE_MONOTONIC Python's own waits for a lock would fail (libfaketime 0.9.10).
    return [f"LD_PRELOAD={FAKETIME}", f"FAKETIME={offset}"]


@pytest.mark.needs("libfaketime")
@pytest.mark.parametrize("years", [-30, 30])
def test_a_clock_that_is_wrong_over_there(bed: Bed, tmp_path: Path, years: int) -> None:
    year = "__import__('time').localtime().tm_year"
    with (
        bed.far.sshd(f"SetEnv {' '.join(wrong(f'{years:+}y'))}"),
        Kernel(add_kernel(site(bed)), tmp_path) as kernel,
    ):
        assert abs(kernel.value(year) - time.localtime().tm_year - years) <= 1
        cell = kernel.begin("import time\nwhile True: time.sleep(0.1)")
        kernel.signal_launcher(signal.SIGINT)
        assert kernel.reply_to(cell)["ename"] == "KeyboardInterrupt"
        assert kernel.shut_down() == 0


@pytest.mark.needs("libfaketime")
@pytest.mark.parametrize("offset", ["-30y", "+30y"])
def test_a_clock_that_is_wrong_on_this_side(bed: Bed, tmp_path: Path, offset: str) -> None:
    spec = add_kernel(site(bed))
    path = Path(KernelSpecManager().get_kernel_spec(spec).resource_dir, "kernel.json")
    data = json.loads(path.read_text())
    data["argv"] = ["env", *wrong(offset), *data["argv"]]
    path.write_text(json.dumps(data))
    assert_works(spec, tmp_path)
