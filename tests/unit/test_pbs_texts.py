"""Conversations with PBS, each text from its source, and what is understood of them.

OpenPBS (github.com/openpbs/openpbs, cd7ab5eda): qsub's sentences are in src/cmds/qsub_sup.c and
qsub.c, qstat's lines in src/cmds/qstat.c (prt_attr), refusals in src/lib/Liblog/pbs_messages.c,
comments in src/scheduler/job_info.cpp and src/server/req_runjob.c, the ends of jobs in
src/resmom/mom_main.c, src/include/job.h and src/server/svr_jobfunc.c.

Torque (github.com/adaptivecomputing/torque, 34ff84541): src/cmds/qsub_functions.c and qselect.c,
src/include/pbs_error_db.h and pbs_job.h, src/resmom/mom_main.c.

Slurm's own qsub: slurm-wlm-torque 22.05 of Debian 12, recorded.

Where users of a site have shown a text in public, the site or its server stands with it.
"""

from __future__ import annotations

import subprocess

import pytest

from remote_kernels.errors import JobEndedError, JobRefusedError, SchedulerDownError
from remote_kernels.interfaces.pbs import Pbs
from remote_kernels.interfaces.scheduler import Job
from remote_kernels.shell_text import READY
from unit.conversation import Conversation, passed_on

# --- granted ------------------------------------------------------------------------------------


def test_granted_at_once() -> None:
    """qsub_sup.c, with its empty line."""
    talk = Conversation(Pbs)
    talk.lines(
        """
        qsub: waiting for job 1914665.pbs to start
        qsub: job 1914665.pbs ready

        [me@node8291 ~]$
        """
    )
    assert talk.logged == ["job 1914665.pbs Q", "job 1914665.pbs R"]
    assert talk.warned == []
    # Its shell is waited for before anything is typed.
    assert talk.allocation.wake_at() is not None
    assert talk.allocation.on_line(f"{READY}\n")
    assert talk.allocation.on_node


def test_granted_with_what_a_site_says_before_and_after() -> None:
    """Blue Waters, with an INFO of its submit filter, and a prologue of Torque."""
    talk = Conversation(Pbs)
    talk.lines(
        """
        INFO: Job submitted to account: xxx
        qsub: waiting for job 8311609.bw to start
        qsub: job 8311609.bw ready

        ----------------------------------------
        Begin Torque Prologue on nid25431
        at Wed Mar 14 16:57:29 CDT 2018
        Job Id:            8311609.bw
        """
    )
    assert talk.logged == ["job 8311609.bw Q", "job 8311609.bw R"]


@pytest.mark.parametrize(
    "name",
    [
        "2287864.aurora-pbs-0001.hostmgmt.cm.aurora.alcf.anl.gov",
        "12907285.torque01.util.production.int.aci.ics.psu.edu",
        "44418.i136",
    ],
)
def test_names_of_servers_as_they_are(name: str) -> None:
    """Guides of ALCF (Aurora) and PSU (ACI), and a tutorial with Torque."""
    assert Pbs.read_line(f"qsub: waiting for job {name} to start") == Job(name, "Q")
    assert Pbs.read_line(f"qsub: job {name} ready") == Job(name, "R")
    assert Pbs.typed_after
    assert Pbs.typed_after.search(f"qsub: job {name} ready")


def test_slurms_qsub() -> None:
    """slurm-wlm-torque 22.05, recorded."""
    talk = Conversation(Pbs)
    talk.lines(
        """
        salloc: Pending job allocation 20
        salloc: job 20 queued and waiting for resources
        """
    )
    talk.look(
        "Job Id: 20     job_state = Q     comment = Resources     "
        "estimated.start_time = 2026-11-21T02:47:15"
    )
    talk.lines(
        """
        salloc: job 20 has been allocated resources
        salloc: Granted job allocation 20
        """
    )
    assert talk.logged == [
        "job 20 Q",
        "job 20 Q (Resources), expected to start 2026-11-21T02:47:15",
        "job 20 R",
    ]


# --- a long wait --------------------------------------------------------------------------------


