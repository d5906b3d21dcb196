"""The environment on this machine that notebooks have been written with: its distributions.

It is asked by its own Python, which need not be ours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from remote_kernels import distributions
from remote_kernels.errors import RemoteKernelsError

_PATIENCE = 60.0
# Any Python reads this. Nothing is to be taken from the directory in which it happens to be run; a
# person's own packages (PYTHONPATH, ~/.local) are part of the environment, so there is no -I.
_PROGRAM = """
import sys
sys.path = [path for path in sys.path if path]
if sys.version_info < (3, 6):
    sys.exit("it is Python " + sys.version.split()[0] + ", and has to be 3.6 or newer")
import json
exec(compile({text!a}, "distributions.py", "exec"), globals())
main(json.loads({names!a}))
"""


class Distribution(NamedTuple):
    """What is installed under one name.

    Attributes:
        name: as it calls itself.
        version: of it.
        modules: the modules and packages that it has at the top; of packages that it shares with
            others all that it has.
        requires: what it needs, as its metadata says.
        url: where it has been installed from, if that was no index; see PEP 610.
        directory: of a project that is used as it lies there; empty for what is installed.
        installer: that has installed it; empty if it has not said so.
        metadata: name of the directory in which its metadata lies.
        is_own: it lies in the environment itself; others are the system's, or the person's own.
    """

    name: str
    version: str
    modules: frozenset[str] = frozenset()
    requires: tuple[str, ...] = ()
    url: Mapping[str, Any] | None = None
    directory: str = ""
    installer: str = ""
    metadata: str = ""
    is_own: bool = True


class Environment(NamedTuple):
    """A Python, and what is installed for it.

    Attributes:
        python: its program.
        version: of Python.
        prefix: its directory.
        is_environment: it is a virtualenv.
        is_closed: the system forbids others to install something in it (PEP 668).
        may_write: the user may write where it has its packages.
        standard: names of the modules of its standard library; empty if it does not tell.
        markers: what the markers of requirements know of it.
        distributions: by their names in the one spelling of PEP 503.
        conda: packages of conda's (name, version, channel), by names of metadata.
        places: where the modules lie that were asked for.
    """

    python: str
    version: str
    prefix: str
    is_environment: bool
    is_closed: bool
    may_write: bool
    standard: frozenset[str]
    markers: Mapping[str, str]
    distributions: Mapping[str, Distribution]
    conda: Mapping[str, Mapping[str, str]]
    places: Mapping[str, str]

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Environment:
        """What a Python has told of itself; see :mod:`~remote_kernels.distributions`.

        Raises:
            LookupError, TypeError, ValueError: in no way that is known.
        """
        known = [_distribution(facts) for facts in told["distributions"]]
        texts = [told["executable"], told["version"], told["prefix"], *told["standard"]]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("it is no text")
        return cls(
            python=told["executable"],
            version=told["version"],
            prefix=told["prefix"],
            is_environment=bool(told["is_environment"]),
            is_closed=bool(told["is_closed"]),
            may_write=bool(told["may_write"]),
            standard=frozenset(told["standard"]),
            markers={str(name): str(value) for name, value in told["markers"].items()},
            distributions={canonicalize_name(each.name): each for each in known},
            conda={str(name): dict(facts) for name, facts in told["conda"].items()},
            places={str(name): str(place) for name, place in told["places"].items()},
        )


def _distribution(facts: Mapping[str, Any]) -> Distribution:
    words = [facts[name] for name in ("name", "version", "directory", "installer", "metadata")]
    if not all(isinstance(word, str) for word in words):
        raise TypeError("it is no text")
    name, version, directory, installer, metadata = words
    url = facts["url"] if isinstance(facts["url"], dict) else None
    lists = frozenset(map(str, facts["modules"])), tuple(map(str, facts["requires"]))
    is_own = bool(facts["is_own"])
    return Distribution(name, version, *lists, url, directory, installer, metadata, is_own)


def program_of(python: str | None) -> str:
    """The Python whose environment is meant.

    Args:
        python: that a person has named, by its path or as on the PATH; None for that of the active
            environment, or else the first on the PATH.

    Raises:
        RemoteKernelsError: there is no such program.
    """
    if python is not None:
        found = shutil.which(os.path.expanduser(python))
        if found is None:
            raise RemoteKernelsError(
                f"there is no Python {python}", advice="give the path of a Python with --python"
            )
        return os.path.abspath(found)
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        path = Path(os.environ.get(variable) or "/nowhere", "bin/python")
        if os.access(path, os.X_OK):
            return str(path)
    return shutil.which("python3") or sys.executable


def environment_of(python: str, names: Sequence[str] = ()) -> Environment:
    """Ask a Python for all that it has installed.

    Args:
        python: its program.
        names: of modules; it is to tell where they lie. Nothing of them is run.

    Raises:
        RemoteKernelsError: it does not tell.
    """
    told = distributions.tell(list(names)) if _is_ours(python) else _ask(python, names)
    try:
        return Environment.read(told)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise _silent(python, "what it says makes no sense") from None


def _is_ours(python: str) -> bool:
    # The program of a virtualenv is a link to that of another environment, so that says nothing.
    return os.path.abspath(python) == os.path.abspath(sys.executable)


def _ask(python: str, names: Sequence[str]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [python, "-c", program(names)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _silent(python, str(error)) from None
    said = done.stdout.decode("utf-8", "replace").rpartition(distributions.MARK)[2]
    try:
        found = json.loads(said)
    except ValueError:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise _silent(python, *last) from None
    return found if isinstance(found, dict) else {}


def program(names: Sequence[str]) -> str:
    """The Python that tells of what is installed for the Python that runs it.

    Args:
        names: of modules; it tells where they lie.
    """
    text = Path(distributions.__file__).read_text(encoding="utf-8")
    return _PROGRAM.format(text=text, names=json.dumps(list(names)))


def _silent(python: str, *said: str) -> RemoteKernelsError:
    return RemoteKernelsError(
        f"{python} does not tell what it has installed",
        said=said,
        advice="name another Python with --python",
    )
