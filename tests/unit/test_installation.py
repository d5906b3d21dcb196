"""What is missing in the environment of a kernel, and its installation, without a host between.

Environments, pip and uv are real; conda is a stub that says what the real ones do.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_kernels import installation
from remote_kernels.errand import Errand
from remote_kernels.errors import InstallationError, RemoteKernelsError
from remote_kernels.installation import There
from remote_kernels.interfaces.ssh import Ssh
from remote_kernels.local_environment import Environment, environment_of
from remote_kernels.options import KernelOptions
from remote_kernels.requirements import Requirements, Wanted
from unit.conftest import Run
from unit.environments import Venv
from wheels import WHEELS, Wheel

CONDA = Path(__file__).parents[1] / "stubs/conda"
COMMAND = "{python} -m ipykernel_launcher -f {{connection_file}}"
SIX = Wanted("six", "1.16.0")
YAML = Wanted("PyYAML", "6.0.1")


@pytest.fixture(scope="module")
def with_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with pip, to be copied."""
    return Venv(tmp_path_factory.mktemp("with pip") / "venv", pip=True).prefix


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which pip and uv know an index without a network."""
    home, index = tmp_path / "home", tmp_path / "wheels"
    home.mkdir()
    index.mkdir()
    for each in WHEELS:
        (index / each.file_name).write_bytes(each.data())
    (home / ".config/uv").mkdir(parents=True)
    settings = f"no-index = true\nfind-links = [{str(index)!r}]\nno-cache = true\n"
    (home / ".config/uv/uv.toml").write_text(settings)
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    for name in ("PIP_NO_INDEX", "PIP_NO_CACHE_DIR"):
        monkeypatch.setenv(name, "1")
    for name in ("HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return home


@pytest.fixture
def errand(home: Path) -> Iterator[Errand]:
    with Errand(None, installation.MODULES, lambda word: None) as errand:
        yield errand


def kernel(python: str, **more: object) -> KernelOptions:
    command = COMMAND.format(python=shlex.quote(python))
    return KernelOptions(**{"kernel_cmd": command, **more})


def moved(venv: Path, target: Path) -> str:
    """A copy of a virtual environment, which is one in its own right; its Python."""
    shutil.copytree(venv, target, symlinks=True)
    return str(target / "bin/python")


def installed(python: str) -> dict[str, str]:
    found = environment_of(python).distributions.values()
    return {each.name: each.version for each in found}


def install(errand: Errand, options: KernelOptions, *wanted: Wanted) -> list[str]:
    lines: list[str] = []
    installation.install(errand, options, Requirements(list(wanted)), lines.append)
    return lines


# --- which Python -------------------------------------------------------------------------------


def test_the_python_of_a_kernel_is_found_as_the_kernel_finds_it(errand: Errand, home: Path) -> None:
    venv = Venv(home / "my envs/o'ne", WHEELS[:1])
    binary = str(venv.prefix / "bin")
    ways = [
        kernel(venv.python),
        kernel("python", activate="~/my envs/o'ne"),
        kernel("python", precmd=f"PATH={shlex.quote(binary)}:$PATH"),
        kernel("python", env=(f"PATH={binary}:$PATH",)),
        kernel("./python", workdir="~/my envs/o'ne/bin"),
        KernelOptions(
            kernel_cmd="env A=b python -Wignore -m ipykernel -f x", activate=str(venv.prefix)
        ),
    ]
    for options in ways:
        there = installation.look(errand, options)
        assert there.environment.prefix == str(venv.prefix), options
        assert [each.name for each in there.environment.distributions.values()] == ["PyYAML"]
    plain = Venv(home / "plain")
    script = plain.prefix / "bin/ipython"
    script.write_text(f"#!{plain.python}\n")
    script.chmod(0o755)
    options = KernelOptions(kernel_cmd="ipython kernel -f {connection_file}", activate="~/plain")
    assert installation.look(errand, options).environment.prefix == str(plain.prefix)


@pytest.mark.parametrize(
    "shell",
    [
        "/bin/bash",
        pytest.param("/bin/tcsh", marks=pytest.mark.needs("tcsh")),
        pytest.param("/usr/bin/fish", marks=pytest.mark.needs("fish")),
        pytest.param("/bin/zsh", marks=pytest.mark.needs("zsh")),
    ],
)
def test_in_every_shell(home: Path, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("SHELL", shell)
    (home / ".zshrc").write_text("")
    venv = Venv(home / "my env")
    options = kernel("python", activate="~/my env", precmd="cd /", env=("A=$HOME",))
    with Errand(None, installation.MODULES, lambda word: None) as errand:
        assert installation.look(errand, options).environment.prefix == str(venv.prefix)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (kernel("/nowhere/python"), "no Python is run by /nowhere/python"),
        (kernel("python3", activate="~/nowhere"), "there is no environment"),
        (kernel("python3", workdir="~/nowhere"), "No such file or directory"),
        (kernel("python3", precmd="exit 3"), "no Python is run by python3"),
        (KernelOptions(kernel_cmd="ipython kernel", precmd="PATH=/"), "there is no ipython"),
        (KernelOptions(kernel_cmd="R --args {connection_file}"), "does not say: R --args"),
    ],
)
def test_a_kernel_without_a_python(errand: Errand, options: KernelOptions, sentence: str) -> None:
    with pytest.raises(RemoteKernelsError, match=sentence):
        installation.look(errand, options)


def test_which_kernel_of_ours_is_meant(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(name: str, *words: str, command: str = "/x/bin/python -m ipykernel -f x") -> None:
        options = ["-n", name, "-l", "python", f"--kernel_cmd={command}"]
        assert run("manage", "--add", *options, *words).returncode == 0

    way = Ssh.way(KernelOptions(interface="ssh", host="me@gpu"))
    assert way is not None
    with pytest.raises(RemoteKernelsError, match="no kernel of yours goes to me@gpu"):
        installation.kernel_here(way, None)
    add("R", "-i", "ssh", "-x", "me@gpu", command="R -e 'IRkernel::main()' --args x")
    add("elsewhere", "-i", "ssh", "-x", "me@other")
    add("one", "-i", "ssh", "-x", "me@gpu")
    # The same environment, in jobs.
    add("jobs", "-i", "slurm", "-t", "me@gpu")
    found = installation.kernel_here(way, None)
    assert found is not None
    assert found.name in ("one", "jobs")
    add("two", "-i", "ssh", "-x", "me@gpu", "--activate", "/two")
    with pytest.raises(RemoteKernelsError, match="3 kernels go to me@gpu") as error:
        installation.kernel_here(way, None)
    assert "--kernel rik_ssh_me_gpu_two" in error.value.advice
    found = installation.kernel_here(way, "rik_ssh_me_gpu_two")
    assert found is not None
    assert found.activate == "/two"
    assert installation.kernel_here(way, "torch") is None
    with pytest.raises(RemoteKernelsError, match="does not go to me@gpu"):
        installation.kernel_here(way, "rik_ssh_me_other_elsewhere")


def test_a_kernelspec_over_there(errand: Errand, home: Path) -> None:
    venv = Venv(home / ".virtualenvs/theirs")
    options = installation.kernel_there(errand, "theirs")
    assert installation.look(errand, options).environment.prefix == str(venv.prefix)
    with pytest.raises(RemoteKernelsError, match="there is no kernel others"):
        installation.kernel_there(errand, "others")


# --- what is to be done -------------------------------------------------------------------------


@pytest.fixture
def there(tmp_path: Path) -> There:
    old = Wheel("six", "1.10", {"six.py": ""})
    lacks = [each for each in WHEELS if each.name in ("pandas", "numpy", "torch")]
    environment = environment_of(Venv(tmp_path / "there", [old, *lacks]).python)
    return There("/there/python", environment, (), "/bin/uv")


def test_what_is_missing_and_what_differs(there: There) -> None:
    needed = Requirements(
        [
            SIX,
            YAML,
            Wanted("numpy", "1.26.4"),
            Wanted("torch", "2.1.0+cpu"),
            Wanted("pandas", "2.1.0", extras=frozenset({"excel"})),
            Wanted("old", "1", marker="python_version < '3'"),
            Wanted("new", "1", marker="python_version >= '3'"),
            Wanted("NumPy", specifier=">=2"),
        ]
    )
    plan = installation.plan(needed, there)
    assert [x.name for x in plan.missing] == ["PyYAML", "pandas", "new"]
    assert [(x.name, version) for x, version in plan.different] == [
        *(("six", "1.10"), ("NumPy", "1.26.4"))
    ]
    assert [x.name for x in plan.same] == ["numpy", "torch"]
    (step,) = installation.steps(plan, needed, there)
    assert step.by == "uv"
    assert step.argv[:5] == ("/bin/uv", "pip", "install", "--python", "/there/python")
    assert step.texts["constraints"].splitlines() == [
        *("numpy==1.26.4", "pandas==2.1.0", "six==1.10", "torch==2.1.0+cu118")
    ]
    assert step.texts["requirements"].splitlines()[0] == "PyYAML==6.0.1"


def test_where_nothing_may_be_installed(there: There) -> None:
    closed = there._replace(environment=there.environment._replace(is_closed=True))
    plan = installation.plan(Requirements([YAML]), closed)
    with pytest.raises(InstallationError, match="keeps others from installing") as error:
        list(installation.steps(plan, Requirements(), closed))
    assert "discover" in error.value.advice
    with pytest.raises(InstallationError, match="neither pip nor uv"):
        list(installation.steps(plan, Requirements(), there._replace(uv="")))


@pytest.mark.parametrize(
    "text",
    [
        """
