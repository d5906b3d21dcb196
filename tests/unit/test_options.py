"""The options: what goes into kernel.json comes out of it as it was, through Jupyter's hands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from remote_kernels.errors import OptionsError
from remote_kernels.options import (
    DECLARED,
    KernelOptions,
    from_argv,
    host_and_options,
    to_argv,
    with_options,
)

CONNECTION_FILE = "/run/user/1000/jupyter/kernel {prefix}.json"

# What Jupyter replaces, what argparse looks for, and what shells do.
PIECES = [
    *"{}\\-=$`'\" \n\té日",
    "{connection_file}",
    "{host_connection_file}",
    "{cwd}",
    "${env}",
    "{\\prefix}",
    "{ci[shell_port]}",
    "--host",
    "word",
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1),
).filter(lambda text: text != "--")
HOSTS = st.from_regex(r"[a-z][a-z0-9.@:]*", fullmatch=True)
OPTIONS = st.builds(
    KernelOptions,
    interface=st.sampled_from(["local", "ssh", "slurm"]),
    name=st.none() | TEXTS,
    language=st.none(),  # is not for the launcher
    host=st.none() | HOSTS,
    launch_cmd=st.none() | TEXTS,
    pe=st.none() | TEXTS,
    cpus=st.integers(1, 9999),
    time=st.none() | TEXTS,
    memory=st.none() | TEXTS,
    gpus=st.integers(0, 9999),
    queue=st.none() | TEXTS,
    account=st.none() | TEXTS,
    launch_timeout=st.none() | TEXTS,
    workdir=st.none() | TEXTS,
    activate=st.none() | TEXTS,
    env=st.just(()),  # does not stand in argv
    precmd=st.none() | TEXTS,
    launch_args=st.none() | TEXTS,
    tunnel_hosts=st.lists(HOSTS, max_size=3).map(tuple),
    fallback=st.lists(HOSTS, max_size=3).map(tuple),
    channel=st.none() | TEXTS,
    transport=st.none() | TEXTS,
    lease=st.none() | TEXTS,
    spool=st.none() | TEXTS,
    no_share=st.booleans(),
    existing=st.none() | TEXTS,
    keep=st.booleans(),
    verbose=st.booleans(),
    kernel_cmd=TEXTS,
)


def as_jupyter_runs_it(argv: list[str]) -> list[str]:
    """What Jupyter makes of the argv of a kernel.json."""
    manager = KernelManager(connection_file=CONNECTION_FILE)
    manager._kernel_spec = KernelSpec(argv=argv, resource_dir="RESOURCES")
    launch_args: dict[str, Any] = {"cwd": "CWD", "env": "ENV", "word": "WORD"}
    manager._launch_args = launch_args
    return manager.format_kernel_cmd()


@settings(deadline=None, max_examples=400)
@examples(OPTIONS)
def test_options_arrive_as_typed(options: KernelOptions) -> None:
    argv = as_jupyter_runs_it(["/python", *to_argv(options), "{connection_file}"])
    found, connection_file = from_argv(argv[1:])
    # The path is filled into the command by the launcher, not by Jupyter.
    command = str(options.kernel_cmd).replace("{connection_file}", "{host_connection_file}")
    assert found == options._replace(kernel_cmd=command)
    assert connection_file == CONNECTION_FILE


@settings(deadline=None)
@examples(OPTIONS)
def test_connection_file_is_named_by_one_element_only(options: KernelOptions) -> None:
    # VS Code takes the first that contains the text.
    assert not any("{connection_file}" in element for element in to_argv(options))


def test_a_new_field_reaches_the_launcher_with_no_other_edit() -> None:
    named = {name for name, option in DECLARED.items() if option.launcher_flag}
    # The one is for front ends; the others' values are to be in no command line.
    assert named | {"language", "env"} == set(DECLARED)


@pytest.mark.parametrize("field", ["name", "workdir", "precmd", "launch_args", "kernel_cmd"])
def test_what_cannot_be_stored_is_refused(field: str) -> None:
    with pytest.raises(OptionsError, match="cannot be '--'"):
        to_argv(KernelOptions()._replace(**{field: "--"}))  # type: ignore[arg-type]


ROWS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("remote_ikernel_names.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["kernel_name"])
def test_what_remote_ikernel_stored_is_read(row: dict[str, Any]) -> None:
    found, connection_file = from_argv(row["argv"])
    wanted = {k: v for k, v in row["options"].items() if k not in ("name", "language")}
    # It left away what has no effect.
    wanted["cpus"] = max(1, wanted.get("cpus", 1))
    wanted["tunnel_hosts"] = tuple(wanted.get("tunnel_hosts", ()))
    if wanted["interface"] != "ssh":
        wanted.pop("host", None)
    assert found == KernelOptions(**wanted, kernel_cmd="k {host_connection_file}")
    assert connection_file == "{connection_file}"


def test_a_name_may_be_empty() -> None:
    argv = [*to_argv(KernelOptions(name="")), "file"]
    assert from_argv(argv)[0].name == ""


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--interface", "ssh"],
        ["--cpus", "many", "file"],
        ["--gpus", "", "file"],
        ["--unknown", "x", "file"],
        ["--inter", "ssh", "file"],
    ],
)
def test_what_cannot_be_read_is_refused(argv: list[str]) -> None:
    with pytest.raises(OptionsError, match=r"kernel\.json"):
        from_argv(argv)


def test_what_front_ends_put_behind_the_connection_file_is_passed_over() -> None:
    argv = ["--interface", "ssh", "connection.json", "cell.py", "--debug"]
    assert from_argv(argv) == (KernelOptions(interface="ssh"), "connection.json")


FIELDS_OF_A_HOST = st.fixed_dictionaries(
    {"host": HOSTS},
    optional={
        "interface": st.sampled_from(["ssh", "slurm"]),
        "workdir": TEXTS,
        "precmd": TEXTS,
        "launch_args": TEXTS,
        "tunnel_hosts": st.lists(HOSTS, min_size=1, max_size=3).map(tuple),
        "cpus": st.integers(2, 9999),
        "no_share": st.just(True),
    },
)


@examples(FIELDS_OF_A_HOST)
def test_a_host_with_options_is_read_as_it_was_written(fields: dict[str, Any]) -> None:
    assert host_and_options(with_options(fields)) == fields


@pytest.mark.parametrize("text", ["", "a b", "a --name x", "a --env A=1", "a --cpus x", "a 'b"])
def test_what_is_no_host_with_options(text: str) -> None:
    with pytest.raises(OptionsError, match="cannot be read"):
        host_and_options(text)
