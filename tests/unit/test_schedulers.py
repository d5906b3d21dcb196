"""What each scheduler is asked, word by word, and what it is not asked but refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_kernels.errors import OptionsError
from remote_kernels.hosts import Host
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.base import CHANNEL_USES
from remote_kernels.interfaces.scheduler import OwnJob, Scheduler
from remote_kernels.options import KernelOptions
from remote_kernels.shell_text import RECEIVER, receiver_command
from remote_kernels.way import Way

NAMES = ("slurm", "sge", "sge_qrsh", "pbs", "lsf")
TOKEN = "0a1b2c"

# What stands before what was asked for, and after it.
ENDS: dict[str, tuple[list[str], list[str]]] = {
    "slurm": (["srun"], ["--job-name=NAME", "--pty", "/bin/sh", "-c", RECEIVER]),
    "sge": (["qlogin", "-verbose", "-now", "n"], ["-N", "NAME"]),
    "sge_qrsh": (
        ["qrsh", "-verbose", "-now", "n"],
        ["-N", "NAME", "-pty", "y", receiver_command()],
    ),
    "pbs": (["qsub", "-I"], ["-N", "NAME"]),
    "lsf": (["bsub"], ["-J", "NAME", "-Is", receiver_command()]),
}


def scheduler(name: str) -> type[Scheduler]:
    found = interface_named(name)
    assert issubclass(found, Scheduler)
    return found


def options(interface: str, **given: Any) -> KernelOptions:
    return KernelOptions(**{"interface": interface, "name": "Python 3", **given})


def asked(interface: str, **given: Any) -> list[str]:
    """What the command has for these options."""
    command = scheduler(interface).job_command(options(interface, **given), "NAME")
    before, after = ENDS[interface]
    assert command[: len(before)] == before
    assert command[len(command) - len(after) :] == after
    return command[len(before) : len(command) - len(after)]


# Which options, and for each scheduler the words; None where it refuses.
WORDS: list[tuple[dict[str, Any], dict[str, list[str]]]] = [
    ({}, {"slurm": [], "sge": [], "sge_qrsh": [], "pbs": [], "lsf": []}),
    ({"cpus": 1}, {"slurm": [], "sge": [], "sge_qrsh": [], "pbs": [], "lsf": []}),
    (
        {"cpus": 4},
        {
            "slurm": ["--cpus-per-task=4"],
            "sge": ["-pe", "smp", "4"],
            "sge_qrsh": ["-pe", "smp", "4"],
            "pbs": ["-l", "ncpus=4"],
            "lsf": ["-n", "4", "-R", "span[hosts=1]"],
        },
    ),
    (
        {"time": "1-12:30:00"},
        {
            "slurm": ["--time=36:30:00"],
            "sge": ["-l", "h_rt=36:30:00"],
            "sge_qrsh": ["-l", "h_rt=36:30:00"],
            "pbs": ["-l", "walltime=36:30:00"],
            "lsf": ["-W", "36:30"],
        },
    ),
    (
        {"time": "90s"},
        {
            "slurm": ["--time=0:01:30"],
            "sge": ["-l", "h_rt=0:01:30"],
            "sge_qrsh": ["-l", "h_rt=0:01:30"],
            "pbs": ["-l", "walltime=0:01:30"],
            # It counts minutes, and a job must not have less than was asked for.
            "lsf": ["-W", "0:02"],
        },
    ),
    (
        {"memory": "16G"},
        {
            "slurm": ["--mem=16G"],
            "sge": ["-l", "mem_free=16G"],
            "sge_qrsh": ["-l", "mem_free=16G"],
            "pbs": ["-l", "mem=16gb"],
            "lsf": ["-M", "16G", "-R", "rusage[mem=16G]"],
        },
    ),
    (
        {"memory": "1536M"},
        {
            "slurm": ["--mem=1536M"],
            "sge": ["-l", "mem_free=1536M"],
            "sge_qrsh": ["-l", "mem_free=1536M"],
            "pbs": ["-l", "mem=1536mb"],
            "lsf": ["-M", "1536M", "-R", "rusage[mem=1536M]"],
        },
    ),
    (
        {"gpus": 2},
        {"slurm": ["--gres=gpu:2"], "pbs": ["-l", "ngpus=2"], "lsf": ["-gpu", "num=2"]},
    ),
    (
        {"queue": "big one"},
        {
            "slurm": ["--partition=big one"],
            "sge": ["-q", "big one"],
            "sge_qrsh": ["-q", "big one"],
            "pbs": ["-q", "big one"],
            "lsf": ["-q", "big one"],
        },
    ),
    (
        {"account": "pro$ject"},
        {
            "slurm": ["--account=pro$ject"],
            "sge": ["-P", "pro$ject"],
            "sge_qrsh": ["-P", "pro$ject"],
            "pbs": ["-A", "pro$ject"],
            "lsf": ["-P", "pro$ject"],
        },
    ),
    ({"pe": "mpi", "cpus": 2}, {"sge": ["-pe", "mpi", "2"], "sge_qrsh": ["-pe", "mpi", "2"]}),
    # As remote_ikernel did: without a number of CPUs there is nothing to ask it for.
    ({"pe": "mpi"}, {"sge": [], "sge_qrsh": []}),
    (
        {"launch_timeout": "10m"},
        {"slurm": [], "sge": [], "sge_qrsh": [], "pbs": [], "lsf": []},
    ),
    (
        {"tunnel_hosts": ("gate", "login")},
        {"slurm": [], "sge": [], "sge_qrsh": [], "pbs": [], "lsf": []},
    ),
    (
        {"cpus": 8, "time": "4h", "memory": "2G", "queue": "q", "account": "a"},
        {
            "slurm": [
                *("--cpus-per-task=8", "--time=4:00:00", "--mem=2G"),
                *("--partition=q", "--account=a"),
            ],
            "sge": [
                *("-pe", "smp", "8", "-l", "h_rt=4:00:00", "-l", "mem_free=2G"),
                *("-q", "q", "-P", "a"),
            ],
            "sge_qrsh": [
                *("-pe", "smp", "8", "-l", "h_rt=4:00:00", "-l", "mem_free=2G"),
                *("-q", "q", "-P", "a"),
            ],
            # Of several -l the qsub that comes with Slurm heeds the last only.
            "pbs": ["-l", "ncpus=8,mem=2gb,walltime=4:00:00", "-q", "q", "-A", "a"],
            "lsf": [
                *("-n", "8", "-R", "span[hosts=1]", "-W", "4:00"),
                *("-M", "2G", "-R", "rusage[mem=2G]", "-q", "q", "-P", "a"),
            ],
        },
    ),
]


@pytest.mark.parametrize(
    ("interface", "given", "words"),
    [
        pytest.param(name, given, words, id=f"{name}-{','.join(given)}-{n}")
        for n, (given, of_each) in enumerate(WORDS)
        for name, words in of_each.items()
    ],
)
def test_the_words(interface: str, given: dict[str, Any], words: list[str]) -> None:
    scheduler(interface).check(options(interface, **given))
    assert asked(interface, **given) == words


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_its_words(name: str) -> None:
    tried = {field for given, of_each in WORDS if name in of_each for field in given}
    assert tried == scheduler(name).uses - {"launch_cmd", "launch_args"} - CHANNEL_USES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("launch_args", "words"),
    [
        ("-l h_rt=24:00:00", ["-l", "h_rt=24:00:00"]),
        ("-C 'a b' \"it's\" \\$HOME", ["-C", "a b", "it's", "$HOME"]),
        ("--comment='$(id) `id` \\'", ["--comment=$(id) `id` \\"]),
        ("-x '' ü", ["-x", "", "ü"]),
    ],
)
def test_launch_args_are_read_as_a_shell_does(
    name: str, launch_args: str, words: list[str]
) -> None:
    given = options(name, launch_args=launch_args, queue="q")
    scheduler(name).check(given)
    found = asked(name, launch_args=launch_args, queue="q")
    # After ours: what a person says there outweighs it.
    assert found[-len(words) :] == words
    assert len(found) > len(words)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("launch_cmd", "words"),
    [
        ("/opt/bin/run", ["/opt/bin/run"]),
        ("'/opt/my site/run' --site='a b' -v", ["/opt/my site/run", "--site=a b", "-v"]),
        ('env A="it\'s" run', ["env", "A=it's", "run"]),
    ],
)
def test_another_command(name: str, launch_cmd: str, words: list[str]) -> None:
    given = options(name, launch_cmd=launch_cmd, queue="q")
    scheduler(name).check(given)
    command = scheduler(name).job_command(given, "NAME")
    assert command[: len(words)] == words
    ours = scheduler(name).job_command(options(name, queue="q"), "NAME")
    assert command[len(words) :] == ours[1:]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("sge", {"gpus": 1}, "the interface sge cannot use --gpus"),
    ("sge_qrsh", {"gpus": 1}, "the interface sge_qrsh cannot use --gpus"),
    *((name, {"pe": "smp"}, f"the interface {name} cannot use --pe") for name in NAMES[:1]),
    *((name, {"pe": "smp"}, f"the interface {name} cannot use --pe") for name in NAMES[3:]),
    *((name, {"host": "h"}, f"the interface {name} cannot use --host") for name in NAMES),
    *((name, {"time": "4:00"}, "--time '4:00' is no time: write H:MM:SS") for name in NAMES),
    *((name, {"launch_timeout": "4:00"}, "--launch-timeout '4:00' is no time") for name in NAMES),
    *((name, {"memory": "16"}, "--memory '16' is no amount of memory") for name in NAMES),
    *((name, {"launch_args": "it's"}, "--remote-launch-args cannot be read") for name in NAMES),
    *((name, {"launch_cmd": "it's"}, "--launch-cmd cannot be read") for name in NAMES),
    *((name, {"launch_cmd": " "}, "--launch-cmd is empty") for name in NAMES),
    *((name, {"tunnel_hosts": ("ok", "a b")}, "'a b' is no host") for name in NAMES),
    *((name, {"tunnel_hosts": ("a,b", "ok")}, "'a,b' is no host") for name in NAMES),
]


@pytest.mark.parametrize(("interface", "given", "said"), REFUSED)
def test_what_is_refused(interface: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(said)):
        scheduler(interface).check(options(interface, **given))


# --- the way to the queue ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_last_of_the_tunnel_hosts_is_the_login_host(name: str) -> None:
    given = options(name, tunnel_hosts=("gate", "you@mid:2222", "me@login"))
    way = scheduler(name).way(given)
    assert way == Way(Host.parse("me@login"), (Host("gate"), Host.parse("you@mid:2222")))
    # Words for the scheduler are none for ssh, and its command is no ssh.
    far = options(name, tunnel_hosts=("login",), launch_args="-v", launch_cmd="run")
    assert scheduler(name).way(far) == Way(Host("login"))


@pytest.mark.parametrize("name", NAMES)
def test_without_them_it_is_this_machine(name: str) -> None:
    assert scheduler(name).way(options(name)) is None
    found = scheduler(name).session_command(options(name), Path("/private"), "START")
    assert found == ["/bin/sh", "-c", "START"]


@pytest.mark.parametrize("name", NAMES)
def test_the_session_has_a_terminal(name: str) -> None:
    given = options(name, tunnel_hosts=("login",))
    found = scheduler(name).session_command(given, Path("/private"), "START")
    assert found[-4:] == ["-tt", "--", "login", "START"]


# --- the names of jobs ---------------------------------------------------------------------------


@pytest.mark.parametrize("interface", NAMES)
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Python 3", "Python-3-rk0a1b2c"),
        ("R", "R-rk0a1b2c"),
        # PBS: no more than 15 characters.
        ("A long name of a kernel", "A-long-name-of-a-kernel-rk0a1b2c"),
        ("3.13", "k3-13-rk0a1b2c"),
        ("_x", "k_x-rk0a1b2c"),
        ("-n", "n-rk0a1b2c"),
        ("日本語", "k-rk0a1b2c"),
        ("Größe 2", "Gr-e-2-rk0a1b2c"),
        ("λ x", "x-rk0a1b2c"),
        ("☂ R", "R-rk0a1b2c"),
        (" a  b ", "a-b-rk0a1b2c"),
        ("a;$(id)`b`'\"\\|&\n*?[x]{y}~#!%@:/", "a-id-b-x-y-rk0a1b2c"),
        ("", "kernel-rk0a1b2c"),
        (None, "kernel-rk0a1b2c"),
    ],
)
def test_a_job_is_named_after_its_kernel(interface: str, name: str | None, wanted: str) -> None:
    found = scheduler(interface).job_name(options(interface, name=name), TOKEN, kept=True)
    if len(found) == len(wanted):
        assert found == wanted
    else:
        assert interface == "pbs"
        assert found == f"{wanted.removesuffix(f'-rk{TOKEN}')[:6].rstrip('-')}-rk{TOKEN}"


LONGEST = {"slurm": 60, "sge": 60, "sge_qrsh": 60, "pbs": 15, "lsf": 60}


@given(name=st.text(max_size=80), interface=st.sampled_from(NAMES))
def test_no_scheduler_refuses_the_name(name: str, interface: str) -> None:
    for kept, end in ((True, f"-rk{TOKEN}"), (False, f"-rf{TOKEN}")):
        found = scheduler(interface).job_name(options(interface, name=name), TOKEN, kept=kept)
        assert re.fullmatch(rf"[A-Za-z][A-Za-z0-9_-]*{end}", found)
        assert len(found) <= LONGEST[interface]
        job = OwnJob("1", found, "R", None)
        assert (job.is_kept, job.is_not_kept) == (kept, not kept)


@given(st.text(max_size=80), st.sampled_from(NAMES), st.from_regex(r"[0-9a-f]{6}", fullmatch=True))
def test_two_starts_have_two_names(name: str, interface: str, token: str) -> None:
    given = options(interface, name=name)
    names = {scheduler(interface).job_name(given, each, kept=True) for each in (token, "zzzzzz")}
    assert len(names) == 2


@pytest.mark.parametrize(
    "name",
    [
        *("run-240115", "exp-000123", "a-0a1b2c", "Python-3-rk0a1b2", "Python-3-rk0a1b2cd"),
        *("rk0a1b2c", "a-rk0A1B2C", "-rk0a1b2c", "3-rk0a1b2c", "x y-rk0a1b2c", "a-rk0a1b2c\n", ""),
    ],
)
def test_jobs_of_others_are_not_taken_for_ours(name: str) -> None:
    job = OwnJob("1", name, "R", None)
    assert [job.is_kept, job.is_not_kept] == [False, False]


# --- what is run beside the command --------------------------------------------------------------

# What it runs, with every command of a scheduler replaced by one that shows its words.
BESIDE = {
    "slurm": {
        "look": ["<squeue><-h><-t><all><-u><me><-n><NAME><-o><%i|%T|%r|%S|%N>"],
        "look_back": ["<squeue><-h><-t><all><-u><me><-n><NAME><-o><%i|%T|%r|%S|%N>"],
        "cancel": ["<scancel><-u><me><-n><NAME>"],
    },
    "sge": {
        "look": ["<qstat><-j><NAME>", "<qalter><-w><v><NAME>"],
        "look_back": ["<qacct><-j><NAME>"],
        "cancel": ["<qdel><NAME>"],
    },
    "pbs": {
        "look": ["<qstat><-f><7.pbs>", "<qstat><-f><8.pbs>"],
        "look_back": ["<qstat><-xf><7.pbs>", "<qstat><-xf><8.pbs>"],
        "cancel": ["<qdel><7.pbs>", "<qdel><8.pbs>"],
    },
    "lsf": {
        "look": [
            "<bjobs><-a><-noheader><-J><NAME><-o><jobid stat pend_reason estimated_start_time "
            "exit_reason delimiter='|'>|"
        ],
        "look_back": [
            "<bjobs><-a><-noheader><-J><NAME><-o><jobid stat pend_reason estimated_start_time "
            "exit_reason delimiter='|'>|"
        ],
        "cancel": ["<bkill><-J><NAME><0>"],
    },
}
BESIDE["sge_qrsh"] = BESIDE["sge"]
COMMANDS = "squeue scancel qstat qalter qacct qdel bjobs bkill"
FAKES = "\n".join(
    [
        'id() { [ "$*" = -un ] && echo me; }',
        "qselect() { case $* in *'-u me -N NAME') echo 7.pbs; echo 8.pbs ;; esac; }",
        *(f"{name}() {{ printf '<%s>' {name} \"$@\"; echo; }}" for name in COMMANDS.split()),
    ]
)


@pytest.mark.parametrize("interface", NAMES)
@pytest.mark.parametrize("what", ["look", "look_back", "cancel"])
def test_beside_the_command(interface: str, what: str) -> None:
    text = getattr(scheduler(interface), what)("NAME")
    done = subprocess.run(
        ["/bin/sh", "-c", f"{FAKES}\nrk_status=137\nf() {{ {text}; }}\nf"],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == BESIDE[interface][what]


CANCEL_ONE = {"slurm": "scancel", "sge": "qdel", "sge_qrsh": "qdel", "pbs": "qdel", "lsf": "bkill"}


@pytest.mark.parametrize("interface", NAMES)
@pytest.mark.parametrize("number", ["12", "7.pbs", "7[].pbs", "8;ls"])
def test_one_job_is_ended_and_none_of_the_same_name(interface: str, number: str) -> None:
    text = scheduler(interface).cancel_one(OwnJob(number, "NAME", "R", None))
    done = subprocess.run(["/bin/sh", "-c", f"{FAKES}\n{text}"], capture_output=True, text=True)
    assert done.stdout == f"<{CANCEL_ONE[interface]}><{number}>\n"


@pytest.mark.parametrize("interface", NAMES)
def test_it_is_known_how_long_the_reason_may_take(interface: str) -> None:
    # The accounting of Grid Engine is looked at each second until it tells.
    slow = "qacct() { echo try; return 1; }\nsleep() { [ $1 = 1 ]; }\nrk_status=137"
    text = scheduler(interface).look_back("NAME")
    done = subprocess.run(
        ["/bin/sh", "-c", f"{FAKES}\n{slow}\n{text}"], capture_output=True, text=True
    )
    assert done.stdout.count("try") <= scheduler(interface).reason_patience


@pytest.mark.parametrize("interface", ["sge", "sge_qrsh"])
def test_grid_engine_is_asked_why_only_where_something_was_killed(interface: str) -> None:
    text = scheduler(interface).look_back("NAME")
    for status in (0, 1, 128):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{FAKES}\nrk_status={status}\n{text}"], capture_output=True
        )
        assert done.stdout == b""


# --- what a job must not inherit, and what the kernel must not have ------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_is_set_for_the_command_is_left_behind_on_the_node(name: str) -> None:
    assert set(scheduler(name).environment) <= set(scheduler(name).left_behind())


@pytest.mark.parametrize("name", NAMES)
def test_patterns_can_stand_in_a_case_of_sh(name: str) -> None:
    patterns = (*scheduler(name).job_variables, *scheduler(name).kept_variables)
    assert all(re.fullmatch(r"[A-Z_]+\*?", pattern) for pattern in patterns)
    assert patterns


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("slurm", ["SLURM_JOB_ID", "SLURM_JOBID", "SLURM_STEP_ID", "SLURM_CPU_BIND", "SRUN_DEBUG"]),
        ("sge", ["JOB_ID", "NSLOTS", "PE_HOSTFILE", "QUEUE", "SGE_TASK_ID"]),
        ("pbs", ["PBS_JOBID", "PBS_JOBCOOKIE", "PBS_NODEFILE", "PBS_NODENUM", "PBS_ENVIRONMENT"]),
        ("lsf", ["LSB_JOBID", "LSB_HOSTS", "LSB_BATCH_JID", "LS_JOBPID"]),
    ],
)
def test_a_job_in_a_job(name: str, variables: list[str]) -> None:
    for variable in variables:
        found = [p for p in scheduler(name).job_variables if Path(variable).match(p)]
        assert found, variable
        assert not [p for p in scheduler(name).kept_variables if Path(variable).match(p)]


# What a site sets so that its scheduler is found.
@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("slurm", ["SLURM_CONF"]),
        ("sge", ["SGE_ROOT", "SGE_CELL", "SGE_QMASTER_PORT", "SGE_EXECD_PORT", "SGE_CLUSTER_NAME"]),
        ("pbs", ["PBS_SERVER", "PBS_DEFAULT", "PBS_EXEC", "PBS_HOME", "PBS_CONF_FILE"]),
        ("lsf", ["LSF_ENVDIR", "LSF_SERVERDIR", "LSF_BINDIR", "LSB_DEFAULTQUEUE"]),
    ],
)
def test_what_a_site_sets_stays(name: str, variables: list[str]) -> None:
    for variable in variables:
        kept = [p for p in scheduler(name).kept_variables if Path(variable).match(p)]
        dropped = [p for p in scheduler(name).job_variables if Path(variable).match(p)]
        assert kept or not dropped, variable
