"""The table of interfaces, and those of other packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_kernels.errors import OptionsError
from remote_kernels.interfaces import ENTRY_POINTS, interface_named
from remote_kernels.interfaces.base import Interface
from remote_kernels.kernelspecs import display_name, kernel_name
from remote_kernels.options import DECLARED, INTERFACE_NAMES, KernelOptions, from_argv, to_argv

OTHER = """
from remote_kernels.interfaces.scheduler import Scheduler

class Oar(Scheduler):
    name, label, name_part, command = "oar", "OAR", "oar", "oarsub"

    @classmethod
    def job_command(cls, options, name):
        return [*cls.program(options), "-I", "-n", name]

    @classmethod
    def cancel(cls, name):
        return f"oardel {name}"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another package, as it lies where Python looks once it is installed."""
    (tmp_path / "oar_kernels.py").write_text(OTHER, encoding="utf-8")
    (tmp_path / "broken_kernels.py").write_text("raise RuntimeError('no OAR here')", "utf-8")
    about = tmp_path / "oar_kernels-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: oar-kernels\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[{ENTRY_POINTS}]\noar = oar_kernels:Oar\nbroken = broken_kernels:Broken\n"
        "absent = oar_kernels:Absent\nslurm = broken_kernels:Slurm\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("oar_kernels", "broken_kernels"):
        sys.modules.pop(name, None)


def test_the_group_is_what_the_documents_say() -> None:
    assert ENTRY_POINTS == "remote_kernels.interfaces"


@pytest.mark.parametrize("name", INTERFACE_NAMES)
def test_the_table(name: str) -> None:
    found = interface_named(name)
    assert found.name == name
    assert issubclass(found, Interface)
    assert found.label
    assert found.uses <= set(DECLARED)


def test_no_name() -> None:
    with pytest.raises(OptionsError, match="interface must be specified"):
        interface_named(None)


def test_an_unknown_name_is_answered_with_those_that_there_are(package: Path) -> None:
    with pytest.raises(OptionsError) as caught:
        interface_named("telnet")
    assert caught.value.sentence.startswith("Unknown interface telnet; there are local, ssh, pbs")
    assert "oar" in caught.value.sentence.split(", ")


def test_an_interface_of_another_package(package: Path) -> None:
    given = {"cpus": 2, "tunnel_hosts": ("gate", "me@front"), "time": "4h", "kernel_cmd": "R"}
    options = KernelOptions(interface="oar", name="My R", **given)  # type: ignore[arg-type]
    found = interface_named("oar")
    found.check(options)
    assert found.label == "OAR"
    assert kernel_name(options) == "rik_oar_myr_2_via_gate_me_front"
    assert display_name(options) == "OAR My R 2 CPUs (via gate me@front)"
    assert from_argv([*to_argv(options), "file"])[0] == options
    command = found.session_command(options, Path("/private"), "START")
    assert command[-4:] == ["me", "--", "front", "START"]
    with pytest.raises(OptionsError, match="the interface oar cannot use --pe"):
        found.check(KernelOptions(interface="oar", name="R", pe="smp"))


def test_ours_come_first(package: Path) -> None:
    assert interface_named("slurm").__module__ == "remote_kernels.interfaces.slurm"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "the interface broken (broken_kernels:Broken): no OAR here"),
        ("absent", "the interface absent (oar_kernels:Absent): module 'oar_kernels' has no attr"),
    ],
)
def test_what_another_package_does_wrong_is_said(package: Path, name: str, said: str) -> None:
    with pytest.raises(OptionsError) as caught:
        interface_named(name)
    assert caught.value.sentence.startswith(said)
