"""Looks on the far side at the Python with which a kernel is started, and installs for it.

The far side runs this file: Python 3.6, the standard library alone.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

from remote_kernels.answers import CannotAnswer
from remote_kernels.login_environment import output_of
from remote_kernels.login_shell import dialect_of, login_shell
from remote_kernels.survey import FUNCTIONS as OF_SURVEY
from remote_kernels.survey import Survey, interpreter_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_FOLLOWS = "@rk-python "
# Seconds: a file server may take its time for the metadata of some hundred distributions.
_PATIENCE = 60.0
# In single quotation marks for three families of shells; csh would read "!" in them.
_TELL = (
    "import json, os, sys; "
    'print(chr(10) + "@rk-python " + json.dumps([sys.executable, dict(os.environ)]))'
)
# What it is given is removed whatever becomes of us, and what it has begun if that failed.
_RUN = """
"$@"
rk_status=$?
rm -rf -- "$rk_place"
[ "$rk_status" = 0 ] || [ -z "$rk_makes" ] || rm -rf -- "$rk_makes"
exit "$rk_status"
"""

# The environments in which Pythons were found, by their programs.
_FOUND: "dict[str, dict[str, str]]" = {}


def environment(order: "Mapping[str, Any]") -> "Iterator[Any]":
    """The Python with which a kernel is started, and what is installed for it.

    Args:
        order: ``texts``, what the login shell runs before the kernel command, by the shell's
            family; ``variables``, with which it starts; ``workdir``, its directory, or None;
            ``python``, the words of the kernel command that run a Python; ``script``, that of the
            Python instead, or None; and ``program``, which tells of what is installed.

    Raises:
        CannotAnswer: there is no such Python.
    """
    python, env = _python_of(order)
    told = output_of([python, "-c", order["program"]], env, _PATIENCE) or ""
    try:
        facts = json.loads(told.rpartition("@rk-distributions ")[2])
        prefix = facts["prefix"]
    except (ValueError, LookupError, TypeError):
        raise CannotAnswer(f"{python} does not tell what it has installed") from None
    _FOUND[python] = env
    survey = Survey(())
    yield {
        "python": python,
        "facts": facts,
        "conda": survey.conda_for(prefix),
        "uv": survey.uv(),
    }


def _python_of(order: "Mapping[str, Any]") -> "tuple[str, dict[str, str]]":
    """The program, and the environment that it has."""
    shell = login_shell()
    env = {**os.environ, **order["variables"]}
    if "rk_activate" in env:
        env["rk_activate"] = os.path.expanduser(env["rk_activate"])
        if not os.path.isdir(env["rk_activate"]):
            raise CannotAnswer(f"there is no environment {env['rk_activate']}")
    place = os.path.expanduser(order["workdir"] or "~")
    try:
        os.chdir(place)
    except OSError as error:
        raise CannotAnswer(f"{place}: {error.strerror}") from None
    # Without what is for another Python.
    python = order["python"] or f"exec {shlex.quote(sys.executable)} -EsS"
    command = f"{order['texts'][dialect_of(shell[0])]}{python} -c '{_TELL}'"
    said = output_of([*shell, "-c", command], env, _PATIENCE) or ""
    try:
        program, found = json.loads(said.rpartition(_FOLLOWS)[2])
        env = {str(name): str(value) for name, value in found.items()}
    except (ValueError, TypeError, AttributeError):
        raise CannotAnswer(f"no Python is run by {python}") from None
    if order["script"]:
        path = shutil.which(order["script"], path=env.get("PATH"))
        if path is None:
            raise CannotAnswer(f"there is no {order['script']}")
        program = interpreter_of(path)
    return program, env


def add(python: str, argv: "Sequence[str]", texts: "Mapping[str, str]") -> "Iterator[str]":
    """Run a command that installs something; what it prints, line by line.

    Args:
        python: that was found; the command has its environment.
        argv: of the command; a word that names a text is replaced by a file that has it.
        texts: of files that the command needs, by their names.

    Raises:
        CannotAnswer: it has failed.
    """
    yield from run(argv, texts, _FOUND.get(python, os.environ))


def run(
    argv: "Sequence[str]", texts: "Mapping[str, str]", env: "Mapping[str, str]", makes: str = ""
) -> "Iterator[str]":
    """Run a command; what it prints, line by line.

    Args:
        argv: of the command; a word that names a text is replaced by a file that has it.
        texts: of files that the command needs, by their names.
        env: its environment.
        makes: the directory that it makes, which is removed if it fails.

    Raises:
        CannotAnswer: it has failed.
    """
    place = tempfile.mkdtemp(prefix="rk-")
    words = []
    for word in argv:
        path = os.path.join(place, word)
        if word in texts:
            with open(path, "w", encoding="utf-8") as file:
                file.write(texts[word])
        words.append(path if word in texts else word)
    with subprocess.Popen(
        ["/bin/sh", "-c", _RUN, "sh", *words],
        env={**env, "rk_place": place, "rk_makes": makes},
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            # Of a bar that is drawn again and again, the last one.
            yield line.decode("utf-8", "replace").rstrip().rpartition("\r")[2]
    if process.returncode:
        raise CannotAnswer(f"it ended with status {process.returncode}")


FUNCTIONS = {**OF_SURVEY, "environment": environment, "add": add}
