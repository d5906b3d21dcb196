"""jupyter console, typed into on a terminal."""

from __future__ import annotations

import re
import sys

import pexpect

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
