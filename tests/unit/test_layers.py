"""Who may import what: the floors of the program, read from its syntax trees."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import remote_kernels

PACKAGE = "remote_kernels"
ROOT = Path(remote_kernels.__file__).parent

# A module imports from floors below its own only; those of one package also from each other.
FLOORS = (
    {
        "",
        "answers",
        "asleep",
        "channel",
        "check_probe",
        "distributions",
        "import_names",
        "install_commands",
        "ipython_code",
        "lines",
        "login_shell",
        "missed",
        "namespaces",
        "processes",
        "steps",
        "turn",
        "zmtp",
    },
    {"errors", "imports", "login_environment"},
    {
        *("running", "survey", "tree"),
        *("carrier", "connection_file", "hosts", "network", "options"),
        *("keys", "tunnel_notes"),
        *("private_directory", "resources", "shell_text", "spool"),
        *("local_environment", "sources"),
        *("shared_login", "ssh_connection", "surroundings", "trace", "wakeups"),
    },
    {
        *("far_environment", "keeper", "kernel_environment", "kernel_log", "requirements"),
        *("servers", "translator"),
    },
    {
        "new_environment",
        "requirement_formats",
        "askpass",
        "key_script",
        "questions",
        "queue_script",
        "remote_script",
        "socket_keeper",
        "tunnel_script",
        "way",
        "way_back",
    },
    {
        "command_keeper",
        "interfaces",
        "keeper_text",
        "kernel_keeper",
        "refusals",
        "server_keeper",
        "session",
        "visiting_keeper",
    },
    {"holding", "kept_kernels", "life", "node_forwards"},
    {"allocation", "following", "keeper_order", "kept_kernel", "way_in"},
    {"errand", "kept_channel", "plain_kernel", "spare"},
    {"kept_life", "shell_errand", "sync"},
    {
        *("copy_id", "front_ends", "kept_job", "kernelspecs", "profiles", "reverse"),
        "standing_login",
    },
    {"reverse_service", "staying_job", "visit", "whereabouts"},
    {"launcher"},
    {"attach", "check", "discovery", "lab", "report"},
    {"demo", "installation"},
    {"mirror"},
    {"cli"},
    {"__main__"},
)

# Where else the start of a kernel would pay for them, or two places would know of one thing.
ONLY_IN = {
    "asyncio": {"demo"},
    "asyncssh": {"demo"},
    "click": {"cli"},
    "jupyter_client": {"attach", "check", "demo", "kernelspecs"},
    "jupyter_core": {"attach", "demo", "kernelspecs", "lab"},
    "logging": set(),
    "packaging": {"installation", "local_environment", "requirements"},
    "pathspec": {"sync"},
    "pexpect": {"session"},
    "platformdirs": {"kernel_log", "profiles", "sync", "tunnel_notes"},
    "rich": {"cli"},
    "tomlkit": {"profiles"},
    "zmq": {"front_ends", "translator"},
    "subprocess": {
        "askpass",
        "attach",
        "check",
        "demo",
        "far_environment",
        "following",
        "keys",
        "local_environment",
        "questions",
        "login_environment",
        "report",
        "reverse_service",
        "spare",
        "ssh_connection",
        "survey",
        "sync",
    },
    "watchfiles": {"sync"},
}

INTERFACES_MAY_USE = {
    *("", "errors", "hosts", "options", "resources", "shell_text", "way"),
    *("interfaces.base", "interfaces.scheduler", "kernel_environment"),
}
# An interface builds commands and reads texts; it looks at no machine and starts nothing.
INTERFACES_MAY_USE_OF_PYTHON = {
    *("__future__", "collections.abc", "dataclasses", "datetime", "pathlib", "re", "shlex"),
    "typing",
}

NOT_BEFORE_THE_SESSION = (
    *("asyncio", "asyncssh", "click", "jupyter_client", "jupyter_core"),
    *("logging", "pathspec", "platformdirs", "rich", "tomlkit", "watchfiles"),
    # Python 3.10's own uuid imports it.
    *(("subprocess",) if sys.version_info >= (3, 11) else ()),
)


def module_name(path: Path) -> str:
    """The name of a module without the package's: "" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}".removeprefix(f"{PACKAGE}.")
                yield f"{PACKAGE}.{inside}" if inside in MODULES else str(node.module)


def ours(path: Path) -> Iterator[str]:
    """The modules of the program that a file imports, by their short names."""
    for name in imported(path):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            yield name.removeprefix(PACKAGE).removeprefix(".")


def top(name: str) -> str:
    """The module or package right below the program's own."""
    return name.partition(".")[0]


def floor(name: str) -> int:
    """The number of a module's floor."""
    (found,) = [number for number, names in enumerate(FLOORS) if top(name) in names]
    return found


def test_each_module_has_a_floor() -> None:
    assert {top(name) for name in MODULES} == set().union(*FLOORS)


def test_the_map_shows_them() -> None:
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown: dict[str, str] = {}
    number = ""
    for row in text.partition("| floor | module |")[2].partition("\n\n")[0].splitlines()[2:]:
        _, number_or_none, module, *_ = (cell.strip() for cell in row.split("|"))
        number = number_or_none or number
        shown[top(module.split("`")[1])] = number
    assert shown == {top(name): str(floor(name)) for name in MODULES if name}


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_downward(name: str) -> None:
    wrong = [
        other
        for other in ours(MODULES[name])
        if floor(other) >= floor(name) and top(other) != top(name)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", [name for name in MODULES if top(name) == "interfaces"])
def test_an_interface_knows_no_other(name: str) -> None:
    assert set(ours(MODULES[name])) <= INTERFACES_MAY_USE


def test_what_an_interface_is_does_not_know_schedulers() -> None:
    assert "interfaces.scheduler" not in set(ours(MODULES["interfaces.base"]))


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("interfaces.")])
def test_an_interface_is_pure(name: str) -> None:
    others = {found for found in imported(MODULES[name]) if top(found) != PACKAGE}
    assert others <= INTERFACES_MAY_USE_OF_PYTHON


@pytest.mark.parametrize("package", ONLY_IN)
def test_who_may_use_it(package: str) -> None:
    users = {top(name) for name, path in MODULES.items() if package in map(top, imported(path))}
    assert users <= ONLY_IN[package]


# What is in memory in the moment in which the launcher would start ssh.
BEFORE_THE_SESSION = """
import json, sys
import remote_kernels.session

class Spawned(BaseException): pass

def session(argv, questions):
    print(json.dumps([argv[0], sorted(name for name in sys.modules if "." not in name)]))
    raise Spawned

remote_kernels.session.Session = remote_kernels.session.PipeSession = session
try:
    from remote_kernels import launcher
    launcher.launch(sys.argv[1:])
except Spawned:
    pass
"""


@pytest.mark.parametrize(
    ("options", "program"),
    [
        (["--interface=ssh", "--host=gpu"], "ssh"),
        (["--interface=local"], "/bin/sh"),
        (["--interface=slurm"], "/bin/sh"),
        (["--interface=sge", "--tunnel-hosts", "gate", "login", "--verbose"], "ssh"),
    ],
)
def test_the_session_does_not_wait_for_imports(
    tmp_path: Path, options: list[str], program: str
) -> None:
    names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    connection_file = tmp_path / "kernel-1.json"
    connection_file.write_text(json.dumps({name: 50000 + n for n, name in enumerate(names)}))
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_THE_SESSION, *options, str(connection_file)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout, done.stderr
    spawned, modules = json.loads(done.stdout)
    assert spawned == program
    assert set(NOT_BEFORE_THE_SESSION) & set(modules) == set()
