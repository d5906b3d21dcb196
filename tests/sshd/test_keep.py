"""``--keep``: a kernel that stays when Jupyter ends it, and the way back to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bed import Bed, wait_until
from frontend import Kernel, Site, add_kernel, checked, kernels, remote_kernels
from remote_kernels.errors import ConnectionLostError, KernelStoppedError


@pytest.fixture
def spec(site: Site) -> Iterator[str]:
    """A kernelspec whose kernels stay; none is left after the test."""
    name = add_kernel(site, "--keep")
    yield name
    for kernel in ps():
        remote_kernels("stop", kernel["id"], "--on", "ada@far")
    wait_until(lambda: not site.kernels(), 10, "the end of all kernels")


def ps() -> list[dict[str, Any]]:
    """What ``ps`` tells programs of the kernels on ada's host."""
    return list(json.loads(remote_kernels("ps", "--json", "ada@far"))[0]["kernels"])


def test_the_way_back(bed: Bed, site: Site, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
        pid = kernel.value("__import__('os').getpid()")
        assert ps()[0]["line"] == "connected"
    assert kernel.launcher.wait(10) == 0
    (found,) = ps()
    assert (found["line"], found["state"]) == ("away", "idle")
    assert 6.9 * 86400 < found["lease_left"] <= 7 * 86400
    assert len(site.kernels()) == 1
    # As from another Jupyter: with a file and a key of its own.
    with Kernel(spec, tmp_path) as again:
        assert again.value("here") == 41
        assert again.value("__import__('os').getpid()") == pid
        assert [kernel["line"] for kernel in ps()] == ["connected"]
        assert again.interrupts_a_cell()
    assert again.launcher.wait(10) == 0
    with Kernel(spec, tmp_path) as third:
        assert third.value("here") == 41


def test_a_cell_goes_on_and_its_output_is_shown(spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.begin(
            "import time\n"
            "time.sleep(2)\n"
            "print('printed ' + 'meanwhile')\n"
            "from IPython.display import display\n"
            "display({'text/plain': 'shown'}, raw=True)"
        )
    wait_until(lambda: ps()[0]["state"] == "idle", 20, "the end of the cell")
    (found,) = ps()
    assert "printed meanwhile" in remote_kernels("output", found["id"], "--on", "ada@far")
    with Kernel(spec, tmp_path) as again:
        reply = again.run("print('now')")
        assert "printed while nobody was here" in reply.text
        assert "printed meanwhile\n" in reply.text
        assert reply.text.endswith("now\n")
        assert [output["data"] for output in reply.outputs] == [{"text/plain": "shown"}]
        assert again.run("print('now')").text == "now\n"


def test_a_restart_is_a_restart(site: Site, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
        kernel.restart()
        assert kernel.value("'here' in globals()") is False
        kernel.run("here = 42")
    with Kernel(spec, tmp_path) as again:
        assert again.value("here") == 42
        again.restart()
        assert again.value("'here' in globals()") is False
    assert len(site.kernels()) == 1


def test_a_kernel_that_is_slow_to_end_is_started_anew(
    site: Site, spec: str, tmp_path: Path
) -> None:
    # Jupyter loses its patience long before.
    slow = "import threading, time\nthreading.Thread(target=time.sleep, args=(20,)).start()"
    for _ in ("started", "come back to"):
        with Kernel(spec, tmp_path) as kernel:
            kernel.run(f"here = 41\n{slow}")
            kernel.restart()
            assert kernel.value("'here' in globals()") is False
    wait_until(lambda: len(site.kernels()) == 1, 10, "the end of all others")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_launcher_that_is_killed(spec: str, tmp_path: Path, signum: signal.Signals) -> None:
    kernel = Kernel(spec, tmp_path)
    kernel.start()
    kernel.wait_for_ready()
    kernel.run("here = 41")
    os.kill(kernel.launcher.pid, signum)
    kernel.launcher.wait()
    kernel.__exit__(None, None, None)
    wait_until(lambda: ps()[0]["line"] == "away", 20, "word of it")
    with Kernel(spec, tmp_path) as again:
        assert again.value("here") == 41


def test_what_was_missed_waits_for_the_first_cell(spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.begin("import time\ntime.sleep(2)\nprint('printed ' + 'meanwhile')")
    wait_until(lambda: ps()[0]["state"] == "idle", 20, "the end of the cell")
    with Kernel(spec, tmp_path):
        assert ps()[0]["line"] == "connected"
    assert "printed meanwhile" in remote_kernels("output", ps()[0]["id"], "--on", "ada@far")
    with Kernel(spec, tmp_path) as again:
        assert "printed meanwhile" in again.run("print('now')").text
        wait_until(lambda: not missed(), 10, "word that it was shown")


def missed() -> str:
    """What the one kernel has printed that was not shown yet."""
    return remote_kernels("output", ps()[0]["id"], "--on", "ada@far")


def test_a_cell_that_goes_on_beside_a_visitor(spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.begin("import time\ntime.sleep(4)\nprint('printed ' + 'late')")
    # It is ready when the cell has ended.
    with Kernel(spec, tmp_path) as again:
        assert [(found["line"], found["state"]) for found in ps()] == [("connected", "idle")]
        shown = again.run("print('now')").text
        wait_until(lambda: not missed(), 10, "word that it was shown")
        assert "printed late" in shown + again.run("print('now')").text


def test_a_way_back_that_is_lost(bed: Bed, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
    with Kernel(spec, tmp_path) as again:
        assert again.value("here") == 41
        again.launcher.send_signal(signal.SIGSTOP)
        try:
            bed.far.run(["pkill", "-KILL", "-u", "ada", "sshd"])
            wait_until(lambda: ps()[0]["line"] == "away", 60, "word of it")
            with Kernel(spec, tmp_path) as third:
                assert third.value("here") == 41
                again.launcher.send_signal(signal.SIGCONT)
                assert again.launcher_status(60) == ConnectionLostError.exit_code
                assert third.value("here") == 41
        finally:
            again.launcher.send_signal(signal.SIGCONT)


def test_two_that_come_back_at_once(site: Site, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
    with kernels(2, spec, tmp_path) as both:
        assert sorted(each.value("'here' in globals()") for each in both) == [False, True]
    assert len(site.kernels()) == 2


def test_a_kernel_that_is_stopped_after_the_way_back(spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
    with Kernel(spec, tmp_path) as again:
        remote_kernels("stop", ps()[0]["id"], "--on", "ada@far")
        # Jupyter is not to start it again.
        assert again.launcher_status(20) == KernelStoppedError.exit_code


def test_a_connection_file_that_somebody_has_removed(
    bed: Bed, site: Site, spec: str, tmp_path: Path
) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
    bed.far.run(["rm", *site.connection_files()])
    with Kernel(spec, tmp_path) as again:
        assert again.value("here") == 41


def test_two_notebooks_have_a_kernel_each(site: Site, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as one, Kernel(spec, tmp_path) as two:
        one.run("here = 1")
        assert two.value("'here' in globals()") is False
    assert len(site.kernels()) == 2


def test_another_directory_is_another_kernel(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with Kernel(spec, tmp_path) as other:
        assert other.value("'here' in globals()") is False


def test_a_check_leaves_a_kernel_alone(site: Site, spec: str, tmp_path: Path) -> None:
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("here = 41")
    assert checked(spec)["ok"]
    said = remote_kernels(
        *("manage", "--add", "--name", "There", "--language", "python"),
        *(*site.options, "--existing", "latest"),
    )
    assert checked(said.partition("['")[2].partition("']")[0])["ok"]
    assert len(site.kernels()) == 1
    with Kernel(spec, tmp_path) as again:
        assert again.value("here") == 41


def test_what_cannot_be_kept(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "remote_kernels", "manage", "--add", "-i", "ssh", "-x", "x"),
            *("--name", "x", "-k", "x", "--keep", "--channel", "forward"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--keep needs a keeper" in done.stderr
