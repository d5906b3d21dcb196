"""README and guide say what the program does: every command of ours in them is run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
GUIDE = {"README.md", *(f"docs/guide/{path.name}" for path in ROOT.glob("docs/guide/*.md"))}

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
# What manage says when it has done something.
SAID = re.compile(r"^(?:Added|Changed|Removed) kernel \[.*\]: .*\.$", re.MULTILINE)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> Iterator[str]:
    """The code blocks of one language."""
    for found, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if found == language:
            yield text


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of ours in the shell blocks, as a shell reads them."""
    for text in blocks(page, "shell"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["remote-kernels"]:
                yield words[1:]


def names_in_pipes(page: Path) -> set[str]:
    """The kernels that the page starts with jupyter."""
    text = "".join(blocks(page, "shell"))
    return set(re.findall(r"jupyter \w+ --kernel (\S+)", text))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a user with no kernels, in whose home nothing is written."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "XDG_"))}
    (tmp_path / "home").mkdir()
    return {**kept, "HOME": str(tmp_path / "home"), "JUPYTER_DATA_DIR": str(tmp_path / "data")}


@pytest.mark.parametrize("page", [ROOT / name for name in sorted(GUIDE)], ids=page_name)
def test_commands_do_what_the_page_says(
    page: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    printed = ""
    for words in commands(page):
        if words == ["demo"]:
            continue  # tests/demo runs it
        done = subprocess.run(
            [sys.executable, "-m", "remote_kernels", *words],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert done.returncode == 0, (words, done.stderr)
        printed += done.stdout
    assert printed, "the page has no command of ours"
    told = SAID.findall("".join(blocks(page, "text")))
    assert [line for line in told if line not in printed.splitlines()] == []
    added = set(re.findall(r"Added kernel \['(\S+)'\]", printed))
    assert names_in_pipes(page) <= added


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    inside = [target for target in targets if "://" not in target]
    assert [target for target in inside if not (page.parent / target).exists()] == []


def test_the_readme_names_every_page_of_the_guide() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(GUIDE - {"README.md"}) if f"({name})" not in readme] == []