def folded(name: str, value: str) -> str:
    """One attribute as prt_attr of qstat.c folds it: at 78 characters, wherever that is."""
    text, column = f"    {name} = ", len(name) + 7
    for number, part in enumerate(value.split(",")):
        text += "," if number else ""
        if len(part) + column < 78:
            text, column = text + part, column + len(part)
            continue
        if number:
            text, column = f"{text}\n\t", 9
        for sign in part:
            text, column = text + sign, column + 1
            if column > 78:
                text, column = f"{text}\n\t", 8
    return f"{text}\n"


# The attributes that a job of Imperial College's cx3 has, in their order.
QUEUED = {
    "Job_Name": "Python-3-0a1b2c",
    "Job_Owner": "me@cx3-2-29.cx3.hpc.ic.ac.uk",
    "job_state": "Q",
    "queue": "v1_gpu72",
    "server": "pbs1.rcs.ic.ac.uk",
    "ctime": "Mon Feb 13 19:00:07 2023",
    "Error_Path": f"cx3-2-29.cx3.hpc.ic.ac.uk:/rds/general/user/me/home/{'long/' * 12}x.e7013474",
    "Variable_List": f"PBS_O_SYSTEM=Linux,PBS_O_PATH=/usr/bin{':/opt/of/a/site/bin' * 9},PBS_O_X=",
    "comment": "Not Running: Insufficient amount of resource: ncpus ",
    "etime": "Mon Feb 13 19:00:07 2023",
    "estimated.exec_vnode": f"({'cx3-10-8.cx3.hpc.ic.ac.uk:ncpus=4:mem=8388608kb:ngpus=1' * 2})",
    "estimated.start_time": "Tue Feb 14 02:10:01 2023",
    "project": "_pbs_project_default",
}


def queued(**changes: str) -> str:
    """What qstat -f prints of it."""
    lines = [folded(name, value) for name, value in {**QUEUED, **changes}.items()]
    return "".join(["Job Id: 7013474.pbs\n", *lines, "\n"])


def test_a_long_wait() -> None:
    talk = Conversation(Pbs)
    talk.lines("qsub: waiting for job 7013474.pbs to start")
    talk.look(queued().partition("    comment")[0])
    talk.look(queued())
    talk.look(queued())
    talk.look(queued(**{"estimated.start_time": "Tue Feb 14 03:30:00 2023"}))
    reason = "Not Running: Insufficient amount of resource: ncpus"
    assert talk.logged == [
        "job 7013474.pbs Q",
        f"job 7013474.pbs Q ({reason}), expected to start Tue Feb 14 02:10:01 2023",
        f"job 7013474.pbs Q ({reason}), expected to start Tue Feb 14 03:30:00 2023",
    ]
    assert talk.warned == []
    assert talk.allocation.waiting


# src/scheduler/job_info.cpp, in the order that it has there.
COMMENTS = [
    "Not Running: Insufficient amount of resource: ncpus (R: 64 A: 12 T: 128)",
    "Not Running: Queue workq job limit has been reached.",
    "Not Running: User has reached server running job limit.",
    "Not Running: Not enough of the right type of nodes are available",
    "Not Running: Job would conflict with reservation or top job",
    "Not Running: Node is in an ineligible state: down",
    "Not Running: would exceed user me's limit on resource ncpus in queue workq, and more besides",
    "Not Running: PBS Error: Execution server rejected request",
]


@pytest.mark.parametrize("comment", COMMENTS)
def test_a_comment_is_read_whole(comment: str) -> None:
    text = f"Job Id: 7.pbs\n    job_state = Q\n{folded('comment', comment)}    etime = x\n"
    assert Pbs.read_look(passed_on(text)) == Job("7.pbs", "Q", comment)


@pytest.mark.parametrize(
    "comment",
    [
        # test/tests/functional/pbs_allpart.py and others of OpenPBS
        "Can Never Run: Not enough total nodes available",
        "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 4 T: 4)",
        "Can Never Run: can't fit in the largest placement set, and can't span psets",
        "Can Never Run: Insufficient amount of server resource: foo (R: 4 A: 0 T: 0)",
        # NCAR's casper, where a resource had been written in capitals
        "Can Never Run: No Select",
    ],
)
def test_what_can_never_run_is_said_aloud(comment: str) -> None:
    talk = Conversation(Pbs)
    talk.lines("qsub: waiting for job 7.pbs to start")
    talk.look(f"Job Id: 7.pbs\n    job_state = Q\n{folded('comment', comment)}")
    (warning,) = talk.warned
    assert warning.startswith(f"remote-kernels: job 7.pbs Q ({comment}): it can never start")
    assert "  ran:   qsub -I -N Python-rf" in warning


