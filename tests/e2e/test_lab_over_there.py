"""A whole JupyterLab that runs on another machine, in the browser here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, wait_until
from carried import Carried, leave_no_traces, light, stop
from e2e.lab import SETTINGS, Lab, browser
from e2e.test_attach import CONFIG

pytestmark = pytest.mark.needs("chromium")

NOTEBOOK = "Python 3 (ipykernel)"


@pytest.fixture
def over_there(bed: Bed, tmp_path: Path) -> Iterator[Carried]:
    """A JupyterLab on ``far`` that asks nobody for news, and the way to it."""
    light(bed.far, "ada", without_lab=False, others={"LabApp": CONFIG["LabApp"]})
    overrides = "/home/ada/.jupyter/labconfig/default_setting_overrides.json"
    bed.far.write(overrides, json.dumps(SETTINGS), user="ada")
    bed.far.run(["mkdir", "project"], user="ada")
    activate = ("--activate", str(Path(bed.far_python).parents[1]))
    with Carried(tmp_path, "ada@far", "--workdir=project", *activate) as carried:
        yield carried
    stop("ada@far", "--workdir=project")
    leave_no_traces(bed.far, "ada", "project")


def test_work_in_it(bed: Bed, over_there: Carried, tmp_path: Path) -> None:
    upload = tmp_path / "a table.csv"
    upload.write_text("1,2\n" * 100_000)
    with browser(tmp_path / "chromium") as chrome:
        lab = Lab(chrome, over_there.url)
        lab.open()
        lab.open_notebook(NOTEBOOK)
        assert lab.value("here = 41; __import__('platform').node()") == "'far'"
        lab.upload(upload)
        there = f"/home/ada/project/{upload.name}"
        wait_until(lambda: bed.far.read(there) == upload.read_text(), 10, "the whole file")
        lab.open_terminal()
        lab.press("unset HISTFILE; pwd >typed.txt\n")
        wait_until(lambda: "/home/ada/project/typed.txt" in bed.far.files("/home"), 20, "the file")
        assert bed.far.read("/home/ada/project/typed.txt") == "/home/ada/project\n"
        bed.far.run(["pkill", "-KILL", "-u", "ada", "sshd"])
        over_there.sees("remote-kernels: back at ada@far after")
        lab.press("echo again >again.txt\n")
        wait_until(lambda: "/home/ada/project/again.txt" in bed.far.files("/home"), 20, "the file")
        # A second tab needs no token.
        first = chrome.current_window_handle
        chrome.switch_to.new_window("tab")
        second = Lab(chrome, over_there.base)
        second.open()
        second.wait_for(".jp-DirListing-itemText", "again.txt")
        second.open_notebook(NOTEBOOK)
        assert second.value("'here' in globals()") == "False"
        chrome.switch_to.window(first)
        lab.click(".lm-TabBar-tabLabel", "Untitled.ipynb")
        assert lab.value("here + 1") == "42"
