"""Texts that mean something to every shell on the way, over ssh and on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed
from frontend import Kernel, Site, add_kernel, failing, remote_kernels
from hostile import NAME, TEXT, assert_no_canary, assert_they_arrive

pytestmark = [pytest.mark.usefixtures("nothing_remains", "jupyter")]

SESSION = "JPY_SESSION_NAME"


@pytest.fixture(autouse=True)
def _no_canary(bed: Bed) -> Iterator[None]:
    yield
    assert_no_canary((bed.laptop, bed.far, bed.gw1))


@pytest.mark.parametrize("options", [[], ["--channel=forward"], ["--no-share"]])
def test_they_arrive_over_ssh(site: Site, tmp_path: Path, options: list[str]) -> None:
    assert_they_arrive(site, tmp_path, *options)


def test_they_arrive_on_this_machine(bed: Bed, tmp_path: Path) -> None:
    site = Site(bed.laptop, "mia", bed.far_python, ["--interface=local"])
    assert_they_arrive(site, tmp_path)


@pytest.mark.needs("tcsh", "fish", "zsh")
@pytest.mark.parametrize("user", ["cora", "fred", "zoe"])
@pytest.mark.parametrize("options", [[], ["--channel=forward"]])
def test_the_notebooks_directory_and_its_path(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str, options: list[str]
) -> None:
    directory = f"/tmp/{NAME}"
    bed.far.run(["mkdir", "--", directory], user=user)
    Path(directory).mkdir()
    monkeypatch.chdir(directory)
    # Jupyter tells the notebook's path in it.
    monkeypatch.setenv(SESSION, f"{directory}/{TEXT}.ipynb")
    site = Site(bed.far, user, bed.far_python, ["-i", "ssh", "-x", f"{user}@far"])
    try:
        with Kernel(add_kernel(site, *options), tmp_path) as kernel:
            assert kernel.value("__import__('os').getcwd()") == directory
            assert SESSION not in kernel.value("list(__import__('os').environ)")
    finally:
        monkeypatch.chdir(tmp_path)
        Path(directory).rmdir()
        bed.far.run(["rmdir", "--", directory], user=user)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ada@far", "-oProxyCommand=touch canary"),
        ("ada@far", "ada@$(touch canary)"),
        ("gina@gw1", "-oProxyCommand=touch${IFS}canary"),
        ("gina@gw1", "gina`touch${IFS}canary`@gw1"),
    ],
)
def test_a_kernel_json_that_was_changed_by_hand(
    site: Site, tmp_path: Path, old: str, new: str
) -> None:
    spec = add_kernel(site, "--tunnel-hosts=gina@gw1")
    (path,) = tmp_path.glob(f"*/kernels/{spec.lower()}/kernel.json")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(json.dumps(old), json.dumps(new)))
    status, stderr = failing(spec, tmp_path)
    assert status == 2
    assert "Traceback" not in stderr


def test_a_login_with_arguments_for_ssh(bed: Bed, site: Site) -> None:
    args = "-o 'SetEnv=X=$(touch${IFS}canary);`touch${IFS}canary`'"
    said = remote_kernels("login", "ada@far", f"--remote-launch-args={args}")
    assert "Logged in." in said
    assert bed.far.logins() == ["ada"]
    assert "Logged out of ada@far." in remote_kernels("logout", "ada@far")
