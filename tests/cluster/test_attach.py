"""``attach`` to kernels that run on nodes, in jobs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_core.paths import jupyter_runtime_dir

from bed import wait_until
from frontend import Kernel, add_kernel
from queues import Queue


@contextmanager
def attached(*words: str) -> Iterator[BlockingKernelClient]:
    """A front end at a kernel that the command has found from the login host on."""
    command = [sys.executable, "-m", "remote_kernels", "attach", *words]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    line = process.stdout.readline()
    assert line.startswith("jupyter console --existing "), process.communicate()
    client = BlockingKernelClient()
    client.load_connection_file(str(Path(jupyter_runtime_dir(), line.split()[-1])))
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        yield client
    finally:
        client.stop_channels()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def printed(client: BlockingKernelClient, expression: str) -> str:
    """What an expression is over there."""
    reply = client.execute("", user_expressions={"x": expression}, reply=True, timeout=30)
    return str(reply["content"]["user_expressions"]["x"]["data"]["text/plain"])


# By a step of its own, or by ssh from the login host.
@pytest.mark.parametrize("queue", ["slurm", "sge"], indirect=True)
def test_a_kernel_of_ours_in_a_job(queue: Queue, tmp_path: Path) -> None:
    with Kernel(add_kernel(queue.site(node="n1")), tmp_path) as kernel:
        kernel.run("here = 41")
        with attached(f"{queue.kind.user}@login") as client:
            assert printed(client, "here + 1") == "42"
        assert kernel.value("here") == 41
    queue.wait_empty()


@pytest.mark.parametrize("queue", ["slurm"], indirect=True)
def test_a_kernel_that_a_job_has_started(queue: Queue) -> None:
    # Somebody's own batch job, whose connection file lies in the home that all machines share.
    add_kernel(queue.site())
    login = queue.bed.login
    file = "/home/ada/.local/share/jupyter/runtime/kernel-mine.json"
    ports = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
    info = {port: 22000 + number for number, port in enumerate(ports)}
    info |= {"transport": "tcp", "ip": "127.0.0.1", "key": "hers"}  # type: ignore[dict-item]
    login.write(file, json.dumps(info), user="ada")
    command = f"{queue.bed.far_python} -m ipykernel_launcher -f {file}"
    login.run(
        ["sbatch", "--job-name=mine", "--output=/dev/null", "-w", "n2", f"--wrap=exec {command}"],
        user="ada",
    )
    try:
        wait_until(
            lambda: any(command in x.args for x in queue.bed.n2.processes("ada")), 30, "the kernel"
        )
        with attached("ada@login", "kernel-mine") as client:
            assert printed(client, "__import__('os').uname().nodename") == "'n2'"
    finally:
        queue.in_login_shell("scancel -n mine")
        queue.wait_empty()
        login.run(["rm", "-rf", "/home/ada/.local/share/jupyter", "/home/ada/.ipython"])
