"""The line breaks, in every way that it can, and nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bed import Bed, wait_until
from frontend import (
    FLOOD,
    Kernel,
    Site,
    Steps,
    add_kernel,
    flood,
    is_back,
    log_text,
    run_and_disturb,
)
from remote_kernels.keeper import BEAT, SILENCE
from remote_kernels.private_directory import PrivateDirectory

pytestmark = [pytest.mark.usefixtures("nothing_remains", "jupyter")]


@pytest.fixture
def kernel(kernel: Kernel) -> Kernel:
    kernel.run("precious = 42")
    return kernel


def said(text: str, times: int = 1, seconds: float = 20) -> None:
    """Wait until the launcher has logged something."""
    wait_until(lambda: log_text().count(text) >= times, seconds, f"{text!r} in the log")


def kill_sshd(bed: Bed) -> None:
    """End all of ada's sessions, and no more."""
    bed.far.run(["pkill", "-KILL", "-u", "ada", "sshd"], check=False)


def test_a_killed_sshd(kernel: Kernel, bed: Bed, site: Site) -> None:
    pid = kernel.value("__import__('os').getpid()")
    kill_sshd(bed)
    said("was lost")
    said("back at")
    assert kernel.value("precious") == 42
    assert kernel.value("__import__('os').getpid()") == pid
    assert "the line to ada@far was lost; trying to get back" in kernel.stderr()


def test_all_lines_of_a_counter_arrive(kernel: Kernel, bed: Bed) -> None:
    code = "import time\nfor n in range(40):\n    print(n, flush=True)\n    time.sleep(0.1)"
    printed = run_and_disturb(kernel, code, [(10, lambda: kill_sshd(bed))])
    assert printed.split() == [str(n) for n in range(40)]


def test_64_mb_cut_five_times(kernel: Kernel, bed: Bed) -> None:
    def cut(number: int) -> None:
        kill_sshd(bed)
        said("back at", number)

    cuts: Steps = [(1 << 20, partial(cut, number)) for number in range(1, 6)]
    assert run_and_disturb(kernel, FLOOD.format(mb=64), cuts) == flood(64)


def test_a_line_that_is_cut_again_while_it_comes_back(kernel: Kernel, bed: Bed) -> None:
    def cut_twice() -> None:
        kill_sshd(bed)
        said("was lost")
        kill_sshd(bed)

    assert run_and_disturb(kernel, FLOOD.format(mb=32), [(1 << 20, cut_twice)]) == flood(32)


def test_a_network_that_falls_silent(kernel: Kernel, bed: Bed) -> None:
    bed.far.cut()
    said("has been silent", seconds=16)
    bed.far.mend()
    wait_until(is_back, 45, "a line")
    assert kernel.value("precious") == 42


@pytest.mark.timeout(1200)
def test_an_absence(kernel: Kernel, bed: Bed, request: pytest.FixtureRequest) -> None:
    seconds: int = request.config.getoption("--absence")

    def be_away() -> None:
        end = time.monotonic() + seconds
        bed.far.cut()
        wait_until(lambda: time.monotonic() >= end, seconds + 1, "the end of the absence")
        bed.far.mend()

    lines = 10 * seconds
    code = f"import time\nfor n in range({lines}):\n    print(n, flush=True)\n    time.sleep(0.1)"
    printed = run_and_disturb(kernel, code, [(10, be_away)])
    assert printed.split() == [str(n) for n in range(lines)]
    wait_until(is_back, 45, "a line")
    assert kernel.value("precious") == 42


def test_an_sshd_that_is_frozen_for_a_moment(kernel: Kernel, bed: Bed) -> None:
    bed.far.run(["pkill", "-STOP", "-u", "ada", "sshd"])
    cell = kernel.client.execute("1")
    bed.far.run(["pkill", "-CONT", "-u", "ada", "sshd"])
    assert kernel.reply_to(cell)["status"] == "ok"
    assert "line" not in kernel.stderr()


def test_an_sshd_that_is_frozen_for_long(kernel: Kernel, bed: Bed) -> None:
    frozen = bed.far.run(["pgrep", "-u", "ada", "sshd"]).stdout.split()
    bed.far.run(["kill", "-STOP", *frozen])
    said("has been silent", seconds=16)
    said("back at", seconds=30)
    assert kernel.value("precious") == 42
    # What still comes of the old line is not heard.
    bed.far.run(["kill", "-CONT", *frozen])
    assert kernel.value("precious") == 42


