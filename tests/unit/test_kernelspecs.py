"""Kernelspecs come and go whole, and nothing that is not ours is touched."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from remote_kernels import kernelspecs
from remote_kernels.errors import KernelSpecError, OptionsError
from remote_kernels.kernelspecs import KernelSpec
from remote_kernels.options import KernelOptions

SSH = KernelOptions(
    interface="ssh",
    name="Python 3",
    host="me@gpu",
    kernel_cmd="python3 -m ipykernel_launcher -f {connection_file}",
)
NAME = "rik_ssh_me_gpu_python3"
OURS = {"kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"}


def add(options: KernelOptions, parent: Path) -> KernelSpec:
    spec, _ = kernelspecs.planned(options, parent)
    kernelspecs.write(spec)
    return spec


def put(directory: Path, document: dict[str, Any]) -> Path:
    """A kernelspec as somebody else left it."""
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(json.dumps(document), encoding="utf-8")
    return directory


def put_theirs(parent: Path, name: str = "rik_ssh_gpu_r", *words: str, **more: Any) -> Path:
    """A kernelspec as remote_ikernel 0.4.6 wrote it."""
    words = words or ("--interface", "ssh", "--host", "gpu", "--precmd", "module load {R}")
    argv = ["/old/python", "-m", "remote_ikernel", *words]
    argv += ["--kernel_cmd", "R --args {host_connection_file}", "{connection_file}"]
    document = {"argv": argv, "display_name": "SSH gpu R", "remote_ikernel_argv": ["x"], **more}
    return put(parent / name, document)


def snapshot(directory: Path) -> dict[str, bytes]:
    """Everything below a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_add(kernels: Path) -> None:
    spec = add(SSH._replace(language="python"), kernels)
    assert {path.name for path in (kernels / NAME).iterdir()} == OURS
    assert [path.name for path in kernels.iterdir()] == [NAME]
    document = json.loads((kernels / NAME / "kernel.json").read_text(encoding="utf-8"))
    assert document == {
        "argv": [
            os.path.abspath(sys.executable),
            "-m",
            "remote_kernels",
            "--interface",
            "ssh",
            "--name",
            "Python 3",
            "--host",
            "me@gpu",
            "--kernel_cmd",
            "python3 -m ipykernel_launcher -f {host_connection_file}",
            "{connection_file}",
        ],
        "display_name": "SSH me@gpu Python 3",
        "language": "python",
    }
    assert spec.options == SSH._replace(language="python")


def test_jupyter_reads_it(kernels: Path) -> None:
    add(SSH, kernels)
    found = KernelSpecManager().get_kernel_spec(NAME)
    assert found.display_name == "SSH me@gpu Python 3"
    assert KernelSpecManager().find_kernel_specs()[NAME] == str(kernels / NAME)


def test_language_only_when_given(kernels: Path) -> None:
    assert "language" not in add(SSH, kernels).document


def test_directory_is_readable_for_those_whom_the_umask_lets(kernels: Path) -> None:
    old = os.umask(0o022)
    try:
        add(SSH, kernels)
    finally:
        os.umask(old)
    assert (kernels / NAME).stat().st_mode & 0o777 == 0o755
    assert all(p.stat().st_mode & 0o777 == 0o644 for p in (kernels / NAME).iterdir())


def test_capitals_become_the_name_that_jupyter_knows(kernels: Path) -> None:
    spec = add(SSH._replace(host="GPU"), kernels)
    assert spec.directory.name == "rik_ssh_gpu_python3"
    assert kernelspecs.planned(SSH._replace(host="GPU"), kernels)[1]