def test_a_start_that_is_not_known() -> None:
    """qstat.c prints UNKNOWN where the scheduler has estimated no time."""
    text = "Job Id: 7.pbs\n    job_state = Q\n    estimated.start_time = UNKNOWN\n"
    assert Pbs.read_look(passed_on(text)) == Job("7.pbs", "Q")


def test_a_held_job() -> None:
    """src/server/req_holdjob.c"""
    text = "Job Id: 7.pbs\n    job_state = H\n    comment = Job held by me on Sat Nov 21 02:46\n"
    wanted = Job("7.pbs", "H", "Job held by me on Sat Nov 21 02:46")
    assert Pbs.read_look(passed_on(text)) == wanted


@pytest.mark.parametrize("state", ["R", "E", "F", "S"])
def test_a_job_that_does_not_wait_has_no_reason_to(state: str) -> None:
    """The comment is then "Job run at ..." (src/server/req_runjob.c)."""
    comment = "    comment = Job run at Sat Nov 21 at 02:46 on (n1:ncpus=1)\n"
    text = f"Job Id: 7.pbs\n    job_state = {state}\n{comment}"
    assert Pbs.read_look(passed_on(text)) == Job("7.pbs", state)


# --- refused ------------------------------------------------------------------------------------

# src/cmds/qsub_sup.c; it names accounts, queues and resources, which is not why.
USAGE = """
usage: qsub [-a date_time] [-A account_string] [-c interval]
\t[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
\t[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
\t[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
\t[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
\t[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version
"""
# What is printed, with the line that says why first, and a word of what is advised.
REFUSED = [
    # OpenPBS: pbs_messages.c, and the attribute's name from reply_badattr()
    ("qsub: Unknown queue", "--queue"),
    ("qsub: No default queue specified", "--queue"),
    ("qsub: Queue is not enabled", "--queue"),
    ("qsub: Access to queue is denied", "who may"),
    ("qsub: Unauthorized Request ", "who may"),
    ("qsub: Bad UID for job execution", "who may"),
    ("qsub: Job violates queue and/or server resource limits", "--time"),
    ("qsub: Resource limit exceeds allowable", "--memory"),
    ("qsub: Illegal attribute or resource value Resource_List.walltime", "--time"),
    ("qsub: Invalid Account", "--account"),
    ("qsub: Maximum number of jobs already in queue workq", "qstat -u"),
    ("qsub: would exceed queue workq's per-user limit", "qstat -u"),
    ("qsub: would exceed per-user limit on resource ncpus in queue workq", "qstat -u"),
    ('qsub: "-lresource=" cannot be used with "select" or "place", resource is: ncpus', "--cpus"),
    # Scale-Out Computing on AWS, and users of Darshan
    ("qsub: Unknown resource Resource_List.matlab_lic_fakeresource", "qstat -Qf"),
    ("qsub: Unknown resource Resource_List.filesystems", "qstat -Qf"),
    # NCAR's derecho and cheyenne: a hook of the site
    (
        "qsub: Invalid account for CPU usage, available accounts:\n"
        "Project, Status, Active\nPxxxxxxxx, Normal, True",
        "--account",
    ),
    # qsub_sup.c and getopt(3)
    (f"qsub: invalid option -- 'Q'{USAGE}", "--remote-launch-args"),
    (f"qsub: illegal -l value{USAGE}", "--remote-launch-args"),
    (f"qsub: illegal -N value{USAGE}", "--remote-launch-args"),
    # Torque: qsub_functions.c and pbs_error_db.h; github.com/E3SM-Project/E3SM/issues/1318,
    # github.com/cBio/cbio-cluster/issues/93, WVU, Intel's DevCloud
    (
        "qsub: Job exceeds queue resource limits MSG=cannot satisfy queue max walltime requirement",
        "--time",
    ),
    (
        "qsub: submit error (Job exceeds queue resource limits MSG=cannot satisfy queue max mem "
        "requirement)",
        "--memory",
    ),
    ("qsub: submit error (Unknown queue MSG=cannot locate queue)", "--queue"),
    (
        "qsub: submit error (No default queue specified MSG=requested queue not found)",
        "--queue",
    ),
    (
        "qsub: submit error (Unauthorized Request  MSG=group ACL is not satisfied: user "
        "jrm0122@srih0001.hpc.wvu.edu, queue training)",
        "who may",
    ),
    (
        "qsub: submit error (Bad UID for job execution MSG=ruserok failed validating u1/u1 from "
        "s001-n054.aidevcloud)",
        "who may",
    ),
    ("qsub: submit error (Queue does not allow interactive jobs)", "--queue"),
    ("qsub: submit error (Unknown resource type  Resource_List.ngpus)", "--gpus"),
    # Slurm's qsub, recorded
    (
        "salloc: error: invalid partition specified: nosuch\n"
        "salloc: error: Job submit/allocate failed: Invalid partition name specified",
        "--queue",
    ),
    ("salloc: error: Memory specification can not be satisfied", "--memory"),
    ("Unknown option: Q\nUsage:\n    qsub [-a start_time] [-A account]", "--remote-launch-args"),
]