def test_another_address(bed: Bed, site: Site, tmp_path: Path) -> None:
    way = ["--interface", "ssh", "--host", "ada@10.66.1.2"]

    def address(change: str, number: int) -> None:
        bed.laptop.run(["ip", "address", change, f"10.66.1.{number}/24", "dev", "to-far"])

    with Kernel(add_kernel(replace(site, options=way)), tmp_path) as kernel:
        kernel.run("precious = 42")
        # One that is added before would go with it, as another of the same network.
        address("del", 1)
        address("add", 77)
        try:
            said("back at", seconds=45)
            assert kernel.value("precious") == 42
        finally:
            address("del", 77)
            address("add", 1)
            said("back at", times=2, seconds=45)


def test_an_sshd_that_is_started_anew(kernel: Kernel, bed: Bed) -> None:
    bed.far.stop_sshd()
    kill_sshd(bed)
    said("refused the connection", times=2)
    bed.far.restore()
    said("back at", seconds=30)
    assert kernel.value("precious") == 42


def test_a_host_that_was_started_anew(site: Site, bed: Bed, tmp_path: Path) -> None:
    with Kernel(add_kernel(site), tmp_path) as kernel:
        bed.far.run(["pkill", "-KILL", "-u", "ada"])
        assert kernel.launcher_status(timeout=20) == 27
        assert "the kernel is not there any more: its machine was started anew" in kernel.stderr()
        # A machine that starts forgets these.
        bed.far.run(["sh", "-c", "rm -r /tmp/rk-* /home/ada/rik_kernel-*"])


def test_a_login_that_is_refused_is_not_tried_again(kernel: Kernel, bed: Bed) -> None:
    keys = "/home/ada/.ssh/authorized_keys"
    bed.far.run(["mv", keys, f"{keys}.away"])
    kill_sshd(bed)
    said("interrupt the kernel: that makes another attempt")
    assert "ada@far denied permission" in kernel.stderr()
    refused = bed.far.sshd_log().count("Connection closed by authenticating user ada")
    bed.far.run(["mv", f"{keys}.away", keys])
    kernel.signal_launcher(signal.SIGINT)
    said("back at")
    assert kernel.value("precious") == 42
    assert bed.far.sshd_log().count("Connection closed by authenticating user ada") == refused


def test_what_was_asked_while_away_is_answered(kernel: Kernel, bed: Bed) -> None:
    bed.far.stop_sshd()
    kill_sshd(bed)
    said("was lost")
    cells = [kernel.client.execute(f"print({n})") for n in range(5)]
    bed.far.restore()
    for cell in cells:
        assert kernel.reply_to(cell, timeout=30)["status"] == "ok"


def test_sigterm_while_away(kernel: Kernel, bed: Bed, site: Site) -> None:
    bed.far.stop_sshd()
    kill_sshd(bed)
    said("refused the connection")
    bed.far.restore()
    os.kill(kernel.launcher.pid, signal.SIGTERM)
    assert kernel.launcher_status(timeout=5) == 128 + signal.SIGTERM
    assert not site.kernels()


def test_a_killed_ssh(kernel: Kernel, bed: Bed) -> None:
    bed.laptop.run(["pkill", "-KILL", "-u", "mia", "-x", "ssh"])
    said("back at")
    assert kernel.value("precious") == 42


def test_a_lease_that_runs_out(site: Site, bed: Bed, tmp_path: Path) -> None:
    with Kernel(add_kernel(site, "--lease=2s"), tmp_path) as kernel:
        bed.far.stop_sshd()
        kill_sshd(bed)
        wait_until(lambda: not site.kernels(), 10, "the kernel's end")
        assert kernel.launcher_status(timeout=5) == 27
        assert "for as long as the kernel waits (--lease)" in kernel.stderr()


@pytest.mark.timeout(300)
def test_a_laptop_that_is_switched_off(site: Site, bed: Bed, tmp_path: Path) -> None:
    with Kernel(add_kernel(site, "--lease=3s"), tmp_path) as kernel:
        # Nothing of it says a word any more.
        bed.far.cut()
        kernel.kill_launcher()
        bed.laptop.run(["pkill", "-KILL", "-x", "ssh"])
        # sshd would wait for hours.
        wait_until(lambda: not site.kernels(), SILENCE + BEAT + 20, "the kernel's end")
        bed.far.mend()
    # What was killed has left its files, which go with the next start.
    with Kernel(add_kernel(site), tmp_path):
        pass


