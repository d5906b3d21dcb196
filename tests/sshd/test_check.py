"""``remote-kernels check``: all the steps of a kernel that is well, and set-ups that are broken."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bed import Bed
from frontend import (
    IPYKERNEL,
    Kernel,
    Site,
    add_kernel,
    checked,
    failing,
    ours,
    ran,
    remote_kernels,
)


def seen(*words: str) -> tuple[int, str]:
    """Exit code and output of a check."""
    done = ran("check", *words, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def steps_of(found: dict[str, Any]) -> dict[str, str]:
    return {step["step"]: step["found"] for step in found["steps"]}


def test_a_kernel_that_is_well(bed: Bed, site: Site) -> None:
    spec = add_kernel(site, "--remote-precmd=export A=b")
    found = checked(spec)
    assert found["ok"], found
    steps = steps_of(found)
    assert list(steps) == [
        *("configuration", "reach", "host-key", "login", "sharing", "workdir", "file", "shell"),
        *("precmd", "python", "space", "command", "node", "channel", "answer", "cell"),
        *("interrupt", "end", "remains"),
    ]
    assert steps["login"] == "far: publickey"
    assert steps["workdir"] == "/home/ada"
    assert steps["command"].startswith("ipykernel ")
    assert steps["node"] == "far"
    assert "unix sockets" in steps["channel"]
    # One login for all of it.
    assert bed.far.logins() == ["ada"]


def test_what_a_person_sees(bed: Bed, site: Site) -> None:
    spec = add_kernel(site)
    status, said = seen(spec, "--fast")
    assert status == 0
    assert f"{spec}:\n✓ ssh configuration" in said
    assert "✓ kernel command" in said
    assert "kernel answers" not in said
    assert "✗" not in said
    # The parts of the start as bars.
    assert "█" in said.rpartition("✓")[2]


def test_a_way_behind_gateways(bed: Bed) -> None:
    options = ["--host", "ada@inner", "--tunnel-hosts", "gina@gw1", "gina@gw2"]
    steps = steps_of(checked("--interface", "ssh", *options))
    assert [name in steps["login"] for name in ("gw1", "gw2", "inner")] == [True] * 3
    assert "command" not in steps


def test_noise_is_told_and_does_no_harm(bed: Bed) -> None:
    here = Site(bed.far, "nora", bed.far_python, ["-i", "ssh", "-x", "nora@far"])
    found = checked(add_kernel(here))
    assert found["ok"], found
    assert "print" in steps_of(found)["shell"]
    assert "quota 93%" in steps_of(found)["shell"]


# --- set-ups that are broken ----------------------------------------------------------------------


class Broken(NamedTuple):
    """A set-up that a new user may have.

    Attributes:
        sentence: what the first failing line says.
        options: of the kernel.
        broken: what is done to the machines.
        kernel_cmd: in place of a good one.
    """

    sentence: str
    options: list[str]
    broken: Callable[[Bed], AbstractContextManager[Any]] = lambda bed: nullcontext()
    kernel_cmd: str | None = None


def config(text: str) -> Callable[[Bed], AbstractContextManager[Any]]:
    """The person's own ssh configuration."""

    @contextmanager
    def broken(bed: Bed) -> Iterator[None]:
        Path.home().joinpath(".ssh/config").write_text(text)
        yield

    return broken


@contextmanager
def switched_off(bed: Bed) -> Iterator[None]:
    bed.far.cut()
    yield


@contextmanager
def set_up_anew(bed: Bed) -> Iterator[None]:
    remote_kernels("login", "ada@far")
    remote_kernels("logout", "ada@far")
    bed.far.new_host_key()
    yield


@contextmanager
def with_password(bed: Bed) -> Iterator[None]:
    with bed.far.wanting_password("ada", "secret"):
        yield


@contextmanager
def with_old_password(bed: Bed) -> Iterator[None]:
    with bed.far.wanting_password("ada", "secret", "PubkeyAuthentication yes", expired=True):
        yield


