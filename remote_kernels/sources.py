"""What notebooks and modules import, and what they say is to be installed.

Files and directories are read, and the person's own modules that these import, wherever they lie.
Nothing is run. What cannot be read is said, and the rest goes on.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from remote_kernels import install_commands, ipython_code
from remote_kernels.import_names import EXTENSIONS, MAGICS
from remote_kernels.imports import Guard, Import, imports_of
from remote_kernels.install_commands import Told
from remote_kernels.ipython_code import Code, Line

NOTEBOOK = ".ipynb"
_PYTHON = (".py", ".pyw", ".ipy")
# Directories that hold what others have written, or copies.
_NOT_ENTERED = frozenset({"__pycache__", "__pypackages__", "node_modules", "site-packages"})
_NONSENSE = (ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError)
_EXTENSION_MODULES = (".so", ".pyd")


class Place(NamedTuple):
    """Where something stands.

    Attributes:
        path: of the file.
        cell: its number among all cells of the notebook, from 1; 0 in a file without cells.
        line: of the cell, or of the file, from 1; 0 for all of it.
    """

    path: str
    cell: int = 0
    line: int = 0

    def __str__(self) -> str:
        """The place for a person."""
        cell = f", cell {self.cell}" if self.cell else ""
        return f"{self.path}{cell}" + (f", line {self.line}" if self.line else "")


class Imported(NamedTuple):
    """A module that is no module of the person's own.

    Attributes:
        name: with dots; its last part may be no module.
        place: where it is imported.
        guard: it may fail, and the code goes on; see :class:`~remote_kernels.imports.Import`.
        is_last: of the guard's imports those that are left if all others have failed.
    """

    name: str
    place: Place
    guard: Guard | None = None
    is_last: bool = False


class Asked(NamedTuple):
    """What a command in a notebook, or a file of requirements that it names, installs.

    Attributes:
        told: what that is.
        place: of the command.
    """

    told: Told
    place: Place


class Note(NamedTuple):
    """Something that is to be said.

    Attributes:
        place: that it is about.
        what: a clause that follows the place.
    """

    place: Place
    what: str

    def __str__(self) -> str:
        """The note as a line."""
        return f"{self.place}: {self.what}"


class _File(NamedTuple):
    """A file that is to be read.

    Attributes:
        path: of it.
        search: directories in which its imports are looked for, after its own.
    """

    path: Path
    search: tuple[Path, ...]


class Sources:
    """All that is read.

    Attributes:
        imports: of what is no module of the person's own.
        asked: what is to be installed.
        own: the person's own modules that are imported, each with its path.
        unread: what could not be read, and why.
        skipped: what is left out, and why.
    """

    def __init__(self, is_elsewhere: Callable[[str], bool]) -> None:
        """Prepare.

        Args:
            is_elsewhere: whether a module of this name is installed, or Python's own.
        """
        self._is_elsewhere = is_elsewhere
        self.imports: list[Imported] = []
        self.asked: list[Asked] = []
        self.own: dict[str, str] = {}
        self.unread: list[Note] = []
        self.skipped: list[Note] = []
        self._todo: list[_File] = []
        self._seen: set[str] = set()
        self._looked: dict[tuple[Path, bool], Path | None] = {}
        # What a notebook writes when it is run, by its path.
        self._written: dict[str, str] = {}

    def read(self, paths: Sequence[str]) -> None:
        """Read notebooks, modules and directories of these, and what they import.

        Args:
            paths: of them.
        """
        files = {path: list(self._in(path)) for path in map(Path, paths) if os.path.isdir(path)}
        search = tuple(_places_of(files))
        for path in map(Path, paths):
            if not os.path.exists(path):
                self.unread.append(Note(Place(str(path)), "there is no such file or directory"))
            elif os.path.isdir(path):
                for file in files[path]:
                    self._follow(file, search)
                if not files[path]:
                    self.skipped.append(Note(Place(str(path)), "no notebook and no module in it"))
            elif path.suffix in (*_PYTHON, NOTEBOOK):
                self._follow(path, search)
            else:
                self.unread.append(Note(Place(str(path)), "it is neither notebook nor module"))
        while self._todo:
            self._read(self._todo.pop(0))

    def _in(self, directory: Path) -> Iterator[Path]:
        """The notebooks and modules in a directory, and below it."""
        seen: set[tuple[int, int]] = set()

        def fails(error: OSError) -> None:
            self.unread.append(Note(Place(str(error.filename)), error.strerror or str(error)))

        for place, directories, files in os.walk(directory, onerror=fails, followlinks=True):
            try:
                status = os.stat(place)
            except OSError as error:
                # It has just been removed.
                fails(error)
                continue
            # A link may lead to where it lies itself.
            if (status.st_dev, status.st_ino) in seen:
                directories.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            directories[:] = sorted(x for x in directories if _is_entered(Path(place, x)))
            for name in sorted(files):
                if name.endswith((*_PYTHON, NOTEBOOK)) and not name.startswith("."):
                    yield Path(place, name)

    def _follow(self, path: Path, search: tuple[Path, ...]) -> None:
        """Read a file, too, if that is not done already."""
        real = os.path.realpath(path)
        if real not in self._seen:
            self._seen.add(real)
            self._todo.append(_File(path, search))

    # --- one file -------------------------------------------------------------------------------

    def _read(self, file: _File) -> None:
        path = Path(os.path.normpath(file.path))
        shown = Place(str(path))
        try:
            written = self._written.get(os.path.abspath(path))
            data = path.read_bytes() if written is None else written.encode()
            cells = _cells_of(data) if path.suffix == NOTEBOOK else [(0, _decoded(data))]
        except OSError as error:
            self.unread.append(Note(shown, error.strerror or str(error)))
            return
        except _OtherLanguageError as error:
            self.skipped.append(Note(shown, f"left out, since its language is {error}"))
            return
        except _NONSENSE as error:
            kind = "notebook" if path.suffix == NOTEBOOK else "module"
            self.unread.append(Note(shown, f"it cannot be read as a {kind} ({_why(error)})"))
            return
        reading = _Reading(self, _File(path, file.search))
        for number, text in cells:
            reading.read(text, Place(str(path), number))
        reading.resolve()

    # --- what of it is the person's own ---------------------------------------------------------

    def find(self, name: str, own: Path, search: tuple[Path, ...]) -> bool:
        """Whether a module is the person's own; then its files are read, too.

        Args:
            name: with dots.
            own: the directory of who imports it, in which it is looked for first.
            search: other directories.
        """
        top = name.partition(".")[0]
        # In any other directory one that is installed comes first.
        places = (own,) if self._is_elsewhere(top) else (own, *search)
        for place in places:
            if (found := self._module(place / top, regular=len(places) == 1)) is not None:
                self.own.setdefault(top, str(found))
                self.follow_within(place, name.split("."), (own, *search))
                return True
        return False

    def follow_within(self, place: Path, parts: Sequence[str], search: tuple[Path, ...]) -> None:
        """Read the files of a module: of each package on the way, and its own.

        Args:
            place: the directory in which its first part lies.
            parts: of its name.
            search: directories in which what it imports is looked for.
        """
        for part in parts:
            place = place / part
            for file in (place / "__init__.py", place.with_name(f"{part}.py")):
                if self.is_file(file):
                    self._follow(file, search)
                    break
            else:
                notebook = place.with_name(f"{part}{NOTEBOOK}")
                if os.path.isfile(notebook) and not os.path.isdir(place):
                    self._follow(notebook, search)

    def _module(self, stem: Path, *, regular: bool) -> Path | None:
        """What is found under a module's path without its suffix; None for nothing."""
        if (stem, regular) not in self._looked:
            found = self._regular(stem)
            if found is None and not regular:
                found = self._irregular(stem)
            self._looked[stem, regular] = found
        return self._looked[stem, regular]

    def _regular(self, stem: Path) -> Path | None:
        """The file or directory of a module, or of a package; None for none."""
        if self.is_file(stem / "__init__.py"):
            return stem
        if self.is_file(file := stem.with_name(f"{stem.name}.py")):
            return file
        if os.path.isdir(stem.parent):
            for each in sorted(stem.parent.glob(f"{stem.name}.*")):
                if each.suffix in _EXTENSION_MODULES and each.name.split(".")[0] == stem.name:
                    return each
        return None

    def _irregular(self, stem: Path) -> Path | None:
        """A directory of modules without __init__.py, or a notebook; packages come before them."""
        if os.path.isdir(stem) and any(self._in(stem)):
            return stem
        notebook = stem.with_name(f"{stem.name}{NOTEBOOK}")
        return notebook if os.path.isfile(notebook) else None

    def is_file(self, path: Path) -> bool:
        """Whether there is a file, or will be one when a notebook has been run."""
        return os.path.isfile(path) or os.path.abspath(path) in self._written

    def text_of(self, path: Path) -> str:
        """The text of a file that there is, or will be.

        Raises:
            OSError: it cannot be read.
        """
        written = self._written.get(os.path.abspath(path))
        return path.read_text("utf-8", "replace") if written is None else written

    def will_write(self, path: Path, text: str) -> None:
        """Note what a notebook writes when it is run."""
        self._written[os.path.abspath(path)] = text
        self._looked.clear()

    def run(self, path: Path, search: tuple[Path, ...]) -> None:
        """Read a file that code runs, too."""
        if self.is_file(path):
            self._follow(path, search)


