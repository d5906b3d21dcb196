"""The cluster itself: whether its machines and schedulers are what other tests take them for."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from bed import Bed, GridEngine, Machine, Slurm, SomethingRemainsError, Watch, wait_until
from bed.plan import CLUSTER_PEOPLE, FREEZER, SOURCE

# The way in, as a person at the laptop has it in their configuration.
CONFIG = """\
Host login
    ProxyJump gina@gw1
Host *
    BatchMode yes
    StrictHostKeyChecking accept-new
    LogLevel ERROR
"""
INSIDE = ("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new")


@pytest.fixture(autouse=True)
def _way_in(bed: Bed) -> None:
    """Let ``ssh ada@login`` work on the laptop; the bed forgets it before the next test."""
    Path.home().joinpath(".ssh/config").write_text(CONFIG)


def ssh(*words: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout
    )


def in_login_shell(bed: Bed, text: str, user: str = "ada", check: bool = True) -> str:
    return bed.login.run(["bash", "-lc", text], user=user, check=check).stdout


# -- machines

CONNECT = """
import socket, sys
for name in sys.argv[1:]:
    try:
        socket.create_connection((name, 22), timeout=2).close()
        print(name)
    except OSError:
        pass
"""


@pytest.mark.parametrize(
    ("machine", "reached"),
    [
        ("laptop", []),
        ("far", []),
        ("gw1", ["login"]),
        ("gw2", []),
        ("login", ["login", "n1", "n2", "10.77.0.1", "10.77.0.2", "10.77.0.3"]),
        ("n1", ["login", "n1", "n2", "10.77.0.1", "10.77.0.2", "10.77.0.3"]),
        ("n2", ["login", "n1", "n2", "10.77.0.1", "10.77.0.2", "10.77.0.3"]),
    ],
)
def test_only_neighbours_reach_the_cluster(bed: Bed, machine: str, reached: list[str]) -> None:
    tried = ["login", "n1", "n2", "10.77.0.1", "10.77.0.2", "10.77.0.3", "10.66.5.2"]
    argv = ["/usr/bin/python3", "-c", CONNECT, *tried]
    found = getattr(bed, machine).run(argv).stdout.split()
    expected = [*reached, "10.66.5.2"] if machine in ("gw1", "login") else reached
    assert found == expected


def test_the_cluster_leads_nowhere_else(bed: Bed) -> None:
    argv = ["/usr/bin/python3", "-c", CONNECT, "gw1", "gw2", "laptop", "far", "10.66.5.1"]
    assert bed.login.run(argv).stdout.split() == ["gw1", "10.66.5.1"]
    assert bed.n1.run(argv).stdout == ""


def test_the_way_in_is_through_gw1(bed: Bed) -> None:
    assert ssh("ada@login", "hostname").stdout == "login\n"
    assert bed.gw1.logins() == ["gina"]
    assert bed.login.logins() == ["ada"]


@pytest.mark.parametrize("machine", ["login", "n1", "n2"])
def test_every_member_knows_itself_by_the_address_that_others_use(bed: Bed, machine: str) -> None:
    seen = {
        member.name: member.run(["getent", "ahostsv4", machine]).stdout.split()[0]
        for member in bed.cluster
    }
    assert set(seen.values()) == {f"10.77.0.{1 + ['login', 'n1', 'n2'].index(machine)}"}


@pytest.mark.parametrize("user", ["ada", "bela", "pia", "lars", "tora"])
def test_everybody_is_the_same_everywhere_and_has_a_home(bed: Bed, user: str) -> None:
    for machine in bed.cluster:
        told = machine.run(["stat", "-c", "%U %u %a", ".", ".ssh", ".ssh/id_ed25519"], user=user)
        uid = next(who.uid for who in CLUSTER_PEOPLE if who.name == user)
        assert told.stdout == f"{user} {uid} 750\n{user} {uid} 700\n{user} {uid} 600\n"


@pytest.mark.parametrize("user", ["ada", "bela", "pia", "lars", "tora"])
def test_homes_are_one_and_the_same_but_for_bela(bed: Bed, user: str) -> None:
    bed.n1.write(f"/home/{user}/from-n1", "hello\n", user=user)
    seen = [machine.name for machine in bed.cluster if machine.files(f"/home/{user}/from-n1")]
    bed.n1.run(["rm", f"/home/{user}/from-n1"])
    assert seen == (["n1"] if user == "bela" else ["login", "n1", "n2"])
    assert not bed.far.files(f"/home/{user}/from-n1")


@pytest.mark.parametrize("user", ["ada", "bela", "pia", "lars", "tora"])
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_within_the_cluster_ssh_asks_for_no_password(bed: Bed, user: str, node: str) -> None:
    unknown = bed.login.run([*INSIDE[:3], node, "hostname"], user=user, check=False)
    assert "Host key verification failed" in unknown.stderr
    assert bed.login.run([*INSIDE, node, "hostname"], user=user).stdout == f"{node}\n"


def test_hosts_that_became_known_are_forgotten(bed: Bed) -> None:
    bed.login.run([*INSIDE, "n1", "true"], user="ada")
    assert bed.n2.files("/home/ada/.ssh/known_hosts")
    bed.forget_hosts()
    assert not bed.n2.files("/home/ada/.ssh/known_hosts")


def test_the_program_is_on_the_login_machine_and_not_on_nodes(bed: Bed) -> None:
    argv = [sys.executable, "-c", "import remote_kernels"]
    bed.login.run(argv, user="ada")
    assert bed.n1.run(["ls", sys.prefix]).stdout == "far\n"
    assert bed.n1.run(["ls", SOURCE], check=False).status == 2
    for machine in bed.cluster:
        machine.run([bed.far_python, "-c", "import ipykernel"], user="ada")


def test_a_node_can_be_cut_off(bed: Bed) -> None:
    connect = [*INSIDE, "-o", "ConnectTimeout=1", "n1", "true"]
    bed.n1.cut()
    assert "timed out" in bed.login.run(connect, user="ada", check=False).stderr
    bed.login.run([*connect[:-2], "n2", "true"], user="ada")
    bed.restore()
    bed.login.run(connect, user="ada")


# -- Slurm


def test_srun_through_the_gateway(bed: Bed, slurm: Slurm) -> None:
    assert ssh("ada@login", "srun", "hostname").stdout in ("n1\n", "n2\n")


def test_a_job_may_have_both_nodes(bed: Bed, slurm: Slurm) -> None:
    told = bed.login.run(["srun", "--nodes=2", "hostname"], user="bela")
    assert sorted(told.stdout.split()) == ["n1", "n2"]


def test_the_gpu_is_on_n2(bed: Bed, slurm: Slurm) -> None:
    request = ("srun", "--gres=gpu:1", "sh", "-c", 'echo "$(hostname) $CUDA_VISIBLE_DEVICES"')
    assert bed.login.run(request, user="ada").stdout == "n2 0\n"


def test_slurms_jobs_are_listed(bed: Bed, slurm: Slurm) -> None:
    hold = ("salloc", "--no-shell", "--nodelist=n2", "--job-name=a|b")
    bed.login.run(hold, user="pia")
    bed.login.run(["sbatch", "--hold", "--job-name=held", "--wrap=true"], user="ada")
    job, held = sorted(slurm.jobs(), key=lambda x: x.id)
    assert (job.name, job.user, job.state, job.nodes) == ("a|b", "pia", "RUNNING", "n2")
    assert (held.name, held.user, held.state, held.nodes) == ("held", "ada", "PENDING", "")
    assert slurm.jobs("pia") == [job]
    slurm.cancel_all()
    assert slurm.jobs() == []


def test_slurm_can_be_full(bed: Bed, slurm: Slurm) -> None:
    at_once = ["srun", "--immediate", "hostname"]
    bed.login.run(["salloc", "--no-shell", "--nodelist=n1"], user="pia")
    with slurm.full(user="lars"):
        assert slurm.idle_cpus() == {"n1": 0, "n2": 0}
        assert {job.user for job in slurm.jobs()} == {"lars", "pia"}
        busy = bed.login.run(at_once, user="ada", check=False)
        assert "Requested nodes are busy" in busy.stderr
    wait_until(lambda: not slurm.jobs("lars"), 20, "free CPUs")
    assert len(slurm.jobs("pia")) == 1
    slurm.cancel_all()
    slurm.wait_idle()
    bed.login.run(at_once, user="ada")


def test_slurm_works_on_when_its_controller_was_away(bed: Bed, slurm: Slurm) -> None:
    bed.login.run(["sbatch", "--output=/dev/null", "--wrap=sleep 600"], user="ada")
    wait_until(lambda: [x.state for x in slurm.jobs()] == ["RUNNING"], 10, "the job")
    before = slurm.jobs()
    with slurm.down():
        assert "is DOWN" in bed.login.run(["scontrol", "ping"], check=False).stdout
    assert slurm.jobs() == before
    bed.login.run(["srun", "hostname"], user="ada")
    slurm.cancel_all()


def test_slurm_takes_other_settings_and_gets_its_own_back(bed: Bed, slurm: Slurm) -> None:
    def told() -> set[str]:
        shells = "echo hostname | script -qc salloc /dev/null"
        return set(bed.login.run(["sh", "-c", shells], user="ada").stdout.split())

    with slurm.settings("LaunchParameters=use_interactive_step"):
        assert told() & {"n1", "n2"}
    assert "login" in told()
    bed.login.run(["find", "/home/ada", "-name", ".bash_history", "-delete"])


@pytest.mark.parametrize(("node", "survivors"), [("n1", ["sleep 600"]), ("n2", [])])
def test_daemons_of_a_job_survive_it_on_n1_only(
    bed: Bed, slurm: Slurm, node: str, survivors: list[str]
) -> None:
    if node == "n2" and bed.n2.run(["test", "-w", FREEZER], check=False).status:
        pytest.skip("no freezer cgroups here, or none that may be written")
    start = "setsid sleep 600 >/dev/null 2>&1 & sleep 0.2"
    bed.login.run(["srun", f"--nodelist={node}", "sh", "-c", start], user="ada")
    wait_until(lambda: not slurm.jobs(), 10, "the job to end")
    machine: Machine = getattr(bed, node)
    assert [process.args for process in machine.processes("ada")] == survivors
    machine.run(["pkill", "-KILL", "-u", "ada"], check=False)


@pytest.mark.needs("torque")
@pytest.mark.parametrize("settings", [(), ("LaunchParameters=use_interactive_step",)])
def test_torques_qsub_is_slurms_salloc(bed: Bed, slurm: Slurm, settings: tuple[str, ...]) -> None:
    with slurm.settings(*settings):
        words = [f"{bed.torque}/qsub", "-I", "-N", "x", "-l", "ncpus=2"]
        session = pexpect.spawn("ssh", ["-tt", "tora@login", *words], encoding="utf-8", timeout=30)
        session.expect(r"salloc: Granted job allocation \d+\r\n")
        # A bash that looks before salloc has given it the terminal stops itself.
        while session.expect([r"\$ ", pexpect.TIMEOUT], timeout=1):
            bed.login.run(["pkill", "-CONT", "-u", "tora", "-x", "bash"], check=False)
        session.sendline("unset HISTFILE; echo I am on $(hostname)")
        session.expect(r"I am on (\w+)\r\n")
        assert (session.match[1] == "login") == (not settings)
        assert [job.name for job in slurm.jobs("tora")] == ["x"]
        session.sendline("exit")
        session.expect("salloc: Relinquishing job allocation")
        session.expect(pexpect.EOF)
        session.close()


# -- Grid Engine


def test_grid_engine_is_known_to_login_shells_only(bed: Bed, gridengine: GridEngine) -> None:
    assert "zero length" in ssh("ada@login", "qstat").stderr
    assert ssh("ada@login", "bash -lc qstat").stderr == ""
    assert in_login_shell(bed, "type -p qstat").startswith("/srv/sge/")


def test_an_interactive_job_of_grid_engine(bed: Bed, gridengine: GridEngine) -> None:
    request = "qrsh -now n -pty y -verbose -N x"
    job = "echo READY $JOB_ID; exec bash --norc --noprofile -i"
    command = shlex.join(["bash", "-lc", f"{request} '{job}'"])
    session = pexpect.spawn("ssh", ["-tt", "ada@login", command], encoding="utf-8", timeout=20)
    session.expect(r"Establishing builtin session to host (n[12]) \.\.\.\r\n")
    node = session.match[1]
    session.expect(r"READY (\d+)\r\n")
    assert [job.id for job in gridengine.jobs("ada")] == [int(session.match[1])]
    session.sendline("unset HISTFILE; echo I am on $(hostname)")
    session.expect(r"I am on (\w+)\r\n")
    assert session.match[1] == node
    session.sendline("exit 3")
    session.expect(pexpect.EOF)
    session.close()
    assert session.exitstatus == 3


def test_grid_engines_jobs_are_listed(bed: Bed, gridengine: GridEngine) -> None:
    where = "-q all.q@n2 -o /dev/null -j y"
    in_login_shell(bed, f"qsub -N a-rather-long-name {where} -b y sleep 600", "bela")
    in_login_shell(bed, f"qsub -h -N held {where} -b y sleep 600", "ada")
    wait_until(lambda: "r" in [job.state for job in gridengine.jobs()], 10, "the job")
    job, held = gridengine.jobs()
    assert (job.name, job.user, job.nodes) == ("a-rather-long-name", "bela", "n2")
    assert (held.name, held.user, held.state, held.nodes) == ("held", "ada", "hqw", "")
    assert gridengine.jobs("bela") == [job]
    assert "a-rather-l" in in_login_shell(bed, "qstat -u '*'")
    gridengine.cancel_all()
    assert gridengine.jobs() == []


def test_grid_engine_has_a_parallel_environment(bed: Bed, gridengine: GridEngine) -> None:
    # without "-now n" an interactive queue is asked for
    assert in_login_shell(bed, "qrsh -pe smp 3 'echo $NSLOTS'") == "3\n"


def test_grid_engine_can_be_full(bed: Bed, gridengine: GridEngine) -> None:
    with gridengine.full(user="lars"):
        assert gridengine.idle_slots() == {"n1": 0, "n2": 0}
        assert {job.user for job in gridengine.jobs()} == {"lars"}
    gridengine.wait_idle()


def test_grid_engine_works_on_when_its_master_was_away(bed: Bed, gridengine: GridEngine) -> None:
    in_login_shell(bed, "qsub -o /dev/null -j y -b y sleep 600")
    wait_until(lambda: [x.state for x in gridengine.jobs()] == ["r"], 10, "the job")
    before = gridengine.jobs()
    with gridengine.down():
        refused = bed.login.run(["bash", "-lc", "qstat"], user="ada", check=False)
        assert "Connection refused" in refused.stderr
    assert gridengine.jobs() == before
    gridengine.cancel_all()
    gridengine.wait_idle()


# -- what is left


@pytest.fixture
def left_job(bed: Bed, slurm: Slurm, gridengine: GridEngine) -> Iterator[None]:
    """Clean up what the tests of the watch leave on purpose."""
    yield
    bed.restore()


@pytest.mark.usefixtures("left_job")
@pytest.mark.parametrize(
    ("submission", "expected"),
    [
        ("sbatch -J x -o /dev/null --wrap 'sleep 600'", r"Slurm: job \d+ \(x\) of ada"),
        ("qsub -N x -o /dev/null -j y -b y sleep 600", r"Grid Engine: job \d+ \(x\) of ada"),
    ],
)
def test_the_watch_reports_a_job_that_is_left(bed: Bed, submission: str, expected: str) -> None:
    watch = Watch(bed)
    in_login_shell(bed, submission)
    with pytest.raises(SomethingRemainsError, match=expected):
        watch.assert_nothing_remains(timeout=0.1)
    bed.restore()
    watch.assert_nothing_remains()
