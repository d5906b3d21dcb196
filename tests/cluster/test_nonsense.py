"""A scheduler that prints nonsense: the launcher ends in words within its deadline, or works.

Its commands are scripts that stand first in the PATH of a user's login shell.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bed import Bed, wait_until
from frontend import Kernel, Site, add_kernel, failing

PLACE = "/home/bela/nonsense"
# What asks for a job, and what looks at one, with what the latter needs to come to that.
ASKS = {"slurm": "srun", "pbs": "qsub", "lsf": "bsub", "sge": "qlogin"}
LOOKS = {
    "slurm": {"squeue": "{}"},
    "pbs": {"qselect": "echo 1.server", "qstat": "{}"},
    "lsf": {"bjobs": "{}"},
    "sge": {"qstat": "{}", "qalter": "{}"},
}
CANCELS = ("scancel", "qdel", "bkill")
SITES = tuple(ASKS)

ESCAPES = r"printf '\033]0;owned\007\033[2J\302\23331m over\rwritten\n'"
MEGABYTES = "yes 'no such thing' | head -c 20000000"
ONE_LINE = "head -c 5000000 /dev/zero | tr '\\0' 1"
BINARY = "head -c 200000 /dev/urandom"
NUMBERS = r"""
echo 'srun: job 99999999999999999999 queued and waiting for resources'
echo 'qsub: waiting for job -1e400.server to start'
echo 'Job <0000000000000000000> is submitted to queue <>.'
echo 'Your job -3 ("") has been submitted'
"""
# Kilobytes.
MOST_MEMORY = 60_000


def site(bed: Bed, interface: str, *options: str) -> Site:
    """Kernels in jobs, as bela asks for them."""
    way = ["--tunnel-hosts", "gina@gw1", "bela@login"]
    return Site(bed.login, "bela", bed.far_python, [f"--interface={interface}", *way, *options])


@contextlib.contextmanager
def commands(bed: Bed, texts: Mapping[str, str]) -> Iterator[None]:
    """Give bela commands of these names on the login host."""
    profile = bed.login.read("/home/bela/.profile")
    for name, text in {**dict.fromkeys(CANCELS, ":"), **texts}.items():
        bed.login.write(f"{PLACE}/{name}", f"#!/bin/sh\n{text}\n", user="bela", mode="700")
    bed.login.write("/home/bela/.profile", f"PATH={PLACE}:$PATH\n{profile}", user="bela")
    try:
        yield
    finally:
        bed.login.write("/home/bela/.profile", profile, user="bela", mode="644")
        bed.login.run(["rm", "-r", PLACE], user="bela")


def assert_harmless(directory: Path) -> str:
    """Nothing that a terminal would obey is on standard error or in the log; the former."""
    logs = Path(os.environ["XDG_STATE_HOME"]).rglob("*.log")
    stderr = "".join(x.read_bytes().decode() for x in directory.glob("stderr-*"))
    log = "".join(path.read_bytes().decode("utf-8", "replace") for path in logs)
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", stderr + log) == []
    assert "Traceback" not in stderr
    return stderr


@pytest.mark.parametrize(
    ("interface", "text", "status"),
    [
        ("slurm", ":", 41),
        *((interface, f"{BINARY}; {ESCAPES}; {NUMBERS}; exit 255", 41) for interface in SITES),
        ("slurm", f"{MEGABYTES}; {ONE_LINE}; {ESCAPES}; exit 1", 41),
        ("slurm", "kill -9 $$", 41),
    ],
)
def test_a_command_that_ends(
    bed: Bed, tmp_path: Path, interface: str, text: str, status: int
) -> None:
    looks = {name: look.format(BINARY) for name, look in LOOKS[interface].items()}
    with commands(bed, {ASKS[interface]: text, **looks}):
        ended, _ = failing(add_kernel(site(bed, interface)), tmp_path)
    stderr = assert_harmless(tmp_path)
    assert ended == status, stderr
    assert stderr.count("remote-kernels: ") == 1
    assert "  stage: asking for the job\n" in stderr


@pytest.mark.parametrize(
    ("interface", "asks", "looks"),
    [
        ("slurm", "exec sleep 60", f"{ESCAPES}; printf '7|PENDING|\\033[2J|\\033[2J|\\n'"),
        ("pbs", "exec sleep 60", "echo 'Job Id: 7'; head -c 60000 /dev/zero | tr '\\0' ' '"),
        ("lsf", "exec sleep 60", ONE_LINE),
        ("sge", f"{ONE_LINE}; exec sleep 60", f"{BINARY}; echo 'job_number: 7'; exec sleep 6"),
    ],
)
def test_a_command_that_waits_for_ever(
    bed: Bed, tmp_path: Path, interface: str, asks: str, looks: str
) -> None:
    texts = {name: look.format(looks) for name, look in LOOKS[interface].items()}
    with commands(bed, {ASKS[interface]: asks, **texts}):
        kernel = Kernel(add_kernel(site(bed, interface, "--launch-timeout=3s")), tmp_path)
        kernel.start()
        try:
            memory = kernel.most_memory_until_its_end(30)
        finally:
            kernel.__exit__(None, None, None)
        # What looks at the job may hold the directory.
        wait_until(lambda: not bed.login.processes(user="bela"), 15, "the end of all commands")
    assert kernel.launcher.returncode == 43
    assert 0 < memory < MOST_MEMORY
    stderr = assert_harmless(tmp_path)
    assert "remote-kernels: there was no job within 3s" in stderr
    assert "  stage: waiting for the job\n" in stderr


def test_a_command_that_never_ends_to_talk_is_given_up(bed: Bed, tmp_path: Path) -> None:
    with commands(bed, {"srun": "yes 'there is no job, and there will be none'"}):
        kernel = Kernel(add_kernel(site(bed, "slurm")), tmp_path)
        kernel.start()
        try:
            wait_until(lambda: kernel.has_read() > 20_000_000, 20, "much to be read")
            assert 0 < kernel.most_memory() < MOST_MEMORY
            kernel.signal_launcher(signal.SIGTERM)
            assert kernel.launcher_status(timeout=5) == 128 + signal.SIGTERM
        finally:
            kernel.__exit__(None, None, None)
        wait_until(lambda: not bed.login.processes(user="bela"), 15, "the end of all commands")
    assert_harmless(tmp_path)


def test_a_job_that_says_much_before_it_begins(bed: Bed, tmp_path: Path) -> None:
    # The last words are the program that srun is to run; it does so here, without a job.
    run = 'while [ "$1" != /bin/sh ]; do shift; done; exec "$@"'
    texts = {"srun": f"{BINARY}; {ESCAPES}; {MEGABYTES}; {ESCAPES}; {run}", "squeue": BINARY}
    with commands(bed, texts):
        with Kernel(add_kernel(site(bed, "slurm")), tmp_path) as kernel:
            assert kernel.value("6 * 7") == 42
            assert 0 < kernel.most_memory() < MOST_MEMORY
            assert kernel.shut_down() == 0
        wait_until(lambda: not bed.login.processes(user="bela"), 15, "the end of all commands")
    assert assert_harmless(tmp_path) == ""
