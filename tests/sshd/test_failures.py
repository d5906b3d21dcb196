"""Every failure is one block at the end of standard error, with an exit code of its own."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from bed import Bed, wait_until
from frontend import IPYKERNEL, Kernel, Site, add_kernel, assert_block, failing

DIRECT = ["--interface=ssh", "--host=ada@far"]


def site(bed: Bed, *options: str) -> Site:
    return Site(bed.far, "ada", bed.far_python, list(options))


def fails(
    bed: Bed, directory: Path, *options: str, kernel_cmd: str | None = None
) -> tuple[int, str]:
    return failing(add_kernel(site(bed, *options), kernel_cmd=kernel_cmd), directory)


# --- logging in ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "code", "sentence", "said"),
    [
        ("ada@nowhere", 12, "no machine named ada@nowhere is known", "Could not resolve hostname"),
        ("ada@far:2", 13, "ada@far:2 refused the connection", "Connection refused"),
        ("ada@10.66.9.9", 14, "ada@10.66.9.9 could not be reached", "Network is unreachable"),
        ("stranger@far", 17, "stranger@far denied permission", "Permission denied (publickey)"),
    ],
)
def test_a_host_that_cannot_be_logged_in_to(
    bed: Bed, tmp_path: Path, host: str, code: int, sentence: str, said: str
) -> None:
    status, stderr = fails(bed, tmp_path, "--interface=ssh", f"--host={host}")
    assert status == code
    assert_block(stderr, sentence, "logging in", host, said)


def test_a_host_that_does_not_answer(bed: Bed, tmp_path: Path) -> None:
    bed.far.cut()
    status, stderr = fails(bed, tmp_path, *DIRECT, "--remote-launch-args=-o ConnectTimeout=2")
    assert status == 14
    assert_block(stderr, "ada@far could not be reached", "logging in", "ada@far", "timed out")


def test_a_changed_host_key(bed: Bed, tmp_path: Path) -> None:
    spec = add_kernel(site(bed, *DIRECT, "--no-share"))
    with Kernel(spec, tmp_path):
        pass
    bed.far.new_host_key()
    status, stderr = failing(spec, tmp_path)
    assert status == 15
    new = bed.far.run(["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key"]).stdout.split()[1]
    known = Path.home() / ".ssh/known_hosts"
    sentence = (
        f"the host key of ada@far has changed: it is {new} now, and another in {known}, line 1"
    )
    assert_block(stderr, sentence, "logging in", "ada@far", "Offending")
    remove = re.search(r"remove its old key: (.*)", stderr)
    assert remove is not None
    subprocess.run(shlex.split(remove[1]), check=True, capture_output=True)
    with Kernel(spec, tmp_path):
        pass


def test_an_unknown_host_key_where_the_configuration_wants_it_known(
    bed: Bed, tmp_path: Path
) -> None:
    Path.home().joinpath(".ssh/config").write_text("Host far\n  StrictHostKeyChecking yes\n")
    status, stderr = fails(bed, tmp_path, *DIRECT)
    assert status == 16
    assert_block(stderr, "the host key of ada@far is not known", "logging in", "ada@far", None)


def test_a_new_host_key_is_taken_and_kept(bed: Bed, tmp_path: Path) -> None:
    with Kernel(add_kernel(site(bed, *DIRECT)), tmp_path):
        known = bed.laptop.run(["ssh-keygen", "-F", "far"], user="mia").stdout
    assert "ssh-ed25519" in known


def test_a_refused_login_is_not_tried_again(bed: Bed, tmp_path: Path) -> None:
    def refusals() -> int:
        return bed.far.sshd_log().count("Connection closed by authenticating user stranger")

    before = refusals()
    fails(bed, tmp_path, "--interface=ssh", "--host=stranger@far")
    assert refusals() == before + 1


@pytest.mark.parametrize(
    ("gateways", "sentence"),
    [
        (["gina@nogate"], "the gateway gina@nogate failed: no machine named gina@nogate is known"),
        (["gina@gw1:23"], "the gateway gina@gw1:23 failed: gina@gw1:23 refused the connection"),
        (["ada@gw1"], "the gateway ada@gw1 failed: ada@gw1 denied permission"),
        (["gina@gw1", "ada@gw2"], "the gateway ada@gw2 failed: ada@gw2 denied permission"),
        (["gina@gw1"], "gina@gw1 could not reach the next host on the way to ada@inner"),
    ],
)
def test_a_gateway_that_fails_is_named(
    bed: Bed, tmp_path: Path, gateways: list[str], sentence: str
) -> None:
    status, stderr = fails(
        bed, tmp_path, "-i", "ssh", "-x", "ada@inner", "--tunnel-hosts", *gateways
    )
    assert status == 18
    way = f"ada@inner (via {', '.join(gateways)})"
    assert_block(stderr, sentence, "logging in", way, None)


def test_a_gateway_that_forbids_forwarding(bed: Bed, tmp_path: Path) -> None:
    with bed.gw1.sshd("AllowTcpForwarding no"):
        status, stderr = fails(bed, tmp_path, "-i", "ssh", "-x", "ada@inner", "-t", "gina@gw1")
    assert status == 18
    sentence = "gina@gw1 does not forward connections to ada@inner"
    assert_block(stderr, sentence, "logging in", "ada@inner (via gina@gw1)", "prohibited")


def test_no_ssh(bed: Bed, tmp_path: Path) -> None:
    status, stderr = fails(bed, tmp_path, *DIRECT, "--launch-cmd=/no/such/ssh")
    assert status == 11
    sentence = "there is no program /no/such/ssh on this machine"
    assert_block(stderr, sentence, "logging in", "ada@far", None)


# --- on the far side ----------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["nolan", "rex"])
def test_a_shell_that_runs_nothing(bed: Bed, tmp_path: Path, user: str) -> None:
    status, stderr = fails(bed, tmp_path, "--interface=ssh", f"--host={user}@far")
    assert status == 20
    said = "not available" if user == "nolan" else None
    sentence = "the login worked, but our command was not run over there"
    assert_block(stderr, sentence, "starting the shell over there", f"{user}@far", said)


def test_start_up_files_that_end_the_login_shell(bed: Bed, tmp_path: Path) -> None:
    bed.far.write("/home/bela/.profile", "echo no kernels today\nexit 5\n", user="bela")
    try:
        status, stderr = fails(bed, tmp_path, "--interface=ssh", "--host=bela@far")
    finally:
        bed.far.run(["cp", "/etc/skel/.profile", "/home/bela"], user="bela")
    assert status == 20
    sentence = "the login shell over there ended with status 5 before it ran our command"
    stage = "starting the shell over there"
    assert_block(stderr, sentence, stage, "bela@far", "no kernels today")


def test_a_missing_working_directory(bed: Bed, tmp_path: Path) -> None:
    status, stderr = fails(bed, tmp_path, *DIRECT, "--workdir=/no/such dir")
    assert status == 21
    sentence = "cannot enter the working directory /no/such dir"
    stage = "changing to the working directory"
    assert_block(stderr, sentence, stage, "ada@far", "/no/such dir")


def test_a_full_disk(bed: Bed, tmp_path: Path) -> None:
    with bed.far.small_tmpfs("/home/ada/full", "4k", "ada"):
        bed.far.run(["dd", "if=/dev/zero", "of=full/x", "bs=4k"], user="ada", check=False)
        status, stderr = fails(bed, tmp_path, *DIRECT, "--workdir=~/full")
        assert not [path for path in bed.far.files("/home/ada/full") if "rik_kernel" in path]
    bed.far.run(["rmdir", "/home/ada/full"])
    assert status == 22
    assert "No space left on device" in stderr


def test_a_precommand_that_fails(bed: Bed, tmp_path: Path) -> None:
    status, stderr = fails(bed, tmp_path, *DIRECT, "--remote-precmd=module load torch/9")
    assert status == 23
    sentence = "the pre-command ended with status 127: module load torch/9"
    assert_block(stderr, sentence, "running the pre-command", "ada@far", "module: command not")


@pytest.mark.needs("tcsh", "fish", "zsh")
@pytest.mark.parametrize("user", ["ada", "cora", "fred", "zoe", "dora"])
def test_a_kernel_command_that_is_not_found(bed: Bed, tmp_path: Path, user: str) -> None:
    command = "/no/such/python -m kernel {connection_file}"
    options = ["--interface=ssh", f"--host={user}@far"]
    status, stderr = fails(bed, tmp_path, *options, kernel_cmd=command)
    assert status == 24
    sentence = f"the kernel command was not found: {command}"
    assert_block(stderr, sentence, "starting the kernel", f"{user}@far", "/no/such/python")


def test_a_kernel_that_dies_at_once(bed: Bed, tmp_path: Path) -> None:
    command = f"{bed.far_python} -m no_such_module {{connection_file}}"
    status, stderr = fails(bed, tmp_path, *DIRECT, kernel_cmd=command)
    assert status == 25
    sentence = f"the Python of the kernel command has no no_such_module: {command}"
    said = "No module named no_such_module"
    assert_block(stderr, sentence, "starting the kernel", "ada@far", said)


# --- while it runs ------------------------------------------------------------------------------


def test_an_sshd_that_forbids_forwarding(bed: Bed, tmp_path: Path) -> None:
    with bed.far.sshd("AllowTcpForwarding no"):
        status, stderr = fails(bed, tmp_path, *DIRECT, "--channel=forward")
    assert status == 30
    sentence = "sshd over there does not forward ports"
    assert_block(stderr, sentence, "carrying the sockets", "ada@far", "prohibited")


def test_a_lost_connection(bed: Bed, tmp_path: Path) -> None:
    with Kernel(add_kernel(site(bed, *DIRECT, "--lease=0")), tmp_path) as kernel:
        bed.far.run(["pkill", "-KILL", "-u", "ada", "sshd"])
        assert kernel.launcher_status(timeout=15) == 27
        assert "the connection broke" in kernel.stderr()


def test_a_login_that_is_given_up(bed: Bed, tmp_path: Path) -> None:
    bed.far.cut()
    kernel = Kernel(add_kernel(site(bed, *DIRECT)), tmp_path)
    kernel.start()
    wait_until(lambda: list(Path("/run/user").glob("*/rk-*")), 10, "the launcher to begin")
    kernel.signal_launcher(signal.SIGTERM)
    assert kernel.launcher_status(timeout=5) == 128 + signal.SIGTERM
    kernel.__exit__(None, None, None)


def test_a_launcher_killed_while_starting_leaves_no_kernel(bed: Bed, tmp_path: Path) -> None:
    here = site(bed, *DIRECT)
    kernel = Kernel(
        add_kernel(here, kernel_cmd="sleep 30; " + IPYKERNEL.format(python="x")), tmp_path
    )
    kernel.start()

    def sleeps() -> bool:
        return any(x.args == "sleep 30" for x in bed.far.processes(user="ada"))

    wait_until(sleeps, 10, "the kernel command to begin")
    kernel.kill_launcher()
    wait_until(lambda: not sleeps(), 15, "the kernel command's end")
    kernel.__exit__(None, None, None)
    # What it could not remove is removed by the next.
    with Kernel(add_kernel(site(bed, *DIRECT)), tmp_path):
        assert not list(Path("/run/user").glob("*/rk-*"))
