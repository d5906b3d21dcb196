"""Kernels in a real Slurm's jobs: steps of their own, nodes that fail, Jupyter on the cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, Slurm, wait_until
from bed.plan import MEMORY
from contract import FOR_EVER
from frontend import IPYKERNEL, Kernel, Site, add_kernel, failing, log_text, without_python
from queues import Queue, param

pytestmark = [
    pytest.mark.needs("slurm"),
    pytest.mark.parametrize("queue", [param("slurm")], indirect=True),
]


def test_steps_of_its_own(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site("--cpus=2")), tmp_path) as kernel:
        node = kernel.value("__import__('platform').node()")
        assert kernel.run("!srun hostname").text.split() == [node]
        assert kernel.run("!srun -n2 hostname").text.split() == [node, node]
        assert kernel.value("'SLURM_OVERLAP' in __import__('os').environ") is False


def test_tasks_on_several_nodes(queue: Queue, tmp_path: Path) -> None:
    options = queue.site("--remote-launch-args=-N2 -n2")
    with Kernel(add_kernel(options), tmp_path) as kernel:
        assert sorted(kernel.run("!srun hostname").text.split()[-2:]) == ["n1", "n2"]


def test_one_login_to_each_machine(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site(node="n1")), tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
        assert (queue.bed.gw1.logins(), queue.bed.login.logins()) == (["gina"], ["ada"])
        assert queue.bed.n1.logins() == []


def test_a_home_on_each_machine(queue: Queue, tmp_path: Path) -> None:
    there = ["-i", "slurm", "-t", "gina@gw1", "bela@login", "--remote-launch-args=-w n1"]
    separate = Site(queue.bed.n1, "bela", queue.bed.far_python, there)
    with Kernel(add_kernel(separate), tmp_path) as kernel:
        assert kernel.value("__import__('platform').node()") == "n1"
        (copy,) = [path for path in queue.bed.n1.files("/home/bela") if "rik_kernel-" in path]
        assert not [path for path in queue.bed.login.files("/home/bela") if "rik_kernel-" in path]
        assert copy.startswith("/home/bela/")


def test_an_interactive_step(queue: Queue, slurm: Slurm, tmp_path: Path) -> None:
    with (
        slurm.settings("LaunchParameters=use_interactive_step"),
        Kernel(add_kernel(queue.site("--cpus=2")), tmp_path) as kernel,
    ):
        assert len(kernel.run("!srun -n2 hostname").text.split()) == 2


# --- the end of the job -------------------------------------------------------------------------


def test_a_node_that_the_administrator_takes_away(
    queue: Queue, slurm: Slurm, kernel: Kernel
) -> None:
    (job,) = queue.jobs()
    queue.bed.login.run(["scontrol", "update", "nodename=n1", "state=down", "reason=test"])
    try:
        assert kernel.launcher_status(timeout=30) == 44
        assert f"remote-kernels: job {job.id} lost its node.\n" in kernel.stderr()
    finally:
        # It may have come back by itself.
        queue.bed.login.run(["scontrol", "update", "nodename=n1", "state=resume"], check=False)
        slurm.wait_idle()


def test_a_kernel_that_takes_more_memory_than_it_was_given(
    queue: Queue, slurm: Slurm, tmp_path: Path
) -> None:
    if queue.bed.n2.run(["test", "-w", MEMORY], check=False).status:
        pytest.skip("no memory cgroups here, or none that may be written")
    with (
        slurm.settings("TaskPlugin=task/cgroup", "SelectTypeParameters=CR_CPU_Memory"),
        Kernel(add_kernel(queue.site("--memory=200M", node="n2")), tmp_path) as kernel,
    ):
        kernel.client.execute("too_much = b'x' * (500 << 20)")
        assert kernel.launcher_status(timeout=20) == 26
        sentence = "the kernel used more memory than it may, and was killed"
        assert f"remote-kernels: {sentence}.\n" in kernel.stderr()
        assert "--memory" in kernel.stderr().rpartition("  try:   ")[2]


@pytest.mark.timeout(300)
def test_a_node_that_falls_silent(queue: Queue, kernel: Kernel) -> None:
    queue.bed.n1.cut()
    assert kernel.launcher_status(timeout=60) == 45
    assert "remote-kernels: the node n1 has not answered for 5" in kernel.stderr()
    queue.bed.n1.mend()
    wait_until(lambda: not queue.jobs(), 60, "the job's end")
    # sshd learns of it when TCP has tried again, ever more seldom while there was no answer.
    wait_until(lambda: not queue.bed.n1.processes("ada"), 130, "the end of our login")


# --- without a keeper ---------------------------------------------------------------------------


def test_by_forwards(queue: Queue, tmp_path: Path) -> None:
    spec = add_kernel(queue.site("--channel=forward", node="n1"))
    with Kernel(spec, tmp_path) as kernel:
        assert kernel.value("__import__('platform').node()") == "n1"
        assert queue.bed.n1.logins() == ["ada"]
        (before,) = queue.jobs()
        kernel.restart()
        assert kernel.value("6 * 7") == 42
        assert [job.id for job in queue.jobs()] == [before.id]
    queue.wait_empty()


def test_a_login_host_without_python(queue: Queue, tmp_path: Path) -> None:
    with (
        without_python(queue.bed.login),
        Kernel(add_kernel(queue.site(node="n1")), tmp_path) as kernel,
    ):
        assert kernel.value("__import__('platform').node()") == "n1"
        assert "there is no Python 3.6 or newer over there" in log_text()
        assert kernel.stderr() == ""
    queue.wait_empty()


def test_the_ssh_to_the_node_is_lost(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site("--channel=forward", node="n1")), tmp_path) as kernel:
        kernel.begin(FOR_EVER)
        queue.bed.n1.run(["pkill", "-KILL", "-f", "sshd: ada"])
        assert kernel.launcher_status(timeout=15) == 31
        sentence = "the ssh to the node n1, which carries the kernel's sockets, was closed"
        assert f"remote-kernels: {sentence}.\n" in kernel.stderr()
    queue.wait_empty()


# --- restarts -----------------------------------------------------------------------------------


def test_a_job_is_not_held_for_long(queue: Queue, tmp_path: Path) -> None:
    kernel = Kernel(add_kernel(queue.site()), tmp_path)
    with kernel:
        # The connection file stays, as it does before a restart.
        ports = set(kernel.manager.ports)
        assert ports <= queue.bed.laptop.listening_ports()
        assert kernel.shut_down() == 0
        assert queue.jobs()
        # They are for the launcher that may come.
        assert not ports & queue.bed.laptop.listening_ports()
        queue.wait_empty()


def test_a_kernel_that_died_is_restarted_in_its_job(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site()), tmp_path) as kernel:
        (before,) = queue.jobs()
        kernel.client.execute("import os; os.abort()")
        assert kernel.launcher_status(timeout=10) == 26
        # As Jupyter's restarter does.
        kernel.restart(now=True)
        assert queue.jobs() == [before]


def test_a_restart_with_other_ports_takes_a_new_job(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site()), tmp_path) as kernel:
        (before,) = queue.jobs()
        assert kernel.shut_down(restart=True) == 0
        path = Path(kernel.manager.connection_file)
        info = json.loads(path.read_text())
        swapped = info | {"shell_port": info["hb_port"], "hb_port": info["shell_port"]}
        path.write_text(json.dumps(swapped))
        command = kernel.manager.format_kernel_cmd()
        with subprocess.Popen(command, start_new_session=True) as launcher:
            wait_until(lambda: queue.jobs() not in ([before], []), 20, "another job")
            assert "the job cannot be used for it" in log_text()
            launcher.terminate()
        path.unlink()


# --- on the login host itself -------------------------------------------------------------------

ON_LOGIN_HOST = """
import sys
from jupyter_client.manager import KernelManager