def test_replacing_ours_keeps_what_people_added(kernels: Path) -> None:
    spec = add(SSH._replace(language="python", workdir="/old"), kernels)
    document = dict(spec.document)
    document["metadata"] = {"supported_encryption": ["curve"]}
    document["env"] = {"A": "1"}
    path = spec.directory / "kernel.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    (spec.directory / "kernel.js").write_text("mine", encoding="utf-8")
    (spec.directory / "logo-svg.svg").write_text("mine", encoding="utf-8")
    new, replaced = kernelspecs.planned(SSH._replace(workdir="/new"), kernels)
    kernelspecs.write(new)
    assert replaced
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == new.document
    assert written["metadata"] == {"supported_encryption": ["curve"]}
    assert written["env"] == {"A": "1"}
    assert "language" not in written
    assert "/new" in written["argv"]
    assert (spec.directory / "kernel.js").read_text(encoding="utf-8") == "mine"
    assert (spec.directory / "logo-svg.svg").read_text(encoding="utf-8") == "mine"
    assert {path.name for path in spec.directory.iterdir()} == OURS | {"kernel.js"}


def test_one_that_is_made_by_another_of_us_meanwhile(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = kernelspecs.planned(SSH, kernels)
    kernelspecs.write(spec)
    new = KernelSpec(spec.directory, {**spec.document, "language": "R"})
    there = os.path.isdir
    monkeypatch.setattr(Path, "is_dir", lambda path: path != spec.directory and there(path))
    kernelspecs.write(new)
    assert [found.document["language"] for found in kernelspecs.find([kernels])] == ["R"]
    assert list(kernels.iterdir()) == [spec.directory]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "no json",
        "[]",
        '{"argv": []}',
        '{"argv": null}',
        '{"argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]}',
        '{"argv": ["python", "-m", "remote_kernels_fork", "{connection_file}"]}',
        '{"argv": ["python", "-c", "remote_kernels", "{connection_file}"]}',
    ],
)
def test_a_kernelspec_of_others_is_left_alone(kernels: Path, text: str) -> None:
    (kernels / NAME).mkdir(parents=True)
    (kernels / NAME / "kernel.json").write_text(text, encoding="utf-8")
    before = snapshot(kernels)
    assert kernelspecs.find([kernels]) == []
    with pytest.raises(KernelSpecError, match="not ours"):
        kernelspecs.planned(SSH, kernels)
    assert snapshot(kernels) == before


def test_a_kernelspec_of_remote_ikernel_is_not_replaced(kernels: Path) -> None:
    put_theirs(kernels, NAME)
    with pytest.raises(KernelSpecError, match="remote_ikernel's") as caught:
        kernelspecs.planned(SSH, kernels)
    assert f"--migrate {NAME}" in caught.value.advice