class _Reading:
    """One file, cell by cell. Directories that it adds hold for all of its imports."""

    def __init__(self, sources: Sources, file: _File) -> None:
        self._sources = sources
        self._file = file
        self._directory = file.path.parent
        self._own = _top_of(file.path)
        self._search = list(file.search)
        self._imports: list[tuple[Import, Place]] = []
        self._lines: list[tuple[Line, Place]] = []

    def read(self, text: str, place: Place) -> None:
        """Read a cell, or all of a module."""
        self._read_code(ipython_code.read(text), place)

    def _read_code(self, code: Code, place: Place) -> None:
        self._lines += [(line, place._replace(line=line.number)) for line in code.lines]
        if code.writes is not None:
            self._write(*code.writes, place)
        try:
            tree = ipython_code.parsed(code.python)
        except SyntaxError as error:
            at = place._replace(line=error.lineno or 0)
            self._sources.unread.append(Note(at, f"it cannot be parsed ({_why(error)})"))
            return
        found = imports_of(tree, self._file.path.name)
        self._imports += [(each, place._replace(line=each.line)) for each in found.imports]
        self._lines += [(line, place._replace(line=line.number)) for line in found.lines]
        self._add_directories(found.paths)
        for line, name, rest, body in found.cells:
            self._read_code(ipython_code.of_cell_magic(name, rest, body), place._replace(line=line))

    def _write(self, name: str, text: str, place: Place) -> None:
        path = self._directory / os.path.expanduser(name)
        self._sources.will_write(path, text)
        if path.suffix == ".py":
            # Its own lines are not those of the cell, so what is said of it is of the file.
            self._sources.run(path, tuple(self._search))

    def _add_directories(self, paths: Sequence[str]) -> None:
        for path in paths:
            place = Path(os.path.normpath(self._directory / os.path.expanduser(path)))
            if place not in self._search and place != self._own:
                self._search.append(place)

    # --- all of it ------------------------------------------------------------------------------

    def resolve(self) -> None:
        """Find out what the imports lead to, and what the lines mean."""
        for line, _ in self._lines:
            if line.magic == "cd" and line.text and "{" not in line.text:
                self._add_directories([line.text.strip("\"'")])
        for line, place in self._lines:
            self._read_line(line, place)
        search = tuple(self._search)
        for each, place in self._imports:
            if each.level:
                above = self._directory
                for _ in range(each.level - 1):
                    above = above.parent
                parts = each.name.split(".") if each.name else []
                self._sources.follow_within(above, parts, (self._own, *search))
            elif not self._sources.find(each.name, self._own, search):
                imported = Imported(each.name, place, each.guard, each.is_last)
                self._sources.imports.append(imported)

    def _read_line(self, line: Line, place: Place) -> None:
        if line.magic in ("", "pip", "conda", "mamba", "micromamba", "uv"):
            for told in install_commands.told_by(f"{line.magic} {line.text}"):
                self._ask(told, place, self._directory, set())
            return
        words = _words(line.text)
        if line.magic in ("load_ext", "reload_ext"):
            names = [EXTENSIONS.get(word, word) for word in words]
        elif line.magic == "aimport":
            names = [word.strip(",-") for word in words]
        elif line.magic == "run":
            names = self._run(words)
        else:
            names = list(MAGICS.get(line.magic, ()))
            if line.magic == "matplotlib" and {"widget", "ipympl"} & set(words):
                names.append("ipympl")
        for name in names:
            if name and all(part.isidentifier() for part in name.split(".")):
                self._imports.append((Import(name, place.line), place))

    def _run(self, words: list[str]) -> list[str]:
        """Read the file that is run; the module, where it is one."""
        while words and words[0].startswith("-"):
            if words[0] == "-m":
                return words[1:2]
            words = words[1:]
        for name in (words[0], f"{words[0]}.py") if words else ():
            path = self._directory / os.path.expanduser(name)
            if path.suffix in (*_PYTHON, NOTEBOOK):
                self._sources.run(path, (self._own, *self._search))
        return []

    def _ask(self, told: Told, place: Place, directory: Path, seen: set[Path]) -> None:
        """Note what is to be installed, and what the files of requirements ask for."""
        self._sources.asked.append(Asked(told._replace(files=()), place))
        for name in told.files:
            path = Path(os.path.normpath(directory / os.path.expanduser(name)))
            if path in seen:
                continue
            seen.add(path)
            if "://" in name:
                self._sources.unread.append(Note(place, f"{name} is not fetched"))
                continue
            try:
                text = self._sources.text_of(path)
            except OSError as error:
                self._sources.unread.append(Note(place, f"{path}: {error.strerror or error}"))
                continue
            self._ask(install_commands.of_file(text), Place(str(path)), path.parent, seen)


