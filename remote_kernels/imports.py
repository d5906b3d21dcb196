"""What Python code imports, read from its syntax tree; nothing is run.

Beside ``import`` that is what a call imports by a literal name, and what tells where modules are or
what is installed: literal additions to ``sys.path``, commands for a shell, magics as nbconvert
writes them.
"""

from __future__ import annotations

import ast
import posixpath
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from remote_kernels.ipython_code import Line


class Guard:
    """What stands round imports that may fail: a ``try``, or a look at where the code runs.

    It is compared by identity: imports of one guard are alternatives of each other.
    """


class Import(NamedTuple):
    """One name that is imported.

    Attributes:
        name: with dots; the last part of what ``from`` imports may be no module.
        line: in which it stands.
        level: the dots before it: where it is looked for, relative to the package.
        guard: it may fail, and the code goes on.
        is_last: of the guard's imports those to which the code comes if all others have failed.
    """

    name: str
    line: int
    level: int = 0
    guard: Guard | None = None
    is_last: bool = False


@dataclass
class Found:
    """What was found in a piece of code.

    Attributes:
        imports: the names that are imported.
        lines: what is given to a shell or to a magic.
        cells: cell magics that are run by a call: line, name, text, body.
        paths: directories in which modules are looked for, relative to the code's own.
    """

    imports: list[Import] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    cells: list[tuple[int, str, str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


class _Where(NamedTuple):
    """Which guard a statement has."""

    guard: Guard | None = None
    is_last: bool = False


# Who catches one of these goes on when an import fails.
_CAUGHT = frozenset({"BaseException", "Exception", "ImportError", "ModuleNotFoundError"})
# What code asks to know where it runs.
_SURROUNDINGS = (
    *("sys.version_info", "sys.platform", "sys.implementation", "os.name"),
    *("platform.system", "platform.python_version", "find_spec"),
)
_SUBPROCESS = ("call", "check_call", "check_output", "getoutput", "run", "Popen")
_SHELL_CALLS = frozenset(
    {"os.system", "os.popen", "get_ipython().system", "get_ipython().getoutput"}
    | {f"subprocess.{name}" for name in _SUBPROCESS}
)
_PATH_CALLS = frozenset({"sys.path.append", "sys.path.extend", "sys.path.insert"})
_DIRECTORY_CALLS = frozenset({"os.chdir", "site.addsitedir"})


def imports_of(tree: ast.Module, file: str = "") -> Found:
    """All that a piece of code imports.

    Args:
        tree: its syntax.
        file: what its ``__file__`` is, relative to the directory that paths are relative to.
    """
    found = Found()
    # A list of statements at a time, so that a chain of elif may be as long as it likes.
    todo: deque[tuple[Iterable[ast.AST], _Where]] = deque([(tree.body, _Where())])
    while todo:
        nodes, where = todo.popleft()
        for node in nodes:
            if isinstance(node, ast.expr):
                _read_calls(node, where, file, found)
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                found.imports += [Import(name, node.lineno, 0, *where) for name in names]
            elif isinstance(node, ast.ImportFrom):
                found.imports += _of_from(node, where)
            else:
                if isinstance(node, (ast.Assign, ast.AugAssign)):
                    _read_assignment(node, file, found)
                todo += _inside(node, where)
    found.imports.sort(key=lambda each: each.line)
    return found


def _of_from(node: ast.ImportFrom, where: _Where) -> Iterator[Import]:
    module = node.module or ""
    for alias in node.names:
        # Of a star nobody knows what it is.
        parts = [module, "" if alias.name == "*" else alias.name]
        yield Import(".".join(filter(None, parts)), node.lineno, node.level, *where)


def _inside(node: ast.AST, where: _Where) -> Iterator[tuple[Iterable[ast.AST], _Where]]:
    """What stands inside a statement, each part with its guard."""
    if isinstance(node, ast.If):
        yield [node.test], where
        yield from _of_if(node, where)
    elif type(node).__name__ in ("Try", "TryStar"):
        # Python 3.10 knows one of them; they have the same fields.
        yield from _of_try(cast(ast.Try, node), where)
    elif isinstance(node, (ast.With, ast.AsyncWith)) and any(map(_suppresses, node.items)):
        yield node.body, _Where(where.guard or Guard(), where.is_last)
    else:
        for _, value in ast.iter_fields(node):
            if isinstance(value, ast.AST):
                yield [value], where
            elif isinstance(value, list):
                yield [x for x in value if isinstance(x, ast.AST)], where


def _of_if(node: ast.If, where: _Where) -> Iterator[tuple[Iterable[ast.AST], _Where]]:
    if _is_for_types(node.test):
        yield node.orelse, where
        return
    if isinstance(node.test, ast.UnaryOp) and _is_for_types(node.test.operand):
        yield node.body, where
        return
    if _asks_for_surroundings(node.test):
        where = _Where(where.guard or Guard(), where.is_last)
    yield node.body, where
    yield node.orelse, where


def _is_for_types(test: ast.expr) -> bool:
    """Whether it is only true for who looks at types."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return any(map(_is_for_types, test.values))
    return _dotted(test).rpartition(".")[2] == "TYPE_CHECKING"


def _asks_for_surroundings(test: ast.expr) -> bool:
    asked = (
        _dotted(node) for node in ast.walk(test) if isinstance(node, (ast.Attribute, ast.Name))
    )
    return any(name.endswith(_SURROUNDINGS) for name in asked)


def _of_try(node: ast.Try, where: _Where) -> Iterator[tuple[Iterable[ast.AST], _Where]]:
    catching = [handler for handler in node.handlers if _catches(handler)]
    others = [handler.body for handler in node.handlers if handler not in catching]
    for body in (node.finalbody, *others):
        yield body, where
    if not catching or any(map(_gives_up, catching)):
        for body in (node.body, node.orelse, *(x.body for x in catching)):
            yield body, where
        return
    last = next((x for x in reversed(catching) if _imports_anything(x.body)), None)
    guard = where.guard or Guard()
    # Inside of the last resort of another guard, this is its last resort.
    is_last = where.is_last or where.guard is None
    for body in (node.body, node.orelse):
        yield body, _Where(guard, where.is_last and last is None)
    for handler in catching:
        yield handler.body, _Where(guard, is_last and handler is last)


def _catches(handler: ast.ExceptHandler) -> bool:
    """Whether an import that fails comes to it."""
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(_dotted(kind).rpartition(".")[2] in _CAUGHT for kind in kinds)


def _gives_up(handler: ast.ExceptHandler) -> bool:
    """Whether the code ends there after all."""
    calls = [x.value for x in handler.body if isinstance(x, ast.Expr)]
    names = {_dotted(call.func) for call in calls if isinstance(call, ast.Call)}
    return bool(names & {"sys.exit", "exit", "quit", "os._exit"}) or any(
        isinstance(statement, ast.Raise) for statement in handler.body
    )


def _imports_anything(body: Sequence[ast.stmt]) -> bool:
    return any(
        isinstance(node, (ast.Import, ast.ImportFrom)) or _imported_by(node)
        for statement in body
        for node in ast.walk(statement)
    )


def _suppresses(item: ast.withitem) -> bool:
    call = item.context_expr
    if not isinstance(call, ast.Call) or _dotted(call.func).rpartition(".")[2] != "suppress":
        return False
    return any(_dotted(kind).rpartition(".")[2] in _CAUGHT for kind in call.args)


# --- calls --------------------------------------------------------------------------------------


def _read_calls(expression: ast.expr, where: _Where, file: str, found: Found) -> None:
    for node in ast.walk(expression):
        if not isinstance(node, ast.Call):
            continue
        if name := _imported_by(node):
            found.imports.append(Import(name, node.lineno, 0, *where))
            continue
        called, texts = _dotted(node.func), [_text(x) for x in node.args]
        first = texts[0] if texts else None
        if called in _PATH_CALLS or called in _DIRECTORY_CALLS:
            found.paths += [path for x in node.args for path in _paths(x, file)]
        elif called in _SHELL_CALLS and node.args:
            told = first if first is not None else _words(node.args[0])
            found.lines += [Line(node.lineno, "", told)] if told else []
        elif called == "get_ipython().magic" and first is not None:
            name, _, rest = first.removeprefix("%").partition(" ")
            found.lines.append(Line(node.lineno, name, rest.strip()))
        elif called == "get_ipython().run_line_magic" and first is not None:
            found.lines.append(Line(node.lineno, first, (texts[1:] or [""])[0] or ""))
        elif called == "get_ipython().run_cell_magic" and first is not None and len(texts) == 3:
            found.cells.append((node.lineno, first, texts[1] or "", texts[2] or ""))


def _imported_by(node: ast.AST) -> str:
    """The module that a call imports by its literal name; empty for none."""
    if not isinstance(node, ast.Call):
        return ""
    called = _dotted(node.func)
    if called != "__import__" and called.rpartition(".")[2] != "import_module":
        return ""
    given = [*node.args[:1], *(x.value for x in node.keywords if x.arg == "name")]
    name = _text(given[0]) if given else None
    is_name = name is not None and all(part.isidentifier() for part in name.split("."))
    return name if name is not None and is_name else ""


def _dotted(node: ast.AST) -> str:
    """A name with its dots, as it stands there; empty for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        parts.append(f"{node.func.id}()")
    elif isinstance(node, ast.Name):
        parts.append(node.id)
    else:
        return ""
    return ".".join(reversed(parts))


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _words(node: ast.expr) -> str:
    """The words of a literal list as a line for a shell; what is not literal keeps its name."""
    if not isinstance(node, (ast.List, ast.Tuple)):
        return ""
    words = (_text(x) if _text(x) is not None else f"{{{_dotted(x)}}}" for x in node.elts)
    return " ".join(f"'{word}'" if " " in str(word) else str(word) for word in words)


def _read_assignment(node: ast.Assign | ast.AugAssign, file: str, found: Found) -> None:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if any(_dotted(target) == "sys.path" for target in targets):
        values = [x for x in ast.walk(node.value) if isinstance(x, ast.List)]
        found.paths += [path for value in values for path in _paths(value, file)]


def _paths(node: ast.expr, file: str) -> list[str]:
    nodes = node.elts if isinstance(node, (ast.List, ast.Tuple)) else [node]
    found = [_path(each, file) for each in nodes]
    return [path for path in found if path is not None]


_SAME = frozenset({"Path", "PosixPath", "abspath", "expanduser", "fspath", "normpath", "realpath"})

_SAME_BY_METHOD = frozenset({"absolute", "as_posix", "expanduser", "resolve"})


def _path(node: ast.expr, file: str) -> str | None:
    """A path that is written with literals, and how it is usually put together; None for others."""
    if (text := _text(node)) is not None:
        return text
    name = _dotted(node)
    known = {"__file__": file, "os.pardir": "..", "os.curdir": "."}
    if name in known:
        return known[name]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _joined([_path(node.left, file), _path(node.right, file)])
    if isinstance(node, ast.Attribute) and node.attr == "parent":
        return _parent(_path(node.value, file))
    return _path_of_call(node, file) if isinstance(node, ast.Call) else None


def _path_of_call(node: ast.Call, file: str) -> str | None:
    called = _dotted(node.func).rpartition(".")[2]
    if called in ("cwd", "getcwd") and not node.args:
        return "."
    if called in ("join", *_SAME, "str") and node.args:
        return _joined([_path(each, file) for each in node.args])
    if called == "dirname" and node.args:
        return _parent(_path(node.args[0], file))
    if isinstance(node.func, ast.Attribute) and node.func.attr in _SAME_BY_METHOD:
        return _path(node.func.value, file)
    return None


def _joined(parts: Sequence[str | None]) -> str | None:
    known = [part for part in parts if part is not None]
    return posixpath.join(*known) if known and len(known) == len(parts) else None


def _parent(path: str | None) -> str | None:
    if path is None:
        return None
    return posixpath.normpath(posixpath.join(path, "..")) if path else ".."
