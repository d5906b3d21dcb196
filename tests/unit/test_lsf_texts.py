"""Conversations with LSF, each text from its source, and what is understood of them.

IBM's manual of Spectrum LSF 10.1 at https://www.ibm.com/docs/en/spectrum-lsf/10.1.0: "Example
messages" (topic=messaging-example-messages), "Termination reasons displayed by bacct, bhist, and
bjobs", "Customize batch command messages", bjobs -o, bsub -M and -W.

OpenLava, which has grown from the source of an LSF (github.com/zjma/openlava, 69891d8): bsub's
sentences are in lsbatch/lib/lsb.sub.c, refusals in lsbatch/lib/lsb.err.c, pending reasons in
lsbatch/lib/lsb.reason.c, and what stands at the terminal in lsf/res/nios.c.

Where users of a site, or programs that read LSF, have shown a text in public, they stand with it.
"""

from __future__ import annotations

import subprocess

import pytest

from remote_kernels.errors import JobEndedError, JobRefusedError, SchedulerDownError
from remote_kernels.interfaces.lsf import Lsf
from remote_kernels.interfaces.scheduler import Job
from remote_kernels.shell_text import READY
from unit.conversation import Conversation, passed_on

# --- granted ------------------------------------------------------------------------------------


def test_granted_at_once() -> None:
    """lsb.sub.c and nios.c."""
    talk = Conversation(Lsf)
    talk.lines(
        """
        Job <320> is submitted to default queue <interactive>.
        <<Waiting for dispatch ...>>
        <<Starting on linux01>>
        """
    )
    assert talk.logged == ["job 320 PEND"]
    assert talk.allocation.waiting
    # bsub takes the program itself: nothing is typed.
    assert talk.allocation.wake_at() is None
    assert talk.allocation.on_line(READY)
    assert talk.allocation.on_node


@pytest.mark.parametrize(
    "lines",
    [
        # the University of Miami's Pegasus, whose esub says something first
        "Job is submitted to <hpc> project.\nJob <28292518> is submitted to queue <general>.",
        # with X11
        "Job <28292518> is submitted to queue <interactive>.\n<<ssh X11 forwarding job>>",
        # a server that was busy for a moment (lsf.conf: LSB_MBD_CONNECT_FAIL_MSG)
        "Cannot connect to LSF. Please wait ...\n"
        "Cannot connect to LSF. Please wait ...\n"
        "Job <28292518> is submitted to default queue <normal>.",
        # lsb.sub.c, with -b
        "Job <28292518> is submitted to queue <n>.\nJob will be scheduled after Fri Nov 19 13:00",
    ],
)
def test_what_else_is_said_before(lines: str) -> None:
    talk = Conversation(Lsf)
    talk.lines(f"{lines}\n<<Waiting for dispatch ...>>\n<<Starting on n309>>")
    assert talk.logged == ["job 28292518 PEND"]


# --- a long wait --------------------------------------------------------------------------------


def test_a_long_wait() -> None:
    """bjobs shows a reason with a semicolon after it (arvados's tests of lib/lsf say so, too)."""
    talk = Conversation(Lsf)
    talk.lines("Job <104> is submitted to default queue <main>.\n<<Waiting for dispatch ...>>")
    talk.look("104|PEND|New job is waiting for scheduling;|-|-|")
    talk.look("104|PEND|Job slot limit reached: 4 hosts;|Nov 21 04:00|-|")
    talk.look("104|PEND|Job slot limit reached: 4 hosts;|Nov 21 04:00|-|")
    talk.look("104|PEND|Job slot limit reached: 4 hosts;|Nov 21 05:30|-|")
    talk.look("104|RUN|-|-|-|")
    assert talk.logged == [
        "job 104 PEND",
        "job 104 PEND (New job is waiting for scheduling;)",
        "job 104 PEND (Job slot limit reached: 4 hosts;), expected to start Nov 21 04:00",
        "job 104 PEND (Job slot limit reached: 4 hosts;), expected to start Nov 21 05:30",
        "job 104 RUN",
    ]
    assert talk.warned == []


