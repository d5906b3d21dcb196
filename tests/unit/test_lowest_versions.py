"""The oldest versions of what the program needs, as setup.cfg names them, will do."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LOWEST = Path(sys.prefix, "lowest/bin/python")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.needs("lowest")


def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the program in the environment of the oldest versions."""
    return subprocess.run(
        [LOWEST, "-m", "remote_kernels", *words],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "XDG_STATE_HOME": str(home / "state")},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_they_are_the_oldest() -> None:
    read = configparser.ConfigParser()
    read.read(ROOT / "setup.cfg")
    lines = read["options"]["install_requires"].split("\n")
    wanted = {name: version for name, _, version in map(str.split, filter(None, lines))}
    code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    said = subprocess.run([LOWEST, "-c", code, *wanted], capture_output=True, text=True, check=True)
    for version, found in zip(wanted.values(), said.stdout.split(), strict=True):
        assert found.startswith(version)


def test_a_kernel_is_added_checked_and_removed(tmp_path: Path) -> None:
    python = Path(sys.prefix, "far/bin/python")
    command = f"{python} -m ipykernel_launcher -f {{connection_file}}"
    options = ["-i", "local", "-n", "Old", "-l", "python", "--kernel_cmd", command]
    said = run("manage", "--add", *options, home=tmp_path)
    assert said.stdout == "Added kernel ['rik_local_old']: Local Old.\n", said.stderr
    said = run("check", "--json", "rik_local_old", home=tmp_path)
    (found,) = json.loads(said.stdout)
    assert found["ok"], said.stdout
    assert found["steps"][-1]["step"] == "remains"
    assert "rik_local_old" in run("manage", home=tmp_path).stdout
    assert "Removed" in run("manage", "--delete", "rik_local_old", home=tmp_path).stdout


# Rules as gitignore(5) has them, and changes that are heard.
SYNC = """
import sys, tempfile
from pathlib import Path
from remote_kernels.sync.entry import HERE
from remote_kernels.sync.rules import Rules
from remote_kernels.sync.watch import Changes
rules = Rules(["!keep.log"])
rules.learn(HERE, "d", {".gitignore": "*.log\\n!*/\\n/a/**"})
paths = ["d/x.log", "d/e/keep.log", "d/e/x.log", "d/a/x", "d/b/a", "x.log"]
print([path for path in paths if rules.leave_out(path, is_directory=False)])
with tempfile.TemporaryDirectory() as place:
    with Changes(place, lambda path: path.endswith("counts")) as changes:
        Path(place, "counts").touch()
        print(changes.wait(20), changes.problem)
"""


def test_a_directory_is_looked_at_and_watched(tmp_path: Path) -> None:
    said = subprocess.run(
        [LOWEST, "-c", SYNC], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    found = ["d/x.log", "d/e/x.log", "d/a/x"]
    assert said.stdout == f"{found}\nTrue \n", said.stderr