def test_a_launcher_that_is_killed_after_it_came_back(site: Site, bed: Bed, tmp_path: Path) -> None:
    # Its ssh is the only one of its connection, whose sshd ends with the session.
    with Kernel(add_kernel(site, "--no-share"), tmp_path) as kernel:
        kill_sshd(bed)
        said("back at")
        kernel.kill_launcher()
        wait_until(lambda: not site.kernels(), 15, "the kernel's end")


def test_a_launcher_that_is_killed_while_away(site: Site, bed: Bed, tmp_path: Path) -> None:
    with Kernel(add_kernel(site, "--lease=3s"), tmp_path) as kernel:
        bed.far.stop_sshd()
        kill_sshd(bed)
        said("was lost")
        kernel.kill_launcher()
        wait_until(lambda: not site.kernels(), 10, "the kernel's end")
    # What an attempt needs on this side goes with the next start.
    place = PrivateDirectory()
    place.remove_stale()
    place.remove()


LINES = "for n in range(60_000): print('%08d' % n * 32)"
# Begin when we are away.
WAIT = """\
import os, time
print('waiting', flush=True)
while not os.path.exists('/tmp/go'): time.sleep(0.01)
"""


@pytest.mark.parametrize("code", [FLOOD.format(mb=16), LINES])
def test_a_full_spool_stops_the_kernel_and_loses_nothing(
    site: Site, bed: Bed, tmp_path: Path, code: str
) -> None:
    with Kernel(add_kernel(site, "--spool=2M"), tmp_path) as kernel:
        pid = kernel.value("__import__('os').getpid()")

        def go_away() -> None:
            bed.far.stop_sshd()
            kill_sshd(bed)
            said("refused the connection")
            bed.far.write("/tmp/go", "", user="ada")
            stat = ["sh", "-c", f"read -r line </proc/{pid}/stat; echo ${{line##*) }}"]
            wait_until(lambda: bed.far.run(stat).stdout[0] == "T", 20, "the kernel to pause")
            bed.far.run(["rm", "/tmp/go"])
            bed.far.restore()

        printed = run_and_disturb(kernel, WAIT + code, [(1, go_away)]).removeprefix("waiting\n")
        if code == LINES:
            assert printed.split() == [f"{n:08}" * 32 for n in range(60_000)]
        else:
            assert printed == flood(16)
        assert "the kernel pauses" in kernel.stderr()


def test_an_interrupt_and_a_reply_pass_a_flood(kernel: Kernel) -> None:
    cell = kernel.begin("import sys\nwhile True: sys.stdout.write('x' * 65536)")
    kernel.signal_launcher(signal.SIGINT)
    assert kernel.reply_to(cell)["ename"] == "KeyboardInterrupt"


@pytest.mark.timeout(600)
def test_a_hundred_restarts_leave_nothing(kernel: Kernel, bed: Bed, site: Site) -> None:
    def there() -> tuple[int, int, int, int]:
        ours = bed.far.processes(user="ada")
        temporary = [path for path in bed.far.files("/tmp") if path.startswith("/tmp/rk-")]
        here = bed.laptop.processes(user="mia")
        return len(ours), len(temporary), len(site.connection_files()), len(here)

    def memory() -> list[int]:
        """Resident KB on both sides, of all but the tests and the kernel."""
        found = []
        for machine, user in ((bed.laptop, "mia"), (bed.far, "ada")):
            said = machine.run(["ps", "-U", user, "-o", "rss=,args="]).stdout.splitlines()
            others = [x for x in said if not re.search("pytest|ipykernel_launcher", x)]
            found.append(sum(int(line.split()[0]) for line in others))
        return found

    *far, here = there()

    def settled() -> bool:
        # The connection is the first launcher's ssh; later ones have one of their own beside it.
        *far_now, here_now = there()
        return far_now == far and here_now <= here + 1

    kernel.restart(now=True)
    wait_until(settled, 20, "all of the old kernel to be gone")
    before = memory()
    for _ in range(100):
        kernel.restart(now=True)
    wait_until(settled, 20, "all of the old kernels to be gone")
    assert kernel.value("6 * 7") == 42
    assert all(now < 1.1 * then for now, then in zip(memory(), before, strict=True))