PackagesNotFoundError: The following packages are not available from current channels:

  - pyyaml=6.0.1
  - conda-forge::six[version='>=1']

Current channels:

  - defaults
  - numpy
""",
        """
LibMambaUnsatisfiableError: Encountered problems while solving:
  - nothing provides requested pyyaml ==6.0.1
  - nothing provides requested six ==1.16.0
""",
        """
error    libmamba Could not solve for environment specs
    The following packages are incompatible
    ├─ pyyaml ==6.0.1 * does not exist (perhaps a typo or a missing channel);
    └─ six ==1.16.0 * does not exist (perhaps a typo or a missing channel).
critical libmamba Could not solve for environment specs
""",
    ],
)
def test_what_conda_does_not_have(text: str) -> None:
    numpy = Wanted("numpy", "1.26.4")
    step = installation.Step("conda", (), {}, (YAML, SIX, numpy))
    assert installation.not_in_conda(text.splitlines(), step) == [YAML, SIX]
    assert installation.not_in_conda(["CondaHTTPError: HTTP 000 CONNECTION FAILED"], step) == []


# --- doing it -----------------------------------------------------------------------------------


def test_pip_installs_what_is_missing_and_changes_nothing(
    errand: Errand, home: Path, with_pip: Path
) -> None:
    python = moved(with_pip, home / "venv")
    old = Wheel("numpy", "1.0", {"numpy.py": ""})
    old.install(next((home / "venv").glob("lib/python3*/site-packages")))
    before = installed(python)
    lines = install(errand, kernel(python), YAML, Wanted("numpy", "1.26.4"))
    assert lines[0] == "pip installs PyYAML==6.0.1"
    assert any(line.startswith("  Successfully installed PyYAML-6.0.1") for line in lines)
    assert installed(python) == {**before, "PyYAML": "6.0.1"}
    # It needs a newer numpy than there is.
    with pytest.raises(InstallationError, match="pip could not install") as error:
        install(errand, kernel(python), SIX, Wanted("scikit-learn", "1.4.0"))
    assert any("numpy" in line for line in error.value.said)
    assert installed(python) == {**before, "PyYAML": "6.0.1"}
    assert [path.name for path in home.parent.iterdir() if path.name.startswith("rk-")] == []


@pytest.mark.needs("uv")
def test_uv_installs_where_there_is_no_pip(home: Path) -> None:
    venv = Venv(home / "venv", WHEELS[2:3])
    (home / ".profile").write_text(f"PATH={sys.prefix}/far/bin:$PATH\n")
    with Errand(None, installation.MODULES, lambda word: None) as errand:
        lines = install(errand, kernel(venv.python), YAML, Wanted("scikit-learn", "1.4.0"))
    assert lines[0] == "uv installs PyYAML==6.0.1, scikit-learn==1.4.0"
    assert set(installed(venv.python)) == {"numpy", "PyYAML", "scikit-learn"}


def test_conda_installs_what_it_has_and_pip_the_rest(
    errand: Errand, home: Path, with_pip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = moved(with_pip, home / "miniconda3/envs/lab")
    (home / "miniconda3/envs/lab/conda-meta").mkdir()
    (home / "miniconda3/bin").mkdir()
    (home / "miniconda3/conda-meta").mkdir()
    shutil.copy(CONDA, home / "miniconda3/bin/conda")
    (home / "channel").write_text("six\nnumpy\n")
    excel = Wanted("pandas", "2.1.0", extras=frozenset({"excel"}))
    lines = install(errand, kernel(python), SIX, YAML, excel)
    said = [line for line in lines if not line.startswith(" ")]
    assert said == [
        "conda installs six=1.16.0, pyyaml=6.0.1",
        "conda does not have PyYAML: left to pip",
        "conda installs six=1.16.0",
        "pip installs PyYAML==6.0.1, pandas[excel]==2.1.0",
    ]
    asked = (home / "asked").read_text().splitlines()
    assert asked[-1] == f"install -y -p {home}/miniconda3/envs/lab --freeze-installed six=1.16.0"
    assert {"six", "PyYAML", "pandas", "openpyxl"} <= set(installed(python))
    (home / "channel").write_text("broken\n")
    with pytest.raises(InstallationError, match="conda could not install") as error:
        install(errand, kernel(python), Wanted("tqdm", "4.66.1"))
    assert any("CondaHTTPError" in line for line in error.value.said)


def test_what_a_python_tells_makes_no_sense() -> None:
    told = {"executable": "/x", "version": "3", "prefix": "/", "standard": [3]}
    with pytest.raises((LookupError, TypeError)):
        Environment.read({**told, "distributions": []})
    with pytest.raises((LookupError, TypeError)):
        Environment.read({**told, "standard": [], "distributions": [{"name": 3}]})
