"""An environment is described, compared and made anew, without a host between.

Environments, pip and uv are real; conda is a stub that says what the real one does.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from remote_kernels import installation, mirror
from remote_kernels.cli import mirror as command
from remote_kernels.errand import Errand
from remote_kernels.errors import InstallationError, OptionsError, RemoteKernelsError
from remote_kernels.hosts import Host
from remote_kernels.local_environment import environment_of
from remote_kernels.mirror import Copy, End, Original, Spot
from remote_kernels.options import KernelOptions
from remote_kernels.profiles import config_file
from remote_kernels.requirements import Wanted
from remote_kernels.way import Way
from unit.conftest import Run
from unit.environments import Venv
from wheels import WHEELS, Wheel, wheel

CONDA = Path(__file__).parents[1] / "stubs/conda"
WORK = [each for each in WHEELS if each.name in ("six", "tqdm")]
# What others cannot have, or not as it is.
FILE = {"url": "file:///home/ada/x-1.whl", "archive_info": {}}
PROJECT = {"url": "file:///home/ada/project", "dir_info": {"editable": True}}
GIT = {"url": "https://{}example.org/x", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
ONLY_THERE = {
    "from-file": (wheel("from-file", "1", "f", url=FILE), "installed from file:///home/ada/x-1"),
    "project": (wheel("project", "1", "p", url=PROJECT), "a project in /home/ada/project"),
    "secret": (
        wheel("secret", "1", "s", url={**GIT, "url": GIT["url"].format("me:TOKEN@")}),
        "there is a secret in its address at example.org",
    ),
    "token": (
        wheel("token", "1", "t", url={**GIT, "url": GIT["url"].format("TOKEN@")}),
        "there is a secret in its address at example.org",
    ),
    "line": (
        wheel("line", "1", "l", url={"url": "https://x/y\n-e z", "archive_info": {}}),
        "no address that pip would take",
    ),
    "odd": (wheel("odd", "one", "o"), "no version that pip would take: one"),
}
FROM_GIT = wheel("from-git", "1", "g", url={**GIT, "url": GIT["url"].format("")})


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index without a network, which pip knows."""
    place = tmp_path / "wheels"
    place.mkdir()
    for each in (*WHEELS, wheel("six", "1.15.0", "six")):
        (place / each.file_name).write_bytes(each.data())
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    for name in ("PIP_NO_INDEX", "PIP_NO_CACHE_DIR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return place


Session = Callable[[str], Any]


@pytest.fixture
def session(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Sessions to two hosts, each of which is this machine with a home of its own."""

    @contextmanager
    def session(name: str) -> Iterator[Errand]:
        home = tmp_path / name
        home.mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            for variable in ("HOME", "XDG_RUNTIME_DIR"):
                patch.setenv(variable, str(home))
            patch.setenv("SHELL", "/bin/sh")
            with Errand(None, mirror.MODULES, lambda word: None) as errand:
                yield errand

    return session


def kernel(venv: Venv, **more: Any) -> KernelOptions:
    words = f"{shlex.quote(venv.python)} -m ipykernel_launcher -f {{connection_file}}"
    return KernelOptions(**{"name": "work", "kernel_cmd": words, **more})


def versions(python: Path) -> dict[str, str]:
    found = environment_of(str(python)).distributions.values()
    return {each.name: each.version for each in found}


def named(wanted: tuple[Wanted, ...]) -> list[str]:
    return sorted(each.name for each in wanted)


# --- what it is ---------------------------------------------------------------------------------


def test_what_others_can_have_and_what_not(session: Session, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    only = [each for each, _ in ONLY_THERE.values()]
    venv = Venv(tmp_path / "first/my envs/o'ne", [*WORK, FROM_GIT, *only])
    elsewhere = tmp_path / "elsewhere"
    Wheel("outside", "1", {"outside.py": ""}).install(elsewhere)
    options = kernel(venv, kernel_cmd="python -m ipykernel", activate=str(venv.prefix))
    with session("first") as errand:
        found = mirror.original(errand, options._replace(env=(f"PYTHONPATH={elsewhere}",)))
        whole = mirror.original(errand, options)
    assert (found.place, found.kind, found.packages) == ("~/my envs/o'ne", "venv", ())
    assert named(found.distributions) == ["from-git", "six", "tqdm"]
    assert {each.line for each in found.distributions} == {
        *("six==1.16.0", "tqdm==4.66.1", "from-git @ git+https://example.org/x@abc")
    }
    reasons = dict(found.left_out)
    assert reasons.pop("outside") == "not in the environment itself"
    assert reasons.keys() == ONLY_THERE.keys()
    for name, (_, why) in ONLY_THERE.items():
        assert reasons[name].startswith(why)
    assert not any("TOKEN" in why for why in reasons.values())
    assert (found.is_whole, whole.is_whole) == (False, True)
    # The build that an index has may need what that of the original has in it.
    next(each for each in WHEELS if each.name == "torch").install(venv.site_packages)
    with session("first") as errand:
        assert not mirror.original(errand, options).is_whole


def test_no_environment(session: Session) -> None:
    options = KernelOptions(kernel_cmd="/usr/bin/python3 -m ipykernel")
    with (
        session("first") as errand,
        pytest.raises(RemoteKernelsError, match="is a Python of the system") as error,
    ):
        mirror.original(errand, options)
    assert "make a virtual environment" in error.value.advice


class Liar(Errand):
    """A session to a host that tells what it likes."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def ask(self, name: str, *arguments: Any, **how: Any) -> Any:
        return self.answers[name]


def told(tmp_path: Path, *names: str) -> dict[str, Any]:
    """How the Python of a host tells of itself, and of distributions of these names."""
    python = Venv(tmp_path / "venv").python
    text = subprocess.check_output([python, "-c", installation.program(())], text=True)
    facts = json.loads(text.rpartition("@rk-distributions ")[2])
    one = {"version": "1", "requires": [], "url": None, "directory": "", "installer": "pip"}
    one.update(metadata="", modules=[], is_own=True)
    facts["distributions"] = [{**one, "name": name} for name in names]
    return {"python": python, "facts": facts, "conda": [], "uv": ""}


def test_a_host_that_lies(tmp_path: Path) -> None:
    """It chooses no more than what is installed."""
    environment = told(tmp_path, "fine", "-e.", "x\n--index-url http://evil", "@evil")
    host = Liar(environment=environment, contents={"place": "~/x", "packages": []})
    found = mirror.original(host, KernelOptions(kernel_cmd="python -m x"))
    assert named(found.distributions) == ["fine"]
    for place in ("~/../../etc", "../x", "~", "/", "", "~root/x", "/x\n/y", "-x"):
        host.answers["contents"] = {"place": place, "packages": []}
        with pytest.raises(OptionsError, match="no place for an environment"):
            mirror.original(host, KernelOptions(kernel_cmd="python -m x"))
    for package in (
        ["--file=x", "1", ""],
        ["x", "1\n-c evil", ""],
        ["x"],
        [1, 2, 3],
        ["x", "", ""],
    ):
        host.answers["contents"] = {"place": "~/x", "packages": [package]}
        with pytest.raises(RemoteKernelsError, match="in no way that we know"):
            mirror.original(host, KernelOptions(kernel_cmd="python -m x"))
    packages = [["x", "1", "--override-channels"], ["y", "1", "file:///conda-bld/linux-64"]]
    host.answers["contents"] = {"place": "~/x", "packages": packages}
    found = mirror.original(host, KernelOptions(kernel_cmd="python -m x"))
    assert found.left_out[-1] == ("y", "a package in file:///conda-bld/linux-64")
    step = mirror.making(found, Spot("/x", "", (), "", "/bin/conda"), python_is_named=False)
    assert step.argv == ("/bin/conda", *["create", "-y", "-p", "/x", "--file", "packages.txt"])
    assert step.texts == {"packages.txt": "x=1\n"}


# --- how it is made -----------------------------------------------------------------------------


@pytest.fixture
def found(tmp_path: Path) -> Original:
    """A virtualenv of Python 3.11 with six and tqdm."""
    environment = environment_of(Venv(tmp_path / "venv", WORK).python)
    there = installation.There("/there/python", environment, (), "")
    markers = {**environment.markers, "python_version": "3.11"}
    there = there._replace(environment=environment._replace(markers=markers))
    distributions = (Wanted("six", "1.16.0"), Wanted("tqdm", "4.66.1"))
    return Original(there, "~/venvs/work", (), distributions, (), True)


PYTHONS = (("/usr/bin/python3", "3.12.1"), ("/opt/python", "3.11.9"))


@pytest.mark.parametrize(
    ("pythons", "uv", "is_named", "argv"),
    [
        (PYTHONS, "", False, "/opt/python -m venv /x"),
        (PYTHONS, "/bin/uv", False, "/bin/uv venv --python /opt/python /x"),
        # uv has ways of its own to get one.
        (PYTHONS[:1], "/bin/uv", False, "/bin/uv venv --python 3.11 /x"),
        (PYTHONS[:1], "", True, "/usr/bin/python3 -m venv /x"),
        (PYTHONS[:1], "/bin/uv", True, "/bin/uv venv --python /usr/bin/python3 /x"),
    ],
)
def test_what_makes_it(
    found: Original, pythons: tuple[tuple[str, str], ...], uv: str, is_named: bool, argv: str
) -> None:
    step = mirror.making(found, Spot("/x", "", pythons, uv, ""), python_is_named=is_named)
    assert step.argv == tuple(argv.split())


def test_nothing_makes_it(found: Original) -> None:
    with pytest.raises(InstallationError, match=r"no Python 3\.11 over there, whose Pythons") as e:
        mirror.making(found, Spot("/x", "", PYTHONS[:1], "", ""), python_is_named=False)
    assert "3.12.1" in e.value.sentence
    assert "python3.11-venv" in e.value.advice
    with pytest.raises(InstallationError, match=r"no Python 3\.11 over there$"):
        mirror.making(found, Spot("/x", "", (), "", ""), python_is_named=False)
    conda = found._replace(packages=(Wanted("six", "1", conda={"name": "six", "channel": ""}),))
    with pytest.raises(InstallationError, match="neither conda nor mamba"):
        mirror.making(conda, Spot("/x", "", PYTHONS, "/bin/uv", ""), python_is_named=False)


def test_what_differs_stays_unless_it_is_to_be_exact(found: Original, tmp_path: Path) -> None:
    here = [wheel("six", "1.15.0", "six"), wheel("other", "1", "other")]
    environment = environment_of(Venv(tmp_path / "here", here).python)
    environment = environment._replace(markers=found.there.environment.markers)
    copy = Copy(installation.There("/here/python", environment, (), "/bin/uv"), {})
    where = Spot("/here", "venv", (), "/bin/uv", "")
    plan = mirror.compared(found, copy)
    assert [each.name for each in plan.missing] == ["tqdm"]
    assert [(each.name, version) for each, version in plan.different] == [("six", "1.15.0")]
    (held,) = mirror.steps(found, where, copy, plan, exact=False)
    assert held.argv[-4:] == ("-c", "constraints", "-r", "requirements")
    assert held.texts["constraints"] == "other==1\nsix==1.15.0\n"
    (exact,) = mirror.steps(found, where, copy, plan, exact=True)
    assert exact.argv[-3:] == ("--no-deps", "-r", "requirements")
    assert exact.texts["requirements"] == "tqdm==4.66.1\nsix==1.16.0\n"
    # What is not the environment's own may be needed; so may other things for another Python.
    (resolved,) = mirror.steps(found._replace(is_whole=False), where, copy, plan, exact=True)
    assert resolved.argv[-3:] == ("/here/python", "-r", "requirements")
    other = {**environment.markers, "python_version": "3.12"}
    copy = copy._replace(there=copy.there._replace(environment=environment._replace(markers=other)))
    (resolved,) = mirror.steps(found, where, copy, plan, exact=True)
    assert "--no-deps" not in resolved.argv


def test_pip_is_no_part_of_it_where_there_is_one(found: Original) -> None:
    found = found._replace(distributions=(Wanted("pip", "23.0"), *found.distributions))
    lines: dict[bool, list[str]] = {}
    for has_pip in (False, True):
        distributions = dict(found.there.environment.distributions)
        if has_pip:
            distributions["pip"] = distributions["six"]._replace(name="pip", version="24.0")
        environment = found.there.environment._replace(distributions=distributions)
        plan = mirror.compared(found, Copy(found.there._replace(environment=environment), {}))
        assert not plan.different
        lines[has_pip] = [each.line for each in plan.missing]
    assert lines == {False: ["pip==23.0"], True: []}


# --- making it ----------------------------------------------------------------------------------


def test_it_is_made_and_goes_on_where_it_has_failed(
    session: Session, index: Path, tmp_path: Path
) -> None:
    (tmp_path / "first").mkdir()
    venv = Venv(tmp_path / "first/envs/o'ne", WORK)
    lines: list[str] = []
    with session("first") as errand:
        found = mirror.original(errand, kernel(venv))
    prefix = tmp_path / "second/envs/o'ne"
    tqdm = next(index.glob("tqdm*"))
    with session("second") as errand:
        where = mirror.spot(errand, found, "", "")
        assert (where.path, where.kind) == (str(prefix), "")
        # What fails leaves nothing, not even the directories that it lies in.
        broken = installation.Step(
            "venv", ("sh", "-c", f'mkdir "{prefix}"; echo no; exit 3'), {}, ()
        )
        with pytest.raises(InstallationError, match="it ended with status 3") as error:
            mirror.make(errand, where, broken, lines.append)
        assert error.value.said == ("no",)
        assert not (tmp_path / "second/envs").exists()
        step = mirror.making(found, where._replace(uv=""), python_is_named=False)
        assert step.argv[1:] == ("-m", "venv", str(prefix))
        mirror.make(errand, where, step, lines.append)
        tqdm.rename(tmp_path / tqdm.name)
        with pytest.raises(InstallationError, match="could not install") as error:
            mirror.install(errand, found, where, lines.append, exact=True)
        assert "run this again" in error.value.advice
        assert (prefix / "bin/python").exists()
        (tmp_path / tqdm.name).rename(tqdm)
        again = mirror.spot(errand, found, "", "")
        assert again.kind == "venv"
        mirror.install(errand, found, again, lines.append, exact=False)
        plan = mirror.compared(found, mirror.look(errand, again))
        assert (plan.missing, plan.different) == ((), ())
        with pytest.raises(InstallationError, match="is there already"):
            mirror.make(errand, where, step, lines.append)
    made = versions(prefix / "bin/python")
    assert {name: made[name] for name in ("six", "tqdm")} == {"six": "1.16.0", "tqdm": "4.66.1"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("rk-")] == []


def test_what_is_there_already(session: Session, found: Original, tmp_path: Path) -> None:
    home = tmp_path / "second"
    (home / "mine").mkdir(parents=True)
    (home / "file").touch()
    (home / "envs").mkdir()
    (home / "envs/link").symlink_to("/nowhere")
    venv = Venv(home / "envs/conda")
    (venv.prefix / "conda-meta").mkdir()
    with session("second") as errand:
        for place in ("mine", "file", "envs/link", "envs/conda"):
            with pytest.raises(RemoteKernelsError, match=r"is there, and is .* left as it is"):
                mirror.spot(errand, found, mirror.place_of(place), "")
        with pytest.raises(RemoteKernelsError, match="there is no Python python9"):
            mirror.spot(errand, found, "", "python9")
        where = mirror.spot(errand, found, "/opt/x y", "python3")
    assert where.path == "/opt/x y"
    ((program, version),) = where.pythons
    assert os.path.basename(program) == "python3"
    assert version.startswith("3.")


@pytest.mark.needs("uv")
def test_conda_makes_its_own_and_the_rest_is_installed_by_pip(
    session: Session, index: Path, tmp_path: Path
) -> None:
    channel = "https://conda.anaconda.org/conda-forge/linux-64"
    first, second = tmp_path / "first", tmp_path / "second"
    venv = Venv(first / "miniconda3/envs/lab", WORK)
    (venv.prefix / "conda-meta").mkdir()
    (venv.site_packages / "six-1.16.0.dist-info/INSTALLER").write_text("conda\n")
    for name, version in (("python", "3.11.4"), ("six", "1.16.0"), ("libgcc", "13.2.0")):
        package = {"name": name, "version": version, "channel": channel, "files": []}
        (venv.prefix / f"conda-meta/{name}.json").write_text(json.dumps(package))
    (venv.prefix / "conda-meta/broken.json").write_text("{")
    for home in (first, second):
        (home / "miniconda3/bin").mkdir(parents=True, exist_ok=True)
        (home / "miniconda3/conda-meta").mkdir()
        (home / ".profile").write_text(f"PATH={sys.prefix}/far/bin:$PATH\n")
    (second / ".config/uv").mkdir(parents=True)
    settings = f"no-index = true\nfind-links = [{str(index)!r}]\nno-cache = true\n"
    (second / ".config/uv/uv.toml").write_text(settings)
    shutil.copy(CONDA, second / "miniconda3/bin/conda")
    (second / "channel").write_text("python\nsix\nlibgcc\n")
    with session("first") as errand:
        found = mirror.original(errand, kernel(venv))
    assert (found.kind, found.place) == ("conda", "~/miniconda3/envs/lab")
    assert named(found.packages) == ["libgcc", "python", "six"]
    assert named(found.distributions) == ["tqdm"]
    lines: list[str] = []
    prefix = second / "miniconda3/envs/lab"
    with session("second") as errand:
        where = mirror.spot(errand, found, "", "")
        mirror.make(errand, where, mirror.making(found, where, python_is_named=False), lines.append)
        mirror.install(errand, found, where, lines.append, exact=True)
        copy = mirror.look(errand, where)
        plan = mirror.compared(found, copy)
        assert (plan.missing, plan.different) == ((), ())
        # A package of conda's that is no distribution is missed as well.
        (prefix / "conda-meta/libgcc-13.2.0-0.json").unlink()
        mirror.install(errand, found, where, lines.append, exact=False)
    asked = [line.rpartition(" ")[0] for line in (second / "asked").read_text().splitlines()]
    file = f"-p {prefix} -c conda-forge --file"
    held = f"-p {prefix} --freeze-installed -c conda-forge --file"
    assert asked == [f"create -y {file}", f"install -y {held}"]
    assert [line for line in lines if not line.startswith(" ")] == [
        *(f"conda makes {prefix}", "uv installs tqdm==4.66.1", "conda installs libgcc=13.2.0")
    ]
    assert {"six", "tqdm"} <= versions(prefix / "bin/python").keys()


# --- the kernel ---------------------------------------------------------------------------------

GPU = "/home/ada/my env/bin/python"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (f"'{GPU}' -m ipykernel_launcher -f {{connection_file}}", "python -m ipykernel_launcher"),
        ("python3 -m bash_kernel -f {connection_file}", "python -m bash_kernel"),
        (f"env A=b '{GPU}3' -Wi -m ipykernel -f {{connection_file}}", "env A=b python -Wi -m"),
        ("/x/bin/ipython3 kernel -f {connection_file}", "ipython3 kernel -f"),
        ("R --args {connection_file}", "R --args"),
    ],
)
def test_a_command_that_finds_its_python(typed: str, stored: str) -> None:
    found = installation.by_name(typed, "/home/ada/my env")
    assert found.startswith(stored)
    assert found.endswith("{connection_file}")


