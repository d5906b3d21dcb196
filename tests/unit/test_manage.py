"""``remote-kernels manage`` as people and scripts meet it: words, messages, exit codes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from remote_kernels import __version__
from remote_kernels.cli.manage import manage as manage_command
from remote_kernels.cli.params import spelled_out
from remote_kernels.options import DECLARED
from remote_kernels.shell_text import BOOTSTRAP, RECEIVER, receiver_command

Run = Callable[..., "subprocess.CompletedProcess[str]"]

LOCAL = ("--add", "--interface", "local", "--name", "My R", "--kernel_cmd", "R {connection_file}")
SSH = ("--add", "-i", "ssh", "-x", "me@gpu", "-n", "Python 3", "-k", "python {connection_file}")
SLURM = ("--add", "-i", "slurm", "-n", "Python 3", "-k", "python {connection_file}")
THEIRS = {
    "argv": [
        *("/p", "-m", "remote_ikernel", "--interface", "ssh", "--host", "old"),
        *("--kernel_cmd", "R {host_connection_file}", "{connection_file}"),
    ],
    "display_name": "SSH old R",
}


def put(directory: Path, document: object) -> Path:
    """A kernelspec as somebody else left it."""
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(json.dumps(document), encoding="utf-8")
    return directory


def document(directory: Path) -> dict[str, object]:
    """What its kernel.json says."""
    found = json.loads((directory / "kernel.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def with_program(directory: Path) -> dict[str, str]:
    """The environment of a shell that finds ``remote-kernels``."""
    program = directory / "remote-kernels"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m remote_kernels "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}


def normal(*words: str) -> list[str]:
    """The words as click reads them."""
    params = manage_command.get_params(click.Context(manage_command))
    return spelled_out(words, params)


# --- the words of the command line ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--tunnel-hosts", "a", "b", "--add"], ["--tunnel-hosts=a", "--tunnel-hosts=b", "--add"]),
        (["-t", "a", "-t", "b"], ["--tunnel-hosts=a", "--tunnel-hosts=b"]),
        (["-ta", "b"], ["--tunnel-hosts=a", "--tunnel-hosts=b"]),
        (["--tunnel_hosts=a", "b"], ["--tunnel-hosts=a", "--tunnel-hosts=b"]),
        (["--show"], ["--show="]),
        (["-s", "--json"], ["--show=", "--json"]),
        (["-s", "a", "b"], ["--show=a", "--show=b"]),
        (["--delete", "a", "b", "-d", "c"], ["--delete=a", "--delete=b", "--delete=c"]),
        (["-av"], ["-a", "-v"]),
        (["-avi", "ssh"], ["-a", "-v", "--interface=ssh"]),
        (["-issh"], ["--interface=ssh"]),
        (["-i=ssh"], ["--interface=ssh"]),
        (["--work", "/w"], ["--workdir=/w"]),
        (["--kernel", "x"], ["--kernel_cmd=x"]),
        (["--kernel-cmd=x"], ["--kernel_cmd=x"]),
        (["--remote-p", "x"], ["--remote-precmd=x"]),
        (["--remote-launch-args", "-l h_rt=1:0:0"], ["--remote-launch-args=-l h_rt=1:0:0"]),
        (["--remote-launch-args", "-i ~/.ssh/id"], ["--remote-launch-args=-i ~/.ssh/id"]),
        (["--remote-launch-args=-tt"], ["--remote-launch-args=-tt"]),
        (["--remote-launch-args", "-XY"], ["--remote-launch-args=-XY"]),
        (["--name", "-"], ["--name=-"]),
        (["--name=--host"], ["--name=--host"]),
        (["--name", "--host is a flag"], ["--name=--host is a flag"]),
        (["--cpus", "-3"], ["--cpus=-3"]),
        (["--host", ""], ["--host="]),
        (["--", "--name"], ["--", "--name"]),
    ],
)
def test_words_are_spelled_out(words: list[str], wanted: list[str]) -> None:
    assert normal(*words) == wanted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name"], "--name needs a value"),
        (["--name", "--host", "x"], "--name needs a value"),
        (["--name", "--host=x"], "--name needs a value"),
        (["--delete", "--add"], "--delete needs a value"),
        (["--tunnel-hosts"], "--tunnel-hosts needs a value"),
        (["--remote", "x"], "--remote-launch-args or --remote-precmd"),
        (["--s"], "--show or --system"),
        # New options among themselves; beside old ones, these are meant.
        (["--m", "x"], "--memory or --migrate"),
    ],
)
def test_words_that_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        normal(*words)


# The flags of remote_ikernel 0.4.6.
OLD_FLAGS = [
    *("--show", "--add", "--delete", "--kernel_cmd", "--name", "--language", "--cpus", "--pe"),
    *("--host", "--interface", "--system", "--workdir", "--remote-precmd", "--launch-cmd"),
    *("--remote-launch-args", "--tunnel-hosts", "--verbose", "--version", "--help"),
]


def test_what_could_be_shortened_still_can() -> None:
    switches = {"--add", "--system", "--verbose", "--version", "--help"}
    for flag in OLD_FLAGS:
        for length in range(3, len(flag) + 1):
            start = flag[:length]
            if [other for other in OLD_FLAGS if other.startswith(start)] == [flag]:
                words = [start] if flag in switches else [start, "x"]
                wanted = flag if flag in switches else f"{flag}=x"
                assert normal(*words) == [wanted], start


def test_old_spelling_with_a_hyphen_where_there_was_an_underscore() -> None:
    for option in DECLARED.values():
        for flag in option.flags:
            if flag.startswith("--") and ("_" in flag or "-" in flag[2:]):
                other = "--" + flag[2:].replace("_", "-")
                assert normal(f"{other}=x") == normal(f"{flag}=x")


# --- add -----------------------------------------------------------------------------------------


def test_the_example_of_the_old_readme(manage: Run, kernels: Path) -> None:
    done = manage(
        "--add",
        "--kernel_cmd=/home/me/bin/julia -i --color=yes kernel.jl {connection_file}",
        "--name=IJulia 0.6.0",
        "--interface=ssh",
        "--host=me@remote.machine",
        "--workdir=/home/me/Workdir",
        "--language=julia",
    )
    name, shown = "rik_ssh_me_remote_machine_ijulia060", "SSH me@remote.machine IJulia 0.6.0"
    assert done.stdout == f"Added kernel ['{name}']: {shown}.\n"
    assert (done.returncode, done.stderr) == (0, "")
    assert document(kernels / name)["language"] == "julia"


def test_adding_again_says_so(manage: Run) -> None:
    added = "Added kernel ['rik_local_myr']: Local My R.\n"
    assert manage(*LOCAL).stdout == added
    again = manage(*LOCAL)
    assert (again.returncode, again.stdout) == (0, f"{added}Replaced the kernel of that name.\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kernel_cmd=command", "--name=name"], "interface must be specified"),
        (["--interface=local", "--name=name"], "kernel_cmd is required"),
        (["--interface=local", "--kernel_cmd=command"], "name is required for kernel"),
        (["--interface=ssh", "--kernel_cmd=command", "--name=n"], "A host is required for ssh."),
        (["--interface=local", "--kernel_cmd=x", "--name="], "name is required for kernel"),
    ],
)
def test_what_is_missing(manage: Run, kernels: Path, words: list[str], said: str) -> None:
    done = manage("--add", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not kernels.exists()


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        ([*LOCAL, "--pe", "smp"], "the interface local cannot use --pe", 2),
        ([*LOCAL, "--host", "h"], "the interface local cannot use --host", 2),
        ([*SSH, "--cpus", "4"], "the interface ssh cannot use --cpus", 2),
        ([*SSH, "--host", "a b"], "'a b' is no host", 2),
        ([*SSH, "--tunnel-hosts", "ok", "a,b"], "'a,b' is no host", 2),
        ([*SSH, "--interface", "telnet"], "Unknown interface telnet", 2),
        ([*SSH, "--cpus", "many"], "'many' is not a number", 2),
        ([*SLURM, "--gpus", "many"], "'many' is not a number", 2),
        ([*SLURM, "--host", "h"], "the interface slurm cannot use --host", 2),
        ([*SLURM, "--pe", "smp"], "the interface slurm cannot use --pe", 2),
        ([*SLURM, "--time", "4:00"], "--time '4:00' is no time: write H:MM:SS", 2),
        ([*SLURM, "--launch-timeout", "soon"], "--launch-timeout 'soon' is no time", 2),
        ([*SLURM, "--memory", "16"], "--memory '16' is no amount of memory: write 16G", 2),
        ([*SLURM, "-t", "a b"], "'a b' is no host", 2),
        ([*SLURM, "-i", "sge", "--gpus", "1"], "the interface sge cannot use --gpus", 2),
        ([*LOCAL, "--time", "4h"], "the interface local cannot use --time", 2),
        ([*SSH, "--memory", "1G"], "the interface ssh cannot use --memory", 2),
        ([*SSH, "--launch-timeout", "4h"], "the interface ssh cannot use --launch-timeout", 2),
        ([*LOCAL, "--delete", "x"], "--add and --delete do not fit together", 2),
        ([*LOCAL, "--user", "--system"], "--user and --system do not fit together", 2),
        ([*LOCAL, "--json"], "--json is of use with --show or --dry-run only", 2),
        (["--show", "--dry-run"], "--dry-run is of use with --add or --edit only", 2),
        (["--show", "--host", "h"], "--show and --host do not fit together", 2),
        (["--host", "h"], "--host is of use with --add or --edit only", 2),
        (["--edit", "x"], "--edit needs at least one option to change", 2),
        (["--delete"], "--delete needs a value", 2),
        (["stray"], "unexpected extra argument", 2),
        (["--bogus"], "No such option", 2),
    ],
)
def test_refusals(manage: Run, kernels: Path, words: list[str], said: str, code: int) -> None:
    done = manage(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert not kernels.exists()


def test_cpus_below_one_are_one_as_they_were(manage: Run, kernels: Path) -> None:
    done = manage("--add", "-i", "slurm", "-n", "x", "-k", "y", "--cpus", "0")
    assert done.stdout == "Added kernel ['rik_slurm_x']: SLURM x.\n"
    assert "--cpus" not in document(kernels / "rik_slurm_x")["argv"]  # type: ignore[operator]


@pytest.mark.parametrize("gpus", ["0", "-1", ""])
def test_gpus_below_one_are_none(manage: Run, kernels: Path, gpus: str) -> None:
    assert manage(*SLURM, f"--gpus={gpus}").returncode == 0
    assert "--gpus" not in document(kernels / "rik_slurm_python3")["argv"]  # type: ignore[operator]


def test_what_a_job_is_asked_for_is_not_in_the_names(manage: Run) -> None:
    words = ("--time", "4h", "--memory", "1G", "--gpus", "1", "--queue", "q", "--account", "a")
    done = manage(*SLURM, *words, "--launch-timeout", "1h")
    assert done.stdout == "Added kernel ['rik_slurm_python3']: SLURM Python 3.\n"


def test_a_kernelspec_of_others_stays(manage: Run, kernels: Path) -> None:
    directory = put(kernels / "rik_local_myr", {"argv": ["other"], "display_name": "x"})
    done = manage(*LOCAL)
    assert done.returncode == 5
    assert "is not ours" in done.stderr
    assert "try: choose another --name" in done.stderr
    assert document(directory)["argv"] == ["other"]
    gone = manage("--delete", "rik_local_myr")
    assert gone.returncode == 1
    assert "Can't delete: rik_local_myr.\n" in gone.stdout
    assert directory.exists()


def test_remarks_about_the_kernel_command(manage: Run, kernels: Path) -> None:
    done = manage(*LOCAL, "-k", "R -e IRkernel::main() --args {connection_file}")
    assert done.stdout.splitlines()[0] == "Escaping IRkernel::main()."
    assert "R -e 'IRkernel::main()' --args {host_connection_file}" in str(
        document(kernels / "rik_local_myr")["argv"]
    ).replace("\\", "")
    assert "possibly unescaped brackets" in manage(*LOCAL, "-k", "a()").stdout
    assert "may be missing quotation marks" in manage(*LOCAL, "-k", "\"a'").stdout
    data = manage(*LOCAL, "-k", "a()", "--dry-run", "--json")
    assert "possibly unescaped brackets" in data.stderr
    json.loads(data.stdout)


@pytest.mark.parametrize(
    ("words", "below"), [(["--prefix", "env"], "env"), (["--user"], None), ([], None)]
)
def test_places(
    manage: Run, kernels: Path, tmp_path: Path, words: list[str], below: str | None
) -> None:
    assert manage(*LOCAL, *words).returncode == 0
    parent = kernels if below is None else tmp_path / below / "share" / "jupyter" / "kernels"
    assert document(parent / "rik_local_myr")
    assert manage("--delete", "rik_local_myr", *words).returncode == 0
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize("flag", ["--system", "--sys-prefix"])
def test_places_of_others(manage: Run, kernels: Path, flag: str) -> None:
    done = manage(*LOCAL, flag, "--dry-run", "--json")
    place = "/usr/local" if flag == "--system" else sys.prefix
    wanted = f"{place}/share/jupyter/kernels/rik_local_myr"
    assert json.loads(done.stdout)["directory"] == wanted


# --- dry run -------------------------------------------------------------------------------------


def test_dry_run_writes_nothing(manage: Run, kernels: Path) -> None:
    done = manage(*SSH, "--dry-run")
    assert done.returncode == 0
    assert f"{kernels / 'rik_ssh_me_gpu_python3' / 'kernel.json'}:\n" in done.stdout
    assert '"display_name": "SSH me@gpu Python 3"' in done.stdout
    spawned = shlex.split(done.stdout.splitlines()[-1])
    assert spawned[0] == "ssh"
    assert "gpu" in spawned
    assert not kernels.exists()


def test_dry_run_is_what_is_written(manage: Run, kernels: Path) -> None:
    promised = json.loads(manage(*SSH, "--dry-run", "--json").stdout)
    manage(*SSH)
    assert document(Path(promised["directory"])) == promised["kernel_json"]
    assert promised["command"][0] == "ssh"


def test_dry_run_of_a_job(manage: Run, kernels: Path) -> None:
    words = ("-t", "gate", "me@login:2222", "--time", "90m", "--memory", "16G", "--gpus", "1")
    words += ("--queue", "big one", "--remote-launch-args=-C 'a b'", "--dry-run")
    data = json.loads(manage(*SLURM, *words, "--json").stdout)
    assert data["kernel_json"]["display_name"] == "SLURM Python 3 (via gate me@login:2222)"
    assert data["command"][:3] == ["ssh", "-F", "PRIVATE_DIRECTORY/ssh_config"]
    way = ["-T", "-J", "gate", "-p", "2222", "-l", "me", "--", "login"]
    assert data["command"][-10:] == [*way, BOOTSTRAP]
    assert data["job_command"] == [
        *("SLURM_OVERLAP=1", "srun", "--time=1:30:00", "--mem=16G", "--gres=gpu:1"),
        *("--partition=big one", "-C", "a b", "--job-name=Python-3-rkTOKEN", "--pty"),
        *("/bin/sh", "-c", RECEIVER),
    ]
    lines = manage(*SLURM, *words).stdout.splitlines()
    assert shlex.split(lines[-1]) == data["job_command"]
    assert lines[-2] == "In that session the scheduler would be asked for a job:"
    assert shlex.split(lines[-3]) == data["command"]
    assert not kernels.exists()


def test_dry_run_of_a_job_from_the_login_host_itself(manage: Run) -> None:
    data = json.loads(manage(*SLURM, "--dry-run", "--json").stdout)
    assert data["command"] == ["/bin/sh", "-c", BOOTSTRAP]


def test_dry_run_of_a_job_without_a_keeper(manage: Run) -> None:
    data = json.loads(manage(*SLURM, "--channel=forward", "--dry-run", "--json").stdout)
    assert data["command"] == ["/bin/sh", "-c", receiver_command()]


@pytest.mark.parametrize("words", [SSH, LOCAL])
def test_dry_run_without_a_job(manage: Run, words: tuple[str, ...]) -> None:
    assert json.loads(manage(*words, "--dry-run", "--json").stdout)["job_command"] is None
    done = manage(*words, "--dry-run").stdout
    assert "scheduler" not in done
    assert "read -r rk_line" in done.splitlines()[-1]


def test_dry_run_without_a_keeper(manage: Run) -> None:
    done = manage(*SSH, "--channel=forward", "--dry-run").stdout
    assert "BYTES" in done.splitlines()[-1]


def test_edit_dry_run_of_a_job(manage: Run) -> None:
    manage(*SLURM, "--time", "4h", "--gpus", "2")
    words = ("--edit", "rik_slurm_python3", "--time", "", "--gpus", "0", "--queue", "gpu")
    data = json.loads(manage(*words, "--dry-run", "--json").stdout)
    assert data["job_command"][1:4] == ["srun", "--partition=gpu", "--job-name=Python-3-rkTOKEN"]


# --- list and show -------------------------------------------------------------------------------


def test_list_and_help(manage: Run, kernels: Path) -> None:
    manage(*SSH)
    put(kernels / "rik_ssh_old_r", THEIRS)
    put(kernels / "rik_foreign", {"argv": ["x"], "display_name": "x"})
    done = manage()
    assert done.returncode == 0
    assert done.stdout.startswith(
        "Currently installed kernels:\n"
        "  ['rik_ssh_me_gpu_python3']: SSH me@gpu Python 3\n"
        "  ['rik_ssh_old_r']: SSH old R (remote_ikernel; --migrate moves it over)\n"
        "\n"
        "Usage: remote-kernels manage"
    )
    for flag in OLD_FLAGS:
        assert flag in done.stdout


def test_show_with_no_kernel(manage: Run) -> None:
    done = manage("--show")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_show(manage: Run, kernels: Path) -> None:
    manage(*SSH, "-t", "gate", "me@front:2222")
    name = "rik_ssh_me_gpu_python3_via_gate_me_front_2222"
    lines = manage("--show", name.upper()).stdout.splitlines()
    assert lines[0] == f"['{name}']"
    assert f"|  * Kernel found in: {kernels / name}" in lines
    assert "|  * Name: SSH me@gpu Python 3 (via gate me@front:2222)" in lines
    assert "|  * Interface: ssh" in lines
    assert "|  * Host: me@gpu" in lines
    assert "|  * Way there: gate -> me@front:2222 -> me@gpu" in lines


def test_what_is_not_there(manage: Run) -> None:
    manage(*LOCAL)
    for words, said in ((["--show"], "Could not find"), (["--delete"], "Can't delete")):
        done = manage(*words, "a", "b")
        assert done.returncode == 1
        assert f"{said}: a, b.\n" in done.stdout
        assert "  ['rik_local_myr']: Local My R\n" in done.stdout
    edited = manage("--edit", "a", "--workdir", "/w")
    assert (edited.returncode, "Could not find: a.\n" in edited.stdout) == (1, True)


def test_show_as_data(manage: Run, kernels: Path) -> None:
    manage(*SSH, "-t", "gate")
    put(kernels / "rik_ssh_old_r", THEIRS)
    done = manage("--show", "--json")
    ours, theirs = json.loads(done.stdout)
    name = "rik_ssh_me_gpu_python3_via_gate"
    assert ours == {
        "name": name,
        "display_name": "SSH me@gpu Python 3 (via gate)",
        "directory": str(kernels / name),
        "written_by": "remote-kernels",
        "interface": "ssh",
        "host": "me@gpu",
        "tunnel_hosts": ["gate"],
        "options": {
            "interface": "ssh",
            "name": "Python 3",
            "host": "me@gpu",
            "tunnel_hosts": ["gate"],
            "kernel_cmd": "python {connection_file}",
        },
        "add_command": [
            *("remote-kernels", "manage", "--add", "--interface", "ssh", "--name", "Python 3"),
            *("--host", "me@gpu", "--tunnel-hosts", "gate"),
            *("--kernel_cmd", "python {connection_file}"),
        ],
        "problem": None,
    }
    assert set(theirs) == set(ours)
    assert (theirs["written_by"], theirs["options"]["name"]) == ("remote_ikernel", "R")
    missing = manage("--show", "nope", name, "--json")
    assert missing.returncode == 1
    assert [kernel["name"] for kernel in json.loads(missing.stdout)] == [name]
    assert missing.stderr == "Could not find: nope.\n"


def test_a_kernelspec_that_was_broken_by_hand_is_shown(manage: Run, kernels: Path) -> None:
    put(kernels / "rik_broken", {"argv": ["p", "-m", "remote_kernels", "--cpus", "many", "x"]})
    done = manage("--show")
    assert done.returncode == 0
    assert "|  * Problem: the launcher cannot read kernel.json's options" in done.stdout
    assert json.loads(manage("--show", "--json").stdout)[0]["problem"]


NASTY = [
    "plain",
    "two words",
    'it\'s "quoted"',
    "line\nbreak",
    "$HOME `id` \\ !x *",
    "${cwd} {connection_file} {\\env} {{prefix}}",
    "Größe 日本",
    "-l h_rt=1:0:0",
    "--host=x",
    "-",
    "~/a;b|c&d<e>f(g)",
    "trailing ",
    "\ttab",
    "#no comment",
]


@pytest.mark.parametrize("nasty", NASTY)
def test_show_gives_the_command_that_adds_it_again(
    manage: Run, kernels: Path, tmp_path: Path, nasty: str
) -> None:
    values = ["--name", "--language", "--workdir", "--remote-precmd", "--kernel_cmd"]
    words = [f"{flag}={nasty}" for flag in values]
    words += [f"--remote-launch-args={shlex.quote(nasty)}", "-t", "gate", "b", "--verbose"]
    added = manage("--add", "--interface", "ssh", "--host", "me@gpu:22", *words)
    assert added.returncode == 0, added.stderr
    (directory,) = kernels.iterdir()
    before = (directory / "kernel.json").read_bytes()
    assert nasty in document(directory)["display_name"]  # type: ignore[operator]
    shown = manage("--show").stdout
    command = shown.split("Command that adds it again:\n")[1].rstrip("\n")
    manage("--delete", directory.name)
    assert not directory.exists()

    subprocess.run(["sh", "-c", command], check=True, env=with_program(tmp_path))
    assert (directory / "kernel.json").read_bytes() == before


@pytest.mark.parametrize("words", [["--prefix", "an env"], ["--sys-prefix"], ["--system"]])
def test_the_command_names_the_place(words: list[str], tmp_path: Path, kernels: Path) -> None:
    from remote_kernels import kernelspecs
    from remote_kernels.cli.manage import place_words

    place = {
        "--prefix": kernelspecs.prefix_directory(tmp_path / "an env"),
        "--sys-prefix": kernelspecs.prefix_directory(sys.prefix),
        "--system": kernelspecs.system_directory(),
    }[words[0]]
    wanted = ["--prefix", str(tmp_path / "an env")] if words[0] == "--prefix" else words
    assert place_words(kernelspecs.KernelSpec(place / "rik_x", {})) == wanted


# --- edit, migrate, delete -----------------------------------------------------------------------


def test_edit(manage: Run, kernels: Path) -> None:
    manage(*SSH, "--workdir", "/w", "-t", "gate", "--verbose")
    name = "rik_ssh_me_gpu_python3_via_gate"
    done = manage("--edit", name, "--workdir", "", "--tunnel-hosts", "", "--host", "other")
    assert done.stdout == f"Changed kernel ['{name}']: SSH other Python 3.\n"
    argv = document(kernels / name)["argv"]
    assert argv[3:] == [  # type: ignore[index]
        *("--interface", "ssh", "--name", "Python 3", "--host", "other", "--verbose"),
        *("--kernel_cmd", "python {host_connection_file}", "{connection_file}"),
    ]
    manage("--edit", name, "--no-verbose")
    assert "--verbose" not in document(kernels / name)["argv"]  # type: ignore[operator]


def test_edit_of_what_a_job_is_asked_for(manage: Run, kernels: Path) -> None:
    given = ("--time", "4:00:00", "--memory", "512M", "--gpus", "2", "--queue", "q")
    given += ("--account", "acc", "--launch-timeout", "10m")
    manage(*SLURM, *given)
    name = "rik_slurm_python3"
    stored = ["--interface", "slurm", "--name", "Python 3"]
    assert document(kernels / name)["argv"][3:-3] == [*stored, *given]  # type: ignore[index]
    manage("--edit", name, "--gpus", "", "--time", "", "--queue", "other")
    left = ["--memory", "512M", "--queue", "other", "--account", "acc", "--launch-timeout", "10m"]
    assert document(kernels / name)["argv"][3:-3] == [*stored, *left]  # type: ignore[index]


def test_edit_refuses_what_add_refuses(manage: Run, kernels: Path) -> None:
    manage(*SSH)
    before = document(kernels / "rik_ssh_me_gpu_python3")
    for words, said in (
        (["--host", ""], "A host is required for ssh."),
        (["--pe", "smp"], "cannot use --pe"),
        (["--interface", "local"], "the interface local cannot use --host"),
        (["--kernel_cmd", ""], "kernel_cmd is required"),
    ):
        done = manage("--edit", "rik_ssh_me_gpu_python3", *words)
        assert done.returncode != 0
        assert said in done.stderr
    assert document(kernels / "rik_ssh_me_gpu_python3") == before


def test_edit_dry_run(manage: Run, kernels: Path) -> None:
    manage(*SSH)
    before = document(kernels / "rik_ssh_me_gpu_python3")
    words = ("--edit", "rik_ssh_me_gpu_python3", "--host", "else", "--dry-run", "--json")
    data = json.loads(manage(*words).stdout)
    assert data["kernel_json"]["display_name"] == "SSH else Python 3"
    assert "else" in data["command"]
    assert document(kernels / "rik_ssh_me_gpu_python3") == before


def test_migrate(manage: Run, kernels: Path) -> None:
    directory = put(kernels / "rik_ssh_old_r", THEIRS)
    put(kernels / "rik_2", THEIRS)
    manage(*LOCAL)
    refused = manage("--edit", "rik_ssh_old_r", "--workdir", "/w")
    assert "--migrate rik_ssh_old_r" in refused.stderr
    done = manage("--migrate", "rik_ssh_old_r", "nope")
    assert done.returncode == 1
    assert "Migrated kernel ['rik_ssh_old_r']: SSH old R.\n" in done.stdout
    assert "Could not find: nope.\n" in done.stdout
    assert document(directory)["argv"][2] == "remote_kernels"  # type: ignore[index]
    everything = manage("--migrate")
    assert everything.stdout == "Migrated kernel ['rik_2']: SSH old R.\n"
    assert manage("--migrate").stdout == "There are no kernels of remote_ikernel.\n"
    assert "already" in manage("--migrate", "rik_2").stdout


def test_one_that_cannot_be_migrated_does_not_keep_the_others(manage: Run, kernels: Path) -> None:
    argv = ["/p", "-m", "remote_ikernel", "--interface", "local", "--tunnel-hosts", "gate"]
    argv += ["--kernel_cmd", "x", "{connection_file}"]
    put(kernels / "rik_1", {"argv": argv, "display_name": "x"})
    put(kernels / "rik_2", THEIRS)
    done = manage("--migrate")
    assert done.returncode == 2
    assert "cannot use --tunnel-hosts" in done.stderr
    assert done.stdout == "Migrated kernel ['rik_2']: SSH old R.\n"


@pytest.mark.parametrize("interface", ["slurm", "sge", "sge_qrsh", "pbs", "lsf"])
def test_kernels_of_schedulers_are_migrated_with_the_others(
    manage: Run, kernels: Path, interface: str
) -> None:
    argv = ["/p", "-m", "remote_ikernel", "--interface", interface, "--kernel_cmd", "x", "{c}"]
    directory = put(kernels / "rik_old", {"argv": argv, "display_name": "x"})
    assert manage("--migrate").stdout == "Migrated kernel ['rik_old']: x.\n"
    assert document(directory)["argv"][2] == "remote_kernels"  # type: ignore[index]


def test_a_command_that_would_show_the_key_is_refused(manage: Run, kernels: Path) -> None:
    done = manage(*SSH[:-1], "kernel {ci[key]}")
    assert done.returncode == 2
    assert "would show the key to everybody" in done.stderr
    assert not kernels.exists()


def test_delete(manage: Run, kernels: Path) -> None:
    manage(*SSH)
    manage(*LOCAL)
    put(kernels / "rik_ssh_old_r", THEIRS)
    done = manage("-d", "rik_ssh_me_gpu_python3", "rik_ssh_old_r")
    assert done.returncode == 0
    assert done.stdout == (
        "Removed kernel ['rik_ssh_me_gpu_python3']: SSH me@gpu Python 3.\n"
        "Removed kernel ['rik_ssh_old_r']: SSH old R.\n"
    )
    mixed = manage("--delete", "nope", "rik_local_myr")
    assert mixed.returncode == 1
    assert mixed.stdout == (
        "Removed kernel ['rik_local_myr']: Local My R.\n"
        "Can't delete: nope.\n"
        "Currently installed kernels:\n"
    )
    assert list(kernels.iterdir()) == []


# --- the rest ------------------------------------------------------------------------------------


def test_versions(run: Run) -> None:
    wanted = f"Remote Jupyter kernel manager (version {__version__}).\n"
    for words in (["--version"], ["manage", "--version"], ["manage", "-V"], ["-V"]):
        assert run(*words).stdout == wanted


def test_bytes_that_are_no_text_arrive_as_they_are(manage: Run, kernels: Path) -> None:
    done = manage(*LOCAL, "--workdir", os.fsdecode(b"/\xff"), "--name", os.fsdecode(b"a\xfe"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Added kernel ['rik_local_a']: Local a\\udcfe.\n"
    assert os.fsdecode(b"/\xff") in document(kernels / "rik_local_a")["argv"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("mana", "manage"),
        ("manage --inter", "--interface"),
        ("manage --interface ss", "ssh"),
        ("manage --show rik_", "rik_local_myr"),
        ("manage --edit rik_", "rik_local_myr"),
        ("manage --delete other rik_", "rik_local_myr"),
        ("manage --migrate rik_", "rik_local_myr"),
        ("manage -d rik_", "rik_local_myr"),
    ],
)
def test_completion(run: Run, words: str, wanted: str) -> None:
    run("manage", *LOCAL)
    done = run(
        _REMOTE_KERNELS_COMPLETE="bash_complete",
        COMP_WORDS=f"remote-kernels {words}",
        COMP_CWORD=str(len(words.split())),
    )
    assert f"plain,{wanted}" in done.stdout.splitlines()
    assert done.stderr == ""


IN_SHELLS = {
    "bash": 'eval "$(_REMOTE_KERNELS_COMPLETE=bash_source remote-kernels)"; complete -p | grep -q '
    "remote-kernels || exit 9; COMP_WORDS=(remote-kernels @); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))"
    '; _remote_kernels_completion remote-kernels; printf "%s\\n" "${COMPREPLY[@]}"',
    "fish": "_REMOTE_KERNELS_COMPLETE=fish_source remote-kernels | source; "
    "complete -C 'remote-kernels @'",
}


@pytest.mark.parametrize("shell", ["bash", pytest.param("fish", marks=pytest.mark.needs("fish"))])
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("manage --inter", "--interface"),
        ("manage --interface slu", "slurm"),
        ("manage --delete other rik_", "rik_local_myr"),
    ],
)
def test_completion_in_a_shell(
    manage: Run, tmp_path: Path, shell: str, words: str, wanted: str
) -> None:
    manage(*LOCAL)
    script = IN_SHELLS[shell].replace("remote-kernels @", f"remote-kernels {words}")
    done = subprocess.run(
        [shell, "-c", script], env=with_program(tmp_path), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [wanted]


def test_manage_imports_neither_the_demo_nor_jupyter_client(run: Run, kernels: Path) -> None:
    code = (
        "import sys; from remote_kernels.cli import main\n"
        "try: main(['manage', '--show'])\n"
        "except SystemExit: pass\n"
        "names = {'remote_kernels.cli.demo', 'jupyter_client', 'rich', 'pexpect'}\n"
        "sys.exit(' '.join(names & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_old_command_name(tmp_path: Path) -> None:
    shared = tmp_path / "share" / "remote-kernels"
    shared.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    script = Path(__file__).parents[2] / "contrib" / "remote_ikernel"
    shutil.copy(script, shared)
    program = tmp_path / "bin" / "remote-kernels"
    program.write_text("#!/bin/sh\nprintf '%s|' beside \"$@\"\n", encoding="utf-8")
    program.chmod(0o755)
    link = tmp_path / "remote_ikernel"
    link.symlink_to(shared / "remote_ikernel")
    said = subprocess.run([link, "manage", "--name", "a b"], capture_output=True, text=True)
    assert said.stdout == "beside|manage|--name|a b|"
    program.rename(tmp_path / "remote-kernels")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    said = subprocess.run([link], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert said.stdout == "beside|"


def test_a_prefix_that_is_empty_is_refused(manage: Run, kernels: Path) -> None:
    words = ["--add", "-i", "local", "-n", "x", "-k", "x", "--prefix", ""]
    done = manage(*words)
    assert done.returncode == 2
    assert "--prefix needs a directory" in done.stderr
    assert not kernels.exists()
