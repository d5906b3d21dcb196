"""What is said of a kernel command; the cases are remote_ikernel's."""

from __future__ import annotations

import pytest

from remote_kernels.cli.kernel_command import looked_at

BRACKETS = "Warning: possibly unescaped brackets in the kernel command."
QUOTES = "Kernel command may be missing quotation marks."
R = "/usr/lib64/R/bin/R --slave -e {} --args {{connection_file}}"


def test_irkernel_is_quoted() -> None:
    stored, remarks = looked_at(R.format("IRkernel::main()"))
    assert stored == R.format("'IRkernel::main()'")
    assert remarks == ["Escaping IRkernel::main()."]


@pytest.mark.parametrize(
    "main", ["'IRkernel::main()'", '"IRkernel::main()"', r"IRkernel::main\(\)"]
)
def test_irkernel_that_is_safe_stays(main: str) -> None:
    assert looked_at(R.format(main)) == (R.format(main), [])


@pytest.mark.parametrize(
    ("command", "remarks"),
    [
        ("one ( two", [BRACKETS]),
        ("one ) two", [BRACKETS]),
        (r"one (\) two", [BRACKETS]),
        (r"one \(\) two", []),
        ("one '()' two", []),
        ('one "()" two', []),
        # Not seen at the very beginning; so it was.
        ("(one", []),
        ("one ' two", [QUOTES]),
        ('one " two', [QUOTES]),
        ("one ' two ' three", []),
        ("one ( ' two", [BRACKETS, QUOTES]),
    ],
)
def test_remarks(command: str, remarks: list[str]) -> None:
    assert looked_at(command) == (command, remarks)
