"""All kernels of a host share one login, and whatever happens to it, they go on."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bed import Bed, wait_until
from frontend import Kernel, Site, add_kernel, kernels, log_text

pytestmark = [pytest.mark.usefixtures("nothing_remains", "jupyter")]


def masters(bed: Bed) -> list[int]:
    """The ssh processes that hold connections which kernels share."""
    sockets = [x for x in Path(os.environ["XDG_RUNTIME_DIR"]).iterdir() if x.is_socket()]
    said = [
        bed.laptop.run(["ssh", "-S", str(path), "-O", "check", "far"], user="mia", check=False)
        for path in sockets
    ]
    return [int(found[1]) for x in said if (found := re.search(r"pid=(\d+)", x.stderr))]


def lingering(bed: Bed) -> list[str]:
    """The sessions that stay open a while for the restart of a kernel that has ended."""
    return [x.args for x in bed.far.processes("ada") if x.args.startswith("sleep")]


def test_a_second_kernel_needs_no_login(bed: Bed, site: Site, tmp_path: Path) -> None:
    spec = add_kernel(site)
    with Kernel(spec, tmp_path) as first:
        with Kernel(spec, tmp_path) as second:
            assert second.value("6 * 7") == 42
        assert first.value("6 * 7") == 42
    assert bed.far.logins() == ["ada"]


def test_a_second_kernel_behind_gateways(bed: Bed, tmp_path: Path) -> None:
    options = ["-i", "ssh", "-x", "ada@inner", "-t", "gina@gw1", "-t", "gina@gw2"]
    spec = add_kernel(Site(bed.inner, "ada", bed.far_python, options))
    with Kernel(spec, tmp_path) as first, Kernel(spec, tmp_path) as second:
        assert [first.value("6 * 7"), second.value("6 * 7")] == [42, 42]
    assert [m.logins() for m in (bed.gw1, bed.gw2, bed.inner)] == [["gina"], ["gina"], ["ada"]]


def test_a_restart_needs_no_login(bed: Bed, site: Site, tmp_path: Path) -> None:
    with Kernel(add_kernel(site), tmp_path) as kernel:
        for _ in range(2):
            kernel.restart()
            assert kernel.value("6 * 7") == 42
            wait_until(lambda: not lingering(bed), 10, "the end of the session before it")
    assert bed.far.logins() == ["ada"]


def test_the_kernel_that_has_logged_in_ends_first(bed: Bed, site: Site, tmp_path: Path) -> None:
    spec = add_kernel(site)
    with Kernel(spec, tmp_path) as first, Kernel(spec, tmp_path) as second:
        second.run("precious = 42")
        first.shut_down()
        assert second.value("precious") == 42
        # For a restart of the first one its session stays open a while; then it is over, too.
        wait_until(lambda: not lingering(bed), 10, "the end of its session")
        with Kernel(spec, tmp_path) as third:
            assert third.value("6 * 7") == 42
        assert second.value("precious") == 42
    assert bed.far.logins() == ["ada"]
    assert "trying to get back" not in log_text()


def test_a_kernel_that_shares_nothing(bed: Bed, site: Site, tmp_path: Path) -> None:
    with Kernel(add_kernel(site), tmp_path), Kernel(add_kernel(site, "--no-share"), tmp_path):
        assert bed.far.logins() == ["ada", "ada"]
        assert len(masters(bed)) == 1


def test_no_more_sessions_on_one_login(bed: Bed, site: Site, tmp_path: Path) -> None:
    with bed.far.sshd("MaxSessions 1"), kernels(2, add_kernel(site), tmp_path) as running:
        for kernel in running:
            assert kernel.value("6 * 7") == 42
            assert kernel.stderr() == ""
        assert bed.far.logins() == ["ada", "ada"]


def test_a_socket_whose_connection_has_died(bed: Bed, site: Site, tmp_path: Path) -> None:
    spec = add_kernel(site)
    with Kernel(spec, tmp_path):
        pass
    (master,) = masters(bed)
    bed.laptop.run(["kill", "-KILL", str(master)], user="mia")
    wait_until(lambda: not masters(bed), 20, "the end of the connection")
    with Kernel(spec, tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
        assert kernel.stderr() == ""


def test_a_shared_connection_that_is_closed(bed: Bed, site: Site, tmp_path: Path) -> None:
    spec = add_kernel(site)
    with kernels(3, spec, tmp_path) as running:
        for number, kernel in enumerate(running):
            kernel.run(f"precious = {number}")
        (master,) = masters(bed)
        bed.laptop.run(["kill", str(master)], user="mia")
        wait_until(lambda: log_text().count("back at") == 3, 20, "all to be back")
        assert [kernel.value("precious") for kernel in running] == [0, 1, 2]
        # Who still finds the socket of the connection that ends logs in alone.
        assert 2 <= len(bed.far.logins()) <= 4


def test_a_shared_connection_that_hangs_holds_no_new_kernel(
    bed: Bed, site: Site, tmp_path: Path
) -> None:
    spec = add_kernel(site)
    with Kernel(spec, tmp_path):
        (master,) = masters(bed)
        bed.laptop.run(["kill", "-STOP", str(master)], user="mia")
        try:
            with Kernel(spec, tmp_path) as kernel:
                assert kernel.value("6 * 7") == 42
        finally:
            bed.laptop.run(["kill", "-CONT", str(master)], user="mia")


def test_twenty_kernels_at_once(bed: Bed, site: Site, tmp_path: Path) -> None:
    with kernels(20, add_kernel(site), tmp_path) as running:
        assert len({kernel.value("__import__('os').getpid()") for kernel in running}) == 20
        assert len(site.kernels()) == 20
        # Ten sessions go over one login, sshd's default; the others need their own.
        assert len(bed.far.logins()) <= 11
