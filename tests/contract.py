"""A kernel's life, written once: every interface imports these tests and says where it leads.

The fixture ``site`` is the interface's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import wait_until
from frontend import IPYKERNEL, Kernel, Site, add_kernel, log_text

# These names are the tests'; a module that imports them gets the fixture, too.
__all__ = [
    "kernel",
    "test_a_cell_runs_over_there",
    "test_a_dead_kernel_ends_the_launcher_with_its_last_words",
    "test_a_killed_jupyter_leaves_nothing",
    "test_a_killed_kernel_ends_the_launcher",
    "test_a_killed_launcher_leaves_nothing",
    "test_a_large_output_arrives_whole",
    "test_a_restart_keeps_the_connection_file_ten_times",
    "test_a_shutdown_ends_it_in_order",
    "test_an_interrupt_ends_the_cell_and_nothing_else",
    "test_an_interrupt_reaches_what_the_cell_has_started",
    "test_an_interrupt_while_starting_does_nothing",
    "test_input_is_asked_for",
    "test_jupyters_variables_stay_here",
    "test_sigterm_ends_it_in_order",
    "test_the_copy_is_private_and_goes_with_the_kernel",
    "test_the_log_is_private_and_holds_no_key",
]

# A cell that would run for ever.
FOR_EVER = "import time\nwhile True: time.sleep(0.1)"


@pytest.fixture
def kernel(site: Site, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel that is ready."""
    with Kernel(add_kernel(site), tmp_path) as running:
        yield running


def test_a_cell_runs_over_there(kernel: Kernel, site: Site) -> None:
    assert kernel.value("__import__('platform').node()") == site.machine.name
    assert kernel.value("__import__('getpass').getuser()") == site.user
    assert "ZeroDivisionError" in kernel.run("1/0").content["ename"]


def test_jupyters_variables_stay_here(kernel: Kernel) -> None:
    assert kernel.value("[name for name in __import__('os').environ if 'JPY' in name]") == []


def test_input_is_asked_for(kernel: Kernel) -> None:
    message_id = kernel.client.execute("print(input('how many? '))", allow_stdin=True)
    question = kernel.client.get_stdin_msg(timeout=20)
    assert question["content"]["prompt"] == "how many? "
    kernel.client.input("42")
    assert kernel.reply_to(message_id)["status"] == "ok"


def test_a_large_output_arrives_whole(kernel: Kernel) -> None:
    reply = kernel.run("print('0123456789abcdef' * (1 << 18))", timeout=60)
    assert reply.text == "0123456789abcdef" * (1 << 18) + "\n"


def test_the_copy_is_private_and_goes_with_the_kernel(kernel: Kernel, site: Site) -> None:
    (copy,) = site.connection_files()
    mode = site.machine.run(["stat", "-c", "%a %U", copy], user=site.user).stdout
    assert mode == f"600 {site.user}\n"
    over_there = json.loads(site.machine.run(["cat", copy], user=site.user).stdout)
    here = json.loads(Path(kernel.manager.connection_file).read_text())
    chosen_there = {n: here[n] for n in here if n.endswith("_port") or n in ("ip", "transport")}
    assert {**over_there, **chosen_there} == here
    kernel.manager.shutdown_kernel()
    assert not site.connection_files()


def test_the_log_is_private_and_holds_no_key(kernel: Kernel) -> None:
    key = json.loads(Path(kernel.manager.connection_file).read_text())["key"]
    kernel.run(f"import os; os.write(1, b'the key is {key}\\n')")
    directory = Path(os.environ["XDG_STATE_HOME"]) / "remote-kernels/log"
    (log,) = directory.iterdir()
    wait_until(lambda: "the key is [key]" in log.read_text(), 20, "the line in the log")
    assert log.parent.stat().st_mode & 0o077 == 0
    assert key not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_an_interrupt_ends_the_cell_and_nothing_else(kernel: Kernel) -> None:
    kernel.run("precious = 42")
    for _ in range(2):
        cell = kernel.begin(FOR_EVER)
        kernel.signal_launcher(signal.SIGINT)
        assert kernel.reply_to(cell)["ename"] == "KeyboardInterrupt"
    kernel.begin(FOR_EVER)
    kernel.signal_launcher(signal.SIGINT)
    kernel.signal_launcher(signal.SIGINT)

    def precious() -> bool:
        # A request, or a reply, that an interrupt meets on its way is dropped by ipykernel.
        with contextlib.suppress(TimeoutError):
            return bool(kernel.value("precious", timeout=3) == 42)
        return False

    wait_until(precious, 20, "the variable")
    # An idle kernel has nothing to interrupt.
    kernel.signal_launcher(signal.SIGINT)
    wait_until(precious, 20, "the variable")
    assert kernel.launcher.poll() is None


