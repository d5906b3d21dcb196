"""Environments with small distributions, in place of large ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from remote_kernels.local_environment import Environment, environment_of
from remote_kernels.requirements import (
    Modules,
    Requirements,
    requirements_of,
    unknown_modules,
)
from remote_kernels.sources import Sources
from wheels import Wheel, install_all


class Venv:
    """A virtual environment.

    Attributes:
        prefix: its directory.
        python: its program.
        site_packages: where it has its packages.
    """

    def __init__(self, prefix: Path, wheels: Iterable[Wheel] = (), *, pip: bool = False) -> None:
        options = [] if pip else ["--without-pip"]
        subprocess.run([sys.executable, "-m", "venv", *options, prefix], check=True)
        self.prefix = prefix
        self.python = str(prefix / "bin/python")
        (self.site_packages,) = prefix.glob("lib/python3*/site-packages")
        install_all(wheels, self.site_packages)


def needed(environment: Environment, *paths: str) -> tuple[Sources, Requirements]:
    """What files need, by the distributions of an environment."""
    sources = Sources(Modules(environment).is_known)
    sources.read(paths)
    if unknown := unknown_modules(sources.imports, environment):
        places = environment_of(environment.python, unknown).places
        environment = environment._replace(places=places)
    return sources, requirements_of(sources, environment)
