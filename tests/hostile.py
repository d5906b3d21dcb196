"""Texts for real machines that mean something to every shell: they arrive, or are refused."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

import pytest

from bed import Machine
from frontend import IPYKERNEL, Kernel, Site, add_kernel

#: What is run of it makes a file of that name.
CANARY = "canary"
TEXT = (
    "-oProxyCommand=touch canary' \" $(touch canary) `touch canary` ;touch canary& |touch canary\n"
    "touch canary\n{connection_file\\} ${HOME} !x \\ %h ü日☂\udcff\t\r*?~#<>()[]{}"
)
#: No $HOME and no slash: ipykernel itself expands variables in the path of its connection file.
NAME = "- a'b\"c$(touch canary)`touch canary`;&|\n\\ü☂!*?~#<>{x}"


def assert_they_arrive(site: Site, directory: Path, *options: str) -> None:
    """Start one kernel with all of it: working directory, name, pre-command, kernel command."""
    quoted = shlex.quote(TEXT)
    command = f"exec env WORD={quoted} {IPYKERNEL.format(python=site.python)}"
    home = site.machine.run(["sh", "-c", "echo ~"], user=site.user).stdout.strip()
    site.machine.run(["mkdir", "--", f"{home}/{NAME}"], user=site.user)
    try:
        spec = add_kernel(
            *(site, f"--workdir=~/{NAME}", f"--remote-precmd=export TEXT={quoted}", *options),
            name=TEXT,
            kernel_cmd=command,
        )
        with Kernel(spec, directory) as kernel:
            found = kernel.value("[__import__('os').environ[x] for x in ('TEXT', 'WORD')]")
            assert found == [TEXT, TEXT]
            assert kernel.value("__import__('os').getcwd()") == f"{home}/{NAME}"
    finally:
        site.machine.run(["rmdir", "--", f"{home}/{NAME}"], user=site.user)


def assert_no_canary(machines: Iterable[Machine]) -> None:
    """Nothing of it was run."""
    for machine in machines:
        found = [path for path in machine.files() if path.endswith(f"/{CANARY}")]
        if found:
            pytest.fail(f"{machine.name}: {found}")
