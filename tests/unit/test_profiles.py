"""Hosts with a name of their own: ``remote-kernels hosts``, the file, and what they stand for."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from remote_kernels.discovery import There
from remote_kernels.errors import OptionsError, ProfileError
from remote_kernels.hosts import Host
from remote_kernels.profiles import Profile, config_file, described, for_kernel, imported, profiles
from remote_kernels.way import Way
from remote_kernels.whereabouts import way_to, ways

Run = Callable[..., "subprocess.CompletedProcess[str]"]

GPU = """# mine
[hosts.gpu] # the fast one
host = "me@gpu"
tunnel_hosts = ["me@gw"]  # the only way
workdir = "~/my project"
remote_precmd = "conda activate tf"
port = 8889

[hosts.cluster]
host = "me@login"
interface = "slurm"
cpus = 4
env = ["A=1"]
no_share = true
"""


@pytest.fixture
def file(kernels: Path) -> Path:
    """The file of profiles, with two in it."""
    path = config_file()
    path.parent.mkdir(parents=True)
    path.write_text(GPU, encoding="utf-8")
    return path


def test_what_the_file_says(file: Path) -> None:
    found = profiles()
    assert list(found) == ["gpu", "cluster"]
    assert found["gpu"].options == {
        "host": "me@gpu",
        "tunnel_hosts": ("me@gw",),
        "workdir": "~/my project",
        "precmd": "conda activate tf",
    }
    assert found["gpu"].server == {"port": 8889}
    assert found["cluster"].options["env"] == ("A=1",)


def test_what_is_given_outweighs_it(file: Path) -> None:
    given = {"host": "gpu", "workdir": "/tmp"}
    assert described("gpu", given)["workdir"] == "/tmp"
    assert described("gpu", given)["host"] == "me@gpu"
    assert described("me@gpu", {}) == {"host": "me@gpu"}


def test_a_scheduler_is_asked_on_its_host(file: Path) -> None:
    options = for_kernel({"host": "cluster", "cpus": 8, "name": "x"})
    assert options["tunnel_hosts"] == ("me@login",)
    assert "host" not in options
    assert (options["interface"], options["cpus"], options["name"]) == ("slurm", 8, "x")
    # What is no profile is a host, and stays as it was.
    assert for_kernel({"interface": "slurm", "host": "x"}) == {"interface": "slurm", "host": "x"}


def test_a_way_and_all_ways(file: Path) -> None:
    gpu = Way(Host("gpu", "me"), (Host("gw", "me"),))
    assert way_to("gpu", []) == gpu
    assert way_to("gpu", [], tunnel_hosts=("other",)).gateways == (Host("other"),)
    assert way_to("me@gpu", []).gateways == ()
    assert {gpu, Way(Host("login", "me"))} <= ways(everywhere=True).keys()
    assert ways(everywhere=False).keys() == {None}


def test_discover_takes_them(file: Path) -> None:
    there = There.at("cluster", {"time": "1:00:00"}, Path())
    assert (there.host, there.options.tunnel_hosts) == ("me@login", ("me@login",))
    assert (there.options.interface, there.options.cpus) == ("slurm", 4)
    assert there.asked["cpus"] == 4


def test_a_kernel_is_added_with_one(file: Path, manage: Run, kernels: Path) -> None:
    said = manage("--add", "--host", "gpu", "--name", "Py", "-k", "python {connection_file}")
    assert said.stdout.splitlines()[-1] == (
        "Added kernel ['rik_ssh_me_gpu_py_via_me_gw']: SSH me@gpu Py (via me@gw)."
    )
    argv = json.loads((kernels / "rik_ssh_me_gpu_py_via_me_gw/kernel.json").read_text())["argv"]
    assert argv[argv.index("--precmd") + 1] == "conda activate tf"
    assert "--workdir=~/my project" in argv
    # Each host's own interface, whichever of the two it is.
    both = ("--host", "cluster", "--fallback", "gpu", "--env", "A=1")
    said = manage("--add", *both, "--name", "Py", "-k", "python {connection_file}")
    assert "Added kernel ['rik_slurm_py_4_via_me_login']" in said.stdout, said.stderr
    argv = json.loads((kernels / "rik_slurm_py_4_via_me_login/kernel.json").read_text())["argv"]
    assert argv[argv.index("--fallback") + 1].startswith("me@gpu '--workdir=")
    both = ("--host", "gpu", "--fallback", "cluster", "--env", "A=1")
    said = manage("--add", *both, "--name", "Py", "-k", "python {connection_file}")
    assert said.returncode == 0, said.stderr
    argv = json.loads((kernels / "rik_ssh_me_gpu_py_via_me_gw/kernel.json").read_text())["argv"]
    assert argv[argv.index("--fallback") + 1].startswith("me@login --interface slurm --cpus 4")


# --- the command ----------------------------------------------------------------------------------


def test_add_edit_delete(kernels: Path, run: Run) -> None:
    assert "No host has a name" in run("hosts").stdout
    said = run("hosts", "--add", "gpu", "--host", "me@gpu", "-t", "a", "b", "--port", "8889")
    assert said.stdout == "Added host gpu: me@gpu.\n", said.stderr
    assert stat.S_IMODE(config_file().stat().st_mode) == 0o600
    assert [path.name for path in config_file().parent.iterdir()] == ["config.toml"]
    found = json.loads(run("hosts", "--json").stdout)
    assert found == {"gpu": {"host": "me@gpu", "tunnel_hosts": ["a", "b"], "port": 8889}}
    assert run("hosts", "--edit", "gpu", "--port", "0", "--workdir", "~/x").returncode == 0
    assert run("hosts").stdout == 'gpu  me@gpu  workdir = "~/x", tunnel_hosts = ["a", "b"]\n'
    assert run("hosts", "--delete", "gpu").stdout == "Removed host gpu.\n"
    assert json.loads(run("hosts", "--json").stdout) == {}


def test_what_a_person_has_written_stays(file: Path, run: Run) -> None:
    file.chmod(0o640)
    assert run("hosts", "--edit", "gpu", "--workdir", "/data").returncode == 0
    assert file.read_text() == GPU.replace("~/my project", "/data")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert run("hosts", "--delete", "cluster").returncode == 0
    assert file.read_text() == GPU.partition("\n[hosts.cluster]")[0].replace(
        "~/my project", "/data"
    )


def test_a_file_that_is_a_link_stays_one(file: Path, run: Run, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    file.rename(real)
    file.symlink_to(real)
    assert run("hosts", "--delete", "cluster").returncode == 0
    assert file.is_symlink()
    assert "cluster" not in real.read_text()


REFUSED = {
    "no-host": (["--add", "x", "--workdir", "~"], "needs --host"),
    "name": (["--add", "a b", "--host", "x"], "cannot be the name of a host"),
    "twice": (["--add", "gpu", "--host", "x"], "there is a host gpu already"),
    "not-there": (["--edit", "x", "--host", "y"], "there is no host x in"),
    "not-there-either": (["--delete", "gpu", "x"], "there is no host x in"),
    "bad-host": (["--add", "x", "--host", "a b"], "is no host"),
    "misfit": (["--add", "x", "--host", "y", "--cpus", "4"], "cannot use --cpus"),
    "port": (["--add", "x", "--host", "y", "--port", "70000"], "no usable --port"),
    "two-actions": (["--add", "x", "--delete", "gpu"], "do not fit together"),
    "no-action": (["--workdir", "~"], "are of use with --add or --edit only"),
    "nothing": (["--edit", "gpu"], "at least one option"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(words: list[str], said: str, file: Path, run: Run) -> None:
    done = run("hosts", *words)
    assert said in done.stderr
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert file.read_text() == GPU


BROKEN = {
    "no-toml": ("[hosts.gpu", "config.toml cannot be used: "),
    "not-utf-8": (b"\xff", "config.toml cannot be used: "),
    "no-table": ("hosts = 1", "hosts is no table"),
    "no-table-in-it": ("[hosts]\ngpu = 1", "hosts.gpu is no table"),
    "key": ("[hosts.gpu]\nhost = 'x'\nhots = 1", "hosts.gpu has 'hots'"),
    "of-a-kernel": ("[hosts.gpu]\nhost = 'x'\nname = 'x'", "hosts.gpu has 'name'"),
    "text": ("[hosts.gpu]\nhost = 1", "hosts.gpu.host is a text"),
    "list": ("[hosts.gpu]\nhost = 'x'\ntunnel_hosts = 'a b'", "is a list of texts"),
    "number": ("[hosts.gpu]\nhost = 'x'\ncpus = '4'", "is a number"),
    "switch": ("[hosts.gpu]\nhost = 'x'\nkeep = 1", "is true or false"),
    "without-host": ("[hosts.gpu]\nworkdir = 'x'", "needs --host"),
    "interface": ("[hosts.gpu]\nhost = 'x'\ninterface = 'x'", "hosts.gpu"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_used(text: str | bytes, said: str, file: Path, run: Run) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for words in (["hosts"], ["hosts", "--add", "x", "--host", "y"], ["login", "gpu"]):
        done = run(*words)
        assert said in done.stderr
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
    with pytest.raises(ProfileError):
        profiles()


CONF = """remote_user='me'
remote_host="gpu" # the box
port_X=8889
port_Y=8888

servername='myNotebooks'
path_jupyter='/home/me/my env/bin/jupyter-notebook'
other=$(touch /tmp/never)
"""


def test_a_configuration_of_shell_variables(file: Path, run: Run, tmp_path: Path) -> None:
    conf = tmp_path / "remote.conf"
    conf.write_text(CONF)
    assert run("hosts", "--import", str(conf)).stdout == "Added host myNotebooks: me@gpu.\n"
    assert profiles()["myNotebooks"].server == {
        "app": "'/home/me/my env/bin/jupyter-notebook'",
        "port": 8888,
    }
    assert run("hosts", "--import", str(conf), "--as", "box").returncode == 0
    assert profiles()["box"] == Profile("box", *profiles()["myNotebooks"][1:])


def test_a_configuration_that_names_no_host(tmp_path: Path) -> None:
    conf = tmp_path / "remote.conf"
    with pytest.raises(OptionsError, match="cannot be read"):
        imported(conf, "")
    conf.write_text("remote_user='me'\n")
    with pytest.raises(OptionsError, match="has no line remote_host"):
        imported(conf, "")
