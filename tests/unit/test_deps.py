"""``remote-kernels deps``: what is read, what is said, and how it is written."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from remote_kernels.local_environment import Environment, environment_of
from remote_kernels.requirement_formats import as_requirements
from unit.conftest import Run
from unit.environments import Venv, needed
from wheels import WHEELS, Wheel, wheel

not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
Deps = Callable[..., "tuple[str, str]"]


@pytest.fixture
def venv(tmp_path: Path) -> Venv:
    return Venv(tmp_path / "venvs/here", [*WHEELS, *MORE])


MORE = (
    wheel("opencv-python", "4.9.0", "cv2"),
    Wheel(
        "lab-code",
        "1.2",
        {"lab_code.py": ""},
        url={
            "url": "https://git.example.org/lab.git",
            "vcs_info": {"vcs": "git", "commit_id": "0123abcd", "requested_revision": "main"},
            "subdirectory": "python",
        },
    ),
    Wheel(
        "lab-wheel",
        "1.3",
        {"lab_wheel.py": ""},
        url={"url": "https://example.org/w.whl", "archive_info": {"hash": "sha256=00ff"}},
    ),
    Wheel(
        "from-file",
        "1.4",
        {"from_file.py": ""},
        url={"url": "file:///home/me/w.whl", "archive_info": {}},
    ),
    Wheel(
        "from-directory",
        "1.5",
        {"from_directory.py": ""},
        url={"url": "file:///home/me/project", "dir_info": {}},
    ),
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The same, for tests that leave it as it is."""
    place = tmp_path_factory.mktemp("environment")
    return environment_of(Venv(place, [*WHEELS, *MORE]).python)


@pytest.fixture
def deps(run: Run, venv: Venv) -> Deps:
    """Runs the command; what it writes, and what it says aside."""

    def deps(*words: str, status: int = 0) -> tuple[str, str]:
        done = run("deps", "--python", venv.python, *words)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, done.stderr
        return done.stdout, done.stderr

    return deps


def notebook(*cells: str, **metadata: Any) -> str:
    made = [{"cell_type": "code", "source": text} for text in cells]
    return json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4})


def needs(deps: Deps, tmp_path: Path, code: str) -> tuple[list[str], str]:
    """What a module of this code needs, and what is said of it."""
    (tmp_path / "code.py").write_text(code)
    written, said = deps("code.py")
    return written.splitlines(), said


# --- which files --------------------------------------------------------------------------------


def test_a_directory_is_read(deps: Deps, tmp_path: Path) -> None:
    work = tmp_path / "work"
    files = {
        "one.ipynb": notebook("import six"),
        "below/two.py": "import yaml\nimport mine.part\n",
        "src/mine/part.py": "import tqdm\n",
        "tests/deep/used_by_settings.py": "",
        "tests/test_it.py": "import used_by_settings\n",
        ".hidden/no.py": "import nobody_has_hidden\n",
        ".ipynb_checkpoints/one-checkpoint.ipynb": notebook("import nobody_has_checkpoints"),
        "env/pyvenv.cfg": "",
        "env/lib/no.py": "import nobody_has_environments\n",
        "conda/conda-meta/history": "",
        "conda/no.py": "import nobody_has_conda\n",
        "node_modules/no.py": "import nobody_has_javascript\n",
        "notes.txt": "import nobody_has_notes\n",
    }
    for name, text in files.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (work / "below/loop").symlink_to(work)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "linked.py").write_text("import requests\n")
    (work / "linked").symlink_to(elsewhere)
    written, said = deps("work")
    assert written.splitlines() == [
        "PyYAML==6.0.1",
        "requests==2.31.0",
        "six==1.16.0",
        "tqdm==4.66.1",
    ]
    assert "own: mine (work/src/mine), used_by_settings (work/tests/deep/" in said