def test_a_wait_with_enhanced_messages() -> None:
    """LSB_INTERACT_MSG_ENH: IBM's "Example messages". The reasons come from bjobs, too."""
    talk = Conversation(Lsf)
    talk.lines(
        """
        Job <2812> is submitted to default queue <normal>.
        <<Waiting for dispatch ...>>

        <<  Job's resource requirements not satisfied: 2 hosts; >>
        <<  Load information unavailable: 1 host; >>

        <<  Just started a job recently: 1 host; >>
        """
    )
    reasons = (
        "Job's resource requirements not satisfied: 2 hosts;Load information unavailable: 1 host;"
    )
    talk.look(f"2812|PEND|{reasons}|-|-|")
    assert talk.logged == ["job 2812 PEND", f"job 2812 PEND ({reasons})"]
    assert talk.allocation.waiting


# lsb.reason.c; none of them lasts for ever.
PASSING = [
    "New job is waiting for scheduling;",
    "The queue is inactivated by its time windows;",
    "User has reached the per-user job slot limit of the queue;",
    "The user has not enough job slots for the parallel job;",
    "Not enough hosts to meet the job's spanning requirement;",
    "Number of jobs exceeds quota;",
    "Load information unavailable: 3 hosts;",
    "Closed by LSF administrator: 1 host;Job's resource requirements not satisfied: 1 host;",
    # github.com/IBMSpectrumComputing/lsf-python-api/pull/60 (LSB_BJOBS_PENDREASON_LEVEL=2)
    "Candidate host pending reasons (0 of 4 hosts).",
]


@pytest.mark.parametrize("reason", PASSING)
def test_what_waiting_can_bring(reason: str) -> None:
    found = Lsf.read_look(passed_on(f"104|PEND|{reason}|-|-|"))
    assert found == Job("104", "PEND", reason)


def test_what_can_never_start_is_said_aloud() -> None:
    """Asked for 16 GPUs of one host that has 8, it pends for ever; arvados gives up, too."""
    reason = "There are no suitable hosts for the job;"
    talk = Conversation(Lsf)
    talk.lines("Job <104> is submitted to queue <gpu>.")
    talk.look(f"104|PEND|{reason}|-|-|")
    (warning,) = talk.warned
    assert warning.startswith(f"remote-kernels: job 104 PEND ({reason}): it can never start")
    assert "  ran:   bsub -J Python-3-" in warning


def test_a_job_that_is_stopped_while_it_waits() -> None:
    """lsb.reason.c"""
    reason = "The job was suspended by the user while pending;"
    found = Lsf.read_look(passed_on(f"104|PSUSP|{reason}|-|-|"))
    assert found == Job("104", "PSUSP", reason)


@pytest.mark.parametrize("state", ["RUN", "USUSP", "SSUSP", "UNKWN", "ZOMBI", "DONE", "EXIT"])
def test_a_job_that_does_not_wait_has_no_reason_to(state: str) -> None:
    assert Lsf.read_look(passed_on(f"104|{state}|-|-|-|")) == Job("104", state)


# --- refused ------------------------------------------------------------------------------------

# What is printed, which line of it says why, and a word of what is advised.
REFUSED = [
    # equinor/ert, "manually obtained on the command line", all with exit code 255
    ("nosuch: No such queue. Job not submitted.", 0, "--queue"),
    ("Too many processors requested. Job not submitted.", 0, "--cpus"),
    ('Error near "select" : duplicate section. Job not submitted.', None, ""),
    ("Error in rusage section. Job not submitted.", 0, "--memory"),
    ("Request from non-LSF host rejected. Job not submitted.", 0, "who may"),
    # users of other sites
    ("atlaslarcal: User cannot use the queue. Job not submitted.", 0, "--queue"),
    ("RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", 0, "--time"),
    # lsb.err.c
    ("MEMLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", 0, "--memory"),
    ("Queue does not accept interactive jobs. Job not submitted.", 0, "--queue"),
    ("Queue has been closed. Job not submitted.", 0, "--queue"),
    ("Cannot exceed queue's resource reservation. Job not submitted.", 0, "--memory"),
    ("Bad resource requirement syntax. Job not submitted.", 0, "bqueues -l"),
    ("User permission denied. Job not submitted.", 0, "who may"),
    ("User not in the specified user group. Job not submitted.", 0, "who may"),
    ("The destination queue has reached its job limit. Job not submitted.", 0, "bjobs"),
    ("Bad argument. Job not submitted.", 0, "--remote-launch-args"),
    # lsf/intlib/misc.c
    ("bsub: illegal option -- Q. Job not submitted.", 0, "--remote-launch-args"),
    # esubs of sites
    (
        "ERROR: You are not a member of project group ABC. Check with 'bugroup ABC'\n"
        "Request aborted by esub. Job not submitted.",
        0,
        "--account",
    ),
    (
        "Error: Your account has multiple projects: project1 project2.\n"
        "Please specify a project by -P option and resubmit\n"
        "Request aborted by esub. Job not submitted.",
        0,
        "--account",
    ),
    (
        "You must select an LSF User group that matches the condo type.\n"
        "Request aborted by esub. Job not submitted.",
        0,
        "who may",
    ),
    (
        "To submit jobs to a gpu queue, you need to select a system which has gpus\n"
        "Request aborted by esub. Job not submitted.",
        1,
        "(esub) says",
    ),
]


