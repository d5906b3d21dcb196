"""A kernel that is there before JupyterLab, and one that stays when JupyterLab has gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from attached import Attached, by_hand, client_of, printed
from bed import Bed, wait_until
from e2e.lab import Lab, address, browser, server, write_settings
from frontend import Person, Site, add_kernel, remote_kernels
from sshd.test_keep import ps

pytestmark = pytest.mark.needs("chromium")

# What a person's own JupyterLab is told by its configuration.
CONFIG = {
    "ServerApp": {"open_browser": False, "ip": "127.0.0.1", "port": 0},
    "IdentityProvider": {"token": "known"},
    "LabApp": {
        "extension_manager": "readonly",
        "news_url": None,
        "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    },
}
# A cell that goes on when a file is there, and removes it.
SIGN = "/home/ada/go-on"
WAITING = f"""\
import os, time

print("begun")
while not os.path.exists("{SIGN}"):
    time.sleep(0.05)
os.remove("{SIGN}")
"""


@pytest.fixture
def go_on(bed: Bed) -> Iterator[Callable[[], object]]:
    """Let the cell that waits go on; no test finds the file of another that has failed."""
    yield lambda: bed.far.run(["touch", SIGN], user="ada")
    bed.far.run(["rm", "-f", SIGN])


# --- a kernel of somebody else's ------------------------------------------------------------------


@pytest.fixture
def log(jupyter: None, tmp_path: Path) -> Path:
    """What a JupyterLab that the command starts writes."""
    write_settings()
    path = Path(os.environ["JUPYTER_CONFIG_DIR"], "jupyter_server_config.json")
    path.write_text(json.dumps(CONFIG))
    log = tmp_path / "server.log"
    log.touch()
    return log


@pytest.fixture
def hers(bed: Bed) -> Iterator[None]:
    """A kernel that ada has started on her own, and in which she has set a variable."""
    with by_hand(bed):
        with Attached() as attached, client_of(attached.file) as client:
            printed(client, "here = 41")
        yield


def servers(bed: Bed) -> list[str]:
    return [x.args for x in bed.laptop.processes(user="mia") if "/jupyter-lab " in x.args]


def wait_for_one_server(bed: Bed) -> None:
    """A program that it starts looks like itself for a moment (fork)."""
    wait_until(lambda: len(servers(bed)) == 1, 10, "one server")


def test_a_running_kernel_is_chosen_in_a_lab_that_ctrl_c_ends(
    bed: Bed, hers: None, log: Path, go_on: Callable[[], object], tmp_path: Path
) -> None:
    command = (sys.executable, "-m", "remote_kernels", "attach", "ada@far", "--lab")
    person = Person("sh", "-c", 'exec "$@" >"$0" 2>&1', str(log), *command)
    url = f"{address(log)}?token=known"
    with browser(tmp_path / "chromium") as chrome:
        lab = Lab(chrome, url)
        lab.open()
        lab.open_notebook("Python 3 (ipykernel)")
        assert lab.value("__import__('platform').node()") == "'laptop'"
        lab.select_kernel("by hand", runs=True)
        assert lab.value("__import__('platform').node(), here + 1") == "('far', 42)"
        cell = lab.begin(f"{WAITING}here += 1")
        wait_until(lambda: lab.output(cell) == "begun", 30, "the cell to begin")
    wait_for_one_server(bed)
    person.presses("c")
    wait_until(lambda: "Shut down this Jupyter server" in log.read_text(), 10, "its question")
    person.types("y")
    assert person.end()[0] == 0
    assert "Attached to kernel hand (by hand)." in log.read_text()
    assert not servers(bed)
    # Nor is a cell disturbed.
    go_on()
    with Attached() as attached, client_of(attached.file) as client:
        assert printed(client, "print(here)") == "42\n"


@contextmanager
def lab(log: Path) -> Iterator[str]:
    """A JupyterLab that the command has started, and that ends with it; its address."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "remote_kernels", "attach", "ada@far", "--lab"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield address(log)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_the_end_of_the_command_is_that_of_its_lab(bed: Bed, hers: None, log: Path) -> None:
    with lab(log):
        wait_for_one_server(bed)
    assert not servers(bed)
    with Attached() as attached, client_of(attached.file) as client:
        assert printed(client, "print(here)") == "41\n"


@pytest.mark.parametrize("name", [None, ""], ids=["none", "empty"])
def test_a_kernel_without_a_name_is_listed(bed: Bed, log: Path, name: str | None) -> None:
    """JupyterLab lists none whose file has no name; VS Code may write an empty one."""
    with by_hand(bed, kernel_name=name), lab(log) as url:
        kernels = f"{url.removesuffix('/lab')}/api/kernels?token=known"

        def listed() -> list[str]:
            try:
                with urlopen(kernels, timeout=10) as answer:
                    return [kernel["name"] for kernel in json.load(answer)]
            except URLError:
                # It told its address a moment before it listens.
                return []

        wait_until(listed, 20, "a kernel in the list")
        assert listed() == ["kernel-hand"]


# --- a kernel that stays --------------------------------------------------------------------------


@pytest.fixture
def kept(site: Site) -> Iterator[str]:
    """How a kernelspec whose kernels stay is shown; none is left by a test that has failed."""
    add_kernel(site, "--keep", name="Python 3")
    yield "SSH ada@far Python 3"
    for kernel in ps():
        remote_kernels("stop", kernel["id"], "--on", "ada@far")


def test_another_lab_finds_the_kernel_and_what_it_has_printed(
    site: Site, kept: str, go_on: Callable[[], object], tmp_path: Path
) -> None:
    with browser(tmp_path / "chromium") as chrome:
        with server(tmp_path / "first.log") as url:
            lab = Lab(chrome, url)
            lab.open()
            lab.open_notebook(kept)
            pid = lab.value("here = 41; __import__('os').getpid()")
            cell = lab.begin(f"{WAITING}print('printed ' + 'meanwhile')")
            wait_until(lambda: lab.output(cell) == "begun", 30, "the cell to begin")
            lab.menu("Kernel", "Shut Down Kernel")
            lab.wait_for_kernel("No Kernel", "Unknown")
        (found,) = ps()
        assert (found["line"], found["state"]) == ("away", "busy")
        go_on()
        wait_until(lambda: ps()[0]["state"] == "idle", 20, "the end of the cell")
        with server(tmp_path / "second.log") as url:
            lab = Lab(chrome, f"{url}&reset")
            lab.open()
            lab.open_notebook(kept)
            shown = lab.value("here + 1, __import__('os').getpid()")
            assert "printed while nobody was here" in shown
            assert "printed meanwhile" in shown
            assert shown.endswith(f"(42, {pid})")
            assert lab.value("here") == "41"
    (found,) = ps()
    assert found["line"] == "away"
    remote_kernels("stop", found["id"], "--on", "ada@far")
    assert not ps()
    wait_until(lambda: not site.kernels(), 5, "the kernel's end")
    wait_until(lambda: not site.connection_files(), 5, "the connection file's end")