HOSTS = """
[hosts.tesla]
host = "me@tesla"
tunnel_hosts = ["me@gate"]
workdir = "~/slow"

[hosts.pc]
host = "me@pc"
interface = "slurm"
gpus = 1
env = ["A=1"]
"""


def request(first: str, second: str, into: str = "") -> command.Request:
    """Of one host by its name or profile, and another."""
    ends = (End(x, Way(Host.parse(x if "@" in x else f"me@{x}"))) for x in (first, second))
    return command.Request("work", *ends, into, "", False, "", False, False, False)


@pytest.mark.parametrize(
    ("first", "second", "into", "words"),
    [
        ("tesla", "pc", "", "--host pc --activate ~/venvs/work --fallback tesla --env A=1"),
        ("me@a", "me@b", "", "--host me@b --activate ~/venvs/work --fallback me@a"),
        (
            *("me@a", "tesla", "/x"),
            "--host tesla --activate /x --fallback 'me@a --activate=~/venvs/work'",
        ),
    ],
)
def test_the_tile_is_the_one_that_manage_would_add(
    found: Original, kernels: Path, run: Run, first: str, second: str, into: str, words: str
) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text(HOSTS)
    options = KernelOptions(name="Work", kernel_cmd=f"'{GPU}' -m ipykernel_launcher -f x")
    new = command._planned(request(first, second, into), options, found)
    same = ["--name", "Work", "--language", "python", "-k", "python -m ipykernel_launcher -f x"]
    said = run("manage", "--add", "--dry-run", "--json", *same, *shlex.split(words))
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["kernel_json"] == new.spec.document