def test_how_modules_are_encoded(deps: Deps, tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nimport six  # \xe9\n")
    (tmp_path / "mark.py").write_bytes(b"\xef\xbb\xbfimport yaml\n")
    (tmp_path / "mark.ipynb").write_bytes(b"\xef\xbb\xbf" + notebook("import tqdm").encode())
    (tmp_path / "wide.ipynb").write_bytes(notebook("import requests").encode("utf-16"))
    (tmp_path / "broken.py").write_bytes(b"import nobody_has_this  # \xe9\n")
    (tmp_path / "unknown.py").write_bytes(b"# coding: klingon\nimport nobody_has_that\n")
    names = ["latin.py", "mark.py", "mark.ipynb", "wide.ipynb", "broken.py", "unknown.py"]
    written, said = deps(*names, status=1)
    assert written.splitlines() == [
        "PyYAML==6.0.1",
        "requests==2.31.0",
        "six==1.16.0",
        "tqdm==4.66.1",
    ]
    assert "Not read: broken.py: it cannot be read as a module" in said
    assert "Not read: unknown.py: it cannot be read as a module (unknown encoding" in said


def test_what_cannot_be_read_is_named(deps: Deps, tmp_path: Path) -> None:
    broken = {
        "no.ipynb": '{"cells": [',
        "list.ipynb": "[]",
        "cells.ipynb": '{"cells": 3}',
        "deep.ipynb": "[" * 100_000,
        "kind.ipynb": '{"cells": [3]}',
        "nothing.ipynb": "",
        "zero.py": "import six\0",
        "other.txt": "import six",
    }
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
    cells = notebook("import six", "%matplotlib inline\nimport yaml\nx = = 3", "import tqdm")
    (tmp_path / "cell.ipynb").write_text(cells)
    written, said = deps(*broken, "cell.ipynb", "nowhere.ipynb", status=1)
    assert written.splitlines() == ["matplotlib==3.8.2", "six==1.16.0", "tqdm==4.66.1"]
    lines = [line for line in said.splitlines() if line.startswith("Not read: ")]
    named = {line.split()[2].rstrip(":,") for line in lines}
    assert named == {*broken, "cell.ipynb", "nowhere.ipynb"} - {"nothing.ipynb"}
    assert "Not read: cell.ipynb, cell 2, line 3: it cannot be parsed (invalid syntax)" in lines


@not_as_root
def test_what_may_not_be_read_is_named(deps: Deps, tmp_path: Path) -> None:
    (tmp_path / "work/closed").mkdir(parents=True)
    (tmp_path / "work/no.py").write_text("")
    for name in ("work/no.py", "work/closed"):
        (tmp_path / name).chmod(0)
    _, said = deps("work", status=1)
    assert said.count("Permission denied") == 2
    (tmp_path / "work/closed").chmod(0o700)


def test_nothing_that_is_read_is_run(deps: Deps, tmp_path: Path) -> None:
    line = "open('was_run', 'w').close()"
    for name in ("beside", "sitecustomize", "conftest", "setup"):
        (tmp_path / f"{name}.py").write_text(f"{line}\n")
    code = f"{line}\nimport beside\n!touch was_run\n%run beside.py\nimport six"
    (tmp_path / "one.ipynb").write_text(notebook(code))
    assert deps(".")[0] == "six==1.16.0\n"
    assert not (tmp_path / "was_run").exists()


# --- what is said -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "lines", "note"),
    [
        ("import bs4", ["beautifulsoup4"], "bs4 is not installed here: beautifulsoup4 has it"),
        ("import some_thing.x", ["some_thing"], "written by the name of its import, some_thing"),
        (
            "from google.cloud import bigquery",
            ["google-cloud-bigquery"],
            "written by the name of its import, google-cloud-bigquery",
        ),
        ("import google.colab.drive", [], "google.colab is nowhere but in Google Colab: left out"),
        ("import urllib2", [], "urllib2 is in the standard library of other Pythons only"),
        (
            "import cv2",
            ["opencv-python==4.9.0", "opencv-python-headless==4.9.0"],
            "cv2 is in opencv-python and in opencv-python-headless: all are written",
        ),
        (
            "import cv2\nimport os\nos.system('pip install opencv-python')",
            ["opencv-python==4.9.0"],
            "",
        ),
        (
            "import torch",
            ["torch==2.1.0"],
            "torch is 2.1.0+cu118 here, which no index has: written as torch==2.1.0",
        ),
        (
            "import lab_code, lab_wheel",
            [
                "lab-code @ git+https://git.example.org/lab.git@0123abcd#subdirectory=python",
                "lab-wheel @ https://example.org/w.whl#sha256=00ff",
            ],
            "",
        ),
        (
            "import from_file",
            ["from-file==1.4"],
            "from a file of this machine, file:///home/me/w.whl",
        ),
        (
            "import from_directory",
            [],
            "was installed from file:///home/me/project, of this machine",
        ),
        (
            "try:\n    import absent_a\nexcept ImportError:\n    import absent_b",
            ["absent_b"],
            "absent_a is not installed here, and the code goes on without it: left out",
        ),
        (
            "import six, os\nos.system('pip install six==1.0')",
            ["six==1.0"],
            "six==1.0 is asked for, and 1.16.0 is installed here",
        ),
        (
            "import os\nos.system('pip install ./lib -e . x.whl {name} faiss-gpu'); import faiss",
            ["faiss-gpu"],
            "what {name} installs is known only when it runs",
        ),
        (
            "import os\nos.system('pip install -i https://me:secret@example.org/x six')",
            ["six==1.16.0"],
            "the index-url has a password in it, and is left out",
        ),
        (
            "import os\nos.system('pip install --extra-index-url https://example.org/x six')",
            ["--extra-index-url https://example.org/x", "six==1.16.0"],
            "",
        ),
        (
            "import os\nos.system('pip install git+https://git.example.org/lab.git@v2 "
            "git+https://git.example.org/new.git git+https://git.example.org/egg.git#egg=hen')",
            [
                "hen @ git+https://git.example.org/egg.git",
                "lab-code @ git+https://git.example.org/lab.git@v2",
                "git+https://git.example.org/new.git",
            ],
            "",
        ),
    ],
)
def test_what_is_not_certain_is_said(
    environment: Environment, tmp_path: Path, code: str, lines: list[str], note: str
) -> None:
    (tmp_path / "code.py").write_text(code)
    _, found = needed(environment, str(tmp_path / "code.py"))
    said = "".join(found.notes)
    assert as_requirements(found).splitlines() == lines
    assert note in said
    assert "secret" not in said
    assert note or not said


