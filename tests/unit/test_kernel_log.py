from pathlib import Path

import pytest

from remote_kernels import kernel_log
from remote_kernels.kernel_log import KernelLog


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kernel_log, "log_directory", lambda: tmp_path / "log")
    return tmp_path / "log"


def test_no_secret_and_nothing_that_a_terminal_obeys_gets_in(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = KernelLog("k", ["secret"], verbose=True)
    log.write("a secret \x1b]0;title\x07 ü")
    log.close()
    (path,) = directory.iterdir()
    for text in (path.read_text(), capsys.readouterr().err):
        assert text.endswith(" a [key] \\x1b]0;title\\x07 ü\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_does_not_grow_for_ever(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_log, "_LARGEST", 200)
    log = KernelLog("k", [], verbose=False)
    for _ in range(100):
        log.write("x" * 20)
    log.close()
    (path,) = directory.iterdir()
    assert path.stat().st_size < 300
    assert path.read_text().endswith("too large.\n")


def test_a_log_that_cannot_be_made_keeps_no_kernel_from_starting(directory: Path) -> None:
    directory.write_text("a file, not a directory")
    log = KernelLog("k", [], verbose=False)
    log.write("x")
    log.close()
    assert log.path is None