def test_an_interrupt_reaches_what_the_cell_has_started(kernel: Kernel, site: Site) -> None:
    cell = kernel.begin("import subprocess\nsubprocess.run(['sleep', '4711'])")

    def sleeps() -> list[str]:
        return [x.args for x in site.machine.processes(user=site.user) if x.args == "sleep 4711"]

    wait_until(sleeps, 10, "the process of the cell")
    kernel.signal_launcher(signal.SIGINT)
    assert kernel.reply_to(cell)["status"] == "error"
    wait_until(lambda: not sleeps(), 20, "the end of the process of the cell")


def test_an_interrupt_while_starting_does_nothing(site: Site, tmp_path: Path) -> None:
    kernel = Kernel(add_kernel(site), tmp_path)
    kernel.start()
    # Python itself ends on a SIGINT before it has read our first statement.
    wait_until(log_text, 10, "the launcher to begin")

    def interrupted_and_up() -> bool:
        kernel.signal_launcher(signal.SIGINT)
        return "far side: UP" in log_text()

    wait_until(interrupted_and_up, 60, "the kernel to be up")
    kernel.wait_for_ready()
    assert kernel.value("6 * 7") == 42
    kernel.__exit__(None, None, None)


def test_a_shutdown_ends_it_in_order(kernel: Kernel, site: Site) -> None:
    assert kernel.shut_down() == 0
    assert not site.kernels()
    assert not site.connection_files()
    assert kernel.stderr() == ""


def test_sigterm_ends_it_in_order(kernel: Kernel, site: Site) -> None:
    os.kill(kernel.launcher.pid, signal.SIGTERM)
    assert kernel.launcher_status(timeout=5) == 128 + signal.SIGTERM
    assert not site.kernels()
    assert not site.connection_files()


def test_a_restart_keeps_the_connection_file_ten_times(kernel: Kernel, site: Site) -> None:
    here = Path(kernel.manager.connection_file).read_text()
    pids = {kernel.value("__import__('os').getpid()")}
    for number in range(10):
        kernel.run(f"before = {number}")
        kernel.restart()
        pids.add(kernel.value("__import__('os').getpid()"))
        assert kernel.value("'before' in globals()") is False
        assert len(site.kernels()) == 1
    assert len(pids) == 11
    assert Path(kernel.manager.connection_file).read_text() == here


def test_a_dead_kernel_ends_the_launcher_with_its_last_words(site: Site, tmp_path: Path) -> None:
    # What ipykernel itself prints in its last moments goes to the notebook, or nowhere.
    command = IPYKERNEL.format(python=site.python) + " || { echo last words >&2; exit 3; }"
    with Kernel(add_kernel(site, kernel_cmd=command), tmp_path) as kernel:
        no_core = "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
        kernel.client.execute(f"{no_core}; os.abort()")
        assert kernel.launcher_status(timeout=5) == 26
        assert "remote-kernels: the kernel ended with status 3." in kernel.stderr()
        assert "  said:  last words" in kernel.stderr()
        assert not site.connection_files()


def test_a_killed_kernel_ends_the_launcher(kernel: Kernel, site: Site) -> None:
    pid = kernel.value("__import__('os').getpid()")
    site.machine.run(["kill", "-KILL", str(pid)], user=site.user)
    assert kernel.launcher_status(timeout=5) == 26
    assert "remote-kernels: the kernel ended with status 137 (SIGKILL)." in kernel.stderr()
    assert not site.connection_files()


def test_a_killed_launcher_leaves_nothing(kernel: Kernel, site: Site) -> None:
    kernel.begin(FOR_EVER)
    kernel.kill_launcher()
    wait_until(lambda: not site.kernels(), 15, "the kernel's end")
    wait_until(lambda: not site.connection_files(), 15, "the connection file's end")


JUPYTER = """
    import sys, time
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name=sys.argv[1])
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    print(manager.provisioner.process.pid, flush=True)
    time.sleep(600)
"""


def test_a_killed_jupyter_leaves_nothing(site: Site) -> None:
    jupyter = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(JUPYTER), add_kernel(site)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert jupyter.stdout
    launcher = int(jupyter.stdout.readline())
    assert len(site.kernels()) == 1
    jupyter.kill()
    jupyter.wait()
    jupyter.stdout.close()
    wait_until(lambda: not site.kernels(), 15, "the kernel's end")
    wait_until(lambda: not Path(f"/proc/{launcher}").exists(), 15, "the launcher's end")
    assert not site.connection_files()
