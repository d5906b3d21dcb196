"""``--sync``: files that follow a kernel, before its start and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bed import Bed, Machine, wait_until
from frontend import Kernel, Site, add_kernel, log_text
from sshd.test_spare import cut, node

FOLLOWERS = "-m remote_kernels.sync.follow"


@pytest.fixture
def work(bed: Bed) -> Iterator[Path]:
    """A directory below the home, with a file; nothing of it is left on any side."""
    here = Path.home() / "work with blanks"
    here.mkdir()
    (here / "given.txt").write_text("from here")
    yield here
    wait_until(lambda: not followers(bed), 20, "the files to be back")
    for machine in (bed.laptop, bed.far, bed.oar):
        user = "mia" if machine is bed.laptop else "ada"
        left = [f"/home/{user}/work with blanks", f"/home/{user}/.unison"]
        machine.run(["rm", "-rf", *left], user=user)


def followers(bed: Bed) -> list[str]:
    return [x.args for x in bed.laptop.processes(user="mia") if FOLLOWERS in x.args]


def there(machine: Machine, name: str) -> str:
    return machine.run(["cat", f"/home/ada/work with blanks/{name}"], user="ada").stdout


def test_files_are_there_before_the_kernel_and_back_after_it(
    bed: Bed, site: Site, work: Path, tmp_path: Path
) -> None:
    spec = add_kernel(site, "--sync", "~/work with blanks")
    with Kernel(spec, tmp_path) as kernel:
        assert kernel.value("open('given.txt').read()") == "from here"
        kernel.run("open('made.txt', 'w').write('from there')")
        assert not (work / "made.txt").exists()
    wait_until(lambda: (work / "made.txt").exists(), 20, "the file to be back")
    assert (work / "made.txt").read_text() == "from there"
    assert kernel.stderr() == ""
    assert "files synced" in log_text()


def test_what_fails_keeps_no_kernel_from_starting(
    bed: Bed, site: Site, work: Path, tmp_path: Path
) -> None:
    # A directory over there that cannot be made.
    spec = add_kernel(site, "--sync", "/etc/ssh")
    with Kernel(spec, tmp_path) as kernel:
        assert node(kernel) == "far"
        assert "which directory over there goes with /etc/ssh?" in kernel.stderr()
    spec = add_kernel(site, "--sync", "~/nowhere", name="Nowhere")
    with Kernel(spec, tmp_path) as kernel:
        assert node(kernel) == "far"
        assert "there is no directory /home/mia/nowhere on this machine" in kernel.stderr()


def test_with_a_spare_files_are_in_step_both_ways(
    bed: Bed, site: Site, work: Path, tmp_path: Path
) -> None:
    spec = add_kernel(site, "--sync", str(work), "--fallback", "ada@oar")
    with Kernel(spec, tmp_path) as kernel:
        kernel.run("open('made.txt', 'w').write('on far')")
        assert node(kernel) == "far"
    wait_until(lambda: not followers(bed), 20, "the files to be back")
    with cut(bed.far), Kernel(spec, tmp_path) as kernel:
        assert node(kernel) == "oar"
        assert kernel.value("open('made.txt').read()") == "on far"
        kernel.run("open('made.txt', 'w').write('on oar')")
    wait_until(lambda: not followers(bed), 20, "the files to be back")
    # The one that was away has a version of its own meanwhile.
    bed.far.run(["sh", "-c", "echo later >'work with blanks/made.txt'"], user="ada")
    with Kernel(spec, tmp_path) as kernel:
        assert "made.txt was changed on both sides, and is kept twice" in kernel.stderr()
        texts = "sorted(open(x).read() for x in __import__('glob').glob('*.txt'))"
        found = str(kernel.value(texts))
        assert found == str(["from here", "later\n", "on oar"])


def test_a_launcher_that_is_killed_brings_them_back(
    bed: Bed, site: Site, work: Path, tmp_path: Path
) -> None:
    spec = add_kernel(site, "--sync", str(work))
    kernel = Kernel(spec, tmp_path)
    with kernel:
        kernel.run("open('made.txt', 'w').write('from there')")
        os.kill(kernel.launcher.pid, 9)
        wait_until(lambda: (work / "made.txt").exists(), 30, "the file to be back")
    wait_until(lambda: not site.kernels(), 30, "the end of the kernel")