@pytest.mark.parametrize(("text", "advice"), REFUSED)
def test_a_refusal_is_told_with_what_to_do(text: str, advice: str) -> None:
    talk = Conversation(Pbs)
    talk.lines(text)
    error = talk.ends(1)
    assert type(error) is JobRefusedError
    assert error.sentence == f"PBS refused: {text.splitlines()[0].strip()}"
    assert advice in error.advice


DOWN = [
    # OpenPBS, of servers called aqua, polaris and desched
    ("Unknown Host.\nqsub: cannot connect to server aqua (errno=15008)", 1),
    ("Connection refused\nqsub: cannot connect to server login (errno=111)", 0),
    # its tests of munge
    ("auth: error returned: 15010\nqsub: cannot connect to server pbs (errno=15010)", 1),
    # Torque: a CREAM site, and qsub_functions.c
    (
        "pbs_iff: cannot read reply from pbs_server\nNo Permission.\n"
        "qsub: cannot connect to server gaebatch.ciemat.es (errno=15007) Unauthorized Request",
        0,
    ),
    ("qsub: submit error (Could not connect to batch server)", 0),
    (
        "qsub: submit error (Pbs Server is currently too busy to service this request. Please "
        "retry this request.)",
        0,
    ),
    # Slurm's qsub, recorded
    (
        "salloc: error: Job submit/allocate failed: Unable to contact slurm controller (connect "
        "failure)",
        0,
    ),
]


@pytest.mark.parametrize(("text", "why"), DOWN)
def test_a_server_that_does_not_answer(text: str, why: int) -> None:
    talk = Conversation(Pbs)
    talk.lines(text)
    error = talk.ends(1)
    assert type(error) is SchedulerDownError
    assert error.sentence == f"PBS does not answer: {text.splitlines()[why]}"


def test_without_a_terminal() -> None:
    """qsub.c; it cannot happen, and is told as it is."""
    talk = Conversation(Pbs)
    talk.lines(
        "qsub:\tstandard input and output must be a terminal for\n\tinteractive job submission"
    )
    error = talk.ends(1)
    assert type(error) is JobRefusedError
    assert error.sentence == "PBS gave no job: interactive job submission"


# --- ended before it started --------------------------------------------------------------------


def test_deleted_while_it_waits() -> None:
    """qsub_sup.c looks every 30 s whether its job is still there."""
    talk = Conversation(Pbs)
    talk.lines(
        """
        qsub: waiting for job 7.pbs to start
        qsub: job 7.pbs apparently deleted
        """
    )
    error = talk.ends(1)
    assert type(error) is JobEndedError
    assert error.sentence == "job 7.pbs was cancelled before it started"


def test_somebody_says_yes() -> None:
    """catchint() and bailout() of qsub.c: nobody of ours does, but a signal may come."""
    talk = Conversation(Pbs)
    talk.lines(
        """
        qsub: waiting for job 7.pbs to start
        Do you wish to terminate the job and exit (y|[n])? Job 7.pbs is being deleted
        """
    )
    talk.lines("Job 7.pbs is being deleted")
    assert talk.ends(0).sentence == "job 7.pbs was cancelled before it started"


# --- ended under the kernel ---------------------------------------------------------------------

RAN = "Job run at Sat Nov 21 at 02:46 on (n1:ncpus=1)"