def sshd(machine: str, *settings: str) -> Callable[[Bed], AbstractContextManager[Any]]:
    return lambda bed: getattr(bed, machine).sshd(*settings)


def start_up_file(text: str) -> Callable[[Bed], AbstractContextManager[Any]]:
    """What stands in ada's .bash_profile over there."""

    @contextmanager
    def broken(bed: Bed) -> Iterator[None]:
        bed.far.write("/home/ada/.bash_profile", text, user="ada")
        try:
            yield
        finally:
            bed.far.run(["rm", "/home/ada/.bash_profile"])

    return broken


@contextmanager
def full_disk(bed: Bed) -> Iterator[None]:
    with bed.far.small_tmpfs("/home/ada/full", "4k", "ada"):
        bed.far.run(["dd", "if=/dev/zero", "of=full/x", "bs=4k"], user="ada", check=False)
        yield
    bed.far.run(["rmdir", "/home/ada/full"])


SSH = ["-i", "ssh", "-x"]
BEHIND = ["-i", "ssh", "-x", "ada@inner", "--tunnel-hosts"]
FAR = [*SSH, "ada@far"]

BROKEN = {
    "a name that is misspelled": Broken(
        "no machine named ada@nowhere is known", [*SSH, "ada@nowhere"]
    ),
    "a wrong port": Broken("ada@far:2 refused the connection", [*SSH, "ada@far:2"]),
    "a machine that is off": Broken(
        "ada@far could not be reached",
        [*FAR, "--remote-launch-args=-o ConnectTimeout=2"],
        switched_off,
    ),
    "a line of the ssh configuration": Broken(
        "the ssh configuration for ada@far cannot be used", FAR, config("Host far\n  Prot 22\n")
    ),
    "no ssh": Broken(
        "there is no program /opt/ssh on this machine", [*FAR, "--launch-cmd=/opt/ssh"]
    ),
    "a machine that was set up anew": Broken(
        "the host key of ada@far has changed: it is SHA256:", FAR, set_up_anew
    ),
    "a key that has to be known before": Broken(
        "the host key of ada@far is not known",
        FAR,
        config("Host far\n  StrictHostKeyChecking yes\n"),
    ),
    "a wrong user": Broken("stranger@far denied permission", [*SSH, "stranger@far"]),
    "a password, and nobody to answer": Broken(
        "ada@far denied permission: it asks for a password or a code, and nobody here can answer",
        FAR,
        with_password,
    ),
    "a password that has expired": Broken(
        "the password of ada@far has expired", FAR, with_old_password
    ),
    "a gateway that is misspelled": Broken(
        "the gateway gina@nogate failed: no machine named gina@nogate is known",
        [*BEHIND, "gina@nogate"],
    ),
    "a gateway that forbids forwarding": Broken(
        "gina@gw1 does not forward connections to ada@inner",
        [*BEHIND, "gina@gw1"],
        sshd("gw1", "AllowTcpForwarding no"),
    ),
    "a gateway too few": Broken(
        "gina@gw1 could not reach the next host on the way to ada@inner", [*BEHIND, "gina@gw1"]
    ),
    "a shell that is none": Broken(
        "the login worked, but our command was not run over there", [*SSH, "nolan@far"]
    ),
    "a command that is forced": Broken(
        "the login worked, but our command was not run over there",
        FAR,
        sshd("far", "ForceCommand echo only sftp here"),
    ),
    "a start-up file that exits": Broken(
        "the login shell over there ended with status 5 before it ran our command",
        FAR,
        start_up_file("exit 5\n"),
    ),
    "a directory that is not there": Broken(
        "cannot enter the working directory /no/such", [*FAR, "--workdir=/no/such"]
    ),
    "a disk that is full": Broken(
        "cannot write rik_kernel-", [*FAR, "--workdir=~/full"], full_disk
    ),
    "a module that is not there": Broken(
        "the pre-command ended with status 127: module load torch",
        [*FAR, "--remote-precmd=module load torch"],
    ),
    "a kernel command that is misspelled": Broken(
        "the kernel command was not found: /opt/pyhton -m ipykernel_launcher -f {connection_file}",
        FAR,
        kernel_cmd="/opt/pyhton -m ipykernel_launcher -f {connection_file}",
    ),
    "another program that is not there": Broken(
        "the kernel command was not found: julia -i {connection_file}",
        FAR,
        kernel_cmd="julia -i {connection_file}",
    ),
    "no ipykernel": Broken(
        "the Python of the kernel command has no ipykernel: /usr/bin/python3 -m ipykernel_launcher",
        FAR,
        kernel_cmd="/usr/bin/python3 -m ipykernel_launcher -f {connection_file}",
    ),
    "a kernel that ends at once": Broken(
        "the kernel ended with status 3 before it could be used: sh -c 'exit 3' {connection_file}",
        FAR,
        kernel_cmd="sh -c 'exit 3' {connection_file}",
    ),
    "forwards that are forbidden": Broken(
        "sshd over there does not forward ports",
        [*FAR, "--channel=forward"],
        sshd("far", "AllowTcpForwarding no"),
    ),
    "no scheduler": Broken(
        "the command bsub cannot be run on far", ["-i", "lsf", "--tunnel-hosts", "ada@far"]
    ),
    "a scheduler that is not set up": Broken(
        "SLURM does not answer: ", ["-i", "slurm", "--tunnel-hosts", "ada@far"]
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_check_names_the_cause(bed: Bed, name: str) -> None:
    case = BROKEN[name]
    here = Site(bed.far, "ada", bed.far_python, case.options)
    command = case.kernel_cmd or IPYKERNEL.format(python=bed.far_python)
    spec = add_kernel(here, kernel_cmd=command)
    with case.broken(bed):
        status, said = seen(spec)
    assert status != 0
    first = next(line for line in said.splitlines() if line.startswith("✗"))
    assert case.sentence in first, said
    assert "\n    try:  " in said


def test_a_python_that_has_moved(bed: Bed, site: Site, tmp_path: Path) -> None:
    spec = add_kernel(site)
    (file,) = (tmp_path / "jupyter_data_dir").rglob("kernel.json")
    file.write_text(file.read_text().replace(sys.executable, "/old/venv/bin/python"))
    status, said = seen(spec)
    assert status == 5
    assert "✗ kernelspec" in said
    assert "the kernelspec starts /old/venv/bin/python, which is not there" in said


def test_a_name_that_is_no_kernel(bed: Bed) -> None:
    status, said = seen("rik_nothing")
    assert status == 5
    assert "there is no kernel rik_nothing" in said


def test_logs_and_a_report(bed: Bed, site: Site, tmp_path: Path) -> None:
    secret = "export HF_TOKEN=abc123 PASSWORD='x y'; echo API_KEY=deadbeef"
    spec = add_kernel(site, f"--remote-precmd={secret}", kernel_cmd="sh -c 'exit 3' {ci[ip]}")
    with pytest.raises(AssertionError):
        remote_kernels("logs", spec)
    failing(spec, tmp_path)
    log = remote_kernels("logs", spec)
    assert "far side: EXIT 3" in log
    report = tmp_path / "report.txt"
    remote_kernels("report", spec, "--output", str(report))
    text = report.read_text()
    assert report.stat().st_mode & 0o777 == 0o600
    for known in ("far side: EXIT 3", "jupyter_client", "OpenSSH", "hostname far", "user ada"):
        assert known in text
    for hidden in ("abc123", "x y", "deadbeef"):
        assert hidden not in text + log
    with pytest.raises(AssertionError):
        remote_kernels("report", spec, "--output", str(report))
    assert report.read_text() == text


def test_logs_are_followed_from_one_start_to_the_next(bed: Bed, site: Site, tmp_path: Path) -> None:
    spec = add_kernel(site)
    reader = ours("logs", "--follow", spec)
    for _ in range(2):
        with Kernel(spec, tmp_path) as kernel:
            reader.sees("far side: UP")
            kernel.shut_down()
        reader.sees("far side: EXIT 0")
    reader.presses("c")
    assert reader.end()[0] == 0