manager = KernelManager(kernel_name=sys.argv[1])
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
code = "import os, platform; print(platform.node(), os.environ['SLURM_JOB_ID'])"
client.execute_interactive(code, timeout=30)
manager.restart_kernel()
# Old words on this channel would be taken for the new kernel's.
client.stop_channels()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute_interactive(code, timeout=30)
client.stop_channels()
manager.shutdown_kernel()
"""


@pytest.fixture
def own_jupyter(bed: Bed) -> Iterator[dict[str, str]]:
    """The environment of a Jupyter of ada's on the login host."""
    home = "/home/ada/jupyter"
    bed.login.run(["mkdir", home], user="ada")
    names = ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "XDG_STATE_HOME")
    yield {**{name: f"{home}/{name}" for name in names}, "IPYTHONDIR": f"{home}/ipython"}
    bed.login.run(["rm", "-r", home], user="ada")


def on_login_host(bed: Bed, env: dict[str, str], *before: str) -> list[list[str]]:
    """Node and job id of a kernel that Jupyter starts on the login host, and again restarted."""
    python = sys.executable
    command = IPYKERNEL.format(python=bed.far_python)
    add = ["manage", "--add", "-i", "slurm", "-n", "Here", f"--kernel_cmd={command}"]
    said = bed.login.run([python, "-m", "remote_kernels", *add], user="ada", env=env).stdout
    assert "Added kernel ['rik_slurm_here']" in said
    argv = [*before, python, "-c", ON_LOGIN_HOST, "rik_slurm_here"]
    done = bed.login.run(argv, user="ada", env=env, timeout=60)
    return [line.split() for line in done.stdout.splitlines()]


def test_from_the_login_host_itself(queue: Queue, own_jupyter: dict[str, str]) -> None:
    first, again = on_login_host(queue.bed, own_jupyter)
    assert first[0] in ("n1", "n2")
    assert first == again
    assert queue.bed.login.logins() == []


def test_from_within_a_job(queue: Queue, own_jupyter: dict[str, str]) -> None:
    outer = queue.bed.login.run(["salloc", "--no-shell", "-c2"], user="ada").stderr.split()[-1]
    try:
        within = ["env", f"SLURM_JOB_ID={outer}", f"SLURM_JOBID={outer}", "SLURM_NTASKS=7"]
        first, again = on_login_host(queue.bed, own_jupyter, *within)
        assert first == again
        assert first[1] != outer
    finally:
        queue.bed.login.run(["scancel", outer], user="ada")


# --- a node that lets nobody in -----------------------------------------------------------------


def test_forwards_to_a_node_without_sshd(queue: Queue, tmp_path: Path) -> None:
    queue.bed.n1.stop_sshd()
    spec = add_kernel(queue.site("--channel=forward", node="n1"))
    status, stderr = failing(spec, tmp_path)
    assert status == 31
    sentence = "the ssh to the node n1, which carries the kernel's sockets, is refused"
    assert f"remote-kernels: {sentence}.\n" in stderr
    assert "Connection refused" in stderr
    queue.wait_empty()


def test_a_kernel_on_a_node_without_sshd(queue: Queue, tmp_path: Path) -> None:
    queue.bed.n1.stop_sshd()
    with Kernel(add_kernel(queue.site(node="n1")), tmp_path) as kernel:
        assert kernel.value("__import__('platform').node()") == "n1"