@pytest.mark.parametrize(("text", "why", "advice"), REFUSED)
def test_a_refusal_is_told_with_what_to_do(text: str, why: int | None, advice: str) -> None:
    talk = Conversation(Lsf)
    talk.lines(text)
    error = talk.ends(255)
    assert type(error) is JobRefusedError
    if why is None:
        assert error.sentence == f"Platform LSF gave no job: {text}"
    else:
        assert error.sentence == f"Platform LSF refused: {text.splitlines()[why]}"
    assert advice in error.advice
    # What a site's own check says is all shown.
    assert error.said == tuple(text.splitlines())


DOWN = [
    # IBM's "Customize batch command messages"; it repeats them until LSB_NTRIES is reached
    "LSF is down. Please wait ...",
    "Cannot connect to LSF. Please wait ...",
    "LSF is processing your request. Please wait ...",
    # lsb.err.c with lsf/lib/lib.err.c
    "Failed in an LSF library call: LIM is down; try later. Job not submitted.",
    "Batch service not registered. Job not submitted.",
    "Contacting batch daemon: Communication timeout. Job not submitted.",
]


@pytest.mark.parametrize("text", DOWN)
def test_a_scheduler_that_does_not_answer(text: str) -> None:
    talk = Conversation(Lsf)
    talk.lines(text)
    error = talk.ends(255)
    assert type(error) is SchedulerDownError
    assert error.sentence == f"Platform LSF does not answer: {text}"


def test_a_refusal_by_a_scheduler_that_was_busy_first() -> None:
    talk = Conversation(Lsf)
    talk.lines("Cannot connect to LSF. Please wait ...\nnosuch: No such queue. Job not submitted.")
    error = talk.ends(255)
    assert type(error) is JobRefusedError
    assert "No such queue" in error.sentence


# --- ended before it started --------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        # nios.c, exit code -10
        "<<Terminated while pending>>",
        # IBM's "Example messages" (LSB_INTERACT_MSG_ENH)
        "<< Job <2015> has been terminated by user or administrator >>\n"
        "\n"
        "<<Terminated while pending>>",
    ],
)
def test_killed_while_it_waits(lines: str) -> None:
    talk = Conversation(Lsf)
    talk.lines(f"Job <2015> is submitted to default queue <normal>.\n{lines}")
    error = talk.ends(246)
    assert type(error) is JobEndedError
    assert error.sentence == "job 2015 was cancelled before it started"


def test_killed_while_it_waits_and_bsub_is_quiet() -> None:
    """BSUB_QUIET; bjobs -a knows for CLEAN_PERIOD, an hour by default."""
    talk = Conversation(Lsf)
    talk.lines("Job <2015> is submitted to default queue <normal>.")
    error = talk.ends(246, "2015|EXIT|-|-|TERM_OWNER: job killed by owner|")
    assert error.sentence == "job 2015 was cancelled before it started"


# --- ended under the kernel ---------------------------------------------------------------------