def test_ours_at_another_place_is_not_replaced(kernels: Path, tmp_path: Path) -> None:
    add(SSH, tmp_path / "elsewhere")
    before = snapshot(tmp_path / "elsewhere")
    assert kernelspecs.planned(SSH, kernels)[1] is None
    add(SSH._replace(workdir="/x"), kernels)
    assert snapshot(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("there_is_one", [False, True])
@pytest.mark.parametrize("breaks", ["write_text", "rename", "replace", "copyfile"])
def test_all_or_nothing(
    kernels: Path, monkeypatch: pytest.MonkeyPatch, breaks: str, there_is_one: bool
) -> None:
    if there_is_one:
        add(SSH, kernels)
        for logo in (kernels / NAME).glob("logo-*"):
            logo.unlink()
    before = snapshot(kernels)

    def full(*args: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = shutil if breaks == "copyfile" else Path
    with monkeypatch.context() as patched:
        patched.setattr(target, breaks, full)
        spec, _ = kernelspecs.planned(SSH._replace(workdir="/x"), kernels)
        used = breaks != ("rename" if there_is_one else "replace")
        if used:
            with pytest.raises(KernelSpecError, match="No space left on device"):
                kernelspecs.write(spec)
    if used:
        assert snapshot(kernels) == before
        assert [p.name for p in kernels.iterdir()] == ([NAME] if there_is_one else [])


def test_kernel_json_comes_last(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kernels / NAME).mkdir(parents=True)
    placed: list[str] = []
    really = Path.replace

    def look(path: Path, target: Path) -> Path:
        placed.append(path.name)
        return really(path, target)

    monkeypatch.setattr(Path, "replace", look)
    add(SSH, kernels)
    assert set(placed) == OURS
    assert placed[-1] == "kernel.json"


def test_half_made_kernelspecs_are_not_listed(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str]] = []
    really = Path.rename

    def look(path: Path, target: Path) -> Path:
        seen.append(KernelSpecManager().find_kernel_specs())
        return really(path, target)

    monkeypatch.setattr(Path, "rename", look)
    add(SSH, kernels)
    assert len(seen) == 1
    assert not [d for d in seen[0].values() if d.startswith(str(kernels))]


def test_a_place_that_cannot_be_written_is_said(kernels: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    spec, _ = kernelspecs.planned(SSH, tmp_path / "file" / "kernels")
    with pytest.raises(KernelSpecError, match="cannot be written: Not a directory"):
        kernelspecs.write(spec)


def test_remove(kernels: Path) -> None:
    kernelspecs.remove(add(SSH, kernels))
    assert list(kernels.iterdir()) == []


def test_remove_leaves_the_files_of_others(kernels: Path) -> None:
    spec = add(SSH, kernels)
    (spec.directory / "kernel.js").write_text("mine", encoding="utf-8")
    (spec.directory / "logo-svg.svg").write_text("mine", encoding="utf-8")
    kernelspecs.remove(spec)
    assert snapshot(kernels) == {f"{NAME}/kernel.js": b"mine", f"{NAME}/logo-svg.svg": b"mine"}
    # What is left is no kernelspec, so it is in nobody's way.
    add(SSH, kernels)
    assert [found.name for found in kernelspecs.find([kernels])] == [NAME]
    assert (spec.directory / "kernel.js").read_text(encoding="utf-8") == "mine"


def test_find_takes_the_first_of_a_name(kernels: Path, tmp_path: Path) -> None:
    mine = add(SSH._replace(workdir="/mine"), kernels)
    add(SSH, tmp_path / "system")
    put(tmp_path / "other" / NAME, {"argv": ["python"], "display_name": "x"})
    missing = tmp_path / "missing"
    assert kernelspecs.find([missing, kernels, tmp_path / "system"]) == [mine]
    assert kernelspecs.find([tmp_path / "other", kernels]) == []


def test_directories_are_jupyters(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernelspecs.user_directory() == kernels
    monkeypatch.setenv("JUPYTER_PATH", "/extra")
    assert kernelspecs.search_directories()[0] == Path("/extra/kernels")
    jupyters = KernelSpecManager().kernel_dirs
    assert jupyters[: len(kernelspecs.search_directories())] == list(
        map(str, kernelspecs.search_directories())
    )


def test_edit_keeps_the_rest(kernels: Path) -> None:
    spec = add(SSH, kernels)
    new = kernelspecs.edited(spec, SSH._replace(name="Python 4", workdir="/w"))
    assert new.name == NAME
    assert new.display_name == "SSH me@gpu Python 4"
    assert new.options == SSH._replace(name="Python 4", workdir="/w")


def test_edit_keeps_a_display_name_given_by_hand(kernels: Path) -> None:
    spec = add(SSH, kernels)
    by_hand = KernelSpec(spec.directory, {**spec.document, "display_name": "My box"})
    assert kernelspecs.edited(by_hand, SSH._replace(name="new")).display_name == "My box"


def test_migrate(kernels: Path) -> None:
    env = {"A": "1"}
    directory = put_theirs(kernels, language="R", env=env, metadata={"a": 1})
    (directory / "kernel.js").write_text("mine", encoding="utf-8")
    old = (directory / "kernel.json").read_bytes()
    (spec,) = kernelspecs.find([kernels])
    assert not spec.ours
    new = kernelspecs.migrate(spec)
    assert (directory / "kernel.json.remote_ikernel").read_bytes() == old
    assert (directory / "kernel.js").read_text(encoding="utf-8") == "mine"
    document = json.loads((directory / "kernel.json").read_text(encoding="utf-8"))
    assert document == new.document
    assert document["argv"][:3] == [os.path.abspath(sys.executable), "-m", "remote_kernels"]
    # Jupyter would replace {R} for a launch argument of that name.
    assert document["argv"][document["argv"].index("--precmd") + 1] == "module load {\\R}"
    assert document["display_name"] == "SSH gpu R"
    assert document["env"] == env
    assert document["argv"][document["argv"].index("--name") + 1] == "R"
    assert document["metadata"] == {"a": 1}
    assert document["remote_ikernel_argv"] == ["x"]
    assert new.options == KernelOptions(
        interface="ssh",
        name="R",
        language="R",
        host="gpu",
        precmd="module load {R}",
        kernel_cmd="R --args {connection_file}",
    )
    kernelspecs.remove(new)
    assert snapshot(kernels) == {"rik_ssh_gpu_r/kernel.js": b"mine"}


@pytest.mark.parametrize("name", ["Python 3", "", "-n", "--", "~", "{cwd} $x", "Größe\n2"])
def test_the_name_is_kept_as_it_was_given(kernels: Path, name: str) -> None:
    options = SSH._replace(name=name)
    if name == "--":
        with pytest.raises(OptionsError, match="--name cannot be '--'"):
            kernelspecs.planned(options, kernels)
        return
    add(options, kernels)
    (found,) = kernelspecs.find([kernels])
    by_hand = KernelSpec(found.directory, {**found.document, "display_name": "My box"})
    assert found.options.name == by_hand.options.name == name


def test_a_kernelspec_with_no_name_has_that_of_its_display_name(kernels: Path) -> None:
    document = add(SSH, kernels).document
    at = document["argv"].index("--name")
    argv = document["argv"][:at] + document["argv"][at + 2 :]
    assert KernelSpec(kernels / NAME, {**document, "argv": argv}).options.name == "Python 3"
    by_hand = {**document, "argv": argv, "display_name": "My box"}
    assert KernelSpec(kernels / NAME, by_hand).options.name == "My box"


@pytest.mark.parametrize("interface", ["slurm", "sge", "sge_qrsh", "pbs", "lsf"])
def test_migrate_a_kernel_of_a_scheduler(kernels: Path, interface: str) -> None:
    words = ["--interface", interface, "--cpus", "4", "--pe", "mpi", "--tunnel-hosts", "gw", "me@x"]
    words += ["--launch-cmd", "/opt/bin/run it", "--launch-args", "-l 'a b'"]
    put_theirs(kernels, "rik_old", *words)
    (spec,) = kernelspecs.find([kernels])
    # remote_ikernel wrote a parallel environment for every interface.
    assert kernelspecs.migrate(spec).options == KernelOptions(
        interface=interface,
        name="SSH gpu R",
        launch_cmd="/opt/bin/run it",
        pe="mpi" if interface.startswith("sge") else None,
        cpus=4,
        launch_args="-l 'a b'",
        tunnel_hosts=("gw", "me@x"),
        kernel_cmd="R --args {connection_file}",
    )
    (new,) = kernelspecs.find([kernels])
    assert (new.name, new.display_name) == ("rik_old", "SSH gpu R")


def test_migrate_drops_what_was_never_heeded(kernels: Path) -> None:
    put_theirs(kernels, "rik", "--interface", "ssh", "--host", "gpu", "--cpus", "4", "--pe", "smp")
    (spec,) = kernelspecs.find([kernels])
    options = kernelspecs.migrated(spec).options
    assert (options.cpus, options.pe) == (1, None)


def test_migrate_refuses_what_would_run_elsewhere(kernels: Path) -> None:
    put_theirs(kernels, "rik", "--interface", "local", "--tunnel-hosts", "gpu")
    before = snapshot(kernels)
    (spec,) = kernelspecs.find([kernels])
    with pytest.raises(OptionsError, match="--tunnel-hosts"):
        kernelspecs.migrate(spec)
    assert snapshot(kernels) == before


def test_every_kernelspec_of_remote_ikernel_can_be_read() -> None:
    table = Path(__file__).with_name("remote_ikernel_names.json").read_text(encoding="utf-8")
    for row in json.loads(table):
        argv = ["/old/python", "-m", "remote_ikernel", *row["argv"]]
        document = {"argv": argv, "display_name": row["display_name"]}
        found = KernelSpec(Path("/k") / row["kernel_name"], document).options
        assert found.name == row["options"].get("name", ""), row
        assert kernelspecs.display_name(found) == row["display_name"]
        assert kernelspecs.kernel_name(found) == row["kernel_name"]
