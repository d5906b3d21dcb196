"""The committed manual pages say what the program does."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path

import pytest

from remote_kernels import channel
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


def test_each_page_is_installed() -> None:
    installed = (MAN.parent / "setup.cfg").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if f"man/{page.name}\n" not in installed] == []


CHANNEL = MAN / "remote-kernels-channel.7"


def test_the_page_on_the_channel_has_its_numbers() -> None:
    text = CHANNEL.read_text(encoding="utf-8")
    kinds = re.findall(r"^\.B (\d) ([A-Z]+)$", text, re.MULTILINE)
    assert {int(number): name for number, name in kinds} == {
        getattr(channel, name): name for _, name in kinds
    }
    assert len(kinds) == 8
    assert f"at most {channel.LARGEST}" in text
    assert f"{channel.WINDOW >> 20} MiB of a stream" in text
    assert f"content is the version (one byte, {channel.VERSION})" in text
    assert f"the {channel.HEADER_SIZE - 4} bytes before" in text
    assert f"no more than {channel.MOST_STREAMS} streams" in text.replace("\n", " ")


@pytest.mark.needs("mandoc")
@pytest.mark.parametrize("page", [*PAGES, CHANNEL], ids=lambda page: page.name)
def test_pages_are_clean(page: Path) -> None:
    said = subprocess.run(["mandoc", "-Tlint", page], capture_output=True, text=True)
    assert said.stdout + said.stderr == ""