# IBM's "Termination reasons", as bjobs writes them (mskcc's tests of its LSF client show one).
REASONS = {
    "TERM_ADMIN: job killed by root or LSF administrator": "was cancelled",
    "TERM_OWNER: job killed by owner": "was cancelled",
    "TERM_FORCE_OWNER: job killed by owner without time for cleanup": "was cancelled",
    "TERM_BUCKET_KILL: job killed with bkill -b": "was cancelled",
    "TERM_RUNLIMIT: job killed after reaching LSF run time limit": "reached its time limit",
    "TERM_DEADLINE: job killed after deadline expires": "reached its deadline",
    "TERM_CPULIMIT: job killed after reaching LSF CPU usage limit": "used up its CPU time",
    "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit": (
        "used more memory than it had been given"
    ),
    "TERM_SWAP: job killed after reaching LSF swap usage limit": (
        "used more memory than it had been given"
    ),
    "TERM_PREEMPT: job killed after preemption": "had to make way for another one",
    "TERM_WINDOW: job killed after queue run window closed": "had to end when its queue closed",
    "TERM_ZOMBIE: job exited while LSF is not available": "lost its node",
    "TERM_REMOVE_HUNG_JOB: job removed from LSF": "lost its node",
    "TERM_REQUEUE_ADMIN: job killed and requeued by root or LSF administrator": (
        "was put back into the queue"
    ),
    # The others are told as LSF tells them.
    "TERM_LOAD: job killed after load exceeds threshold": (
        "was ended by LSF (job killed after load exceeds threshold)"
    ),
    "TERM_THREADLIMIT: job killed after reaching LSF thread limit": (
        "was ended by LSF (job killed after reaching LSF thread limit)"
    ),
}


@pytest.mark.parametrize("reason", REASONS)
def test_why_a_job_ended(reason: str) -> None:
    assert Lsf.ending(passed_on(f"104|EXIT|-|-|{reason}|"), [], 130) == REASONS[reason]
    # As it stands in the mail, and at some terminals.
    assert Lsf.ending("", [f"{reason}."], 130) == REASONS[reason]


@pytest.mark.parametrize(
    ("look_back", "said"),
    [
        ("104|DONE|-|-|-| ", []),
        ("104|EXIT|-|-|-| ", []),
        ("", ["Terminated", "killed", "the kernel said TERM_OWNER: job killed by owner"]),
        ("", ["<<Starting on n1>>", "<< The job was suspended by user >>"]),
    ],
)
def test_that_nothing_tells_why(look_back: str, said: list[str]) -> None:
    assert Lsf.ending(look_back, said, 1) is None


def test_a_job_that_ends_under_its_kernel() -> None:
    """Through the allocation: bjobs is asked when bsub has ended."""
    talk = Conversation(Lsf)
    talk.lines("Job <104> is submitted to default queue <main>.\n<<Starting on n1>>")
    assert talk.allocation.on_line(READY)
    talk.allocation.on_job_id("104")
    # With -W a job gets SIGUSR2 first (bsub -W), and this is what a shell says of that.
    talk.allocation.note("User defined signal 2")
    assert talk.allocation.ending() is None
    talk.event("DONE 140")
    talk.look("104|EXIT|-|-|TERM_RUNLIMIT: job killed after reaching LSF run time limit|")
    talk.event("GONE")
    assert talk.allocation.over
    assert talk.allocation.ending() == "reached its time limit"


# --- what is run beside it ----------------------------------------------------------------------


def look(bjobs: str) -> str:
    """What the look prints where bjobs is this."""
    text = f"bjobs() {{ {bjobs}; }}\nf() {{ {Lsf.look('NAME')}; }}\nf"
    done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True)
    return done.stdout


def test_a_bjobs_that_knows_no_pend_reason() -> None:
    """The field is younger than -o itself."""
    bjobs = "case $* in *pend_reason*) return 255 ;; esac; echo '104|PEND|Nov 21 04:00|-'"
    assert Lsf.read_look(passed_on(look(bjobs))) == Job("104", "PEND", "", "Nov 21 04:00")


def test_no_job_of_that_name() -> None:
    """bjobs says so on its standard error."""
    assert look("echo 'Job <NAME> is not found' >&2; return 255") == ""
    assert Lsf.read_look(passed_on("")) is None
