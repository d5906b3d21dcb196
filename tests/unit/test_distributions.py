"""What a Python tells of its distributions, whichever Python it is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from remote_kernels import distributions
from remote_kernels.local_environment import Environment, program
from unit.test_keeper import PYTHONS
from wheels import WHEELS, install_all


def asked(python: str, site: Path) -> Environment:
    done = subprocess.run(
        [f"{python}/python3", "-S", "-c", program(["six", "nowhere"])],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return Environment.read(json.loads(done.stdout.rpartition(distributions.MARK)[2]))


@pytest.mark.parametrize("python", ["/usr/bin", *map(str, PYTHONS)], ids=os.path.basename)
def test_every_python_tells_the_same(python: str, tmp_path: Path) -> None:
    install_all(WHEELS, tmp_path)
    # What somebody has left half removed.
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "~umpy-1.dist-info").mkdir()
    old = tmp_path / "Old_One-0.1.egg-info"
    old.write_text("Metadata-Version: 1.0\nName: Old_One\nVersion: 0.1\n")
    found = asked(python, tmp_path)
    told = {key: each.version for key, each in found.distributions.items()}
    assert told.pop("old-one") == "0.1"
    assert told.pop("foo-bar-baz") == "1.0"
    assert told == {
        each.name.replace(".", "-").replace("_", "-").lower(): each.version
        for each in WHEELS
        if each.name != "Foo.Bar_baz"
    }
    modules = {key: sorted(each.modules) for key, each in found.distributions.items()}
    assert modules["pyyaml"] == ["_yaml", "yaml"]
    assert modules["attrs"] == ["attr", "attrs"]
    assert modules["google-cloud-storage"] == ["google.cloud.storage"]
    assert modules["google-auth"] == ["google.auth", "google.oauth2", "google.oauth2.credentials"]
    assert modules["matplotlib"] == ["matplotlib", "pylab"]
    assert found.distributions["scikit-learn"].requires == ("numpy>=1.19",)
    assert (found.distributions["labtools"].url or {})["archive_info"] == {}
    assert found.distributions["six"].installer == "pip"
    assert found.places == {"six": str(tmp_path / "six.py")}
    assert found.markers["python_version"] == ".".join(found.version.split(".")[:2])


def test_extension_modules_are_modules() -> None:
    files = [
        *("fast.cpython-311-x86_64-linux-gnu.so", "stable.abi3.so", "windows.cp311-win_amd64.pyd"),
        *("plain.so", "package/__init__.py", "package/deep/x.py", "space/part/x.abi3.so"),
        *("../../bin/tool.py", "data/x.txt", "x-1.dist-info/METADATA", "not-a-name/x.py"),
    ]
    own, others = distributions._top_modules(files)
    assert own == {"fast", "stable", "windows", "plain", "package"}
    assert others == {"space"}
