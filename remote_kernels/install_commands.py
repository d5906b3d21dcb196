"""What the commands of pip, uv and conda install, as far as their words tell; nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Told(NamedTuple):
    """What one command installs, or what one file of requirements asks for.

    Attributes:
        requirements: as pip writes them; those of conda as conda does.
        files: of requirements (``-r``), by their paths as they stand there.
        indexes: options that say where distributions are found, each with its value.
        unclear: words of which nobody knows, before it runs, what they install.
        is_conda: the requirements name packages of conda's.
        channels: of conda's.
    """

    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    indexes: tuple[tuple[str, str], ...] = ()
    unclear: tuple[str, ...] = ()
    is_conda: bool = False
    channels: tuple[str, ...] = ()


_CONDA = frozenset({"conda", "mamba", "micromamba"})
_PIP = re.compile(r"pip(?:3(?:\.\d+)?)?")
# "{sys.executable}" is how a notebook names its own; "$PYTHON" is seen, too.
_PYTHON = re.compile(r"(?:.*/)?python(?:\d(?:\.\d+)?)?|\{?sys\.executable\}?|\$\{?PYTHON\}?")
# What may stand before a command, and takes nothing after it.
_BEFORE = frozenset({"sudo", "time", "yes", "nohup", "exec", "command"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_OPERATORS = frozenset({"&&", "||", ";", "|", "&", ";;", "|&"})

# Options of pip and uv that are followed by a value. See "pip install --help".
_WITH_VALUE = frozenset(
    {"-b", "-C", "-c", "-p", "-t", "--abi", "--build-option", "--cache-dir", "--cert"}
    | {"--client-cert", "--config-setting", "--config-settings", "--constraint", "--exclude-newer"}
    | {"--exists-action", "--extra", "--global-option", "--group", "--implementation"}
    | {"--index-strategy", "--install-option", "--keyring-provider", "--link-mode", "--log"}
    | {"--no-binary", "--no-build-isolation-package", "--only-binary", "--override"}
    | {"--platform", "--prefix", "--prerelease", "--progress-bar", "--proxy", "--python"}
    | {"--python-platform", "--python-version", "--report", "--resolution", "--retries", "--root"}
    | {"--root-user-action", "--src", "--target", "--timeout", "--torch-backend"}
    | {"--trusted-host", "--upgrade-package", "--upgrade-strategy", "--use-deprecated"}
    | {"--use-feature", "-P"}
)
_FILES = frozenset({"-r", "--requirement", "--requirements"})
_EDITABLE = frozenset({"-e", "--editable"})
_INDEXES = {
    **{"-i": "--index-url", "--index-url": "--index-url", "--default-index": "--index-url"},
    **{"--extra-index-url": "--extra-index-url", "--index": "--extra-index-url"},
    **{"-f": "--find-links", "--find-links": "--find-links"},
}
_CONDA_WITH_VALUE = frozenset(
    {"-n", "--name", "-p", "--prefix", "--revision", "--repodata-fn", "--solver", "--subdir"}
    | {"--platform", "-r", "--root-prefix", "--experimental"}
)
_CHANNELS = frozenset({"-c", "--channel"})
_SHORT = re.compile(r"-[A-Za-z]")
# pip's option in a line of a file of requirements, behind the requirement.
_LINE_OPTIONS = re.compile(r"\s+--[a-z][a-z-]*(?:[=\s].*)?$")
_COMMENT = re.compile(r"(?:^|\s)#.*")


def told_by(line: str) -> list[Told]:
    """What a line installs that is given to a shell, one for each command in it.

    Args:
        line: as it is typed; ``%`` magics are lines like that.
    """
    return [told for words in _commands(line) if (told := _told_by(words)) is not None]


def _commands(line: str) -> Iterator[list[str]]:
    """The words of each command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();&|")
    lexer.whitespace_split = True
    # It would end a word in its middle, as in "git+https://…#egg=NAME".
    lexer.commenters = ""
    words: list[str] = []
    try:
        for word in lexer:
            if word.startswith("#"):
                break
            if word in _OPERATORS or word in "()":
                yield words
                words = []
            else:
                words.append(word)
    except ValueError:
        # A quotation mark that nobody has closed: the shell would not take it either.
        return
    yield words


