"""Code as IPython takes it: the Python in it, its magics, and what it gives to a shell.

What becomes of them is left to others. IPython need not be installed for it.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """A line that is no Python.

    Attributes:
        number: of the line, from 1.
        magic: the name of a line magic; empty where it goes to a shell.
        text: what follows the name, or what the shell is given.
    """

    number: int
    magic: str
    text: str


class Code(NamedTuple):
    """A cell, or a text of several lines like one.

    Attributes:
        python: its Python, each line in its place; other lines are empty, or ``pass``.
        lines: those that are no Python.
        writes: name and text of the file that it writes (``%%writefile``); None for none.
        is_python: it is known to be Python, so that what cannot be parsed is a mistake.
    """

    python: str
    lines: tuple[Line, ...] = ()
    writes: tuple[str, str] | None = None
    is_python: bool = True


# Cell magics that run their body here, as Python in which magics may stand.
_PYTHON = frozenset(
    {"capture", "debug", "memit", "lprun", "mprun", "prun", "px", "pyinstrument", "python"}
    | {"python3", "scalene", "snakeviz", "time", "timeit"}
)
_SHELLS = frozenset({"!", "bash", "sh", "sx", "system"})
_FILES = frozenset({"file", "writefile"})
# Those that are often seen, whose body may look like Python.
_OTHER_LANGUAGES = frozenset(
    {"bigquery", "cython", "html", "HTML", "javascript", "js", "julia", "latex", "markdown"}
    | {"octave", "perl", "pypy", "python2", "R", "ruby", "script", "sql", "svg"}
)
# Line magics whose text is a statement, behind options.
_STATEMENTS = frozenset({"lprun", "memit", "mprun", "prun", "px", "time", "timeit"})
# What may be written without its per cent sign, alone in a cell, if no variable has its name.
_AUTOMAGIC = re.compile(
    r"(?P<name>aimport|cd|conda|load_ext|mamba|matplotlib|micromamba|pip|pylab|reload_ext|run|time|timeit|uv)"
    r"(?P<text>\s+[\w.~/\"'-].*)"
)

_CELL = re.compile(r"%%(?P<name>!|[\w.]+)[ \t]*(?P<text>.*)")
_MAGIC = re.compile(r"%(?P<name>[\w.%]+)(?P<text>.*)", re.DOTALL)
_SHELL = re.compile(r"!!?(?P<text>.*)", re.DOTALL)
# Help, and what is called without brackets.
_OTHER_ESCAPES = ("?", "/", ",", ";")
_ASSIGNED = re.compile(
    r"[\w\s.,*()\[\]'\"]*[\w)\]'\"]\s*=\s*(?P<escaped>%[A-Za-z_].*|!(?!=).*)", re.DOTALL
)
_OPTIONS = re.compile(r"(?:\s*-{1,2}[A-Za-z]\S*(?:\s+\d+)?(?=\s|$))*")
_PROMPTS = re.compile(r"^[ \t]*(?:In ?\[\d*\]: ?|\.\.\.+: ?|>>> ?|\.\.\. ?)", re.MULTILINE)
_FIRST_PROMPT = re.compile(r"\s*(?:In ?\[\d*\]: |>>> )")


def parsed(text: str) -> ast.Module:
    """The syntax tree of Python; an ``await`` need not be in a function.

    Raises:
        SyntaxError: it is no Python, or not one of this version.
    """
    with warnings.catch_warnings():
        # Of strings with odd backslashes their owner is told elsewhere.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error) or "it is nested too deeply") from None


def is_python(text: str) -> bool:
    """Whether a text can be parsed."""
    try:
        parsed(text)
    except SyntaxError:
        return False
    return True


def read(text: str) -> Code:
    """Tell apart what is in a cell.

    Args:
        text: of the cell, as IPython is given it.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if is_python(text):
        return Code(text)
    begin = len(text) - len(text.lstrip())
    first, _, body = text[begin:].partition("\n")
    if magic := _CELL.fullmatch(first.rstrip()):
        return _of_cell_magic(magic["name"], magic["text"], body, text[:begin].count("\n"))
    return _of_lines(_without_prompts(text))


def of_cell_magic(name: str, text: str, body: str) -> Code:
    """What is in the body of a cell magic.

    Args:
        name: of the magic.
        text: that stands behind the name.
        body: from the next line on.
    """
    return _of_cell_magic(name, text, body, 0)


def _of_cell_magic(name: str, text: str, body: str, above: int) -> Code:
    above += 1
    if name in _SHELLS:
        return Code("", tuple(_of_shell(body.split("\n"), above + 1)))
    if name in _FILES:
        words = [word for word in text.split() if not word.startswith("-")]
        return Code("", writes=(words[0].strip("\"'"), body) if words else None)
    if name in _OTHER_LANGUAGES:
        return Code("")
    # The one of timeit has a statement that is run before.
    setup = text[_end(_OPTIONS, text) :].strip() if name == "timeit" else ""
    found = read(body)
    lines = tuple(line._replace(number=line.number + above) for line in found.lines)
    python = "\n" * (above - 1) + (setup if is_python(setup) else "") + "\n" + found.python
    if name in _PYTHON:
        return Code(python, lines)
    # Whoever has written that magic knows what it is.
    return Code(python if is_python(python) else "", lines, is_python=False)