def history(comment: str, status: int | None = None, name: str = "Exit_status") -> str:
    """What qstat -xf shows (job_history_enable); the comment from svr_jobfunc.c."""
    ending = "" if status is None else f"    {name} = {status}\n"
    return passed_on(
        f"Job Id: 7.pbs\n    Job_Name = Python-3-0a1b2c\n    job_state = F\n"
        f"{folded('comment', comment)}    etime = Sat Nov 21 02:46:00 2026\n{ending}"
        "    history_timestamp = 1795229160\n"
    )


ENDINGS = [
    # src/resmom/mom_main.c, through the job's terminal
    ("", ["=>> PBS: job killed: walltime 66 exceeded limit 60"], "reached its time limit"),
    ("", ["=>> PBS: job killed: mem 2097152kb exceeded limit 1048576kb"], "used more memory"),
    ("", ["=>> PBS: job killed: vmem 2097152kb exceeded limit 1048576kb"], "used more memory"),
    ("", ["=>> PBS: job killed: cput 7300 exceeded limit 7200"], "used up its CPU time"),
    ("", ["=>> PBS: job killed: ncpus 3.99 exceeded limit 1 (sum)"], "used more CPUs"),
    # older PBS: the sum over all hosts
    (
        "",
        ["=>> PBS: job killed: mem job total 4323312 kb exceeded limit 3145728 kb"],
        "used more memory",
    ),
    # Torque's moms tell each other
    (
        "",
        ["=>> PBS: job killed: node 1 (n2) requested job die, code 15009"],
        "was killed by PBS: node 1 (n2) requested job die, code 15009",
    ),
    # src/include/job.h and svr_jobfunc.c
    (history(f"{RAN} and exceeded resource walltime", -29), [], "reached its time limit"),
    (history(f"{RAN} and exceeded resource mem", -27), [], "used more memory"),
    (history(f"{RAN} and exceeded resource vmem", -26), [], "used more memory"),
    (history(f"{RAN} and exceeded resource cput", -28), [], "used up its CPU time"),
    (history(f"{RAN} and exceeded resource ncpus (sum)", -25), [], "used more CPUs"),
    (history(f"{RAN} and terminated by me@login", 271), [], "was cancelled"),
    (history(f"{RAN} and terminated", None), [], "was cancelled"),
    # ALCF's Aurora (github.com/argonne-lcf/user-guides/pull/340), of jobs that had not run
    (history("Not Running: Node is in an ineligible state: down and terminated"), [], "cancelled"),
    (history("Not Running: Insufficient amount of resource: ncpus  and terminated"), [], "cancel"),
    # Torque: src/include/pbs_job.h; -11 means something else in OpenPBS
    (history(RAN, -11, "exit_status"), [], "reached its time limit"),
    (history(RAN, -10, "exit_status"), [], "used more memory"),
    (history(RAN, 271, "exit_status"), [], "was cancelled"),
    (history(RAN, -11), [], None),
    # it ended by itself
    (history(f"{RAN} and finished", 0), [], None),
    (history(f"{RAN} and failed", 1), [], None),
    ("", ["", "qsub: job 7.pbs completed"], None),
    # What a cell prints is not what PBS says.
    ("", ["job killed: walltime", "the pod was deleted", "CANCELLED AT noon"], None),
    # Slurm's qsub, recorded
    ("Job Id: 20     job_state = TIMEOUT     comment = TimeLimit ", [], "reached its time limit"),
    ("Job Id: 20     job_state = CANCELLED     comment = None ", [], "was cancelled"),
    ("Job Id: 20     job_state = NODE_FAIL     comment = NodeDown ", [], "lost its node"),
    ("Job Id: 20     job_state = COMPLETED     comment = None ", [], None),
    ("", ["salloc: Job allocation 55 has been revoked."], "was cancelled"),
    (
        "",
        ["slurmstepd-n1: error: *** STEP 20.0 ON n1 CANCELLED AT 2026-11-21T02:51:07 ***"],
        "was cancelled",
    ),
    (
        "",
        [
            "slurmstepd-n1: error: *** STEP 20.0 ON n1 CANCELLED AT 2026-11-21T02:51:07 DUE TO "
            "TIME LIMIT ***",
            "salloc: Job allocation 20 has been revoked.",
        ],
        "reached its time limit",
    ),
]