def _told_by(words: list[str]) -> Told | None:
    while words and (_ASSIGNMENT.fullmatch(words[0]) or words[0] in _BEFORE):
        words = words[1:]
    program = words[0].rpartition("/")[2] if words else ""
    if words and _PYTHON.fullmatch(words[0]):
        rest = words[1:]
        while rest and rest[0].startswith("-") and rest[0] != "-m":
            rest = rest[1:]
        if rest[:1] != ["-m"] or len(rest) < 2:
            return None
        program, words = rest[1], rest[1:]
    if _PIP.fullmatch(program):
        return _of_pip(words[1:], "install")
    if program == "uv":
        return _of_pip(words[2:], "install") if words[1:2] == ["pip"] else _of_pip(words[1:], "add")
    if program in _CONDA:
        return _of_conda(words[1:])
    return None


def _of_pip(words: Sequence[str], command: str) -> Told | None:
    todo, values = _split(words, {*_WITH_VALUE, *_FILES, *_EDITABLE, *_INDEXES})
    if todo[:1] != [command]:
        return None
    editable = [value for name, value in values if name in _EDITABLE]
    found = [*todo[1:], *editable]
    return Told(
        tuple(word for word in found if not _is_unclear(word)),
        tuple(value for name, value in values if name in _FILES and not _is_unclear(value)),
        tuple((_INDEXES[name], value) for name, value in values if name in _INDEXES),
        tuple(word for word in found if _is_unclear(word)),
    )


def _of_conda(words: Sequence[str]) -> Told | None:
    todo, values = _split(words, {*_CONDA_WITH_VALUE, *_CHANNELS, "--file"})
    if todo[:1] != ["install"]:
        return None
    return Told(
        tuple(word for word in todo[1:] if not _is_unclear(word)),
        unclear=(
            *(word for word in todo[1:] if _is_unclear(word)),
            *(value for name, value in values if name == "--file"),
        ),
        is_conda=True,
        channels=tuple(value for name, value in values if name in _CHANNELS),
    )


def _split(words: Sequence[str], with_value: set[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The words that are no options, and the options that have values."""
    others: list[str] = []
    values: list[tuple[str, str]] = []
    todo = iter(words)
    for word in todo:
        name, equals, value = word.partition("=")
        if word.startswith((">", "<")) or word in ("1>", "2>", "2>&1"):
            # What it prints goes elsewhere; a specifier would stand in quotes, behind a name.
            if word in (">", ">>", "<", "1>", "2>"):
                next(todo, "")
        elif not word.startswith("-"):
            others.append(word)
        elif name in with_value:
            values.append((name, value if equals else next(todo, "")))
        elif _SHORT.match(word) and word[:2] in with_value and not word.startswith("--"):
            values.append((word[:2], word[2:].removeprefix("=")))
    return others, values


def _is_unclear(word: str) -> bool:
    """Whether a variable stands in it, of IPython's or of a shell."""
    return "{" in word or "$" in word or "`" in word or word == "*"


def of_file(text: str) -> Told:
    """What a file of requirements asks for.

    Args:
        text: of the file; see "Requirements File Format" in pip's manual.
    """
    requirements: list[str] = []
    files: list[str] = []
    indexes: list[tuple[str, str]] = []
    for whole in text.replace("\\\n", " ").splitlines():
        line = _COMMENT.sub("", whole).strip()
        if not line.startswith("-"):
            while stripped := _LINE_OPTIONS.search(line):
                line = line[: stripped.start()]
            requirements += [line] if line else []
            continue
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        _, values = _split(words, {*_WITH_VALUE, *_FILES, *_EDITABLE, *_INDEXES})
        requirements += [value for name, value in values if name in _EDITABLE]
        files += [value for name, value in values if name in _FILES]
        indexes += [(_INDEXES[name], value) for name, value in values if name in _INDEXES]
    return Told(tuple(requirements), tuple(files), tuple(indexes))
