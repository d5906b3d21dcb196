"""The bed itself: whether the machines are what the other tests take them for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, CommandFailedError, SomethingRemainsError, Watch, wait_until
from bed.plan import FAR_PEOPLE, SOURCE

SSH = ("ssh", "-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes")


def ssh(*words: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SSH, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout
    )


@pytest.mark.parametrize("host", ["far", "far4", "far6", "10.66.1.2", "fd66:1::2"])
def test_far_is_another_machine_reached_directly(bed: Bed, host: str) -> None:
    assert ssh(f"ada@{host}", "hostname").stdout == "far\n"


def test_far_listens_on_a_second_port(bed: Bed) -> None:
    assert ssh("-p", "2222", "ada@far", "hostname").stdout == "far\n"
    assert bed.far.listening_ports() == {22, 2222}


def test_inner_is_reached_through_both_gateways_only(bed: Bed) -> None:
    # options on the command line are not for the gateways: there, only the configuration counts
    Path.home().joinpath(".ssh/config").write_text("StrictHostKeyChecking accept-new\n")
    assert ssh("-J", "gina@gw1,gina@gw2", "ada@inner", "hostname").stdout == "inner\n"
    assert bed.gw1.logins() == bed.gw2.logins() == ["gina"]
    assert "Could not resolve" in ssh("ada@inner", "true").stderr
    assert "unreachable" in ssh("ada@10.66.4.2", "true").stderr
    from_gw1 = bed.gw1.run(["ssh", "ada@inner"], user="gina", check=False)
    assert "Could not resolve" in from_gw1.stderr


def test_an_unknown_name_fails_at_once(bed: Bed) -> None:
    assert "Could not resolve" in ssh("ada@nowhere.example", "true", timeout=2).stderr


def test_mia_is_an_ordinary_user_with_an_environment_of_her_own(bed: Bed) -> None:
    assert bed.laptop.run(["id", "-un"], user="mia").stdout == "mia\n"
    lines = subprocess.run(["env"], capture_output=True, text=True).stdout.splitlines()
    assert {"HOME=/home/mia", "USER=mia", "SHELL=/bin/bash"} <= set(lines)
    assert subprocess.run(["hostname"], capture_output=True, text=True).stdout == "laptop\n"


def test_users_are_what_the_plan_says(bed: Bed) -> None:
    shells = {who.name: bed.far.run(["getent", "passwd", who.name]).stdout for who in FAR_PEOPLE}
    assert all(shells[who.name].endswith(f":{who.shell}\n") for who in FAR_PEOPLE)


@pytest.mark.needs("tcsh", "fish", "zsh")
@pytest.mark.parametrize("user", ["ada", "bela", "cora", "fred", "zoe", "dora"])
def test_every_shell_runs_a_command(bed: Bed, user: str) -> None:
    finished = ssh(f"{user}@far", "echo", "$HOME")
    assert (finished.stdout, finished.stderr.count("\n")) == (f"/home/{user}\n", 1)  # known host
    assert bed.far.logins() == [user]


def test_awkward_users_are_awkward(bed: Bed) -> None:
    assert ssh("nora@far", "echo hi").stdout == "*** .bashrc: quota 93% ***\nhi\n"
    assert "no such module" in ssh("nora@far", "true").stderr
    login = ssh("nora@far", "bash -lc true").stdout
    assert ".profile" in login
    assert ssh("rex@far", "echo hi").returncode == 3
    assert "not available" in ssh("nolan@far", "echo hi").stdout
    assert "Permission denied (publickey)" in ssh("stranger@far", "echo hi").stderr


def test_nothing_of_the_program_is_installed_over_there(bed: Bed) -> None:
    assert bed.far.run(["ls", sys.prefix]).stdout == "far\n"
    assert bed.far.run(["ls", SOURCE], check=False).status == 2
    finished = bed.far.run([bed.far_python, "-c", "import ipykernel, remote_kernels"], check=False)
    assert "No module named 'remote_kernels'" in finished.stderr


def test_far_python_serves_ordinary_users(bed: Bed) -> None:
    argv = [bed.far_python, "-c", "import ipykernel, bash_kernel, matplotlib; print('ok')"]
    assert bed.far.run(argv, user="ada").stdout == "ok\n"


def test_machines_share_no_files_and_no_processes(bed: Bed) -> None:
    for directory in ("/tmp", "/home/ada", "/dev/shm", "/run"):
        bed.far.run(["touch", f"{directory}/mark"])
        assert bed.inner.run(["ls", directory]).stdout.count("mark") == 0
        bed.far.run(["rm", f"{directory}/mark"])
    assert not any("pytest" in process.args for process in bed.far.processes())
    assert any("pytest" in process.args for process in bed.laptop.processes("mia"))


def test_root_cannot_write_to_the_hosts_own_files(bed: Bed) -> None:
    assert "Read-only" in bed.far.run(["touch", "/usr/mark"], check=False).stderr


def test_run_carries_input_output_status_and_directory(bed: Bed) -> None:
    assert bed.far.run(["cat"], input="ä\udcff\n").stdout == "ä\udcff\n"
    assert bed.far.run(["sh", "-c", "exit 7"], check=False).status == 7
    assert bed.far.run(["pwd"], user="ada", env={"PWD": "/tmp"}).stdout == "/tmp\n"
    with pytest.raises(CommandFailedError, match="No such file"):
        bed.far.run(["cat", "/nowhere"])


def test_run_ends_a_command_whose_time_is_up(bed: Bed) -> None:
    assert bed.far.run(["sleep", "60"], user="ada", timeout=0.2, check=False).status == 124
    wait_until(lambda: not bed.far.processes("ada"), 20, "sleep to end")


def test_logins_are_counted_since_the_test_began(bed: Bed) -> None:
    assert bed.far.logins() == []
    ssh("ada@far", "true")
    ssh("bela@far", "true")
    assert bed.far.logins() == ["ada", "bela"]
    bed.forget_logins()
    assert bed.far.logins() == []


def test_sshd_takes_other_settings_and_gets_its_own_back(bed: Bed) -> None:
    with bed.far.sshd("DenyUsers bela", "PermitTTY no"):
        assert ssh("bela@far", "true").returncode == 255
        assert "PTY allocation request failed" in ssh("-tt", "ada@far", "true").stderr
    assert ssh("bela@far", "true").returncode == 0


def test_a_stopped_sshd_refuses(bed: Bed) -> None:
    bed.far.stop_sshd()
    assert "Connection refused" in ssh("ada@far", "true").stderr
    bed.far.restore()
    assert ssh("ada@far", "true").returncode == 0


def test_a_cut_link_loses_packets_in_silence_until_it_is_mended(bed: Bed) -> None:
    bed.far.cut()
    assert "timed out" in ssh("-o", "ConnectTimeout=1", "ada@far", "true").stderr
    bed.far.mend()
    assert ssh("ada@far4", "true").returncode == 0
    assert ssh("ada@far6", "true").returncode == 0


def test_a_session_lives_through_a_cut(bed: Bed) -> None:
    with subprocess.Popen(
        [*SSH, "ada@far", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(b"one\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"one\n"
        bed.far.cut()
        session.stdin.write(b"two\n")
        session.stdin.flush()
        bed.far.mend()
        assert session.stdout.readline() == b"two\n"
        session.stdin.close()


def test_a_new_host_key_is_refused(bed: Bed) -> None:
    assert ssh("ada@far", "true").returncode == 0
    bed.far.new_host_key()
    assert "HOST IDENTIFICATION HAS CHANGED" in ssh("ada@far", "true").stderr


def test_a_small_file_system_is_full_soon(bed: Bed) -> None:
    with bed.far.small_tmpfs("/home/ada", "4k", "ada"):
        finished = bed.far.run(
            ["dd", "if=/dev/zero", "of=/home/ada/big", "bs=8k", "count=1"], user="ada", check=False
        )
        assert "No space left" in finished.stderr
    assert "/home/ada/.bashrc" in bed.far.files("/home/ada")


@pytest.fixture
def far_litter(bed: Bed) -> Iterator[None]:
    """Clean up what the tests of the watch leave on purpose."""
    yield
    bed.far.run(["pkill", "-KILL", "-u", "ada"], check=False)
    bed.far.run(["find", "/home/ada", "-name", "rik_kernel-*", "-delete"])


LITTER = {
    "a file": (
        ["touch", "rik_kernel-1.json"],
        r"far: file /home/ada/rik_kernel-1\.json",
    ),
    "a process": (
        ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &"],
        r"far: process \d+ of ada .*: sleep 1000",
    ),
    "a port": (
        [
            *("sh", "-c", 'setsid "$0" -c "$1" >/dev/null 2>&1 &', "python3"),
            "import socket, time; s = socket.create_server(('', 4711)); time.sleep(1000)",
        ],
        r"far: listening port 4711",
    ),
}


@pytest.mark.usefixtures("far_litter")
@pytest.mark.parametrize("what", LITTER)
def test_the_watch_reports_what_is_left_over_there(bed: Bed, what: str) -> None:
    argv, expected = LITTER[what]
    watch = Watch(bed)
    bed.far.run(argv, user="ada")
    wait_until(watch.remains, 20, "something to remain")
    if what == "a port":
        wait_until(lambda: 4711 in bed.far.listening_ports(), 20, "the port")
    with pytest.raises(SomethingRemainsError, match=expected):
        watch.assert_nothing_remains(timeout=0.1)


def test_the_watch_reports_what_is_left_on_the_laptop(bed: Bed) -> None:
    watch = Watch(bed)
    with subprocess.Popen(["sleep", "1000"]) as process:
        bed.laptop.run(["touch", "/tmp/rk-socket", "/run/user/5001/x"], user="mia")
        with pytest.raises(SomethingRemainsError) as caught:
            watch.assert_nothing_remains(timeout=0.1)
        process.kill()
    bed.laptop.run(["rm", "/tmp/rk-socket", "/run/user/5001/x"])
    for line in ("/tmp/rk-socket", "/run/user/5001/x", ": sleep 1000"):
        assert f"{line}\n" in f"{caught.value}\n"
    watch.assert_nothing_remains()


@pytest.fixture
def bed_in_bed(bed: Bed) -> Iterator[int]:
    """The process number of a second bed, which root has switched on on the laptop."""
    # a name of its own for the command, to find it by
    start = 'setsid "$0" -m bed run -- sleep 4711 </dev/null >/tmp/bed.log 2>&1 & echo $!'
    environ = {"PYTHONPATH": f"{SOURCE}/tests", "PWD": SOURCE}
    argv = ["sh", "-c", start, sys.executable]
    pid = int(bed.laptop.run(argv, env=environ).stdout)
    try:
        wait_until(lambda: sleepers(bed), 10, "the second bed")
    except TimeoutError:
        pytest.fail(bed.laptop.read("/tmp/bed.log"))
    yield pid
    bed.laptop.run(["kill", "-KILL", str(pid)], check=False)


def sleepers(bed: Bed) -> list[int]:
    return [x.pid for x in bed.laptop.processes() if x.args == "sleep 4711"]


@pytest.mark.parametrize("signal", ["INT", "TERM", "KILL"])
def test_however_a_bed_ends_nothing_of_it_remains(bed: Bed, bed_in_bed: int, signal: str) -> None:
    def of_root() -> set[str]:
        return {x.args for x in bed.laptop.look().processes if x.user == "root"}

    assert any("bed.boot" in args for args in of_root())
    assert any("sshd" in args for args in of_root())
    bed.laptop.run(["kill", f"-{signal}", str(bed_in_bed)])
    # what is left is process 1 of the machine itself
    wait_until(lambda: of_root() == {"cat"}, 10, f"the second bed to end: {of_root()}")
    assert bed.laptop.listening_ports() == set()


def test_a_bed_ends_with_its_command_and_has_its_status(bed: Bed, bed_in_bed: int) -> None:
    bed.laptop.run(["kill", "-KILL", *map(str, sleepers(bed))])
    wait_until(lambda: not bed_runs(bed, bed_in_bed), 10, "the second bed to end")


def bed_runs(bed: Bed, pid: int) -> bool:
    return any(process.pid == pid for process in bed.laptop.processes())