class _OtherLanguageError(Exception):
    """A notebook's language is not Python; says which it is."""


def _cells_of(data: bytes) -> list[tuple[int, str]]:
    """The code cells of a notebook, each with its number among all cells.

    Raises:
        _OtherLanguageError: they are in another language.
        ValueError, LookupError, TypeError, AttributeError: it is no notebook.
    """
    if not data.strip():
        # A new one of VS Code's.
        return []
    document = json.loads(data)
    metadata = document.get("metadata") or {}
    language = (metadata.get("language_info") or {}).get("name")
    language = language or (metadata.get("kernelspec") or {}).get("language") or "python"
    if not _is_python(language):
        raise _OtherLanguageError(language)
    if "worksheets" in document:
        # Up to version 3 of the format.
        cells = [cell for sheet in document["worksheets"] for cell in sheet["cells"]]
    else:
        cells = document["cells"]
    return [
        (number, _source(cell))
        for number, cell in enumerate(cells, 1)
        if cell["cell_type"] == "code" and _is_python(_language_of(cell))
    ]


def _language_of(cell: dict[str, Any]) -> str:
    # That of version 3, and of a cell in VS Code.
    metadata = cell.get("metadata") or {}
    return (metadata.get("vscode") or {}).get("languageId") or cell.get("language") or "python"


