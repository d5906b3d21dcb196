"""Kernel and display names are those that remote_ikernel computed: notebooks hold them.

remote_ikernel_names.json was made by calling add_kernel() of the real remote_ikernel 0.4.6 (from
PyPI, with jupyter_client's install_kernel_spec() replaced by a recorder) with every interface and
mixes of all options; a row holds the options, the two names, and what it wrote into argv.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import _is_valid_kernel_name

from remote_kernels.kernelspecs import display_name, kernel_name
from remote_kernels.options import INTERFACE_NAMES, KernelOptions

ROWS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("remote_ikernel_names.json").read_text(encoding="utf-8")
)


def _options(row: dict[str, Any]) -> KernelOptions:
    values = row["options"]
    return KernelOptions(**{**values, "tunnel_hosts": tuple(values.get("tunnel_hosts", ()))})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["kernel_name"])
def test_names(row: dict[str, Any]) -> None:
    options = _options(row)
    assert kernel_name(options) == row["kernel_name"]
    assert display_name(options) == row["display_name"]


def test_the_table_holds_every_interface() -> None:
    assert {row["options"]["interface"] for row in ROWS} == set(INTERFACE_NAMES)


def test_the_example_of_the_old_readme() -> None:
    options = KernelOptions(interface="ssh", host="me@remote.machine", name="IJulia 0.6.0")
    assert kernel_name(options) == "rik_ssh_me_remote_machine_ijulia060"
    assert display_name(options) == "SSH me@remote.machine IJulia 0.6.0"


def test_pbs_leaves_no_trace_in_the_kernel_name() -> None:
    assert kernel_name(KernelOptions(interface="pbs", name="R")) == "rik_r"


@pytest.mark.parametrize("name", ["Größe", "日本語", "Ελληνικά 2"])
def test_letters_that_jupyter_refuses_are_spelled_out(name: str) -> None:
    found = kernel_name(KernelOptions(interface="local", name=name))
    assert _is_valid_kernel_name(found)
    assert found != kernel_name(KernelOptions(interface="local", name=name[:-1]))
