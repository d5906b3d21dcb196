"""What a second ordinary user of the far side can see and do: as that user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bed import Bed
from frontend import IPYKERNEL, Kernel, Site, add_kernel

pytestmark = [pytest.mark.usefixtures("nothing_remains", "jupyter")]

OTHER = "bela"
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


def private(bed: Bed) -> list[str]:
    """The keeper's directory, and what is in it: sockets, and a link to the connection file."""
    return sorted(path for path in bed.far.files("/tmp") if path.startswith("/tmp/rk-"))


def test_the_kernel_listens_where_nobody_else_can_go(kernel: Kernel, bed: Bed, site: Site) -> None:
    directory, *inside = private(bed)
    names = ["file", "keeper", *(f"kernel-{number}" for number in range(1, 6))]
    assert inside == [f"{directory}/{name}" for name in names]
    stat = bed.far.run(["stat", "-c", "%a %U", directory]).stdout
    assert stat == "700 ada\n"
    assert json.loads(bed.far.run(["cat", *site.connection_files()]).stdout)["transport"] == "ipc"


def test_another_user_reaches_nothing(kernel: Kernel, bed: Bed, site: Site) -> None:
    directory, *inside = private(bed)
    (copy,) = site.connection_files()
    attempts = [
        ["ls", directory],
        ["cat", copy],
        *([bed.far_python, "-c", CONNECT, path] for path in inside),
    ]
    for argv in attempts:
        finished = bed.far.run(argv, user=OTHER, check=False)
        assert finished.status != 0
        assert "Permission denied" in finished.stderr


def test_no_secret_is_seen_in_proc(kernel: Kernel, bed: Bed) -> None:
    key = json.loads(Path(kernel.manager.connection_file).read_text())["key"]
    # Every file of every process that may be read, and what ps shows.
    look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; ps -eww -o args"
    seen = bed.far.run(["sh", "-c", look], user=OTHER).stdout
    assert "ipykernel_launcher" in seen
    assert key not in seen


def test_the_line_to_the_keeper_is_private_on_this_side_as_well(kernel: Kernel, bed: Bed) -> None:
    for path in bed.laptop.files("/run/user"):
        if "/rk-" in path or path.endswith("mux"):
            mode = bed.laptop.run(["stat", "-c", "%a %U", path]).stdout.split()
            assert mode[1] == "mia"
            assert mode[0].endswith("00")


@pytest.mark.parametrize(("transport", "count"), [("ipc", 0), ("tcp", 5)])
def test_the_transport_that_was_asked_for(
    bed: Bed, site: Site, tmp_path: Path, transport: str, count: int
) -> None:
    before = bed.far.listening_ports()
    with Kernel(add_kernel(site, f"--transport={transport}"), tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
        # One more is ipykernel's own, for what its children print.
        assert len(bed.far.listening_ports() - before) == count + 1


def test_a_command_that_wants_the_ports_gets_ports(bed: Bed, site: Site, tmp_path: Path) -> None:
    command = IPYKERNEL.format(python=site.python) + " --shell={ci[shell_port]}"
    with Kernel(add_kernel(site, kernel_cmd=command), tmp_path) as kernel:
        assert kernel.value("6 * 7") == 42
    assert "kernel-1" not in "".join(private(bed))


def test_a_directory_that_may_not_be_written_to(bed: Bed, site: Site, tmp_path: Path) -> None:
    bed.far.run(["mkdir", "/home/shared"])
    try:
        with Kernel(add_kernel(site, "--workdir=/home/shared"), tmp_path) as kernel:
            assert kernel.value("__import__('os').getcwd()") == "/home/shared"
            (copy,) = site.connection_files()
            assert copy.startswith(private(bed)[0] + "/rik_kernel-")
    finally:
        bed.far.run(["rmdir", "/home/shared"])