def _is_python(language: str) -> bool:
    return language.lower().startswith(("python", "ipython"))


def _source(cell: dict[str, Any]) -> str:
    source = cell["source"] if "source" in cell else cell.get("input", "")
    return source if isinstance(source, str) else "".join(source)


def _decoded(data: bytes) -> str:
    """The text of a module, whose first lines may say how it is encoded.

    Raises:
        SyntaxError, ValueError: it is not encoded so.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding)


def _places_of(files: Mapping[Path, Sequence[Path]]) -> Iterator[Path]:
    """Where the modules of given directories may be, the likeliest first.

    Args:
        files: of each directory.
    """
    found = [_top_of(directory / "__init__.py") for directory in files]
    found += [place for directory in files for place in (directory, directory / "src")]
    # What is installed comes before these; tests, say, find their modules by settings of theirs.
    for directory, inside in files.items():
        for file in inside:
            found += [x for x in file.parents if x.is_relative_to(directory)]
    yield from dict.fromkeys(found)


def _is_entered(directory: Path) -> bool:
    """Whether a directory holds what the person has written."""
    name = directory.name
    if name.startswith(".") or name in _NOT_ENTERED or name.endswith((".egg-info", ".dist-info")):
        return False
    # Unlike pathlib, os.path answers where nobody may look, too.
    marks = ("pyvenv.cfg", "conda-meta", "bin/activate", "Scripts/activate.bat")
    return not any(os.path.exists(directory / mark) for mark in marks)


def _top_of(path: Path) -> Path:
    """The directory from which a file's package is imported; its own if it is in none."""
    place = path.parent
    while os.path.isfile(place / "__init__.py") and place.parent != place:
        place = place.parent
    return place


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return text.split()


def _why(error: BaseException) -> str:
    """An error of Python's in few words."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(str(text).split()) or type(error).__name__
