"""Every program that is sent to the far side, under every Python that it may find there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from remote_kernels import discovery, installation, keeper_text, lab, mirror, whereabouts
from remote_kernels.keeper_text import start_of_program
from remote_kernels.shell_text import BOOTSTRAP
from remote_kernels.sync import place
from unit.test_keeper import PYTHONS

PROGRAMS = {
    **keeper_text._MODULES_OF,
    "discovery": discovery.MODULES,
    "installation": installation.MODULES,
    "mirror": mirror.MODULES,
    "whereabouts": whereabouts.MODULES,
    "lab": lab.MODULES,
    "sync": place.MODULES,
}


def said(python: str, modules: tuple[str, ...], call: str, home: Path) -> str:
    """What a program says that ends with these lines."""
    done = subprocess.run(
        ["/bin/sh", "-c", BOOTSTRAP],
        input=b"".join(start_of_program(modules, call, "@mark")),
        env={"PATH": f"{python}:/usr/bin:/bin", "HOME": str(home)},
        capture_output=True,
        timeout=60,
    )
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.mark.parametrize("python", ["/usr/bin", *map(str, PYTHONS)], ids=os.path.basename)
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_can_be_run(program: str, python: str, tmp_path: Path) -> None:
    assert said(python, tuple(PROGRAMS[program]), "print('fine')", tmp_path) == "fine\n"


# We are there already, but not everybody may do so.
MAKES_A_SOCKET = """
import os, socket
try:
    with socket_inside(os.getpid(), socket.AF_INET) as made:
        made.bind(("127.0.0.1", 0))
except OSError as error:
    assert str(error) == "Operation not permitted", error
assert not has_own_network(os.getpid())
print("fine")
"""


@pytest.mark.parametrize("python", ["/usr/bin", *map(str, PYTHONS)], ids=os.path.basename)
def test_a_socket_is_made_in_a_network(python: str, tmp_path: Path) -> None:
    assert said(python, PROGRAMS["Visit"], MAKES_A_SOCKET, tmp_path) == "fine\n"


# All that is done to a directory over there.
CHANGES_A_TREE = """
root, _ = next(start("~/d", True))
assert next(program(root, "sh", "-c", False))[0].endswith("/sh")
assert next(program(root, "no-such-program", "", True)) == ["", ""]
first = begin(root, "x"), next(free(root))
assert list(first[0]) == [[]]
open(root + "/.remote-kernels-partial-x/files/a", "w").close()
file = facts(_as_bytes(root + "/.remote-kernels-partial-x/files/a"))
link = ["link", 0, 10**18, 0, "a"]
(made,) = make(root, [["e", 0o755]])
(placed,) = place(root, "x", [["a", file, None, False], ["e/l", link, None, False]])
(kept,) = keep_beside(root, [["a", placed[0][2], "b"]])
(changed,) = set_facts(root, [["b", kept[0][3], 0o600, 10**18]])
(removed,) = remove(root, [["e/l", placed[1][2]], ["e", made[0][2]]])
done = [*made, *placed, *kept, *changed, *removed]
assert [row[1] for row in done] == [""] * 7, done
list(end(root, "x", True))
((_, rows, _),) = look(root, [""], [])
print(sorted(name for name, _ in rows), len(next(digests(root, ["a"]))[1]), os.getcwd() != root)
"""


@pytest.mark.parametrize("python", ["/usr/bin", *map(str, PYTHONS)], ids=os.path.basename)
def test_a_tree_is_changed(python: str, tmp_path: Path) -> None:
    call = f"from remote_kernels.tree import _as_bytes\nimport os\n{CHANGES_A_TREE}"
    assert said(python, tuple(place.MODULES), call, tmp_path) == "['a', 'b'] 40 True\n"


@pytest.mark.parametrize("python", ["/usr/bin", *map(str, PYTHONS)], ids=os.path.basename)
def test_kernels_are_looked_for(python: str, tmp_path: Path) -> None:
    runtime = tmp_path / ".local/share/jupyter/runtime"
    runtime.mkdir(parents=True)
    ports = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    numbers = ", ".join(f'"{port}": {number}' for number, port in enumerate(ports, 1))
    file = runtime / "kernel-1.json"
    file.write_text(f'{{"transport": "ipc", "ip": "{tmp_path}/k", {numbers}}}')
    call = "print([(x['file'], x['stale']) for x in next(kernels()) if not x['ours']])"
    found = said(python, tuple(whereabouts.MODULES), call, tmp_path)
    assert f"({str(file)!r}, True)" in found


@pytest.mark.parametrize("python", ["/usr/bin", *map(str, PYTHONS)], ids=os.path.basename)
def test_servers_are_looked_for(python: str, tmp_path: Path) -> None:
    runtime = tmp_path / ".local/share/jupyter/runtime"
    runtime.mkdir(parents=True)
    call = f"""
import json, os, socket
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
port = listener.getsockname()[1]
known = {{"pid": os.getpid(), "port": port, "hostname": "localhost", "root_dir": "/srv"}}
with open(f"{runtime}/jpserver-{{os.getpid()}}.json", "w") as file:
    json.dump(known, file)
(found,) = [x for x in next(servers("/srv")) if not x["ours"]]
print(found["pid"] == os.getpid(), found["address"] == ("127.0.0.1", port), found["here"])
"""
    assert said(python, tuple(lab.MODULES), call, tmp_path) == "True True True\n"