def test_a_project_that_is_edited_is_not_written(deps: Deps, tmp_path: Path, venv: Venv) -> None:
    project = tmp_path / "project"
    (project / "src/edited").mkdir(parents=True)
    (project / "src/edited/__init__.py").write_text("")
    url = {"url": project.as_uri(), "dir_info": {"editable": True}}
    Wheel("edited-name", "1", {"edited.pth": f"{project}/src\n"}, url=url).install(
        venv.site_packages
    )
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose/loose_one.py").write_text("")
    (venv.site_packages / "loose.pth").write_text(f"{tmp_path}/loose\n")
    written, said = needs(deps, tmp_path, "import edited, loose_one")
    assert written == []
    assert f"edited-name is a project in {project} on this machine: left out" in said
    assert (
        f"loose_one is in {tmp_path}/loose/loose_one.py, and in no distribution: left out" in said
    )


def test_setup_py_develop_is_a_project_that_is_edited(
    deps: Deps, tmp_path: Path, venv: Venv
) -> None:
    info = tmp_path / "old/old_project.egg-info"
    info.mkdir(parents=True)
    (info / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: old-project\nVersion: 3\n")
    (info / "SOURCES.txt").write_text("setup.py\nold_module.py\n")
    (info / "top_level.txt").write_text("old_module\n")
    (tmp_path / "old/old_module.py").write_text("")
    (venv.site_packages / "easy-install.pth").write_text(f"{tmp_path}/old\n")
    written, said = needs(deps, tmp_path, "import old_module")
    assert written == []
    assert f"old-project is a project in {tmp_path}/old on this machine" in said


# --- how it is written --------------------------------------------------------------------------


def test_a_file_is_never_overwritten_unasked(deps: Deps, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("import six\n")
    written, _ = deps("code.py", "-o", "requirements.txt")
    file = tmp_path / "requirements.txt"
    assert (written, file.read_text()) == ("", "six==1.16.0\n")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    file.write_text("mine\n")
    _, said = deps("code.py", "-o", "requirements.txt", status=1)
    assert said == "remote-kernels: requirements.txt exists.\n  try: overwrite it with --force\n"
    assert file.read_text() == "mine\n"
    deps("code.py", "-o", "requirements.txt", "--force")
    assert file.read_text() == "six==1.16.0\n"
    assert "cannot write" in deps("code.py", "-o", "nowhere/x", status=1)[1]
    assert [path.name for path in tmp_path.iterdir() if "requirements" in path.name] == [file.name]


def test_as_a_pyproject(deps: Deps, tmp_path: Path) -> None:
    (tmp_path / "My Lab").mkdir()
    code = "%pip install 'six; python_version >= \"3\"'\nimport yaml, lab_code"
    (tmp_path / "My Lab/one.ipynb").write_text(notebook(code))
    written, _ = deps("My Lab", "--format", "pyproject")
    if sys.version_info >= (3, 11):
        import tomllib

        project = tomllib.loads(written)["project"]
        assert (project["name"], project["version"]) == ("my-lab", "0")
        assert [Requirement(line).name for line in project["dependencies"]] == [
            *("lab-code", "PyYAML", "six")
        ]
        assert str(Requirement(project["dependencies"][2])) == 'six==1.16.0; python_version >= "3"'


def test_for_conda_from_a_virtualenv(deps: Deps, tmp_path: Path) -> None:
    code = (
        "%conda install -c bioconda six>1\n%pip install pandas[excel]\nimport yaml, torch, lab_code"
    )
    (tmp_path / "one.ipynb").write_text(notebook(code))
    written, _ = deps("one.ipynb", "--format", "conda")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert written.splitlines()[1:] == [
        "channels:",
        "  - bioconda",
        "dependencies:",
        f"  - python={python}",
        "  - pyyaml=6.0.1",
        "  - six=1.16.0",
        "  - pytorch=2.1.0",
        "  - pip",
        "  - pip:",
        '      - "lab-code @ git+https://git.example.org/lab.git@0123abcd#subdirectory=python"',
        '      - "pandas[excel]==2.1.0"',
    ]


def test_for_conda_from_an_environment_of_conda_s(deps: Deps, tmp_path: Path, venv: Venv) -> None:
    """In it conda tells names, versions and channels; what pip has installed is left to pip."""
    meta = venv.prefix / "conda-meta"
    meta.mkdir()
    site = venv.site_packages.relative_to(venv.prefix)
    for name, conda, version in (
        ("PyYAML-6.0.1", "pyyaml", "6.0.1"),
        ("torch-2.1.0+cu118", "pytorch-cuda", "2.1"),
    ):
        package = {
            "name": conda,
            "version": version,
            "channel": "https://conda.anaconda.org/pytorch/linux-64",
            "files": [f"{site}/x.py", f"{site}/{name}.dist-info/METADATA"],
        }
        (meta / f"{conda}.json").write_text(json.dumps(package))
    (meta / "broken.json").write_text("{")
    (tmp_path / "code.py").write_text("import yaml, torch, six, from_directory\n")
    written, said = deps("code.py", "--format", "conda")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert written.splitlines()[1:] == [
        *("channels:", "  - pytorch", "dependencies:", f"  - python={python}"),
        *("  - pyyaml=6.0.1", "  - pytorch-cuda=2.1"),
        *("  - pip", "  - pip:", "      - six==1.16.0"),
    ]
    assert "from-directory was installed" in said


def test_as_data(deps: Deps, tmp_path: Path, venv: Venv) -> None:
    (tmp_path / "helper.py").write_text("import six\n")
    (tmp_path / "one.ipynb").write_text(notebook("import helper", "\nimport sklearn.svm", "x ="))
    written, said = deps("one.ipynb", "--json", status=1)
    found = json.loads(written)
    assert said == ""
    assert found["python"]["program"] == venv.python
    assert found["own"] == {"helper": "helper.py"}
    assert [each["line"] for each in found["requirements"]] == [
        *("scikit-learn==1.4.0", "six==1.16.0")
    ]
    first = found["requirements"][0]
    assert first["imports"] == ["sklearn.svm"]
    assert first["known_by"] == "metadata"
    assert first["places"] == [{"path": "one.ipynb", "cell": 2, "line": 2}]
    (unread,) = found["unread"]
    assert (unread["cell"], unread["line"]) == (3, 1)


# --- which Python -------------------------------------------------------------------------------


def test_the_active_environment_tells(run: Run, tmp_path: Path, venv: Venv) -> None:
    (tmp_path / "code.py").write_text("import six\n")
    done = run("deps", "code.py", VIRTUAL_ENV=str(venv.prefix))
    assert done.stdout == "six==1.16.0\n"
    assert done.stderr.startswith(f"Versions are those of {venv.python} (Python ")
    done = run("deps", "code.py", VIRTUAL_ENV="", CONDA_PREFIX=str(venv.prefix))
    assert done.stdout == "six==1.16.0\n"
    path = f"{venv.prefix}/bin:{os.environ['PATH']}"
    done = run("deps", "code.py", VIRTUAL_ENV="", CONDA_PREFIX="", PATH=path)
    assert done.stdout == "six==1.16.0\n"
    # What lies in the directory in which it is run is not asked.
    (tmp_path / "json.py").write_text("raise SystemExit('mine')\n")
    assert run("deps", "code.py", VIRTUAL_ENV=str(venv.prefix)).stdout == "six==1.16.0\n"


def test_no_such_python(deps: Deps, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("")
    assert "there is no Python nowhere" in deps("code.py", "--python", "nowhere", status=1)[1]
    assert "does not tell" in deps("code.py", "--python", "/bin/true", status=1)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kernel", "x"], "--kernel is of use with --install only"),
        (["--dry-run"], "--dry-run is of use with --install only"),
        (["--tunnel-hosts", "gate"], "options of the way there are of use with --install only"),
        (["--force"], "--force is of use with --output only"),
        (["--format", "poetry"], "'poetry' is not one of"),
    ],
)
def test_words_that_do_not_fit(deps: Deps, words: list[str], said: str) -> None:
    assert said in deps("x.py", *words, status=2)[1]