def _without_prompts(text: str) -> str:
    """The text without what was copied with it: prompts, and the indentation of all of it."""
    if _FIRST_PROMPT.match(text):
        return _PROMPTS.sub("", text)
    first = next((line for line in text.split("\n") if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())]
    return re.sub(f"^{indent}", "", text, flags=re.MULTILINE) if indent else text


def _of_lines(text: str) -> Code:
    scanner = _Scanner()
    python: list[str] = []
    found: list[Line] = []
    todo = text.split("\n")
    while len(python) < len(todo):
        number, line = len(python), todo[len(python)]
        if scanner.is_inside:
            scanner.feed(line)
            python.append(line)
            continue
        indent, whole = line[: len(line) - len(line.lstrip())], line.strip()
        if escaped := _escaped(whole) or (_automagic(text) if whole else ""):
            whole, taken = _whole(todo, number)
            told, instead = _of_escaped(_escaped(whole) or escaped, number + 1)
            found += told
            python += [indent + instead, *[""] * (taken - 1)]
            continue
        scanner.feed(line)
        # What asks for help ends so, and no Python does.
        asks = not scanner.is_inside and scanner.last == "?"
        python.append(f"{indent}pass" if asks else line)
    return Code("\n".join(python), tuple(found))


def _whole(lines: Sequence[str], number: int) -> tuple[str, int]:
    """A line with those in which it goes on, and how many they are."""
    whole, taken = lines[number].strip(), 1
    while whole.endswith("\\") and number + taken < len(lines):
        whole = whole[:-1] + lines[number + taken].strip()
        taken += 1
    return whole, taken


def _of_shell(lines: Sequence[str], first: int) -> Iterator[Line]:
    number = 0
    while number < len(lines):
        whole, taken = _whole(lines, number)
        if whole:
            yield Line(first + number, "", whole)
        number += taken


def _escaped(line: str) -> str:
    """What of a line IPython reads for itself, or gives to a shell; empty for none."""
    if line.startswith(("%", "!", *_OTHER_ESCAPES)):
        return line
    if assigned := _ASSIGNED.fullmatch(line):
        return "=" + assigned["escaped"]
    return ""


def _automagic(text: str) -> str:
    """The line magic that a cell is without saying so; empty if it is none."""
    return f"%{text.strip()}" if _AUTOMAGIC.fullmatch(text.strip()) else ""


def _of_escaped(line: str, number: int) -> tuple[list[Line], str]:
    """The line that is no Python, and the Python that stands for it."""
    is_assigned = line.startswith("=")
    line = line.removeprefix("=")
    if line.endswith("?") and not line.startswith("!"):
        return [], "pass"
    if shell := _SHELL.fullmatch(line):
        return [Line(number, "", shell["text"].strip())], "pass"
    magic = _MAGIC.fullmatch(line)
    if magic is None:
        return [], "pass"
    name, text = magic["name"], magic["text"].strip()
    if name in ("sx", "system"):
        return [Line(number, "", text)], "pass"
    if name in _STATEMENTS and not is_assigned:
        statement = text[_end(_OPTIONS, text) :].strip()
        return [], statement if is_python(statement) and statement else "pass"
    return [Line(number, name, text)], "pass"


def _end(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return found.end() if found else 0


class _Scanner:
    """Knows, line by line, whether the next one begins a statement.

    Attributes:
        last: the last character that is in no string and no comment.
    """

    def __init__(self) -> None:
        self._quote = ""
        self._depth = 0
        self._goes_on = False
        self.last = ""

    @property
    def is_inside(self) -> bool:
        """The next line is in a string or in brackets, or goes on with this one."""
        return bool(self._quote) or self._depth > 0 or self._goes_on

    def feed(self, line: str) -> None:
        """Read one line."""
        self.last, self._goes_on = "", False
        at = 0
        while at < len(line):
            if self._quote:
                at = self._end_of_string(line, at)
            elif line[at] == "#":
                return
            elif line[at] in "\"'":
                self._quote = line[at] * (3 if line.startswith(line[at] * 3, at) else 1)
                at += len(self._quote)
            else:
                self._count(line[at])
                self._goes_on = line[at:] == "\\"
                at += 1
        if len(self._quote) == 1 and not line.endswith("\\"):
            # Nobody has closed it, and it ends here.
            self._quote = ""

    def _count(self, character: str) -> None:
        if character in "([{":
            self._depth += 1
        elif character in ")]}":
            self._depth = max(0, self._depth - 1)
        if not character.isspace():
            self.last = character

    def _end_of_string(self, line: str, at: int) -> int:
        while at < len(line):
            if line[at] == "\\":
                at += 2
            elif line.startswith(self._quote, at):
                at += len(self._quote)
                self.last, self._quote = '"', ""
                return at
            else:
                at += 1
        return len(line)
