"""The package of ``examples/oar``: its words and texts, and what CONTRIBUTING shows of it."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from remote_kernels.errors import JobRefusedError, OptionsError, SchedulerDownError
from remote_kernels.interfaces import ENTRY_POINTS
from remote_kernels.interfaces.scheduler import Job, Scheduler
from remote_kernels.options import KernelOptions

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples/oar"


def oar() -> type[Scheduler]:
    spec = spec_from_file_location("remote_kernels_oar", PACKAGE / "remote_kernels_oar.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type = module.Oar
    assert issubclass(found, Scheduler)
    return found


OAR = oar()


def options(**given: Any) -> KernelOptions:
    return KernelOptions(**{"interface": "oar", "name": "Python 3", **given})


# --- CONTRIBUTING -------------------------------------------------------------------------------


def shown(language: str) -> list[str]:
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("### A scheduler of somebody else's")
    text = re.split(r"^## ", section[2], flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("language", "file"), [("toml", "pyproject.toml"), ("python", "remote_kernels_oar.py")]
)
def test_contributing_shows_what_the_package_has(language: str, file: str) -> None:
    (block,) = shown(language)
    assert block in (PACKAGE / file).read_text()


def test_the_entry_point() -> None:
    (block,) = shown("toml")
    assert f'"{ENTRY_POINTS}"' in block
    assert f'oar = "remote_kernels_oar:{OAR.__name__}"' in block


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"cpus": 4}, ["-l", "/nodes=1/core=4"]),
        ({"time": "90m"}, ["-l", "walltime=1:30:00"]),
        ({"cpus": 2, "time": "2d"}, ["-l", "/nodes=1/core=2,walltime=48:00:00"]),
        ({"queue": "besteffort"}, ["-q", "besteffort"]),
        ({"account": "a b"}, ["--project", "a b"]),
        ({"launch_args": "-p 'gpu_count > 0'", "queue": "q"}, ["-q", "q", "-p", "gpu_count > 0"]),
        ({"tunnel_hosts": ("gate", "login"), "launch_timeout": "10m"}, []),
    ],
)
def test_the_words(given: dict[str, Any], words: list[str]) -> None:
    OAR.check(options(**given))
    assert OAR.job_command(options(**given), "NAME") == ["oarsub", "-I", *words, "-n", "NAME"]


@pytest.mark.parametrize(("given", "flag"), [({"memory": "1G"}, "memory"), ({"gpus": 1}, "gpus")])
def test_what_oar_cannot_express(given: dict[str, Any], flag: str) -> None:
    with pytest.raises(OptionsError, match=f"the interface oar cannot use --{flag}"):
        OAR.check(options(**given))


# --- texts, as OAR 2.5.9 prints them ------------------------------------------------------------

SESSION = """\
[ADMISSION RULE] Set default walltime to 7200.
[ADMISSION RULE] Modify resource description with type constraints
OAR_JOB_ID=6
Interactive mode: waiting...
[2026-11-21 09:52:12] Start prediction: 2026-11-21 10:03:11 (R=1,W=2:0:0,J=I,N=w (Karma=0.000))
Starting...
Connect to OAR job 6 via the node n1
""".splitlines()
REFUSED = """\
[ADMISSION RULE] Set default walltime to 7200.
[ADMISSION RULE] Modify resource description with type constraints
There are not enough resources for your request
OAR_JOB_ID=-5
[ERROR] Oarsub failed, please verify your request syntax.
""".splitlines()
LOOK = (
    "Job_Id: 6     job_array_id = 6     job_array_index = 1     name = w     project = default     "
    "owner = ada     state = {state}     wanted_resources = -l ...     walltime = 2:0:0     "
    "initial_request = oarsub -I -n w     message = R=1,W=2:0:0,J=I,N=w (Karma=0.000,quota_ok)     "
    "scheduledStart = {start}     resubmit_job_id = 0     events =  {events} "
)
WHY = "R=1,W=2:0:0,J=I,N=w (Karma=0.000,quota_ok)"
CANCELLED = "2026-11-21 09:52:15> FRAG_JOB_REQUEST:User ada requested to frag the job 6"
TIME_IS_UP = "2026-11-21 09:53:17> WALLTIME:[sarko] Job [6] from 1795254778 with 10; (Elapsed)"


def test_what_oarsub_says() -> None:
    assert [job for line in SESSION if (job := OAR.read_line(line))] == [
        Job("6", "Waiting"),
        Job("6", "Running"),
    ]
    assert OAR.typed_after
    assert [line for line in SESSION if OAR.typed_after.search(line)] == SESSION[-1:]
    assert not any(map(OAR.read_line, REFUSED))


@pytest.mark.parametrize(
    ("state", "start", "job"),
    [
        ("Waiting", "2026-11-21 10:03:11", Job("6", "Waiting", WHY, "2026-11-21 10:03:11")),
        ("Waiting", "no prediction", Job("6", "Waiting", WHY)),
        ("Running", "2026-11-21 10:03:11", Job("6", "Running")),
    ],
)
def test_what_oarstat_says(state: str, start: str, job: Job) -> None:
    assert OAR.read_look(LOOK.format(state=state, start=start, events="")) == job
    assert OAR.read_look("") is None


@pytest.mark.parametrize(
    ("events", "said", "reason"),
    [
        (TIME_IS_UP, ["[ERROR] Job was terminated."], "reached its time limit"),
        (CANCELLED, ["[ERROR] Job was terminated."], "was cancelled"),
        (CANCELLED, [*SESSION[:4], "JOB KILLED"], "was cancelled"),
        # As we do, after each end.
        (CANCELLED, ["Disconnected from OAR job 6.", "Deleting the job 6..."], None),
    ],
)
def test_why_a_job_ended(events: str, said: list[str], reason: str | None) -> None:
    look_back = LOOK.format(state="Finishing", start="2026-11-21 10:03:11", events=events)
    assert OAR.ending(look_back, said, 0) == reason


@pytest.mark.parametrize(
    ("said", "sentence", "advice"),
    [
        (REFUSED, REFUSED[2], "--cpus"),
        ([*SESSION[:2], "ERROR : The queue nosuch does not exist"], "The queue nosuch", "--queue"),
        (["Unknown option: nosuch"], "Unknown option: nosuch", "--remote-launch-args"),
        (["/!\\ Cannot recognize -- walltime=x -- resource"], "walltime=x", "--remote-launch-args"),
    ],
)
def test_refusals(said: list[str], sentence: str, advice: str) -> None:
    error = OAR.refusal(said)
    assert isinstance(error, JobRefusedError)
    assert sentence in str(error)
    assert advice in str(error.advice)


def test_a_server_that_is_down() -> None:
    said = ["OAR_JOB_ID=11", "[ERROR] Cannot connect to executor oar:6666. Job is killed."]
    assert isinstance(OAR.refusal(said), SchedulerDownError)
