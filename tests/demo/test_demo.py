"""``remote-kernels demo`` as an ordinary user runs it: what it tells and what it leaves."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from bed import wait_until
from frontend import Kernel

DEMO = [sys.executable, "-m", "remote_kernels", "demo"]
NOTHING_LEFT = "Nothing of it is left."
STEPS = (
    "1. Start a throw-away ssh server",
    "2. Add a kernel for it",
    "3. Start it",
    "4. Ask it where it runs",
    "5. Draw a plot",
    "6. Interrupt an endless cell",
    "7. Restart it",
    "8. Shut it down",
    "9. Remove the kernel",
)


def run_demo(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The demo from its beginning to its end."""
    return subprocess.run(
        [*DEMO, *words], capture_output=True, text=True, env={**os.environ, **environment}
    )


class Running:
    """A demo that runs, with a process group of its own as a shell gives it."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [*DEMO, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.told = ""

    def read_until(self, text: str) -> None:
        assert self.process.stdout
        while text not in self.told:
            line = self.process.stdout.readline()
            assert line, self.told + self.rest()
            self.told += line

    def end_by(self, signum: int) -> None:
        """As a terminal does it, to all processes of the group."""
        os.killpg(self.process.pid, signum)

    def rest(self) -> str:
        """What it still tells; it has ended then."""
        out, err = self.process.communicate(timeout=30)
        self.told += out
        return err


@contextmanager
def running(*words: str) -> Iterator[Running]:
    """A demo that is killed if a test fails."""
    demo = Running(*words)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.rest()


def home_files() -> dict[str, bytes]:
    """The files of this user's home, with their contents."""
    paths = [path for path in Path.home().rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths}


def test_it_tells_each_step() -> None:
    done = run_demo()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    position = 0
    for step in STEPS:
        position = done.stdout.index(step, position)
    assert len(re.findall(r"^   done in \d+\.\d\d s$", done.stdout, re.MULTILINE)) == len(STEPS)
    assert "     $ remote-kernels manage --add --interface ssh " in done.stdout
    assert "   > Added kernel ['rik_ssh_127_0_0_1_" in done.stdout
    assert re.search(r"> image/png, \d{3} x \d{3} pixels, \d{4,} bytes", done.stdout)
    assert "> KeyboardInterrupt; the kernel still knows precious = 42" in done.stdout
    assert done.stdout.endswith(f"{NOTHING_LEFT}\n")


