"""``--fallback``: a kernel on the first of its machines that answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bed import Bed, Machine, wait_until
from frontend import Kernel, Site, add_kernel, log_text, ran, remote_kernels
from remote_kernels.errors import HostUnreachableError


@pytest.fixture
def spec(site: Site) -> str:
    """A kernelspec with a spare."""
    return add_kernel(site, "--fallback", "ada@oar")


@pytest.fixture
def no_kernel_stays(bed: Bed) -> Iterator[None]:
    """A kernel that has lost its launcher is ended."""
    yield
    for kernel in json.loads(remote_kernels("ps", "--json", "ada@far"))[0]["kernels"]:
        remote_kernels("stop", kernel["id"], "--on", "ada@far")


@contextmanager
def cut(machine: Machine) -> Iterator[None]:
    """A machine that nobody reaches for a while."""
    machine.cut()
    try:
        yield
    finally:
        machine.mend()


def node(kernel: Kernel) -> object:
    return kernel.value("__import__('os').uname().nodename")


def test_the_host_that_is_there_is_taken_and_its_spare_when_it_is_not(
    bed: Bed, spec: str, tmp_path: Path
) -> None:
    with Kernel(spec, tmp_path) as kernel:
        assert node(kernel) == "far"
    assert "starting on ada@far, which answers first; spare: ada@oar" in log_text()
    assert kernel.stderr() == ""
    with cut(bed.far), Kernel(spec, tmp_path) as kernel:
        assert node(kernel) == "oar"
        said = "starting on ada@oar, since ada@far: it did not answer in time"
        assert said in kernel.stderr()
        (found,) = json.loads(remote_kernels("ps", "--json", "ada@oar"))[0]["kernels"]
        assert found["instead_of"] == "ada@far: it did not answer in time"
        assert "oar (since ada@far: it did not answer in time)" in remote_kernels("ps", "ada@oar")
    # And again, when it is back.
    with Kernel(spec, tmp_path) as kernel:
        assert node(kernel) == "far"


def test_a_restart_goes_to_the_spare(
    bed: Bed, spec: str, no_kernel_stays: None, tmp_path: Path
) -> None:
    with Kernel(spec, tmp_path) as kernel:
        assert node(kernel) == "far"
        with cut(bed.far):
            wait_until(lambda: "trying to get back" in kernel.stderr(), 30, "the loss to be said")
            said = "a restart of the kernel would go to ada@oar"
            wait_until(lambda: said in kernel.stderr(), 5, "the spare to be named")
            kernel.restart(now=True)
            assert node(kernel) == "oar"


def test_a_spare_with_options_of_its_own(bed: Bed, site: Site, tmp_path: Path) -> None:
    """The host's port is one on which nobody listens; the spare has a profile."""
    options = ["--tunnel-hosts", "gina@gw1", "gina@gw2", "--workdir", "/tmp"]
    remote_kernels("hosts", "--add", "spare", "--host", "ada@inner", *options)
    there = Site(bed.inner, "ada", site.python, ["--host", "ada@far:9"])
    spec = add_kernel(there, "--fallback", "ada@far:10,spare")
    with Kernel(spec, tmp_path) as kernel:
        assert node(kernel) == "inner"
        assert kernel.value("__import__('os').getcwd()") == "/tmp"
        said = kernel.stderr()
    assert "ada@far:9: ada@far:9 refused the connection" in said
    assert "ada@far:10: ada@far:10 refused the connection" in said


def test_this_machine_is_a_spare(site: Site, tmp_path: Path) -> None:
    """Its kernel needs no ssh, and nothing is carried."""
    there = Site(site.machine, "ada", site.python, ["--host", "ada@far:9", "--lease", "2h"])
    spec = add_kernel(there, "--fallback", "local", "--workdir", "/tmp")
    with Kernel(spec, tmp_path) as kernel:
        assert node(kernel) == "laptop"
        assert kernel.value("__import__('os').getcwd()") == "/tmp"
        assert "starting on this machine, since ada@far:9" in kernel.stderr()
        kernel.restart()
        assert node(kernel) == "laptop"


def test_none_answers(site: Site, tmp_path: Path) -> None:
    there = Site(site.machine, "ada", site.python, ["--host", "ada@far:9"])
    spec = add_kernel(there, "--fallback", "ada@nowhere.invalid")
    kernel = Kernel(spec, tmp_path)
    kernel.start()
    assert kernel.launcher.wait(20) == HostUnreachableError.exit_code
    said = kernel.stderr()
    assert "none of the machines answers: ada@far:9, ada@nowhere.invalid." in said
    assert "said:  ada@far:9: ada@far:9 refused the connection" in said
    assert "said:  ada@nowhere.invalid: no machine named ada@nowhere.invalid is known" in said
    kernel.client.stop_channels()


REFUSED = {
    "host": (["--fallback", "a b"], "cannot be read"),
    "option": (["--fallback", "ada@oar --name x"], "cannot be read"),
    "misfit": (["--fallback", "ada@oar --cpus 4"], "cannot use --cpus"),
    "variables": (["--fallback", "hers"], "--env they hold for all machines"),
    "time": (["--fallback", "ada@oar", "--probe-timeout", "5"], "is no time"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(site: Site, options: list[str], said: str) -> None:
    remote_kernels("hosts", "--add", "hers", "--host", "ada@oar", "--env", "A=1")
    command = ["--name", "x", "--kernel_cmd", "python {connection_file}"]
    done = ran("manage", "--add", *site.options, *command, *options)
    assert said in done.stderr
    assert done.returncode != 0
