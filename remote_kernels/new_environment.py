"""Tells on the far side of an environment what it takes to make it anew, and makes one.

The far side runs this file: Python 3.6, the standard library alone.
"""

import glob
import json
import os
import shutil

from remote_kernels.answers import CannotAnswer
from remote_kernels.far_environment import FUNCTIONS as OF_ENVIRONMENT
from remote_kernels.far_environment import run
from remote_kernels.login_environment import login_environment
from remote_kernels.survey import Survey, is_venv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any


def contents(prefix: str) -> "Iterator[Any]":
    """Where an environment lies, as other machines have such a place, and what conda has put there.

    Args:
        prefix: its directory.
    """
    yield {"place": _from_home(prefix), "packages": _packages(prefix)}


def _from_home(prefix: str) -> str:
    """A path with a tilde if it is below the home."""
    home = os.path.expanduser("~")
    for path in (prefix, os.path.realpath(prefix)):
        for parent in (home, os.path.realpath(home)):
            if path.startswith(os.path.join(parent, "")):
                return os.path.join("~", os.path.relpath(path, parent))
    return prefix


def _packages(prefix: str) -> "list[tuple[str, str, str]]":
    """Name, version and channel of each package of conda's."""
    found = []
    for path in sorted(glob.glob(os.path.join(glob.escape(prefix), "conda-meta", "*.json"))):
        try:
            with open(path, encoding="utf-8") as file:
                package = json.load(file)
            found.append((package["name"], package["version"], str(package.get("channel") or "")))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            # It is being installed, or has been removed by half.
            continue
    return found


def spot(place: str, python: str) -> "Iterator[Any]":
    """What there is at a place, and with what an environment can be made there.

    Args:
        place: its directory.
        python: the program that is to be used; empty for any.

    Raises:
        CannotAnswer: there is no such Python.
    """
    path = os.path.abspath(os.path.expanduser(place))
    survey = Survey(())
    program = ""
    if python:
        program = shutil.which(os.path.expanduser(python), path=survey.env.get("PATH")) or ""
        if not program:
            raise CannotAnswer(f"there is no Python {python}")
    pythons = list(survey.pythons(program))
    if python and not pythons:
        raise CannotAnswer(f"{program} does not run, or is no Python")
    yield {
        **{"path": path, "kind": _kind(path), "pythons": pythons},
        **{"uv": survey.uv(), "conda": survey.conda()},
    }


def _kind(path: str) -> str:
    """What a directory is: conda or venv, something else, or not there (an empty text)."""
    if not os.path.lexists(path):
        return ""
    if not os.access(os.path.join(path, "bin", "python"), os.X_OK):
        return "something else"
    if os.path.isdir(os.path.join(path, "conda-meta")):
        return "conda"
    return "venv" if is_venv(path) else "something else"


def make(path: str, argv: "Sequence[str]", texts: "Mapping[str, str]") -> "Iterator[str]":
    """Run a command that makes an environment; what it prints, line by line.

    Args:
        path: the directory that it makes; nothing of it stays if it fails.
        argv: of the command; a word that names a text is replaced by a file that has it.
        texts: of files that the command needs, by their names.

    Raises:
        CannotAnswer: it has failed, or there is something meanwhile.
    """
    if os.path.lexists(path):
        raise CannotAnswer(f"{path} is there already")
    missing = []
    parent = os.path.dirname(path)
    while not os.path.isdir(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        yield from run(argv, texts, login_environment(), makes=path)
    except (CannotAnswer, OSError):
        for parent in missing:
            # Somebody may have put something there.
            if os.path.isdir(parent) and not os.listdir(parent):
                os.rmdir(parent)
        raise


FUNCTIONS = {**OF_ENVIRONMENT, "contents": contents, "spot": spot, "make": make}