def test_variables_of_one_host_only(found: Original, kernels: Path) -> None:
    config_file().parent.mkdir(parents=True)
    config_file().write_text(HOSTS)
    options = KernelOptions(name="Work", kernel_cmd="python -m ipykernel_launcher -f x")
    with pytest.raises(OptionsError, match="variables of its own") as error:
        command._planned(request("pc", "tesla"), options, found)
    assert "--no-kernel" in error.value.advice


def test_a_kernel_that_has_it_all_stays(
    found: Original, kernels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = request("me@a", "me@b")
    options = KernelOptions(
        name="Work", kernel_cmd=f"'{GPU}' -m ipykernel_launcher -f x", workdir="~/p", keep=True
    )

    def added() -> dict[str, Any]:
        return command._add(asked, options, command._planned(asked, options, found))

    first = added()
    assert (first["name"], first["written"]) == ("rik_ssh_me_b_work", True)
    said = capsys.readouterr()
    assert "It starts on me@b, and on me@a while me@b does not answer." in said.out
    assert "manage --edit rik_ssh_me_b_work '--workdir=~/p' --keep" in said.err
    file = kernels / "rik_ssh_me_b_work/kernel.json"
    edited = file.read_text().replace('"--activate', '"--workdir=/tmp",\n"--activate')
    file.write_text(edited)
    assert added()["written"] is False
    assert file.read_text() == edited
    # Another one of that name makes way, as with --add; what is not ours does not.
    file.write_text(edited.replace("me@a", "me@c"))
    assert added()["written"] is True
    file.write_text('{"argv": ["python"], "display_name": "x"}')
    with pytest.raises(RemoteKernelsError, match="is not ours"):
        added()


def test_a_kernel_is_found_by_its_spare(kernels: Path, run: Run) -> None:
    words = ["-n", "one", "-k", "/x/bin/python -m ipykernel -f x", "--activate", "/b"]
    done = run("manage", "--add", "-x", "me@b", "--fallback", "me@a --activate /a", *words)
    assert done.returncode == 0, done.stderr
    found = installation.kernel_here(Way(Host("a", "me")), "rik_ssh_me_b_one")
    assert found is not None
    assert (found.host, found.activate) == ("me@a", "/a")
    with pytest.raises(RemoteKernelsError, match="no kernel of yours goes to me@a"):
        installation.kernel_here(Way(Host("a", "me")), None)
    with pytest.raises(RemoteKernelsError, match="does not go to me@c"):
        installation.kernel_here(Way(Host("c", "me")), "rik_ssh_me_b_one")
