"""What schedulers say, recorded from real ones, and what is understood of it.

Slurm's texts are those of 22.05 (its own qsub's, too), with those of other releases where they
differ; Grid Engine's are those of 8.1.9. PBS's and LSF's are from their sources and manuals.
"""

from __future__ import annotations

import pytest

from remote_kernels.errors import JobEndedError, JobRefusedError, SchedulerDownError
from remote_kernels.interfaces import interface_named
from remote_kernels.interfaces.scheduler import Job, OwnJob, Scheduler
from unit.conversation import Conversation


def scheduler(name: str) -> type[Scheduler]:
    found = interface_named(name)
    assert issubclass(found, Scheduler)
    return found


# --- while it is asked ---------------------------------------------------------------------------

# The lines of the command, and the job as it is told after each line that tells something.
CONVERSATIONS: dict[str, tuple[str, list[str], list[str]]] = {
    "slurm, granted at once": ("slurm", [], []),
    "slurm, after a wait": (
        "slurm",
        [
            "srun: job 13 queued and waiting for resources",
            "srun: job 13 has been allocated resources",
        ],
        ["job 13 PENDING", "job 13 RUNNING"],
    ),
    "slurm, with -v": (
        "slurm",
        [
            "srun: defined options",
            "srun: -------------------- --------------------",
            "srun: job-name            : x",
            "srun: job 13 queued and waiting for resources",
            "srun: job 13 has been allocated resources",
            "srun: jobid 13: nodes(1):`n1', cpu counts: 1(x1)",
            "srun: launching StepId=13.0 on host n1, 1 tasks: 0",
            "srun: launch/slurm: _task_start: Node n1, 1 tasks started",
        ],
        ["job 13 PENDING", "job 13 RUNNING"],
    ),
    "slurm, never": (
        "slurm",
        [
            "srun: Requested partition configuration not available now",
            "srun: job 15 queued and waiting for resources",
        ],
        ["job 15 PENDING"],
    ),
    "qlogin": (
        "sge",
        [
            'Your job 4 ("x") has been submitted',
            "waiting for interactive job to be scheduled ...",
            "Your interactive job 4 has been successfully scheduled.",
            "Establishing builtin session to host sgenode2 ...",
        ],
        ["job 4 qw", "job 4 r"],
    ),
    "qrsh with ssh": (
        "sge_qrsh",
        [
            'Your job 41 ("a-0a1b2c") has been submitted',
            "waiting for interactive job to be scheduled ...",
            "",
            "Your interactive job 41 has been successfully scheduled.",
            "Establishing /usr/bin/ssh -t session to host sgenode2 ...",
        ],
        ["job 41 qw", "job 41 r"],
    ),
    "qsub -I": (
        "pbs",
        ["qsub: waiting for job 103.login to start", "qsub: job 103.login ready"],
        ["job 103.login Q", "job 103.login R"],
    ),
    "qsub -I of Slurm": (
        "pbs",
        [
            "salloc: Pending job allocation 20",
            "salloc: job 20 queued and waiting for resources",
            "salloc: job 20 has been allocated resources",
            "salloc: Granted job allocation 20",
        ],
        ["job 20 Q", "job 20 R"],
    ),
    "bsub -Is": (
        "lsf",
        [
            "Job <104> is submitted to default queue <main>.",
            "<<Waiting for dispatch ...>>",
            "<<Starting on n1>>",
        ],
        ["job 104 PEND"],
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_command_tells_of_its_job(name: str) -> None:
    interface, lines, wanted = CONVERSATIONS[name]
    found: list[str] = []
    for line in lines:
        job = scheduler(interface).read_line(line)
        # A job that was granted is not taken for one that waits again.
        if job is not None and str(job) not in found:
            found.append(str(job))
    assert found == wanted


@pytest.mark.parametrize("interface", ["slurm", "sge", "sge_qrsh", "pbs", "lsf"])
@pytest.mark.parametrize(
    "line",
    ["", "Welcome to the cluster!", "Last login: Sat Nov 21 03:00:00 2026 from gw", "$ ", "job 7"],
)
def test_other_lines_tell_of_no_job(interface: str, line: str) -> None:
    assert scheduler(interface).read_line(line) is None
    assert scheduler(interface).read_look(line) is None
    assert not (pattern := scheduler(interface).typed_after) or not pattern.search(line)


@pytest.mark.parametrize(
    ("interface", "line"),
    [
        ("sge", "Establishing builtin session to host sgenode2 ..."),
        ("sge", "Establishing /tmp/x/qlogin_ssh session to host sgenode2 ..."),
        ("sge", "Establishing /usr/bin/ssh -t session to host n1.example.org ..."),
        ("pbs", "qsub: job 103.login ready"),
        ("pbs", "qsub: job 103[].login.example.org ready"),
        ("pbs", "salloc: Granted job allocation 12"),
    ],
)
def test_when_a_shell_is_there(interface: str, line: str) -> None:
    pattern = scheduler(interface).typed_after
    assert pattern
    assert pattern.search(line)
    before = [text for _, lines, _ in CONVERSATIONS.values() for text in lines[:-1]]
    assert not any(pattern.search(text) for text in before)


@pytest.mark.parametrize("interface", ["slurm", "sge_qrsh", "lsf"])
def test_those_that_take_a_program_give_no_shell(interface: str) -> None:
    assert scheduler(interface).typed_after is None


# --- while it waits ------------------------------------------------------------------------------

# As the program on the login host passes them on: blanks stand for the ends of lines.
QSTAT_F = (
    "Job Id: 103.login     Job_Name = Python-3-0a1b2c     Job_Owner = me@login     job_state = {}"
    "     queue = workq     server = login{}     ctime = Sat Nov 21 02:46:00 2026 "
)
QSTAT_J = (
    "============================================================== "
    "job_number:                 17 exec_file:                  job_scripts/17 "
    "submission_time:            Sat Nov 21 03:07:01 2026 owner:                      me "
    "job_name:                   Python-3-0a1b2c "
    "{}"
)
LOOKS: dict[str, tuple[str, str, Job | None]] = {
    "slurm, resources": (
        "slurm",
        "13|PENDING|Resources|2026-11-21T02:47:15| ",
        Job("13", "PENDING", "Resources", "2026-11-21T02:47:15"),
    ),
    "slurm, not yet looked at": ("slurm", "13|PENDING|None|N/A| ", Job("13", "PENDING")),
    "slurm, two reasons": (
        "slurm",
        "13|PENDING|ReqNodeNotAvail, UnavailableNodes:n1|N/A| ",
        Job("13", "PENDING", "ReqNodeNotAvail, UnavailableNodes:n1"),
    ),
    "slurm, runs": ("slurm", "13|RUNNING|None|2026-11-21T02:47:15|n1 ", Job("13", "RUNNING")),
    "slurm, configures": (
        "slurm",
        "13|CONFIGURING|None|2026-11-21T02:47:15|n[1-2] ",
        Job("13", "CONFIGURING"),
    ),
    "slurm, gone": ("slurm", "", None),
    "slurm, down": ("slurm", "slurm_load_jobs error: Unable to contact slurm controller ", None),
    "sge, full": (
        "sge",
        QSTAT_J.format(
            'scheduling info:            queue instance "all.q@n1" dropped because it is full '
            "verification: found suitable queue(s) "
        ),
        Job("17", "qw", 'queue instance "all.q@n1" dropped because it is full'),
    ),
    "sge, gone": ("sge", "Following jobs do not exist:  Python-3-0a1b2c ", None),
    "pbs, waits": (
        "pbs",
        QSTAT_F.format(
            "Q",
            "     comment = Not Running: Insufficient amount of resource: ncpus (R: 4 A: 0 T: 2)"
            "     estimated.start_time = Sat Nov 21 04:00:00 2026",
        ),
        Job(
            "103.login",
            "Q",
            "Not Running: Insufficient amount of resource: ncpus (R: 4 A: 0 T: 2)",
            "Sat Nov 21 04:00:00 2026",
        ),
    ),
    "pbs, runs": (
        "pbs",
        QSTAT_F.format("R", "     comment = Job run at Sat Nov 21 at 02:46 on (n1:ncpus=1)"),
        Job("103.login", "R"),
    ),
    "pbs, no comment": ("pbs", QSTAT_F.format("Q", ""), Job("103.login", "Q")),
    "pbs, gone": ("pbs", "", None),
    "lsf, waits": (
        "lsf",
        "104|PEND|Job slot limit reached: 4 hosts;|Nov 21 04:00|-| ",
        Job("104", "PEND", "Job slot limit reached: 4 hosts;", "Nov 21 04:00"),
    ),
    "lsf, new": ("lsf", "104|PEND|-|-|-| ", Job("104", "PEND")),
    "lsf, runs": ("lsf", "104|RUN|-|-|-| ", Job("104", "RUN")),
    "lsf, gone": ("lsf", "", None),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_tells_of_the_job(name: str) -> None:
    interface, text, wanted = LOOKS[name]
    assert scheduler(interface).read_look(text) == wanted


# All names of reasons are those that Slurm 22.05 has.
NEVER = [
    *(
        ("slurm", f"13|PENDING|{reason}|N/A| ")
        for reason in (
            *("PartitionConfig", "PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints"),
            *("QOSMaxCpuPerJobLimit", "QOSMaxNodePerJobLimit", "AssocMaxCpuMinutesPerJobLimit"),
            *("QOSMaxWallDurationPerJobLimit", "AssocMaxWallDurationPerJobLimit"),
            *("InvalidAccount", "InvalidQOS", "AccountNotAllowed", "QOSNotAllowed"),
        )
    ),
    *(
        pytest.param("slurm", f"13|PENDING|{reason}|N/A| ")
        for reason in (
            *("AssocMaxGRESPerJob", "AssocMaxMemPerNode", "AssocMaxCpuPerNode"),
            *("QOSMaxGRESPerJob", "QOSMaxGRESPerNode", "QOSMaxMemoryPerJob", "QOSMinGRES"),
            "QOSMinCpuNotSatisfied",
        )
    ),
    (
        "sge",
        QSTAT_J.format(
            'scheduling info:            (-l mem_free=999G) cannot run at host "n1" '
            "verification: no suitable queues "
        ),
    ),
    ("pbs", QSTAT_F.format("Q", "     comment = Can Never Run: Insufficient amount of resource")),
    ("lsf", "104|PEND|Requested resource exceeds the limit of the queue;|-|-| "),
]


@pytest.mark.parametrize(("interface", "text"), NEVER)
def test_what_can_never_be_met_is_known(interface: str, text: str) -> None:
    job = scheduler(interface).read_look(text)
    assert job is not None
    assert job.never


@pytest.mark.parametrize(
    ("interface", "text"),
    [
        *(
            ("slurm", f"13|PENDING|{reason}|N/A| ")
            for reason in (
                *("Resources", "Priority", "None", "Dependency", "Licenses", "BeginTime"),
                *("QOSMaxCpuPerUserLimit", "AssocGrpCpuLimit", "JobHeldUser", "NodeDown"),
                *("QOSMaxJobsPerUserLimit", "QOSGrpNodeLimit", "Reservation", "QOSGrpMemLimit"),
                *("PartitionDown", "PartitionInactive", "ReqNodeNotAvail", "AssocGrpJobsLimit"),
                *("QOSMaxGRESPerUser", "AssocMaxJobsLimit", "AssocGrpCPURunMinutesLimit"),
            )
        ),
        ("slurm", "13|RUNNING|PartitionConfig|N/A|n1 "),
        ("pbs", QSTAT_F.format("R", "     comment = Can Never Run")),
        ("lsf", "104|PEND|Job slot limit reached: 4 hosts;|-|-| "),
    ],
)
def test_what_waiting_can_bring_is_not_called_impossible(interface: str, text: str) -> None:
    job = scheduler(interface).read_look(text)
    assert job is not None
    assert not job.never


@pytest.mark.parametrize(
    ("job", "wanted"),
    [
        (Job("7"), "job 7"),
        (Job("7", "qw"), "job 7 qw"),
        (Job("7", "PENDING", "Priority"), "job 7 PENDING (Priority)"),
        (
            Job("7", "PENDING", "Priority", "2026-11-21T02:47:15"),
            "job 7 PENDING (Priority), expected to start 2026-11-21T02:47:15",
        ),
    ],
)
def test_a_job_for_a_person(job: Job, wanted: str) -> None:
    assert str(job) == wanted


# --- refused -------------------------------------------------------------------------------------

DENIED = "srun: error: Unable to allocate resources: "
# What was printed, the line of it that says why, and a word of the advice.
REFUSED: list[tuple[str, list[str], int, str]] = [
    (
        "slurm",
        [
            "srun: error: invalid partition specified: nosuch",
            f"{DENIED}Invalid partition name specified",
        ],
        0,
        "sinfo",
    ),
    (
        "slurm",
        [
            "/usr/bin/srun: unrecognized option '--nosuchoption'",
            'Try "srun --help" for more information',
        ],
        0,
        "--remote-launch-args",
    ),
    ("slurm", ["srun: error: Invalid --time specification"], 0, "--remote-launch-args"),
    ("slurm", [f"{DENIED}Invalid node name specified"], 0, "sinfo"),
    ("slurm", [f"{DENIED}Invalid feature specification"], 0, "sinfo"),
    ("slurm", ["srun: error: Invalid generic resource (gres) specification"], 0, "--gpus"),
    (
        "slurm",
        [
            "srun: error: Memory specification can not be satisfied",
            f"{DENIED}Requested node configuration is not available",
        ],
        0,
        "--memory",
    ),
    ("slurm", [f"{DENIED}Requested node configuration is not available"], 0, "--cpus"),
    (
        "slurm",
        [f"{DENIED}Invalid account or account/partition combination specified"],
        0,
        "--account",
    ),
    ("slurm", [f"{DENIED}Invalid qos specification"], 0, "sacctmgr"),
    ("slurm", [f"{DENIED}Requested time limit is invalid (missing or exceeds some limit)"], 0, ""),
    ("slurm", [f"{DENIED}Requested nodes are busy"], 0, "squeue"),
    ("sge", ['unknown resource "nosuch"'], 0, "qconf -sc"),
    ("sge", ['attribute "h_vmem" is not a memory value'], 0, "qconf -sc"),
    (
        "sge",
        ['job rejected: the requested parallel environment "nosuch" does not exist'],
        0,
        "--pe",
    ),
    ("sge", ['Job was rejected because job requests unknown queue "nosuch.q"'], 0, "--queue"),
    ("sge", ['can\'t resolve hostname "nosuch"'], 0, "--remote-launch-args"),
    ("sge_qrsh", ['job rejected: the requested project "nosuch" does not exist'], 0, "--account"),
    ("sge", ['error: invalid option argument "--bogus"'], 0, "--remote-launch-args"),
    ("sge", ["error: -l option must have argument"], 0, "--remote-launch-args"),
    ("sge", ["error: Unknown option -wd"], 0, "--remote-launch-args"),
    ("sge", ["error: no suitable queues"], 0, "qstat -g c"),
    (
        "sge",
        [
            'waiting for interactive job to be scheduled ...Your "qlogin" request could not be '
            "scheduled, try again later.",
        ],
        0,
        "qstat -g c",
    ),
    ("pbs", ["qsub: Unknown queue"], 0, "--queue"),
    ("pbs", ["qsub: Unknown resource: nosuch"], 0, "--gpus"),
    ("pbs", ["qsub: Job exceeds queue and/or server resource limits"], 0, "qstat -Qf"),
    ("pbs", ["qsub: invalid option -- 'Q'", "usage: qsub [-a date_time]"], 0, "launch-args"),
    ("pbs", ["qsub: Unauthorized Request"], 0, "who may"),
    (
        "pbs",
        [
            "salloc: error: invalid partition specified: nosuch",
            "salloc: error: Job submit/allocate failed: Invalid partition name specified",
        ],
        0,
        "--queue",
    ),
    ("lsf", ["nosuch: No such queue. Job not submitted."], 0, "--queue"),
    ("lsf", ["bsub: Illegal option -- Q"], 0, "--remote-launch-args"),
    ("lsf", ["Bad resource requirement syntax. Job not submitted."], 0, "--cpus"),
]


@pytest.mark.parametrize(("interface", "said", "why", "advice"), REFUSED)
def test_a_refusal_is_told_with_what_to_do(
    interface: str, said: list[str], why: int, advice: str
) -> None:
    error = scheduler(interface).refusal(["Welcome to the cluster!", *said, ""])
    assert type(error) is JobRefusedError
    assert error.sentence == f"{scheduler(interface).label} refused: {said[why]}"
    assert advice in error.advice
    assert error.advice


DOWN = [
    ("slurm", [f"{DENIED}Unable to contact slurm controller (connect failure)"], 0),
    (
        "slurm",
        [
            "srun: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host",
            "srun: error: fetch_config: DNS SRV lookup failed",
            "srun: error: _establish_config_source: failed to fetch config",
            "srun: fatal: Could not establish a configuration source",
        ],
        3,
    ),
    (
        "sge",
        [
            "error: commlib error: got select error (Connection refused)",
            'error: unable to send message to qmaster using port 6444 on host "sgemaster": '
            "got send error",
        ],
        0,
    ),
    (
        "sge_qrsh",
        ['error: unable to read qmaster name: qmaster hostname in "act_qmaster" has zero length'],
        0,
    ),
    ("pbs", ["Connection refused", "qsub: cannot connect to server login (errno=111)"], 0),
    ("lsf", ["Failed in an LSF library call: LIM is down; try later. Job not submitted."], 0),
]


@pytest.mark.parametrize(("interface", "said", "why"), DOWN)
def test_a_scheduler_that_does_not_answer(interface: str, said: list[str], why: int) -> None:
    error = scheduler(interface).refusal(["Welcome to the cluster!", *said])
    assert type(error) is SchedulerDownError
    label = scheduler(interface).label
    assert error.sentence == f"{label} does not answer: {said[why]}"


@pytest.mark.parametrize("interface", ["slurm", "sge", "sge_qrsh", "pbs", "lsf"])
@pytest.mark.parametrize(
    ("said", "told"),
    [([], "it said nothing"), (["something", "quite new", " ", ""], "quite new")],
)
def test_an_unknown_refusal_is_told_as_it_is(interface: str, said: list[str], told: str) -> None:
    error = scheduler(interface).refusal(said)
    assert type(error) is JobRefusedError
    assert error.sentence == f"{scheduler(interface).label} gave no job: {told}"


# --- the end -------------------------------------------------------------------------------------

STEP = "slurmstepd-n1: error: *** STEP 41.0 ON n1 CANCELLED AT 2026-11-21T02:47:49"
ENDINGS: list[tuple[str, str, list[str], int | None, str | None]] = [
    ("slurm", "41|CANCELLED|None|N/A|n1 ", [], 137, "was cancelled"),
    ("slurm", "41|TIMEOUT|TimeLimit|N/A|n1 ", [], 137, "reached its time limit"),
    ("slurm", "41|NODE_FAIL|NodeDown|N/A|n1 ", [], 0, "lost its node"),
    ("slurm", "41|OUT_OF_MEMORY|OutOfMemory|N/A|n1 ", [], 137, "used more memory"),
    ("slurm", "41|PREEMPTED|None|N/A|n1 ", [], 137, "had to make way for another one"),
    ("slurm", "41|COMPLETED|None|N/A|n1 ", [], 0, None),
    ("slurm", "", [f"{STEP} ***", "srun: error: n1: task 0: Killed"], 137, "was cancelled"),
    ("slurm", "", [f"{STEP} DUE TO TIME LIMIT ***"], 137, "reached its time limit"),
    ("slurm", "41|COMPLETING|None|N/A|n1 ", [f"{STEP} DUE TO TIME LIMIT ***"], 137, "time limit"),
    ("slurm", "", [f"{STEP} DUE TO PREEMPTION ***"], 137, "had to make way"),
    ("slurm", "", ["srun: error: Node failure on n1"], 0, "lost its node"),
    ("slurm", "", ["srun: Job has been cancelled"], 1, "was cancelled"),
    (
        "slurm",
        "",
        [
            "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=41.0. Some of your "
            "processes may have been killed by the cgroup out-of-memory handler."
        ],
        137,
        "used more memory",
    ),
    (
        "slurm",
        "",
        ["slurmstepd: error: Job 41 exceeded memory limit (262144 > 204800), being killed"],
        137,
        "used more memory",
    ),
    # What a cell prints is not what Slurm says.
    ("slurm", "", ["out of memory", f"print: {STEP}", "oom-killer"], 137, None),
    ("slurm", "", [], 0, None),
    ("sge", "", [], 0, None),
    ("sge", "failed       37  : qmaster enforced h_rt limit ", [], 137, "reached a hard limit"),
    ("sge", "failed       100 : assumedly after job ", [], 137, "was cancelled or killed"),
    ("sge_qrsh", "", [], 137, "was cancelled or killed"),
    ("sge", "failed       0     exit_status  0 ", [], 0, None),
    ("pbs", "", ["qsub: job 103.login completed"], 0, None),
    (
        "pbs",
        "",
        ["=>> PBS: job killed: walltime 64 exceeded limit 60"],
        None,
        "reached its time limit",
    ),
    ("pbs", "Job Id: 103.login     Exit_status = -29 ", [], None, "reached its time limit"),
    ("pbs", "", ["qsub: job 103.login apparently deleted"], 1, "was cancelled"),
    ("pbs", "", ["salloc: Job allocation 55 has been revoked."], 0, "was cancelled"),
    (
        "lsf",
        "104|EXIT|-|-|TERM_RUNLIMIT: job killed after reaching LSF run time limit| ",
        [],
        140,
        "reached its time limit",
    ),
    (
        "lsf",
        "104|EXIT|-|-|TERM_MEMLIMIT: job killed after reaching memory limit| ",
        [],
        130,
        "used more memory",
    ),
    ("lsf", "104|EXIT|-|-|TERM_OWNER: job killed by owner| ", [], 130, "was cancelled"),
    ("lsf", "104|DONE|-|-|-| ", [], 0, None),
]


@pytest.mark.parametrize(("interface", "look_back", "said", "status", "wanted"), ENDINGS)
def test_why_a_job_ended(
    interface: str, look_back: str, said: list[str], status: int | None, wanted: str | None
) -> None:
    found = scheduler(interface).ending(look_back, said, status)
    if wanted is None:
        assert found is None
    else:
        assert found is not None
        assert wanted in found


def test_grid_engine_forgets_a_job_that_its_command_still_waits_for() -> None:
    talk = Conversation(scheduler("sge"))
    # Not known yet, so not gone.
    talk.look("Following jobs do not exist: \nPython-3-abcdef")
    talk.allocation.act()
    talk.lines('Your job 17 ("Python-3-abcdef") has been submitted')
    talk.look(QSTAT_J.format(""))
    talk.allocation.act()
    talk.look("Following jobs do not exist: \nPython-3-abcdef")
    with pytest.raises(JobEndedError, match="job 17 was cancelled before it started") as raised:
        talk.allocation.act()
    assert raised.value.step.stage == "waiting for the job"
    assert raised.value.command.startswith("qlogin ")


def test_a_look_at_the_job_is_no_prompt_of_its_shell() -> None:
    talk = Conversation(scheduler("sge"))
    talk.lines("Establishing builtin session to host n1 ...")
    without_prompt = talk.allocation.wake_at()
    assert without_prompt
    talk.allocation.on_output()
    with_prompt = talk.allocation.wake_at()
    assert with_prompt
    assert with_prompt < without_prompt
    talk.look(QSTAT_J.format(""))
    assert talk.allocation.wake_at() == without_prompt


# --- all jobs of a user ---------------------------------------------------------------------------

# The line of minus signs is longer, and so are all that end in blanks.
QSTAT_R = """\
11/22/2026 10:10:00
job-ID  prior   name       user   state submit/start at     queue      slots ja-task-ID
------------------------------------------------------------------------------------
     42 0.55500 Test-3f2a9 ada    r     11/22/2026 10:00:00 all.q@n1       1
       Full jobname:     Test-3f2a9c
       Master Queue:     all.q@n1
       Hard Resources:   h_rt=3600 (0.000000)
       Soft Resources:
     43 0.00000 other      ada    qw    11/22/2026 10:09:00                1
       Full jobname:     other
       Hard Resources:
       Soft Resources:
"""
QSTAT_F = """\
Job Id: 7.login
    Job_Name = Test-3f2a9c
    Job_Owner = ada@login
    resources_used.walltime = 00:10:00
    job_state = R
    exec_host = n1/0*2+n2/0
    Resource_List.walltime = 01:00:00

Job Id: 8.login
    Job_Name = a-rather-long-name-that-is-folded-in-the-midst-of-it-by-qst
\tat-0c0c0c
    job_state = Q
"""
OWN_JOBS = {
    "slurm": (
        "11|Test-3f2a9c|RUNNING||1-02:00:03\n12|x|PENDING||UNLIMITED\n13|y|RUNNING||4:05\n",
        [
            OwnJob("11", "Test-3f2a9c", "RUNNING", 93603),
            OwnJob("12", "x", "PENDING", None),
            OwnJob("13", "y", "RUNNING", 245),
        ],
    ),
    "sge": (
        QSTAT_R,
        [OwnJob("42", "Test-3f2a9c", "r", 3000, "n1"), OwnJob("43", "other", "qw", None)],
    ),
    "pbs": (
        QSTAT_F,
        [
            OwnJob("7.login", "Test-3f2a9c", "R", 3000, "n1"),
            OwnJob(
                "8.login",
                "a-rather-long-name-that-is-folded-in-the-midst-of-it-by-qstat-0c0c0c",
                "Q",
                None,
            ),
        ],
    ),
    "lsf": (
        "9|Test-3f2a9c|RUN|4*n1:n2|0:59:00\n10|x|PEND|-|-\n",
        [OwnJob("9", "Test-3f2a9c", "RUN", 3540, "n1"), OwnJob("10", "x", "PEND", None)],
    ),
}


@pytest.mark.parametrize("name", OWN_JOBS)
def test_all_jobs_of_a_user(name: str) -> None:
    text, jobs = OWN_JOBS[name]
    assert scheduler(name).read_own_jobs(text) == jobs
    assert scheduler(name).read_own_jobs("nothing|of\nthe kind\n") == []
