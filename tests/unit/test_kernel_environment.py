"""What is activated before a kernel starts, and its variables, in each family of shells."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from string import Template

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote_kernels.errors import OptionsError
from remote_kernels.kernel_environment import KernelEnvironment, from_json, to_json

SHELLS = {"dash": "sh", "bash": "sh", "zsh": "sh", "fish": "fish", "tcsh": "csh"}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """The name of a shell."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    return name


def seen(shell: str, environment: KernelEnvironment, home: Path, **env: str) -> dict[str, str]:
    """The variables that a kernel would have, and nothing that is said beside."""
    dialect = SHELLS[shell]
    command = f"{environment.activation(dialect)}{environment.exports(dialect)}env -0"
    done = subprocess.run(
        [shell, "-c", command],
        env={
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            **env,
            **environment.handed_over(),
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.partition("=")[::2] for line in done.stdout.split("\0") if line)


@pytest.fixture
def conda(tmp_path: Path) -> Path:
    """A conda environment with two hooks for each family of shells, one of an awkward name."""
    prefix = tmp_path / "an env"
    (prefix / "conda-meta").mkdir(parents=True)
    hooks = prefix / "etc/conda/activate.d"
    hooks.mkdir(parents=True)
    texts = {"sh": "export {}=yes", "fish": "set -gx {} yes", "csh": "setenv {} yes"}
    for ending, text in texts.items():
        (hooks / f"1 {ending}.{ending}").write_text(text.format("LD_LIBRARY_PATH") + "\n")
        (hooks / f"2.{ending}").write_text(text.format("SECOND") + "\n")
    return prefix


def test_a_conda_environment(shell: str, conda: Path, tmp_path: Path) -> None:
    found = seen(shell, KernelEnvironment(str(conda)), tmp_path, PYTHONHOME="/nowhere")
    assert found["CONDA_PREFIX"] == str(conda)
    assert (found["CONDA_DEFAULT_ENV"], found["CONDA_SHLVL"]) == ("an env", "1")
    assert found["PATH"] == f"{conda}/bin:{os.environ['PATH']}"
    assert (found["LD_LIBRARY_PATH"], found["SECOND"]) == ("yes", "yes")
    assert not {"PYTHONHOME", "VIRTUAL_ENV", "rk_activate"} & set(found)


def test_a_virtualenv(shell: str, tmp_path: Path) -> None:
    found = seen(shell, KernelEnvironment(str(tmp_path)), tmp_path)
    assert found["VIRTUAL_ENV"] == str(tmp_path)
    assert found["PATH"].startswith(f"{tmp_path}/bin:")
    assert "CONDA_PREFIX" not in found


VALUES = [
    *("", "plain", "two words", 'it\'s "quoted" `here` \\n !wow ~ *', "a\nb", "ünï", "$", "5 $$"),
    *("$HOME", "${HOME}/lib:${PATH}", "$NOWHERE.", "$$HOME", "${not a name}", "$HOME$HOME"),
]


def test_values_arrive_as_jupyter_reads_them(shell: str, tmp_path: Path) -> None:
    words = tuple(f"RK_{number}={value}" for number, value in enumerate(VALUES))
    found = seen(shell, KernelEnvironment.parse(None, words), tmp_path)
    there = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "NOWHERE": ""}
    for number, value in enumerate(VALUES):
        assert found[f"RK_{number}"] == Template(value).safe_substitute(there), value
    assert not [name for name in found if name.startswith("rk_")]


def test_nothing_of_a_value_stands_in_a_command_line() -> None:
    environment = KernelEnvironment.parse(None, ["TOKEN=s3cret"])
    assert all("s3cret" not in environment.exports(dialect) for dialect in SHELLS.values())


@pytest.mark.parametrize("word", ["A", "=a", "1A=a", "A B=c", "A=\0"])
def test_what_is_no_variable(word: str) -> None:
    with pytest.raises(OptionsError, match="--env"):
        KernelEnvironment.parse(None, [word])


def test_a_path_of_several_lines() -> None:
    with pytest.raises(OptionsError, match="--activate"):
        KernelEnvironment.parse("/a\nb", [])


@settings(deadline=None)
@given(st.dictionaries(st.from_regex("[A-Z]{1,3}", fullmatch=True), st.text()))
def test_kernel_json_holds_them_as_they_are(variables: dict[str, str]) -> None:
    words = tuple(f"{name}={value}" for name, value in variables.items())
    text = to_json(words)
    # Jupyter would replace it.
    assert "$" not in text
    assert Template(text).safe_substitute(variables) == text
    assert from_json(text) == words
    assert json.loads(text) == variables


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "null"])
def test_what_somebody_has_broken(text: str) -> None:
    with pytest.raises(OptionsError, match="REMOTE_KERNELS_ENV"):
        from_json(text)
