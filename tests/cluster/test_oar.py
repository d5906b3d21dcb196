"""A scheduler of somebody else's: the package of ``examples/oar`` and a real OAR."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attached import Attached, client_of, printed
from bed import Bed, Oar, Watch, wait_until
from contract import FOR_EVER
from frontend import IPYKERNEL, Kernel, assert_block, failing, log_text

pytestmark = pytest.mark.needs("oar")

PACKAGE = Path(__file__).parents[2] / "examples/oar"
WAY = ("--interface=oar", "--tunnel-hosts", "ada@oar")
INSTALL = ("-m", "pip", "install", "-qq", "--no-index", "--no-build-isolation", "--no-deps")

Add = Callable[..., str]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment, which has what the tests' own has, and the package."""
    place = tmp_path_factory.mktemp("oar")
    make = [sys.executable, "-m", "venv", "--without-pip", f"{place}/environment"]
    subprocess.run(make, check=True)
    (packages,) = place.glob("environment/lib/python*/site-packages")
    (packages / "tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    python = place / "environment/bin/python"
    # Its build leaves directories behind.
    shutil.copytree(PACKAGE, place / "oar")
    subprocess.run([python, *INSTALL, place / "oar"], check=True)
    return python


def manage(python: Path | str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "remote_kernels", "manage", "--add", "--name=Python 3", *WAY, *words]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def add(python: Path, bed: Bed, oar: Oar) -> Add:
    """Adds a kernel in OAR's jobs; the name of its kernelspec."""

    def add(*options: str) -> str:
        command = IPYKERNEL.format(python=bed.far_python)
        done = manage(python, f"--kernel_cmd={command}", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("['")[2].partition("']")[0]

    return add


# --- the package --------------------------------------------------------------------------------


def test_without_the_package_there_is_no_such_interface() -> None:
    done = manage(sys.executable, "--kernel_cmd=ipython")
    assert done.returncode != 0
    assert "Unknown interface oar; there are local, ssh, pbs, " in done.stderr


def test_it_adds_an_interface(python: Path) -> None:
    options = ("--cpus=2", "--time=90m", "--queue=default", "--account=a b", "--dry-run")
    done = manage(python, "--kernel_cmd=ipython", *options)
    assert "OAR Python 3 2 CPUs (via ada@oar)" in done.stdout
    command = (
        "oarsub -I -l /nodes=1/core=2,walltime=1:30:00 -q default --project 'a b' -n Python-3-"
    )
    assert command in done.stdout


def test_a_shell_completes_its_name(python: Path) -> None:
    words = "remote-kernels manage --interface oa"
    asks = {"_REMOTE_KERNELS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "3"}
    command = [python, "-m", "remote_kernels"]
    done = subprocess.run(command, env={**os.environ, **asks}, capture_output=True, text=True)
    assert done.stdout == "plain,oar\n"


def test_what_oar_cannot_express_is_refused(python: Path) -> None:
    done = manage(python, "--kernel_cmd=ipython", "--memory=1G")
    assert done.returncode != 0
    assert "the interface oar cannot use --memory" in done.stderr


# --- the bed ------------------------------------------------------------------------------------


def test_the_watch_reports_a_job_that_is_left(bed: Bed, oar: Oar) -> None:
    watch = Watch(bed)
    with oar.full("bela"):
        (job,) = oar.jobs()
        assert (job.name, job.user, job.state) == ("full", "bela", "Running")
        assert oar.idle_cores() == 0
        assert f"OAR: job {job.id} (full) of bela" in watch.remains()
    oar.wait_idle()


# --- a kernel -----------------------------------------------------------------------------------


def test_a_kernel_in_a_job(bed: Bed, oar: Oar, add: Add, tmp_path: Path) -> None:
    spec = add("--cpus=2", "--time=1:30:00", "--queue=default", "--account=physics")
    with Kernel(spec, tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
        (job,) = oar.jobs("ada")
        assert job.name.startswith("Python-3-")
        assert oar.idle_cores() == 2
        environ = kernel.value("dict(__import__('os').environ)")
        assert environ["OAR_JOB_ID"] == str(job.id)
        assert environ["OAR_PROJECT_NAME"] == "physics"
        assert environ["OAR_JOB_WALLTIME_SECONDS"] == "5400"
        cell = kernel.begin(FOR_EVER)
        kernel.signal_launcher(signal.SIGINT)
        assert kernel.reply_to(cell)["ename"] == "KeyboardInterrupt"
        kernel.restart()
        assert kernel.value("6 * 7") == 42
        assert oar.jobs("ada") == [job]
        listed = bed.oar.run(["oarstat", "-u", "ada"], user="ada").stdout
        assert f"{job.id} " in listed
    wait_until(lambda: not oar.jobs("ada"), 15, "the job's end")
    assert bed.oar.run(["oarstat", "-u", "ada"], user="ada").stdout == ""


def test_one_kernel_where_login_host_and_node_are_one(
    python: Path, oar: Oar, add: Add, tmp_path: Path
) -> None:
    """There two keepers tell of it."""

    def told(*words: str) -> str:
        command = [python, "-m", "remote_kernels", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def only() -> dict[str, Any]:
        (host,) = json.loads(told("ps", "--json", "ada@oar"))
        (found,) = host["kernels"]
        return dict(found)

    with Kernel(add(), tmp_path) as kernel:
        wait_until(lambda: only()["state"] == "idle", 15, "word of its state")
        number = only()["id"]
        assert only()["job"] == str(oar.jobs("ada")[0].id)
        message = kernel.begin("import threading\nthreading.Event().wait(60)")
        assert told("interrupt", number).startswith("Interrupted ")
        assert kernel.reply_to(message)["ename"] == "KeyboardInterrupt"
        assert told("output", number) == ""
        kernel.run("here = 1")
        with Attached(number, host="ada@oar") as attached, client_of(attached.file) as client:
            assert printed(client, "print(here)") == "1\n"
        assert told("restart", number).startswith("Restarted ")
        kernel.wait_for_new_start()
        assert kernel.value("'here' in globals()") is False
        assert told("stop", number).startswith("Stopped ")
        assert kernel.launcher_status(20) == 32
    wait_until(lambda: not oar.jobs("ada"), 15, "the job's end")


def test_the_job_goes_with_the_launcher(oar: Oar, add: Add, tmp_path: Path) -> None:
    with Kernel(add(), tmp_path) as kernel:
        kernel.begin(FOR_EVER)
        kernel.kill_launcher()
        wait_until(lambda: not oar.jobs("ada"), 15, "the job's end")


def test_a_job_that_is_cancelled(bed: Bed, oar: Oar, add: Add, tmp_path: Path) -> None:
    with Kernel(add(), tmp_path) as kernel:
        (job,) = oar.jobs("ada")
        bed.oar.run(["oardel", str(job.id)], user="ada")
        assert kernel.launcher_status(timeout=20) == 44
        place = f"oar, job {job.id} (via ada@oar)"
        sentence = f"job {job.id} was cancelled"
        assert_block(kernel.stderr(), sentence, "running the kernel", place, "Job was terminated")
    # OAR has killed the keeper, too; what it has left goes with the next kernel there.
    with Kernel(add(), tmp_path):
        pass


# --- waiting, refusal ---------------------------------------------------------------------------


@contextlib.contextmanager
def waiting(oar: Oar, spec: str, directory: Path) -> Iterator[Kernel]:
    """A kernel whose job waits, since others have all that there is."""
    with oar.full("bela"):
        kernel = Kernel(spec, directory)
        kernel.start()
        try:
            # OAR may know it only at the second look.
            told = "expected to start 20"
            wait_until(lambda: told in log_text(), 40, "the log to tell of the job")
            yield kernel
        finally:
            kernel.__exit__(None, None, None)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_no_ghost_of_a_job_that_waited(
    bed: Bed, oar: Oar, add: Add, tmp_path: Path, signum: signal.Signals
) -> None:
    with waiting(oar, add(), tmp_path) as kernel:
        assert [job.state for job in oar.jobs("ada")] == ["Waiting"]
        os.kill(kernel.launcher.pid, signum)
        wait_until(lambda: not oar.jobs("ada"), 15, "the job's end")
    oar.wait_idle()
    assert not bed.oar.processes("ada")
    # A directory that a killed launcher could not remove goes with the next one's start.
    failing(add("--queue=nosuch"), tmp_path)


@pytest.mark.parametrize(
    ("option", "code", "said", "advice"),
    [
        ("--queue=nosuch", 41, "OAR refused: ERROR : The queue nosuch does not exist", "--queue"),
        ("--cpus=64", 41, "OAR refused: There are not enough resources for your", "oarnodes"),
        ("--remote-launch-args=--nosuch", 41, "OAR refused: Unknown option: nosuch", "man oarsub"),
        ("--launch-cmd=/opt/oarsub", 40, "the command /opt/oarsub cannot be run", "--launch-cmd"),
    ],
)
def test_a_refused_request(
    add: Add, tmp_path: Path, option: str, code: int, said: str, advice: str
) -> None:
    status, stderr = failing(add(option), tmp_path)
    assert status == code
    block = stderr[stderr.rindex("remote-kernels: ") :]
    assert said in block
    assert advice in block.partition("  try:   ")[2]


def test_a_server_that_is_down(oar: Oar, add: Add, tmp_path: Path) -> None:
    with oar.down():
        status, stderr = failing(add(), tmp_path)
        assert status == 42
        assert "OAR does not answer: [ERROR] Cannot connect to executor" in stderr
    # OAR says "Job is killed", but only somebody who cancels it keeps it from running now.
    wait_until(lambda: not oar.jobs("ada"), 30, "the job's end")
