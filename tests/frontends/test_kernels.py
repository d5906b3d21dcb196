"""Kernels of other languages, other transports, and kernel.json files of remote_ikernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_core.paths import jupyter_data_dir

from bed import wait_until
from frontend import IPYKERNEL, Kernel, Site, add_kernel, remote_kernels


@pytest.mark.needs("irkernel")
def test_irkernel_as_the_readme_of_2017_has_it(site: Site, tmp_path: Path) -> None:
    command = "R --slave -e IRkernel::main() --args {connection_file}"
    spec = add_kernel(site, "--language=R", name="R", kernel_cmd=command)
    with Kernel(spec, tmp_path) as kernel:
        assert "far" in kernel.run("cat(Sys.info()[['nodename']])").text
        cell = kernel.client.execute("invisible(file.create('begun')); while (TRUE) Sys.sleep(0.1)")
        # An interrupt while it sends what it prints would spoil its socket.
        begun = f"/home/{site.user}/begun"
        wait_until(lambda: begun in site.machine.files("/home"), 20, "the cell to run")
        kernel.signal_launcher(signal.SIGINT)
        kernel.reply_to(cell)
        # After its reply IRkernel drops, without a word, what has come in by then.
        kernel.wait_until_idle(cell)
        assert "42" in kernel.run("invisible(file.remove('begun')); cat(6 * 7)").text
        kernel.client.shutdown()
        assert kernel.launcher_status(timeout=5) == 0


def test_bash_kernel(site: Site, tmp_path: Path) -> None:
    command = f"{site.python} -m bash_kernel -f {{connection_file}}"
    spec = add_kernel(site, "--language=bash", name="Bash", kernel_cmd=command)
    with Kernel(spec, tmp_path) as kernel:
        assert "far" in kernel.run("uname -n").text
        kernel.run("unset HISTFILE")


def test_a_curve_encrypted_connection(site: Site, tmp_path: Path) -> None:
    spec = add_kernel(site)
    kernel_json = Path(jupyter_data_dir(), "kernels", spec, "kernel.json")
    content = json.loads(kernel_json.read_text())
    content["metadata"] = {"supported_encryption": ["curve"]}
    kernel_json.write_text(json.dumps(content))
    with Kernel(spec, tmp_path, transport_encryption="required") as kernel:
        assert kernel.value("__import__('platform').node()") == "far"
        (copy,) = site.connection_files()
        over_there = json.loads(site.machine.read(copy))
        here = json.loads(Path(kernel.manager.connection_file).read_text())
        assert here["curve_secretkey"] == over_there["curve_secretkey"]
        assert here["curve_publickey"] == over_there["curve_publickey"]


def test_an_ipc_connection_here(site: Site, tmp_path: Path) -> None:
    socket = str(tmp_path / "k")
    with Kernel(add_kernel(site), tmp_path, transport="ipc", ip=socket) as kernel:
        assert kernel.value("__import__('platform').node()") == "far"
    assert not list(tmp_path.glob("k-*"))


def test_a_front_end_that_kills_our_children_first(site: Site, tmp_path: Path) -> None:
    # VS Code and Spyder end the whole tree of processes, from the leaves.
    with Kernel(add_kernel(site), tmp_path) as kernel:
        kernel.begin("import time\nwhile True: time.sleep(1)")
        subprocess.run(["pkill", "-TERM", "-P", str(kernel.launcher.pid)], check=True)
        kernel.launcher.terminate()
        kernel.launcher_status(timeout=5)
        wait_until(lambda: not site.kernels(), 15, "the kernel's end")


def remote_ikernels_spec(site: Site) -> Path:
    """A kernelspec as remote_ikernel 0.4.6 writes it; its directory."""
    command = IPYKERNEL.format(python=site.python)
    added = ["remote_ikernel", "manage", "--add", f"--kernel_cmd={command}", "--name=Old"]
    directory = Path(jupyter_data_dir(), "kernels/rik_ssh_ada_far_old")
    directory.mkdir(parents=True)
    content = {
        "argv": [
            *(sys.executable, "-m", "remote_ikernel", "--interface", "ssh", "--host", "ada@far"),
            *("--workdir", "/tmp", "--precmd", "export FROM=ikernel", "--verbose"),
            *("--kernel_cmd", command.replace("{conn", "{host_conn"), "{connection_file}"),
        ],
        "display_name": "SSH ada@far Old",
        "remote_ikernel_argv": [*added, "--interface=ssh", "--host=ada@far"],
    }
    (directory / "kernel.json").write_text(json.dumps(content))
    return directory


@pytest.mark.parametrize("how", ["--migrate", "the module's name"])
def test_a_kernelspec_of_remote_ikernel_goes_on_working(
    site: Site, tmp_path: Path, how: str
) -> None:
    directory = remote_ikernels_spec(site)
    if how == "--migrate":
        remote_kernels("manage", "--migrate", directory.name)
    else:
        old = (directory / "kernel.json").read_text()
        new = old.replace('"-m", "remote_ikernel"', '"-m", "remote_kernels"')
        (directory / "kernel.json").write_text(new)
    with Kernel(directory.name, tmp_path) as kernel:
        assert kernel.value("__import__('os').getcwd()") == "/tmp"
        assert kernel.value("__import__('os').environ['FROM']") == "ikernel"
    assert "far side: EXIT 0" in kernel.stderr()


def test_only_the_last_logs_are_kept(site: Site, tmp_path: Path) -> None:
    logs = Path(os.environ["XDG_STATE_HOME"]) / "remote-kernels/log"
    logs.mkdir(parents=True)
    for number in range(30):
        (logs / f"20200101-0000{number:02}-x-1.log").touch()
    with Kernel(add_kernel(site), tmp_path):
        kept = sorted(path.name for path in logs.iterdir())
    assert len(kept) == 20
    assert kept[0] == "20200101-000011-x-1.log"
