"""jupyter console, typed into on a terminal."""

from __future__ import annotations

import re
import sys

import pexpect
import psutil

from bed import wait_until
from frontend import Site, add_kernel


def test_console(site: Site) -> None:
    console = pexpect.spawn(
        sys.executable,
        ["-m", "jupyter_console", "--kernel", add_kernel(site), "--simple-prompt"],
        encoding="utf-8",
        timeout=60,
        dimensions=(24, 200),
    )
    try:
        console.expect(r"In \[1\]")
        # It prompts when shell answers. Faster than a person, a cell would run before the socket
        # of outputs is there, and the console would wait for what has been sent.
        process = psutil.Process(console.pid)
        wait_until(lambda: len(sockets(process)) == 5, 20, "all channels of the console")
        console.sendline("print('on', __import__('platform').node())")
        console.expect("on far")
        console.expect(r"In \[2\]")
        console.sendline("while True: print('busy', flush=True); __import__('time').sleep(0.2)")
        console.expect(re.compile("busy\r?\n.*busy\r?\n", re.DOTALL))
        console.sendintr()
        console.expect("KeyboardInterrupt")
        console.expect(r"In \[3\]")
        console.sendline("exit")
        console.expect(pexpect.EOF)
    finally:
        console.close(force=True)


def sockets(process: psutil.Process) -> set[int]:
    """The ports of the kernel's sockets that a front end is connected to."""
    connections = process.net_connections("tcp4")
    return {x.raddr.port for x in connections if x.status == psutil.CONN_ESTABLISHED}