@pytest.mark.parametrize(("look_back", "said", "wanted"), ENDINGS)
def test_why_a_job_ended(look_back: str, said: list[str], wanted: str | None) -> None:
    found = Pbs.ending(look_back, said, 0)
    assert (wanted in found) if wanted and found else (found is wanted)


def test_a_job_that_ends_under_its_kernel() -> None:
    """Through the allocation, with a history that is looked at when qsub has ended."""
    talk = Conversation(Pbs)
    talk.lines("qsub: waiting for job 7.pbs to start\nqsub: job 7.pbs ready\n")
    assert talk.allocation.on_line(READY)
    talk.allocation.on_job_id("7.pbs")
    talk.allocation.note("")
    talk.allocation.note("qsub: job 7.pbs completed")
    assert talk.allocation.ending() is None
    talk.event("DONE 0")
    talk.event(f"LOOK {history(f'{RAN} and terminated by me@login', 271)}")
    talk.event("GONE")
    assert talk.allocation.over
    assert talk.allocation.name_of_job() == "job 7.pbs"
    assert talk.allocation.ending() == "was cancelled"


# --- what is run beside it ----------------------------------------------------------------------

# As OpenPBS has them; each tells its words, and what it would print.
COMMANDS = """
id() { echo me; }
qselect() { echo "qselect $*" >&2; %(qselect)s; }
qstat() { echo "qstat $*" >&2; %(qstat)s; }
qdel() { echo "qdel $*" >&2; }
squeue() { echo "squeue $1" >&2; %(squeue)s; }
scancel() { echo "scancel $*" >&2; }
sleep() { echo "sleep $1" >&2; }
"""


def beside(text: str, qselect: str = ":", qstat: str = ":", squeue: str = ":") -> tuple[str, str]:
    """What sh prints, and the commands that it runs."""
    commands = COMMANDS % {"qselect": qselect, "qstat": qstat, "squeue": squeue}
    done = subprocess.run(
        ["/bin/sh", "-c", f"{commands}\nf() {{ {text}; }}\nf"], capture_output=True, text=True
    )
    return done.stdout, done.stderr


def test_slurms_jobs_are_looked_at_and_cancelled_where_there_is_no_qselect() -> None:
    """Slurm's qsub has none; that of Grid Engine, if it lies in PATH, knows no -N."""
    for qselect in ("echo 'qselect: not found' >&2; return 127", "echo 'usage: qselect'; return 1"):
        _, ran = beside(Pbs.cancel("NAME"), qselect)
        assert ran.splitlines()[-1] == "scancel -u me -n NAME"
        assert "qdel" not in ran
        row = "echo 'Job Id: 7     job_state = PENDING     comment = Priority'"
        told, _ = beside(Pbs.look("NAME"), qselect, squeue=row)
        assert Pbs.read_look(passed_on(told)) == Job("7", "Q", "Priority")
        told, _ = beside(Pbs.look_back("NAME"), qselect, squeue=row)
        assert Pbs.read_look(passed_on(told)) == Job("7", "Q", "Priority")


def test_torques_qselect_has_no_x() -> None:
    """src/cmds/qselect.c; its qstat -x is XML (src/cmds/qstat.c)."""
    qselect = "case $1 in -x) echo usage; return 2 ;; esac; echo 7.torque"
    qstat = "echo 'Job Id: 7.torque'; echo '    job_state = C'; echo '    exit_status = 271'"
    told, ran = beside(Pbs.look_back("NAME"), qselect, qstat)
    assert "qstat -f 7.torque" in ran
    assert "qstat -xf" not in ran
    assert Pbs.ending(passed_on(told), [], 0) == "was cancelled"


def test_a_job_that_is_just_ending_is_looked_at_again() -> None:
    """Its state is E then, without an Exit_status."""
    qstat = "echo 'Job Id: 7.pbs'; echo '    job_state = E'"
    _, ran = beside(Pbs.look_back("NAME"), "echo 7.pbs", qstat)
    assert ran.count("qstat -xf 7.pbs") == ran.count("sleep 0.5") == 3


def test_slurm_is_left_alone_where_pbs_has_the_job() -> None:
    for text in (Pbs.look("NAME"), Pbs.look_back("NAME"), Pbs.cancel("NAME")):
        _, ran = beside(text, "echo 7.pbs")
        assert "squeue" not in ran
        assert "scancel" not in ran
