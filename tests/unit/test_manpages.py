"""The committed manual pages say what the program does."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

from remote_kernels.errors import documented_exit_codes

MAN = Path(__file__).parents[2] / "man"
PAGES = sorted(MAN.glob("*.1"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_sections_are_fresh(page: Path) -> None:
    generated = runpy.run_path(str(MAN / "generate.py"))["generated"]
    text = page.read_text(encoding="utf-8")
    assert generated(text) == text, "run: PYTHONPATH=. python man/generate.py"
    assert "EXIT STATUS begin" in text


def test_each_exit_code_has_one_meaning() -> None:
    codes = [code for code, _ in documented_exit_codes()]
    assert len(codes) == len(set(codes))


def test_there_are_two_pages() -> None:
    assert [page.name for page in PAGES] == ["remote-kernels-manage.1", "remote-kernels.1"]


@pytest.mark.needs("mandoc")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_clean(page: Path) -> None:
    said = subprocess.run(["mandoc", "-Tlint", page], capture_output=True, text=True)
    assert said.stdout + said.stderr == ""
