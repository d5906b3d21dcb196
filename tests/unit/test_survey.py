"""The program that looks around on a host, run as it is sent, in homes that are made by hand.

Pythons, R and Julia are scripts that say what the real ones would; what asks them is real, and runs
under every Python that can be had.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from remote_kernels import survey
from remote_kernels.discovery import MODULES
from remote_kernels.keeper_text import start_of_program
from remote_kernels.shell_text import BOOTSTRAP
from unit.processes import stat_of
from unit.test_keeper import PYTHONS

MARK = "@rk-test"
ARGV = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
# For programs that hang, and long enough for those that do not.
IMPATIENT = "sys.modules['remote_kernels.login_environment']._PATIENCE = 1.5"
# What lies elsewhere on this machine is no part of a test.
NOTHING_ELSE = """
import os
listed = os.listdir
os.listdir = lambda path: listed(path) if path.startswith({!a}) else []
"""

every_python = pytest.mark.parametrize(
    "python", ["/usr/bin", *map(str, PYTHONS)], ids=os.path.basename
)
# One whose subprocess module is old, and one whose is not.
old_and_new = pytest.mark.parametrize(
    "python",
    ["/usr/bin", *(str(path) for path in PYTHONS if path.name == "3.6")],
    ids=os.path.basename,
)
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


class Far:
    """A home on a host, and what is asked there.

    Attributes:
        home: the directory; programs in its bin are on the PATH of a login shell.
        shell: the login shell.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place / "home"
        self.bin = self.home / "bin"
        self.bin.mkdir(parents=True)
        self.shell = "/bin/sh"
        self.start(f"PATH={shlex.quote(str(self.bin))}")

    # --- what is there ---

    def start(self, *lines: str) -> None:
        """Add lines to the start-up file of a login shell."""
        with (self.home / ".profile").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def write(self, name: str, text: str | bytes = "") -> Path:
        """A file, by its path below the home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def program(self, name: str, text: str) -> Path:
        """A script of sh; it finds no other programs."""
        path = self.write(name, f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def python(
        self,
        name: str,
        *,
        has: Iterable[str] = ("ipykernel", "pip"),
        version: str = "3.11.4",
        closed: bool = False,
    ) -> Path:
        """A Python that has these modules, by its path."""
        prefix = str((self.home / name).parent.parent)
        probe = {"prefix": prefix, "version": version, "has": list(has), "closed": closed}
        return self.program(name, f"printf %s {shlex.quote('@rk-probe ' + json.dumps(probe))}")

    def conda(self, name: str, **python: Any) -> Path:
        """A conda environment with a Python in it."""
        self.write(f"{name}/conda-meta/history")
        self.python(f"{name}/bin/python", **python)
        return self.home / name

    def venv(self, name: str, **python: Any) -> Path:
        """A virtualenv."""
        self.write(f"{name}/pyvenv.cfg")
        self.python(f"{name}/bin/python", **python)
        return self.home / name

    def spec(self, name: str, document: Any = None, **fields: Any) -> Path:
        """A kernelspec in a directory of kernelspecs; as people have it, but for some fields."""
        whole = {"argv": ARGV, "display_name": "Python 3", "language": "python", **fields}
        text = whole if document is None else document
        written = text if isinstance(text, (str, bytes)) else json.dumps(text)
        return self.write(f"{name}/kernel.json", written).parent

    def own_spec(self, name: str, document: Any = None, **fields: Any) -> Path:
        """The same where Jupyter looks first."""
        return self.spec(f".local/share/jupyter/kernels/{name}", document, **fields)

    def jupyter(self, name: str, text: str) -> Path:
        """A jupyter-kernelspec, by its path, whose Python does this instead of looking."""
        python = self.program(f"of {name}/python", text)
        path = self.program(name, "")
        # As pip writes it where a path has spaces in it.
        path.write_text(f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n")
        return path

    def jupyter_that_knows(self, name: str, specs: dict[str, Any]) -> Path:
        """One that knows kernelspecs, each with its directory below the home and its document."""
        known = {
            name: {"resource_dir": str(self.home / place), "spec": document}
            for name, (place, document) in specs.items()
        }
        return self.jupyter(name, f"printf %s {shlex.quote('@rk-probe ' + json.dumps(known))}")

    # --- what is asked ---

    def ask(
        self,
        name: str,
        *arguments: Any,
        python: str = "/usr/bin",
        prelude: str = "",
        **env: str,
    ) -> tuple[list[Any], str | None]:
        """All parts of the answer, and why there are no more if it is a failure."""
        alone = NOTHING_ELSE.format(str(self.place))
        call = f"{alone}\n{prelude}\nanswer({MARK!a}, FUNCTIONS, 0)"
        sent = b"".join(start_of_program(MODULES, call, MARK))
        said = subprocess.run(
            ["/bin/sh", "-c", BOOTSTRAP],
            input=sent + json.dumps([name, arguments]).encode() + b"\n",
            env={
                "HOME": str(self.home),
                "PATH": f"{python}:/usr/bin:/bin",
                "SHELL": self.shell,
                "LANG": "C.UTF-8",
                **env,
            },
            cwd=self.home,
            capture_output=True,
            timeout=20,
        )
        assert not said.stderr, said.stderr.decode()
        (_, _), *parts, (end, why) = frames(said.stdout)
        assert end == "DONE" or (end, why) != ("FAIL", None)
        assert {kind for kind, _ in parts} <= {"TELL"}
        return [found for _, found in parts], why

    def look(self, *look_in: str, **how: Any) -> dict[str, Any]:
        """The answer to "kernels", of which those of this machine itself are left out."""
        (found,), why = self.ask("kernels", list(look_in), **how)
        assert why is None
        found["kernels"] = [x for x in found["kernels"] if self._is_here(x["path"])]
        return dict(found)

    def _is_here(self, path: str) -> bool:
        return path.startswith(f"{self.home}/") or not os.path.isabs(path)

    def kernels(self, *look_in: str, **how: Any) -> dict[str, dict[str, Any]]:
        """The kernels by their names, of which no two are alike."""
        found = self.look(*look_in, **how)["kernels"]
        named = {kernel["name"]: kernel for kernel in found}
        assert sorted(named) == sorted(kernel["name"] for kernel in found)
        return named


def frames(data: bytes) -> Iterator[tuple[str, Any]]:
    """What is said: kinds, and what belongs to them."""
    mark = f"\n{MARK} ".encode()
    while mark in data:
        head, _, data = data.partition(mark)[2].partition(b"\n")
        kind, size = head.decode().split()
        yield kind, json.loads(zlib.decompress(data[: int(size)]))
        data = data[int(size) :]


@pytest.fixture
def far(tmp_path: Path) -> Far:
    """A home on a host, with nothing in it."""
    return Far(tmp_path)


def runs(pid: int) -> bool:
    """Whether a process is there, and is no zombie."""
    try:
        return stat_of(pid)[0] != "Z"
    except OSError:
        return False


def ended(pids: Path) -> tuple[list[int], list[int]]:
    """The processes that are noted in a file, and those of them that had to be ended."""
    noted = [int(pid) for pid in pids.read_text().split()]
    left = [pid for pid in noted if runs(pid)]
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return noted, left


# --- environments --------------------------------------------------------------------------------


@every_python
def test_environments_of_all_kinds_are_found(far: Far, tmp_path: Path, python: str) -> None:
    wanted = {}

    def expect(name: str, kind: str, prefix: Path, activated: bool = True) -> None:
        wanted[name] = (kind, str(prefix), str(prefix) if activated else "", "3.11.4", "")

    far.write("miniconda3/condabin/conda")
    expect("base", "conda", far.conda("miniconda3"))
    expect("torch", "conda", far.conda("miniconda3/envs/torch"))
    expect("user", "conda", far.conda(".conda/envs/user"))
    expect("noted", "conda", far.conda("elsewhere/noted"))
    far.write(".conda/environments.txt", f"{far.home}/elsewhere/noted\nrelative\n/no/such\n")
    far.python("miniconda3/envs/no environment/bin/python")
    far.conda("relative")

    expect("old", "venv", far.home / "venvs/old")
    far.write("venvs/old/bin/activate")
    far.python("venvs/old/bin/python")
    expect("poems", "venv", far.venv(".cache/pypoetry/virtualenvs/poems"))
    far.python("venvs/none/bin/python")

    expect("web app", "venv", far.venv("my projects/web app/.venv"))
    expect("lib", "venv", far.venv("my projects/lib"))
    expect("env", "venv", far.venv("my projects/x/env"))
    expect("sci", "conda", far.conda("my projects/y/.pixi/envs/sci"))

    far.python(".pyenv/versions/3.11.4/bin/python")
    expect("pyenv-3.11.4", "pyenv", far.home / ".pyenv/versions/3.11.4", False)
    (far.home / ".pyenv/versions/3.11").symlink_to("3.11.4")
    expect("pyenv-site", "venv", far.venv(".pyenv/versions/site"))
    far.python(".local/share/uv/python/cpython-3.11.4/bin/python")
    expect("cpython-3.11.4", "uv", far.home / ".local/share/uv/python/cpython-3.11.4", False)
    (far.home / ".local/share/uv/python/cpython-3.11").symlink_to("cpython-3.11.4")

    found = far.kernels("~/my projects", python=python)
    told = {
        name: tuple(kernel[key] for key in ("kind", "path", "activate", "version", "problem"))
        for name, kernel in found.items()
    }
    assert told == wanted
    for kernel in found.values():
        program = f"{kernel['path']}/bin/python"
        assert kernel["argv"] == [program, *ARGV[1:]]
        assert (kernel["program"], kernel["language"]) == (program, "python")
        assert not kernel["uncertain"]


def test_those_that_only_a_login_shell_knows_of_are_found(far: Far, tmp_path: Path) -> None:
    place = Far(tmp_path / "far away")
    prefixes = {
        "late": place.conda("mamba/envs/late"),
        "root": place.conda("root"),
        "pyenv-3.9.1": place.home / "pyenv/versions/3.9.1",
        "cpython-3.13": place.home / "uv/cpython-3.13",
    }
    place.python("pyenv/versions/3.9.1/bin/python")
    place.python("uv/cpython-3.13/bin/python")
    for name, value in (
        ("MAMBA_ROOT_PREFIX", "mamba"),
        ("CONDA_PREFIX", "root"),
        ("PYENV_ROOT", "pyenv"),
        ("UV_PYTHON_INSTALL_DIR", "uv"),
    ):
        far.start(f"export {name}={shlex.quote(str(place.home / value))}")
    (found,), _ = far.ask("kernels", [])
    paths = {kernel["name"]: kernel["path"] for kernel in found["kernels"]}
    assert {name: paths.get(name) for name in prefixes} == {
        name: str(path) for name, path in prefixes.items()
    }


def test_a_virtualenv_of_pyenv_is_found(far: Far) -> None:
    # pyenv-virtualenv makes a link to each beside the Pythons.
    far.python(".pyenv/versions/3.11.4/bin/python")
    far.venv(".pyenv/versions/3.11.4/envs/site")
    link = far.home / ".pyenv/versions/site"
    link.symlink_to("3.11.4/envs/site")
    kernels = far.kernels()
    assert set(kernels) == {"pyenv-3.11.4", "pyenv-site"}
    assert kernels["pyenv-site"]["kind"] == "venv"


def test_what_conda_has_noted_comes_before_what_a_kernelspec_says(far: Far) -> None:
    prefix = far.conda("miniconda3/envs/torch")
    far.write(
        f"{prefix}/conda-meta/state",
        json.dumps({"env_vars": {"PRICE": "5$", "BOTH": "noted", "N": 4}}),
    )
    far.spec(f"{prefix}/share/jupyter/kernels/python3", env={"BOTH": "own", "WHERE": "$HOME"})
    assert far.kernels()["torch"]["env"] == {
        # A dollar that conda takes as it is.
        **{"PRICE": "5$$", "N": "4"},
        **{"BOTH": "own", "WHERE": "$HOME"},
    }


def test_what_conda_has_noted_comes_from_packages_too_and_may_be_taken_back(far: Far) -> None:
    prefix = far.conda(".conda/envs/torch")
    far.write(f"{prefix}/etc/conda/env_vars.d/gdal.json", '{"GDAL": "data", "B": "package"}')
    noted = {"env_vars": {"A": "***unset***", "B": "own"}}
    far.write(f"{prefix}/conda-meta/state", json.dumps(noted))
    assert far.kernels()["torch"]["env"] == {"GDAL": "data", "B": "own"}


def test_what_conda_has_noted_may_be_broken(far: Far) -> None:
    texts: list[str | bytes] = ["", "{", "[]", '{"env_vars": []}', "{}", b"\xff", "[" * 100_000]
    for number, text in enumerate(texts):
        far.write(f"miniconda3/envs/e{number}/conda-meta/state", text)
        far.conda(f"miniconda3/envs/e{number}")
    kernels = far.kernels()
    assert len(kernels) == len(texts)
    assert {name for name, kernel in kernels.items() if kernel["env"] or kernel["problem"]} == set()


@pytest.mark.parametrize(
    "known_by",
    [
        "export CONDA_EXE={root}/bin/conda",
        "PATH={root}/condabin:$PATH",
        "PATH={root}/bin/:$PATH",
        "export CONDA_PREFIX={root}/envs/one",
        "PATH={root}/envs/two/bin:$PATH",
    ],
)
def test_all_environments_of_a_conda_for_everybody_are_found(far: Far, known_by: str) -> None:
    far.conda("sw/anaconda")
    far.write("sw/anaconda/condabin/conda")
    for name in ("one", "two"):
        far.conda(f"sw/anaconda/envs/{name}")
    far.start(known_by.format(root=f"{far.home}/sw/anaconda"))
    kernels = far.kernels()
    assert {name: kernel["kind"] for name, kernel in kernels.items()} == dict.fromkeys(
        ("base", "one", "two"), "conda"
    )


def test_a_jupyter_that_is_installed_as_a_tool_is_found(far: Far) -> None:
    for place in (".local/share/pipx/venvs/jupyterlab", ".local/share/uv/tools/notebook"):
        prefix = far.venv(place)
        far.spec(f"{place}/share/jupyter/kernels/python3", argv=[f"{prefix}/bin/python", *ARGV[1:]])
    # Most are no Jupyter.
    far.venv(".local/share/pipx/venvs/black", has=[])
    assert set(far.kernels()) == {"jupyterlab", "notebook"}


def test_environments_that_are_found_twice_are_one(far: Far) -> None:
    # As where there is little space at home: conda notes the other path.
    far.conda("scratch/conda/envs/torch")
    (far.home / "miniconda3").symlink_to("scratch/conda")
    far.venv("venvs/plain")
    far.write(".conda/environments.txt", f"{far.home}/scratch/conda/envs/torch\n")
    assert set(far.kernels("~/venvs", "~/venvs/plain")) == {"torch", "plain"}


@pytest.mark.parametrize("look_in", ["~/projects/app/", "projects/app", "./projects/", "projects"])
def test_a_directory_of_projects_may_be_written_in_any_way(far: Far, look_in: str) -> None:
    prefix = far.venv("projects/app")
    (kernel,) = far.look(look_in)["kernels"]
    assert (kernel["name"], kernel["path"]) == ("app", str(prefix))
    assert not kernel["problem"]


def test_what_cannot_be_looked_at_is_told_once(far: Far) -> None:
    # A link to itself is something that nobody can list, not even root.
    loop = far.home / "venvs"
    loop.symlink_to("venvs")
    notes = far.look("~/no such")["notes"]
    assert sorted(path for path, _ in notes) == [f"{far.home}/no such", str(loop)]
    assert all(why for _, why in notes)


@not_as_root
def test_a_closed_directory_is_told(far: Far) -> None:
    closed = far.venv("venvs/hidden").parent
    closed.chmod(0)
    found = far.look()
    closed.chmod(0o700)
    assert found["kernels"] == []
    assert [str(closed), "Permission denied"] in found["notes"]


# --- kernelspecs ---------------------------------------------------------------------------------


def test_kernelspecs_are_found_where_jupyter_looks(far: Far) -> None:
    program = str(far.program("bin/kernel", ""))
    far.start(
        'export JUPYTER_PATH="$HOME/first:$HOME/second"',
        'export XDG_DATA_HOME="$HOME/xdg" JUPYTER_DATA_DIR="$HOME/data"',
    )
    far.conda("miniconda3/envs/torch")
    parents = {
        "first": "first/kernels",
        "second": "second/kernels",
        "xdg": "xdg/jupyter/kernels",
        "data": "data/kernels",
        "ipython": ".ipython/kernels",
        "mac": "Library/Jupyter/kernels",
        "environment": "miniconda3/envs/torch/share/jupyter/kernels",
    }
    for name, parent in parents.items():
        far.spec(f"{parent}/{name}", argv=["kernel", "{connection_file}"], language="x")
    # What a link leads to is no other one; what holds no kernel.json is none at all.
    (far.home / "second/kernels/again").symlink_to("../../first/kernels/first")
    far.write("first/kernels/file")
    far.write("first/kernels/none/logo-64x64.png")
    kernels = far.kernels()
    assert set(kernels) == {*parents, "torch"}
    for name, parent in parents.items():
        kernel = kernels[name]
        assert (kernel["kind"], kernel["path"]) == ("kernelspec", f"{far.home}/{parent}/{name}")
        assert kernel["argv"] == [program, "{connection_file}"]
        assert (kernel["files"], kernel["problem"]) == (kernel["path"], "")
    # The program of this one lies somewhere else, but it is the environment's own.
    assert kernels["environment"]["activate"] == f"{far.home}/miniconda3/envs/torch"
    assert kernels["first"]["activate"] == ""


def test_without_a_word_of_the_shell_the_usual_place_is_looked_at(far: Far) -> None:
    far.own_spec("usual", argv=[str(far.program("kernel", ""))])
    assert set(far.kernels()) == {"usual"}


def test_all_of_a_kernelspec_is_told(far: Far) -> None:
    directory = far.own_spec(
        "Mine",
        argv=["~/kernel", "--home={resource_dir}/x", "{resource_dir}", "{connection_file}"],
        env={"A": "1", "B": 2},
        interrupt_mode="message",
        metadata={"debugger": True},
    )
    program = str(far.program("kernel", ""))
    kernel = far.kernels()["Mine"]
    mount = kernel.pop("mount")
    assert os.path.ismount(mount)
    assert str(directory).startswith(mount)
    assert kernel == {
        **{"name": "Mine", "kind": "kernelspec", "path": str(directory), "program": program},
        "argv": [program, f"--home={directory}/x", str(directory), "{connection_file}"],
        **{"language": "python", "display_name": "Python 3", "version": None, "activate": ""},
        **{"env": {"A": "1", "B": "2"}, "interrupt_mode": "message"},
        **{"metadata": {"debugger": True}, "files": str(directory)},
        **{"problem": "", "uncertain": False, "install": "", "installs_into": ""},
    }


BROKEN: dict[str, Any] = {
    "nothing": "",
    "half": '{"argv": ["python"',
    "latin": '{"argv": ["python"], "display_name": "Müller"}'.encode("latin-1"),
    "list": [],
    "words": '"argv"',
    "null": "null",
    "no argv": {"display_name": "x"},
    "empty argv": {"argv": []},
    "null argv": {"argv": None},
    "numbers": {"argv": ["python", 3]},
    "lists": {"argv": [["python"]]},
    "one word": {"argv": "python -m ipykernel_launcher"},
    "number": {"argv": 3},
    "an object": {"argv": {"python": "-m"}},
    "list as env": {"argv": ARGV, "env": ["A=1"]},
    "word as env": {"argv": ARGV, "env": "A=1"},
    "word as metadata": {"argv": ARGV, "metadata": "x"},
    "number as language": {"argv": ARGV, "language": 3},
    "number as name": {"argv": ARGV, "display_name": 3},
    "no word of a system": {"argv": ["/bin/k\0", "{connection_file}"]},
    "no module of a system": {"argv": ["python", "-m", "k\0"]},
    "deep": '{"argv": ["python"], "metadata": ' + "[" * 100_000 + "]" * 100_000 + "}",
}


@old_and_new
def test_a_broken_kernelspec_hides_no_other_kernel(far: Far, python: str) -> None:
    for name, document in BROKEN.items():
        far.own_spec(name, document)
    far.venv("venvs/plain")
    kernels = far.kernels(python=python)
    assert kernels.pop("plain")["problem"] == ""
    assert set(kernels) == set(BROKEN)
    problems = {name: kernel["problem"] for name, kernel in kernels.items()}
    assert {name for name, text in problems.items() if "kernel.json is broken" not in text} == set()
    assert not any(kernel["argv"] or kernel["install"] for kernel in kernels.values())


@not_as_root
def test_a_kernelspec_that_cannot_be_read_says_so(far: Far) -> None:
    (far.own_spec("closed") / "kernel.json").chmod(0)
    problem = far.kernels()["closed"]["problem"]
    assert problem == "its kernel.json cannot be read: Permission denied"


def test_kernels_that_would_run_somewhere_else_are_left_out(far: Far) -> None:
    python = str(far.venv("venvs/jupyter") / "bin/python")
    for module in ("remote_kernels", "remote_ikernel"):
        far.own_spec(module, argv=[python, "-m", module, "--host", "x", "{connection_file}"])
    far.own_spec("mine", argv=[python, "-m", "ipykernel_launcher", "{connection_file}"])
    assert set(far.kernels()) == {"mine"}


def test_a_program_that_is_not_there_is_a_problem(far: Far) -> None:
    far.write("file")
    far.program("relative/kernel", "")
    programs = ["/no/such", "no-such", "~/file", "relative/kernel", ""]
    for number, program in enumerate(programs):
        far.own_spec(f"gone{number}", argv=[program, "{connection_file}"])
    kernels = far.kernels()
    for number, program in enumerate(programs):
        shown = program.replace("~", str(far.home))
        assert kernels[f"gone{number}"]["problem"] == f"{shown} is not there, or no program"


def test_a_python_is_looked_for_by_both_its_names(far: Far) -> None:
    # As "pip install --user ipykernel" leaves it where there is no "python".
    python = far.python("bin/python3")
    far.own_spec("python3", argv=ARGV)
    (kernel,) = far.look()["kernels"]
    assert (kernel["name"], kernel["program"]) == ("python3", str(python))
    # What the installation has brought comes first.
    beside = far.python(".local/bin/python")
    programs = [kernel["program"] for kernel in far.look()["kernels"]]
    assert programs == [str(beside), str(python)]


def test_a_directory_is_no_program(far: Far) -> None:
    far.own_spec("gone", argv=[str(far.bin), "{connection_file}"])
    assert far.kernels()["gone"]["problem"] == f"{far.bin} is not there, or no program"


# What ipykernel writes, by how it was called.
@pytest.mark.parametrize("program", ["python", "python3", "{}/bin/python", "{}/bin/python3"])
def test_an_environment_with_a_kernelspec_of_its_own_is_one_kernel(far: Far, program: str) -> None:
    prefix = far.venv("venvs/plain")
    (prefix / "bin/python3").symlink_to("python")
    argv = [program.format(prefix), *ARGV[1:]]
    far.spec(f"{prefix}/share/jupyter/kernels/python3", argv=argv, metadata={"debugger": True})
    (kernel,) = far.look()["kernels"]
    assert (kernel["name"], kernel["kind"], kernel["path"]) == ("plain", "venv", str(prefix))
    assert kernel["files"] == f"{prefix}/share/jupyter/kernels/python3"
    assert kernel["argv"][0] == f"{prefix}/bin/{os.path.basename(program)}"
    assert kernel["activate"] == str(prefix)


def test_an_environment_whose_kernelspec_lies_elsewhere_is_that_kernel(far: Far) -> None:
    prefix = far.venv("venvs/plain")
    far.own_spec("mine", argv=[f"{prefix}/bin/python", *ARGV[1:]])
    (kernel,) = far.look()["kernels"]
    assert (kernel["name"], kernel["kind"]) == ("mine", "kernelspec")
    assert kernel["activate"] == str(prefix)


# --- what a Jupyter over there knows -------------------------------------------------------------


def test_every_jupyter_is_asked(far: Far) -> None:
    plain = {"argv": [str(far.program("kernel", ""))], "language": "x", "metadata": {"a": 1}}
    far.own_spec("known", argv=plain["argv"])
    far.venv("venvs/plain")
    far.write("venvs/plain/etc/jupyter/jupyter_config.json")
    far.jupyter_that_knows(
        "bin/jupyter-kernelspec",
        {
            "one": ("one", plain),
            "known": (".local/share/jupyter/kernels/known", plain),
            "ours": ("ours", {"argv": ["p", "-m", "remote_kernels"]}),
        },
    )
    # Another one, which knows one that the first does, too.
    far.jupyter_that_knows(
        "venvs/plain/bin/jupyter-kernelspec", {"one": ("one", plain), "two": ("two", plain)}
    )
    kernels = far.kernels()
    assert set(kernels) == {"one", "two", "known", "plain"}
    assert kernels["two"]["argv"] == plain["argv"]
    assert kernels["one"]["metadata"] == {"a": 1}
    assert kernels["one"]["files"] == kernels["one"]["path"] == f"{far.home}/one"
    # What is in its own place is read there.
    assert kernels["known"]["metadata"] == {}


def test_a_jupyter_that_can_know_no_more_is_not_asked(far: Far) -> None:
    # Each environment with ipykernel has one, and each would take half a second.
    far.jupyter_that_knows("bin/jupyter-kernelspec", {})
    far.venv("venvs/plain")
    far.jupyter("venvs/plain/bin/jupyter-kernelspec", f"echo >{far.home}/asked")
    assert far.look()["notes"] == []
    assert not (far.home / "asked").exists()


def test_of_jupyters_in_environments_one_tells_of_the_persons_settings(far: Far) -> None:
    plain = {"argv": [str(far.program("kernel", ""))]}
    for name in ("a", "b"):
        far.venv(f"venvs/{name}")
        far.jupyter_that_knows(f"venvs/{name}/bin/jupyter-kernelspec", {"one": ("one", plain)})
    assert set(far.kernels()) == {"a", "b", "one"}


# How the first line of a script may name its Python.
@pytest.mark.parametrize(
    "place", ["python/3.11/bin", "python-envs/torch/bin", "apps/python3.11/bin", "x/bin"]
)
def test_a_jupyters_own_python_is_asked(far: Far, place: str) -> None:
    plain = {"argv": [str(far.program("kernel", ""))]}
    known = json.dumps({"one": {"resource_dir": str(far.home / "one"), "spec": plain}})
    python = far.program(f"{place}/python3.11", f"echo '@rk-probe {known}'")
    path = far.program("bin/jupyter-kernelspec", "")
    path.write_text(f"#!{python} -s\nimport x\n")
    assert set(far.kernels()) == {"one"}


def test_each_jupyter_is_asked_once(far: Far) -> None:
    real = far.jupyter("real", f"echo >>{far.home}/asked; echo '@rk-probe {{}}'")
    for place in ("bin", "other", "venvs/plain/bin"):
        far.write(f"{place}/x")
        (far.home / place / "jupyter-kernelspec").symlink_to(real)
    far.write("venvs/plain/pyvenv.cfg")
    far.write("venvs/plain/etc/jupyter/jupyter_config.json")
    far.start(f"PATH=$PATH:{far.home}/other")
    assert far.look()["notes"] == []
    assert (far.home / "asked").read_text() == "\n"


def test_a_real_jupyter_leaves_nothing_behind(far: Far) -> None:
    far.spec("beside/kernels/mine", argv=[str(far.program("kernel", ""))])
    # Where IPython has left something and Jupyter nothing, that would begin to move it over.
    far.write(".ipython/profile_default/ipython_config.py")
    knows = f"export JUPYTER_PATH={far.home}/beside"
    far.jupyter("bin/jupyter-kernelspec", f'{knows}\nexec {sys.executable} "$@"')
    before = sorted(far.home.rglob("*"))
    assert set(far.kernels()) == {"mine"}
    assert sorted(far.home.rglob("*")) == before


def test_a_jupyter_that_makes_no_sense_is_noted(far: Far) -> None:
    texts = [
        "echo rubbish",
        "exit 1",
        "echo '@rk-probe []'",
        "echo '@rk-probe 3'",
        """echo '@rk-probe {"x": {"spec": {}}}'""",
        """echo '@rk-probe {"x": []}'""",
        """echo '@rk-probe {"x": {"spec": {}, "resource_dir": 3}}'""",
        "printf '@rk-probe \\377'",
    ]
    paths = set()
    for number, text in enumerate(texts):
        path = far.jupyter(f"j{number}/jupyter-kernelspec", text)
        far.start(f"PATH=$PATH:{path.parent}")
        paths.add(str(path))
    # One that is no script of a Python, and one of a Python that is not there.
    for text in ("#!/bin/sh\n", "#!/no/such/python\n"):
        path = far.program(f"k{len(paths)}/jupyter-kernelspec", "")
        path.write_text(text)
        far.start(f"PATH=$PATH:{path.parent}")
        paths.add(str(path))
    far.venv("venvs/plain")
    found = far.look()
    assert [kernel["name"] for kernel in found["kernels"]] == ["plain"]
    assert sorted(found["notes"]) == [[x, "does not list its kernelspecs"] for x in sorted(paths)]


def test_pyenv_s_jupyter_is_none(far: Far) -> None:
    # It is there when one of pyenv's versions has a Jupyter, be it not the one that is chosen.
    shim = far.program("shims/jupyter-kernelspec", "echo 'pyenv: command not found' >&2; exit 127")
    far.start(f"PATH=$PATH:{shim.parent}")
    plain = {"argv": [str(far.program("kernel", ""))]}
    far.jupyter_that_knows(".pyenv/versions/3.12.1/bin/jupyter-kernelspec", {"one": ("one", plain)})
    found = far.look()
    assert found["notes"] == []
    assert [kernel["name"] for kernel in found["kernels"]] == ["one"]


def test_a_broken_kernelspec_of_a_jupyter_hides_no_other_kernel(far: Far) -> None:
    good = {"argv": [str(far.program("kernel", ""))]}
    documents = [{"argv": []}, {"argv": None}, {}, {"argv": [1]}, [], "x", None, {"argv": "x"}]
    broken = {f"broken {n}": (f"broken/{n}", document) for n, document in enumerate(documents)}
    far.jupyter_that_knows("bin/jupyter-kernelspec", {**broken, "good": ("good", good)})
    far.venv("venvs/plain")
    kernels = far.kernels()
    assert not any(kernels.pop(name)["problem"] for name in ("good", "plain"))
    assert set(kernels) <= set(broken)
    assert all(kernel["problem"] for kernel in kernels.values())


def test_a_module_that_only_a_jupyter_s_kernelspec_needs_is_looked_for(far: Far) -> None:
    # It is asked for no more than it was told.
    probe = '{"prefix": "/x", "version": "3.11.4", "closed": false, "has": ["\'"$has"\'"]}'
    text = (
        f"has=pip; for has; do [ \"$has\" != bash_kernel ] || break; done; echo '@rk-probe {probe}'"
    )
    far.write("venvs/plain/pyvenv.cfg")
    python = str(far.program("venvs/plain/bin/python", text))
    argv = [python, "-m", "bash_kernel", "-f", "{connection_file}"]
    far.jupyter_that_knows("bin/jupyter-kernelspec", {"bash": ("bash", {"argv": argv})})
    assert far.kernels()["bash"]["problem"] == ""


# --- whether Pythons would start a kernel --------------------------------------------------------


@every_python
def test_a_real_python_says_what_it_has(far: Far, python: str) -> None:
    real = f"{python}/python3"
    said = subprocess.run([real, "-V"], capture_output=True, text=True, check=True).stdout
    far.write("venvs/real/pyvenv.cfg")
    far.program("venvs/real/bin/python", f'echo noise\nexec {real} -S "$@"')
    far.own_spec("has", argv=["venvs/real/bin/python", "-m", "json.tool"])
    for name, module in (("has", "json.tool"), ("has not", "no_such.kernel")):
        argv = [f"{far.home}/venvs/real/bin/python", "-m", module]
        far.own_spec(name, argv=argv)
    kernels = far.kernels()
    version = said.split()[1].rstrip("+")
    assert kernels["has"]["version"] == kernels["has not"]["version"] == version
    assert kernels["has"]["problem"] == ""
    assert kernels["has not"]["problem"] == "its Python has no no_such"


@pytest.mark.parametrize("name", ["python2.7", "pypy3"])
def test_other_pythons_say_what_they_have(name: str) -> None:
    python = shutil.which(name)
    command = [python or name, "-c", survey._PROBE, "json", "no_such"]
    if python is None or subprocess.run([python, "-V"], capture_output=True).returncode:
        pytest.skip(f"there is no {name}")
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(said.partition("@rk-probe ")[2])
    assert found["has"] == ["json"]


def test_a_virtualenv_is_not_closed_as_its_python_may_be(tmp_path: Path) -> None:
    system = "/usr/bin/python3"
    stdlib = subprocess.run(
        [system, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run([system, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    closed = []
    for python in (system, f"{tmp_path}/v/bin/python"):
        done = subprocess.run([python, "-c", survey._PROBE], capture_output=True, text=True)
        closed.append(json.loads(done.stdout.partition("@rk-probe ")[2])["closed"])
    assert closed == [Path(stdlib, "EXTERNALLY-MANAGED").exists(), False]


def test_a_python_that_does_not_run_is_uncertain(far: Far) -> None:
    texts = ["exit 1", "exit 0", "echo nothing", "kill -9 $$", "printf '@rk-probe \\377'"]
    texts += [f"echo '@rk-probe {found}'" for found in ("{", "5", "{}", "[]", "null")]
    for number, text in enumerate(texts):
        far.venv(f"venvs/e{number}")
        far.program(f"venvs/e{number}/bin/python", text)
    far.venv("venvs/plain")
    kernels = far.kernels()
    assert kernels.pop("plain")["problem"] == ""
    assert len(kernels) == len(texts)
    for kernel in kernels.values():
        # As of a file server that is away for a moment; a sync removes nothing for it.
        assert kernel["problem"] == f"{kernel['path']}/bin/python does not run"
        assert kernel["uncertain"] is True
        assert kernel["install"] == ""


def test_what_hangs_is_left_with_all_that_it_has_started(far: Far) -> None:
    text = f"/bin/sleep 60 & echo $! >>{far.home}/pids\necho $$ >>{far.home}/pids\nwait"
    far.write("venvs/slow/pyvenv.cfg")
    far.program("venvs/slow/bin/python", text)
    jupyter = far.jupyter("bin/jupyter-kernelspec", text)
    far.venv("venvs/plain")
    try:
        # The oldest one waits for whoever holds the pipe.
        found = far.look(python=str([*PYTHONS, "/usr/bin"][0]), prelude=IMPATIENT)
    finally:
        pids, left = ended(far.home / "pids")
    kernels = {kernel["name"]: kernel for kernel in found["kernels"]}
    assert kernels["slow"]["uncertain"] is True
    assert kernels["plain"]["problem"] == ""
    assert found["notes"] == [[str(jupyter), "does not list its kernelspecs"]]
    assert len(pids) == 4
    assert left == []


def test_a_python_that_needs_its_environment_is_asked_without_the_shell_s(far: Far) -> None:
    # A module of a cluster sets it; an activation removes it again.
    far.start("export PYTHONHOME=/no/such")
    prefix = far.venv("venvs/plain")
    text = (prefix / "bin/python").read_text().partition("\n")[2]
    far.program("venvs/plain/bin/python", f'[ -z "$PYTHONHOME" ] || exit 1\n{text}')
    assert far.kernels()["plain"]["problem"] == ""


# --- Pythons of the system -----------------------------------------------------------------------


def test_pythons_of_the_path_are_each_one_kernel(far: Far) -> None:
    probe = {"version": "3.12.1", "has": ["ipykernel"], "closed": False}
    for name, place in (("python3", "/a"), ("python3.12", "/a"), ("python3.9", "/b")):
        said = json.dumps({**probe, "prefix": place})
        far.program(f"bin/{name}", f"echo '@rk-probe {said}'")
    # One of an environment that is on the PATH is the environment's.
    prefix = far.venv("venvs/plain")
    far.python("venvs/plain/bin/python3")
    # pyenv's are no Pythons.
    far.program("shims/python3", f"echo asked >{far.home}/asked")
    far.start(f"PATH=$PATH:{prefix}/bin:{far.home}/shims")
    kernels = far.kernels()
    assert {name: kernel["kind"] for name, kernel in kernels.items()} == {
        **{"python3": "system", "python3.9": "system"},
        **{"plain": "venv"},
    }
    assert kernels["python3"]["path"] == kernels["python3"]["program"] == f"{far.bin}/python3"
    assert kernels["python3"]["activate"] == ""
    assert not (far.home / "asked").exists()


# --- what would help -----------------------------------------------------------------------------


def install_of(kernel: dict[str, Any]) -> list[list[str]]:
    """The commands that would help, each as its words."""
    assert "has no " in kernel["problem"]
    return [shlex.split(command) for command in kernel["install"].split(" && ")]


@pytest.mark.parametrize(
    ("programs", "has", "wanted"),
    [
        (["uv", "mamba"], ["pip"], "{python} -m pip install ipykernel"),
        (["mamba", "conda", "micromamba"], [], "{bin}/mamba install -y -p {prefix} ipykernel"),
        (["micromamba", "conda"], [], "{bin}/micromamba install -y -p {prefix} ipykernel"),
        (["conda", "uv"], [], "{bin}/conda install -y -p {prefix} ipykernel"),
        (["uv"], [], "{bin}/uv pip install --python {python} ipykernel"),
        ([], [], "{python} -m ensurepip && {python} -m pip install ipykernel"),
    ],
)
def test_an_environment_gets_what_is_missing(
    tmp_path: Path, programs: list[str], has: list[str], wanted: str
) -> None:
    far = Far(tmp_path / "a place")
    prefix = far.conda(".conda/envs/my env", has=has)
    for name in programs:
        far.program(f"bin/{name}", "")
    kernel = far.kernels()["my env"]
    assert kernel["problem"] == "its Python has no ipykernel"
    names = {"bin": far.bin, "prefix": prefix, "python": prefix / "bin/python"}
    assert install_of(kernel) == [
        [word.format(**names) for word in command.split()] for command in wanted.split(" && ")
    ]
    assert not kernel["uncertain"]


def test_conda_is_for_conda_s_environments_alone(far: Far) -> None:
    prefix = far.venv("venvs/plain", has=[])
    for name in ("mamba", "uv"):
        far.program(f"bin/{name}", "")
    (words,) = install_of(far.kernels()["plain"])
    assert words == f"{far.bin}/uv pip install --python {prefix}/bin/python ipykernel".split()


def test_a_python_of_the_system_is_left_as_it_is(far: Far) -> None:
    closed = far.python("bin/python3", has=["pip"], closed=True)
    of_user = far.python("bin/python3.9", has=["pip"], version="3.9.1")
    kernels = far.kernels()
    own = f"{far.home}/.virtualenvs/ipykernel-3.11"
    assert install_of(kernels["python3"]) == [
        [str(closed), "-m", "venv", own],
        [f"{own}/bin/python", "-m", "pip", "install", "ipykernel"],
    ]
    assert kernels["python3"]["installs_into"] == own
    assert kernels["python3.9"]["installs_into"] == ""
    (words,) = install_of(kernels["python3.9"])
    assert words == [str(of_user), "-m", "pip", "install", "--user", "ipykernel"]


def test_an_environment_that_is_made_is_nobodys(far: Far) -> None:
    far.python("bin/python3", has=["pip"], closed=True)
    far.write(".virtualenvs/ipykernel-3.11/x")
    assert far.kernels()["python3"]["installs_into"].endswith("/.virtualenvs/ipykernel-3.11-2")


@pytest.mark.parametrize("options", [["-Xfrozen_modules=off"], ["-X", "dev", "-s"], ["-I"]])
def test_options_of_python_hide_no_module(far: Far, options: list[str]) -> None:
    # The first is what "ipykernel install" writes from version 7 on.
    prefix = far.venv("venvs/plain", has=["pip"])
    argv = [f"{prefix}/bin/python", *options, "-m", "ipykernel_launcher", "{connection_file}"]
    far.own_spec("mine", argv=argv)
    assert far.kernels()["mine"]["problem"] == "its Python has no ipykernel"


def test_the_module_of_a_kernelspec_is_what_is_installed(far: Far) -> None:
    prefix = far.venv("venvs/plain", has=["pip", "ipykernel"])
    far.own_spec("bash", argv=[f"{prefix}/bin/python", "-m", "bash_kernel.run"])
    kernel = far.kernels()["bash"]
    assert kernel["problem"] == "its Python has no bash_kernel"
    assert install_of(kernel)[0][-1] == "bash_kernel"


# --- R and Julia ---------------------------------------------------------------------------------


def with_r(far: Far, name: str, root: str) -> str:
    """An R, by its path, whose home lies somewhere."""
    far.write(f"{root}/library/base/DESCRIPTION", "Package: base\nVersion: 4.3.1\n")
    return str(far.program(name, f'[ "$1" = RHOME ] && echo {far.home}/{root}'))


@pytest.mark.parametrize("place", ["r/library", "R/x86_64/4.3", "libraries/b", "mine", ""])
def test_r_is_a_kernel_if_it_has_irkernel(far: Far, place: str) -> None:
    far.start(f"export R_LIBS={far.home}/libraries/a:{far.home}/libraries/b R_LIBS_USER='~/mine'")
    program = with_r(far, "bin/R", "r")
    if place:
        far.write(f"{place}/IRkernel/DESCRIPTION")
    kernel = far.kernels()["R"]
    words = ["--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"]
    assert kernel["argv"] == [program, *words]
    assert (kernel["kind"], kernel["path"], kernel["language"]) == ("system", program, "R")
    assert kernel["version"] == "4.3.1"
    if place:
        assert (kernel["problem"], kernel["install"]) == ("", "")
    else:
        assert kernel["problem"] == "its R has no IRkernel"
        assert install_of(kernel) == [[program, "-e", survey._INSTALL_IRKERNEL]]


def test_an_environment_of_r_alone_is_activated(far: Far) -> None:
    far.write(".conda/envs/stats/conda-meta/state", '{"env_vars": {"A": "1"}}')
    program = with_r(far, ".conda/envs/stats/bin/R", ".conda/envs/stats/lib/R")
    far.write(".conda/envs/stats/lib/R/library/IRkernel/DESCRIPTION")
    (kernel,) = far.look()["kernels"]
    prefix = str(far.home / ".conda/envs/stats")
    assert (kernel["name"], kernel["kind"], kernel["path"]) == ("stats/R", "conda", program)
    assert (kernel["activate"], kernel["env"], kernel["problem"]) == (prefix, {"A": "1"}, "")


def test_an_r_with_a_kernelspec_is_that_kernel(far: Far) -> None:
    program = with_r(far, "bin/R", "r")
    argv = ["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"]
    far.own_spec("ir", argv=argv, language="R")
    (kernel,) = far.look()["kernels"]
    assert (kernel["name"], kernel["program"]) == ("ir", program)
    # A kernelspec is no package.
    assert kernel["problem"] == "its R has no IRkernel"


def test_an_r_of_conda_gets_a_package_of_conda(far: Far) -> None:
    prefix = far.home / ".conda/envs/stats"
    far.write(".conda/envs/stats/conda-meta/history")
    with_r(far, ".conda/envs/stats/bin/R", ".conda/envs/stats/lib/R")
    far.program("bin/mamba", "")
    (kernel,) = far.look()["kernels"]
    wanted = [f"{far.bin}/mamba", "install", "-y", "-p", str(prefix), "r-irkernel"]
    assert install_of(kernel) == [wanted]


def test_an_r_in_an_environment_is_activated_however_it_is_named(far: Far) -> None:
    # As IRkernel::installspec() writes it.
    far.write(".conda/envs/stats/conda-meta/history")
    root = ".conda/envs/stats/lib/R"
    program = with_r(far, f"{root}/bin/R", root)
    far.write(f"{root}/library/IRkernel/DESCRIPTION")
    argv = [program, "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"]
    far.own_spec("ir", argv=argv, language="R")
    kernel = far.kernels()["ir"]
    assert (kernel["problem"], kernel["activate"]) == ("", str(far.home / ".conda/envs/stats"))


def test_an_r_that_does_not_run_is_uncertain(far: Far) -> None:
    far.program("bin/R", "exit 1")
    kernel = far.kernels()["R"]
    assert kernel["problem"] == f"{far.bin}/R does not run"
    assert (kernel["version"], kernel["uncertain"], kernel["install"]) == (None, True, "")


def test_an_r_installs_irkernel_into_a_library_of_the_persons_own(far: Far) -> None:
    real = shutil.which("R")
    if real is None:
        pytest.skip("there is no R")
    # What would be downloaded is played.
    played = (
        "install.packages <- function(name, lib, repos) {"
        ' dir.create(file.path(lib, name)); cat("into", lib, "from", repos, "") }; '
    )
    own = far.home / "own library"
    done = subprocess.run(
        [real, "--slave", "-e", played + survey._INSTALL_IRKERNEL],
        env={**os.environ, "R_LIBS_USER": str(own), "R_PROFILE_USER": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"into {own} from http" in done.stdout, done.stderr
    # It looks whether the package can be loaded in the end.
    assert done.returncode == 1


@pytest.mark.parametrize("depot", [":", "/depot:/no/such"])
def test_julia_is_a_kernel_if_it_has_ijulia(far: Far, depot: str) -> None:
    program = str(far.program("bin/julia", '[ "$1" = --version ] && echo julia version 1.10.4'))
    far.start(f'export JULIA_DEPOT_PATH="{str(far.home) * (depot[0] == "/")}{depot}"')
    # An empty one is the usual one.
    place = depot.split(":")[0].strip("/") or ".julia"
    kernel = far.kernels()["julia"]
    assert (kernel["problem"], kernel["version"]) == ("its Julia has no IJulia", "1.10.4")
    assert install_of(kernel) == [[program, "-e", 'using Pkg; Pkg.add("IJulia")']]
    for name, age in (("new", 1), ("old", 9)):
        file = far.write(f"{place}/packages/IJulia/{name}/src/kernel.jl")
        os.utime(file, (2e9 - age, 2e9 - age))
    kernel = far.kernels()["julia"]
    newest = f"{far.home}/{place}/packages/IJulia/new/src/kernel.jl"
    assert kernel["argv"] == [
        *(program, "-i", "--color=yes", "--project=@.", newest, "{connection_file}")
    ]
    assert (kernel["problem"], kernel["install"], kernel["language"]) == ("", "", "julia")


def test_a_newer_ijulia_is_no_program(far: Far) -> None:
    program = str(far.program("bin/julia", "echo julia version 1.11.1"))
    package = ".julia/packages/IJulia/x"
    far.write(f"{package}/src/kernel.jl", "# Comments.\nfunction run_kernel()\nend\n")
    run = ["-e", "import IJulia; IJulia.run_kernel()", "{connection_file}"]
    kernel = far.kernels()["julia"]
    assert kernel["argv"] == [program, "-i", "--color=yes", "--project=@.", *run]
    assert kernel["problem"] == ""
    far.own_spec("julia-1.11", argv=[program, "-i", *run], language="julia")
    assert far.kernels()["julia-1.11"]["problem"] == ""
    shutil.rmtree(far.home / ".julia/packages")
    assert far.kernels()["julia-1.11"]["problem"] == "its Julia has no IJulia"


def test_a_kernelspec_of_a_julia_that_has_lost_its_package_is_a_problem(far: Far) -> None:
    program = str(far.program("bin/julia", "echo julia version 1.10.4"))
    argv = [program, "-i", "/no/packages/IJulia/x/src/kernel.jl", "{connection_file}"]
    far.own_spec("julia-1.10", argv=argv, language="julia")
    kernel = far.kernels()["julia-1.10"]
    assert (kernel["problem"], kernel["version"]) == ("its Julia has no IJulia", "1.10.4")


# --- the login shell -----------------------------------------------------------------------------

# How each shell says where it finds programs, in the files that it reads.
START_UP = {
    "sh": {".profile": "export PLACE=found"},
    "bash": {".bash_profile": 'echo \'@rk-environment {"PLACE": "noise"}\'\nexport PLACE=found'},
    "zsh": {".zshrc": "echo noise", ".zprofile": "export PLACE=found"},
    "fish": {".config/fish/config.fish": "echo noise; set -gx PLACE found"},
    "tcsh": {".tcshrc": "echo noise", ".login": "setenv PLACE found"},
    "csh": {".cshrc": "setenv PLACE found"},
    # One that is no shell for us.
    "true": {".profile": "export PLACE=found"},
}


@pytest.mark.parametrize("shell", START_UP)
def test_start_up_files_are_read_whatever_they_print(far: Far, shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"there is no {shell}")
    far.shell = path
    for name, text in START_UP[shell].items():
        far.write(name, f"{text}\n")
    said, why = far.ask("install", 'echo "$PLACE"', XDG_CONFIG_HOME=f"{far.home}/.config")
    assert (said, why) == (["found"], None)


@pytest.mark.parametrize("text", ["exit 0", "exec /bin/true", "kill -9 $$", "echo '{'; ("])
def test_start_up_files_that_end_the_shell_hide_nothing(far: Far, text: str) -> None:
    far.start(text)
    far.venv("venvs/plain")
    assert set(far.kernels()) == {"plain"}


def test_what_start_up_files_leave_running_is_not_waited_for(far: Far) -> None:
    # As an agent, which may hold what a shell's output goes to.
    pids = far.home / "pids"
    far.start("/bin/sleep 30 &", f"echo $! >{pids}", "export PLACE=found")
    try:
        said, _ = far.ask("install", 'echo "$PLACE"', prelude=IMPATIENT)
    finally:
        noted, left = ended(pids)
    assert said == ["found"]
    # It is the person's, and goes on.
    assert left == noted


def test_a_shell_that_hangs_hides_nothing(far: Far) -> None:
    far.start("exec /bin/sleep 60")
    far.venv("venvs/plain")
    assert set(far.kernels(prelude=IMPATIENT)) == {"plain"}


def test_what_a_python_obeys_does_not_hide_the_shell_s_environment(far: Far) -> None:
    # Where a module of another Python is loaded ours would not even start with these.
    far.start("export PYTHONHOME=/no/such PYTHONPATH=/no/such PLACE=found")
    assert far.ask("install", 'echo "$PLACE"')[0] == ["found"]


def test_what_is_no_utf_8_arrives_as_it_is(far: Far) -> None:
    name = os.fsdecode(b"caf\xe9")
    far.venv(f"venvs/{name}", has=[])
    kernel = far.kernels()[name]
    assert os.fsencode(kernel["path"]).endswith(b"/venvs/caf\xe9")
    assert kernel["problem"] == "its Python has no ipykernel"


# --- what else can be asked ----------------------------------------------------------------------


@old_and_new
def test_logos_are_read(far: Far, python: str) -> None:
    limit = survey._LARGEST_FILE
    first, second = far.spec("a[1]"), far.spec("b")
    far.write("a[1]/logo-64x64.png", b"\x89PNG\0")
    far.write("a[1]/logo-svg.svg", "<svg/>")
    far.write("a[1]/logo-large.png", bytes(limit + 1))
    far.write("a[1]/readme.txt", "secret")
    (first / "logo-directory").mkdir()
    (first / "logo-gone.png").symlink_to("no such")
    for number in range(9):
        far.write(f"b/logo-{number}.png", "x")
    parts, why = far.ask("files", [str(first), "/no/such", str(second)], python=python)
    assert why is None
    assert parts[0] == {"logo-64x64.png": "iVBORwA=", "logo-svg.svg": "PHN2Zy8+"}
    assert parts[1] == {}
    assert len(parts[2]) == 8


@old_and_new
def test_only_what_is_not_there_is_missing(far: Far, python: str) -> None:
    far.write("file")
    (far.home / "dangling").symlink_to("no such")
    (far.home / "loop").symlink_to("loop")
    here = [str(far.home / name) for name in ("file", "dangling", "loop/x", ".")]
    gone = [str(far.home / name) for name in ("nothing", "file/below", "no/thing")]
    asked = [(path, "/") for path in [*here, *gone]]
    # A file system that is not mounted now tells nothing of what is on it.
    asked += [(path, str(far.home)) for path in gone]
    assert far.ask("missing", asked, python=python) == ([gone], None)


@old_and_new
def test_a_command_says_how_it_goes(far: Far, python: str) -> None:
    far.program("bin/greet", "echo hello")
    command = "greet; echo oh >&2; printf '\\377 end'; exit 3"
    parts, why = far.ask("install", command, python=python)
    assert parts == ["hello", "oh", "\N{REPLACEMENT CHARACTER} end"]
    assert why == "it ended with status 3"
    assert far.ask("install", "/bin/cat", python=python) == ([], None)


@old_and_new
def test_without_a_home_there_is_a_sentence(far: Far, python: str) -> None:
    shutil.rmtree(far.home)
    far.home = far.home.parent
    parts, why = far.ask("kernels", [], python=python, HOME="/no/such")
    assert (parts, why) == ([], "your home /no/such is not there")