def test_a_persons_own_files_are_left_alone() -> None:
    Path.home().joinpath(".ssh/config").write_text("Host *\n    ProxyCommand false\n")
    before = home_files()
    done = run_demo(XDG_STATE_HOME="", JUPYTER_DATA_DIR="", JUPYTER_RUNTIME_DIR="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert home_files() == before


@pytest.mark.parametrize("step", [STEPS[1], STEPS[2], STEPS[4], STEPS[5], STEPS[6]])
def test_ctrl_c_cleans_up(step: str) -> None:
    with running() as demo:
        demo.read_until(step)
        demo.end_by(signal.SIGINT)
        # A second one must not disturb the clean-up.
        demo.end_by(signal.SIGINT)
        assert demo.rest() == f"Ended by SIGINT. {NOTHING_LEFT}\n"
        assert demo.process.returncode == 128 + signal.SIGINT
        assert NOTHING_LEFT not in demo.told


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_another_end_cleans_up(signum: signal.Signals) -> None:
    with running() as demo:
        demo.read_until(STEPS[4])
        os.kill(demo.process.pid, signum)
        assert demo.rest() == f"Ended by {signum.name}. {NOTHING_LEFT}\n"
        assert demo.process.returncode == 128 + signum


def test_a_terminal_gets_the_same() -> None:
    child = pexpect.spawn(DEMO[0], DEMO[1:], encoding="utf-8", timeout=60, dimensions=(24, 80))
    for step in STEPS[:4]:
        child.expect_exact(step)
    child.sendintr()
    child.expect_exact(f"Ended by SIGINT. {NOTHING_LEFT}")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 128 + signal.SIGINT


def kernel_name(told: str) -> str:
    return re.findall(r"Added kernel \['(.*?)'\]", told)[0]


def test_keep_serves_others_until_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running("--keep") as demo:
        demo.read_until(" jupyter lab")
        (path,) = re.findall(r"\$ JUPYTER_PATH=(.*) jupyter lab", demo.told)
        monkeypatch.setenv("JUPYTER_PATH", path)
        kernel = Kernel(kernel_name(demo.told), tmp_path)
        kernel.start()
        kernel.wait_for_ready()
        assert kernel.value("__import__('os').path.expanduser('~')").endswith("/far-home")
        pid = kernel.value("__import__('os').getpid()")
        demo.end_by(signal.SIGINT)
        assert demo.rest() == ""
        assert demo.process.returncode == 0
        assert demo.told.endswith(f"{NOTHING_LEFT}\n")
        assert not Path(f"/proc/{pid}").exists()
        assert kernel.launcher_status(timeout=10) != 0
        kernel.__exit__(None, None, None)


def test_keep_lets_nobody_else_in() -> None:
    with running("--keep") as demo:
        demo.read_until(" jupyter lab")
        words = shlex.split(next(line for line in demo.told.splitlines() if "$ remote" in line))
        args = next(word for word in words if word.startswith("--remote-launch-args="))
        port = words[words.index("--host") + 1].rpartition(":")[2]
        right = ["ssh", *shlex.split(args.partition("=")[2]), "-p", port, "127.0.0.1"]
        assert subprocess.run([*right, "exit 7"]).returncode == 7
        key = next(Path.home().glob(".ssh/id_*[!b]"))
        wrong = [str(key) if word.endswith("/key") else word for word in right]
        done = subprocess.run(
            [*wrong[:1], "-oBatchMode=yes", *wrong[1:], "exit 7"], capture_output=True, text=True
        )
        assert done.returncode == 255
        assert "Permission denied" in done.stderr
        demo.end_by(signal.SIGTERM)
        demo.rest()
        assert demo.process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("package", ["asyncssh", "ipykernel", "matplotlib"])
def test_a_missing_package_is_told_in_words(package: str, tmp_path: Path) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(f"import sys; sys.modules[{package!r}] = None")
    done = run_demo(PYTHONPATH=str(tmp_path))
    assert done.returncode == 6
    assert done.stdout == ""
    assert done.stderr == (
        f"remote-kernels: the demo needs {package}, not installed here.\n"
        "  try: pip install 'remote-kernels[demo]'\n"
    )
    assert run_demo("--help", PYTHONPATH=str(tmp_path)).returncode == 0


def test_a_missing_ssh_is_told_in_words(tmp_path: Path) -> None:
    done = run_demo(PATH=str(tmp_path))
    assert done.returncode == 11
    assert "the demo needs the program ssh" in done.stderr


def test_a_step_that_fails_is_told_in_words(tmp_path: Path) -> None:
    tmp_path.joinpath("ssh").write_text("#!/bin/sh\necho 'ssh: no entropy' >&2\nexit 255\n")
    tmp_path.joinpath("ssh").chmod(0o755)
    done = run_demo(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 6
    assert "3. Start it" in done.stdout
    assert "   failed after " in done.stdout
    assert NOTHING_LEFT not in done.stdout
    assert "said:  ssh: no entropy" in done.stderr
    assert done.stderr.endswith("\nremote-kernels: the kernel's launcher has ended.\n")


def test_a_killed_demo_ends_the_kernel() -> None:
    with running() as demo:
        demo.read_until(STEPS[5])
        (pid,) = re.findall(r"> process (\d+) below", demo.told)
        demo.process.kill()
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 15, "the kernel's end")
        demo.rest()
    # Its files go with the next one.
    with running() as demo:
        demo.read_until(STEPS[1])
        demo.end_by(signal.SIGINT)
        demo.rest()


def test_the_help_lists_it() -> None:
    done = subprocess.run([*DEMO[:-1], "--help"], capture_output=True, text=True)
    assert re.search(r"^  demo +Show a kernel at work", done.stdout, re.MULTILINE)
