"""``remote-kernels discover``: what is found on a host, and the kernelspecs that follow from it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bed import Bed
from frontend import Kernel, Person, ours, ran
from remote_kernels import kernelspecs

HOME = "/home/ada"
SPECS = f"{HOME}/.local/share/jupyter/kernels"

# Environments as conda and venv make them, some with ipykernel.
FURNISH = """
set -e
environment() {{
    /usr/bin/python3 -m venv --without-pip "$1"
    [ -z "$2" ] || echo {site} >"$(echo "$1"/lib/python3*/site-packages)/far.pth"
}}
mkdir -p ~/miniconda3/condabin ~/miniconda3/conda-meta
environment ~/miniconda3/envs/torch yes
mkdir -p ~/miniconda3/envs/torch/conda-meta ~/miniconda3/envs/torch/etc/conda/activate.d
echo 'export LD_LIBRARY_PATH=$CONDA_PREFIX/lib' >~/miniconda3/envs/torch/etc/conda/activate.d/x.sh
echo '{{"env_vars": {{"NOTED": "by conda"}}}}' >~/miniconda3/envs/torch/conda-meta/state
environment ~/miniconda3/envs/empty ""
mkdir ~/miniconda3/envs/empty/conda-meta
environment ~/venvs/plain yes
environment ~/.virtualenvs/twin yes
environment ~/venvs/twin yes
environment "$HOME/projects/my work/.venv" yes
mkdir -p ~/Virtualenvs ~/.virtualenvs/closed
chmod 0 ~/Virtualenvs ~/.virtualenvs/closed
mkdir -p {specs}/own {specs}/broken {specs}/gone {specs}/nested
cp {logo} {specs}/own/logo-64x64.png
echo 'not an image' >{specs}/own/readme.txt
printf %s '{own}' >{specs}/own/kernel.json
echo '{{"argv": [' >{specs}/broken/kernel.json
echo '{{"argv": ["/nowhere/kernel", "{{connection_file}}"], "language": "x"}}' \
    >{specs}/gone/kernel.json
echo '{{"argv": ["python3", "-m", "remote_kernels", "{{connection_file}}"]}}' \
    >{specs}/nested/kernel.json
"""
UNFURNISH = (
    "chmod 700 ~/Virtualenvs ~/.virtualenvs/closed; "
    "rm -rf ~/miniconda3 ~/venvs ~/.virtualenvs ~/Virtualenvs ~/projects ~/.local/share/jupyter "
    "~/.cache ~/.config ~/.jupyter"
)


def own_spec(python: str) -> dict[str, Any]:
    return {
        "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Ada's own",
        "language": "python",
        "interrupt_mode": "message",
        "kernel_protocol_version": "5.5",
        # Of an older Jupyter; newer ones want nothing in it that they do not know.
        "help_links": [{"text": "Ada's manual", "url": "https://docs.example.org"}],
        "env": {"OMP_NUM_THREADS": "3", "WHERE": "${HOME}/data"},
        "metadata": {"debugger": True, "kernel_provisioner": {"provisioner_name": "evil"}},
    }


@pytest.fixture
def furnished(bed: Bed) -> Iterator[None]:
    """ada's home on ``far``, with all sorts of kernels."""
    site = bed.far.run([bed.far_python, "-c", "import ipykernel; print(ipykernel.__path__[0])"])
    bed.far.run(["tee", "/tmp/logo"], input="picture")
    script = FURNISH.format(
        site=os.path.dirname(site.stdout.strip()),
        specs=SPECS,
        own=json.dumps(own_spec(bed.far_python)).replace("'", "'\\''"),
        logo="/tmp/logo",
    )
    try:
        bed.far.run(["bash", "-c", script], user="ada")
        yield
    finally:
        bed.far.run(["bash", "-c", UNFURNISH], user="ada")
        bed.far.run(["rm", "/tmp/logo"])


def discover(*words: str, status: int = 0) -> dict[str, Any]:
    """What ``discover`` tells programs of ada's host."""
    done = ran("discover", "ada@far", "--json", *words)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, done.stderr
    (found,) = json.loads(done.stdout)
    return dict(found)


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {kernel["name"]: kernel for kernel in found["kernels"]}


def added(found: dict[str, Any]) -> list[str]:
    return [spec["name"] for spec in found["added"]]


def document(name: str) -> dict[str, Any]:
    path = kernelspecs.user_directory() / name / "kernel.json"
    return dict(json.loads(path.read_text()))


def test_all_kinds_are_found(bed: Bed, furnished: None) -> None:
    found = discover("--look-in", "~/projects")
    kernels = by_name(found)
    starts = {name for name, kernel in kernels.items() if kernel["starts"]}
    assert starts == {
        *("own", "ir", "torch", "plain", "my work", "~/.virtualenvs/twin", "~/venvs/twin"),
    }
    assert kernels["torch"]["activate"] == f"{HOME}/miniconda3/envs/torch"
    assert kernels["torch"]["kind"] == "conda"
    assert kernels["ir"]["language"] == "R"
    assert kernels["ir"]["version"].count(".") == 2
    assert kernels["plain"]["version"].startswith("3.")
    assert kernels["own"]["env"]["OMP_NUM_THREADS"] == "3"
    problems = {name: kernel["problem"] for name, kernel in kernels.items() if not kernel["starts"]}
    assert set(problems) == {"broken", "gone", "empty", "python3"}
    assert "broken" in problems["broken"]
    assert "/nowhere/kernel" in problems["gone"]
    assert problems["empty"] == problems["python3"] == "its Python has no ipykernel"
    # Debian's Python may not be written to.
    assert kernels["python3"]["install"].startswith("/usr/bin/python3 -m venv")
    notes = {note["path"] for note in found["notes"]}
    assert notes == {f"{HOME}/Virtualenvs"}
    assert bed.far.logins() == ["ada"]


def test_the_person_s_jupyter_is_asked(bed: Bed, furnished: None) -> None:
    directory = os.path.dirname(bed.far_python)
    bed.far.write(f"{HOME}/.bash_profile", f"PATH={directory}:$PATH\n", user="ada")
    try:
        kernels = by_name(discover())
    finally:
        bed.far.run(["rm", f"{HOME}/.bash_profile"])
    paths = {kernel["program"] for kernel in kernels.values() if kernel["starts"]}
    assert bed.far_python in paths


def test_a_kernel_is_added_with_all_that_it_has(bed: Bed, furnished: None, tmp_path: Path) -> None:
    (name,) = added(discover("--add", "own"))
    assert name == "rik_ssh_ada_far_own"
    spec = document(name)
    assert spec["interrupt_mode"] == "message"
    assert spec["language"] == "python"
    assert spec["metadata"]["debugger"] is True
    left = {"kernel_provisioner", "kernel_protocol_version", "help_links"}
    assert not left & {*spec, *spec["metadata"]}
    logos = {path.name for path in (kernelspecs.user_directory() / name).iterdir()}
    assert logos == {"kernel.json", "logo-64x64.png"}
    with Kernel(name, tmp_path) as kernel:
        assert kernel.value("__import__('os').environ['OMP_NUM_THREADS']") == "3"
        assert kernel.value("__import__('os').environ['WHERE']") == f"{HOME}/data"
        # Those that front ends show come from the kernel.
        told = kernel.client.kernel_info(reply=True, timeout=20)["content"]["help_links"]
        assert "IPython Reference" in [link["text"] for link in told]
    Person(sys.executable, "-m", "remote_kernels", "manage", "--delete", name).end()
    assert not (kernelspecs.user_directory() / name).exists()


def test_an_environment_is_added_activated(bed: Bed, furnished: None, tmp_path: Path) -> None:
    (name,) = added(discover("--add", "torch"))
    prefix = f"{HOME}/miniconda3/envs/torch"
    with Kernel(name, tmp_path) as kernel:
        found = kernel.value("dict(__import__('os').environ)")
        assert kernel.value("__import__('sys').prefix") == prefix
    assert found["CONDA_PREFIX"] == prefix
    assert found["PATH"].startswith(f"{prefix}/bin:")
    assert found["LD_LIBRARY_PATH"] == f"{prefix}/lib"
    assert found["NOTED"] == "by conda"


def test_all_that_would_start_are_added(furnished: None) -> None:
    names = added(discover("--add-all"))
    shown = {document(name)["display_name"] for name in names}
    assert shown == {
        f"SSH ada@far {name}"
        for name in ("own", "ir", "torch", "plain", "~/.virtualenvs/twin", "~/venvs/twin")
    }
    # Once more: nothing new, and nothing in the way.
    assert added(discover("--add-all")) == []


def test_options_of_manage_apply(furnished: None) -> None:
    words = ["--interface", "slurm", "--cpus", "4", "--env", "A=b", "--name", "Mine"]
    (name,) = added(discover("--add", "torch", *words))
    (spec,) = kernelspecs.named([name])
    options = spec.options
    assert (options.interface, options.cpus, options.name) == ("slurm", 4, "Mine")
    assert options.tunnel_hosts == ("ada@far",)
    assert options.host is None
    assert options.env == ("NOTED=by conda", "A=b")


def test_what_is_somebody_else_s_is_left(furnished: None) -> None:
    directory = kernelspecs.user_directory() / "rik_ssh_ada_far_plain"
    words = ["--add", "-i", "ssh", "-x", "ada@far", "--name", "plain", "-k", "mine"]
    Person(sys.executable, "-m", "remote_kernels", "manage", *words).end()
    before = (directory / "kernel.json").read_bytes()
    assert "left as it is" in discover("--add", "plain", status=5)["error"]["sentence"]
    synced = discover("--sync")
    assert directory.name in [spec["name"] for spec in synced["left"]]
    assert (directory / "kernel.json").read_bytes() == before


def test_a_sync_follows_the_host(bed: Bed, furnished: None) -> None:
    assert discover("--sync", "--dry-run")["added"]
    assert not kernelspecs.user_directory().exists()
    first = discover("--sync")
    assert len(first["added"]) == 6
    again = discover("--sync")
    assert [again[what] for what in ("added", "updated", "removed", "left")] == [[], [], [], []]

    spec = {**own_spec(bed.far_python), "env": {"OMP_NUM_THREADS": "7"}}
    bed.far.write(f"{SPECS}/own/kernel.json", json.dumps(spec), user="ada")
    bed.far.run(["rm", "-r", f"{HOME}/venvs/plain"])
    bed.far.run(["cp", "-r", f"{HOME}/.virtualenvs/twin", f"{HOME}/.virtualenvs/new"], user="ada")
    # What a person has changed since then stays.
    edit = ["manage", "--edit", "rik_ssh_ada_far_own", "--lease", "5h"]
    assert ours(*edit).end()[0] == 0
    synced = discover("--sync")
    changed = {
        what: [x["display_name"] for x in synced[what]] for what in ("added", "updated", "removed")
    }
    assert changed == {
        "added": ["SSH ada@far new"],
        "updated": ["SSH ada@far own"],
        "removed": ["SSH ada@far plain"],
    }
    (own,) = kernelspecs.named(["rik_ssh_ada_far_own"])
    assert own.options.env == ("OMP_NUM_THREADS=7",)
    assert own.options.lease == "5h"


def test_a_sync_removes_no_more_than_it_added(bed: Bed, furnished: None) -> None:
    discover("--add", "plain")
    discover("--sync")
    bed.far.run(["rm", "-r", f"{HOME}/venvs"])
    synced = discover("--sync")
    assert [spec["display_name"] for spec in synced["removed"]] == ["SSH ada@far ~/venvs/twin"]
    assert [spec["display_name"] for spec in synced["left"]] == ["SSH ada@far plain"]


def test_what_cannot_be_looked_at_is_not_gone(bed: Bed, furnished: None) -> None:
    discover("--sync")
    bed.far.run(["chmod", "0", f"{HOME}/venvs"])
    synced = discover("--sync")
    bed.far.run(["chmod", "700", f"{HOME}/venvs"])
    assert synced["removed"] == []
    assert len(synced["left"]) == 2


def test_a_host_that_is_away_changes_nothing(bed: Bed, furnished: None) -> None:
    discover("--sync", "--no-share")
    before = sorted(kernelspecs.user_directory().iterdir())
    with bed.far.sshd("DenyUsers ada"):
        failed = discover("--sync", "--no-share", status=17)
    assert "denied" in failed["error"]["sentence"]
    assert sorted(kernelspecs.user_directory().iterdir()) == before


def test_two_hundred_kernelspecs(bed: Bed, furnished: None) -> None:
    text = shlex.quote(json.dumps(own_spec(bed.far_python)))
    loop = f"for n in $(seq 200); do mkdir {SPECS}/k$n; echo {text} >{SPECS}/k$n/kernel.json; done"
    bed.far.run(["sh", "-c", loop], user="ada")
    assert len([name for name in by_name(discover()) if name.startswith("k")]) == 200
    assert len(added(discover("--add-all"))) == 206


def test_ipykernel_is_installed(bed: Bed, furnished: None, tmp_path: Path) -> None:
    wheels = os.path.join(os.path.dirname(bed.far_python), "../wheels")
    conf = f"[global]\nno-index = true\nfind-links = {os.path.normpath(wheels)}\n"
    bed.far.write(f"{HOME}/.config/pip/pip.conf", conf, user="ada")
    words = ["--install", "empty", "--add", "empty"]
    assert discover(*words, "--dry-run", status=0)["added"]
    (name,) = added(discover(*words))
    with Kernel(name, tmp_path) as kernel:
        assert kernel.value("1 + 1") == 2
    # Debian keeps pip out of its own Python: a virtualenv is made, and that is added.
    (name,) = added(discover("--install", "python3", "--add", "python3"))
    assert name.startswith("rik_ssh_ada_far_ipykernel3")
    with Kernel(name, tmp_path) as kernel:
        prefix = kernel.value("__import__('sys').prefix")
        assert prefix.startswith(f"{HOME}/.virtualenvs/ipykernel-3.")


def test_a_person_picks_from_the_list(furnished: None) -> None:
    person = ours("discover", "ada@far")
    person.sees("Add which")
    person.types("torch nonsense")
    person.sees("there is no kernel nonsense")
    person.types("torch, ir")
    person.sees(r"Added kernel \['rik_ssh_ada_far_torch'\]")
    person.sees(r"Added kernel \['rik_ssh_ada_far_ir'\]")
    assert person.end()[0] == 0


def test_through_gateways(bed: Bed) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "remote_kernels", "discover", "ada@inner"),
            *("--tunnel-hosts", "gina@gw1", "gina@gw2"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ada@inner: ")
    assert "  ir  R " in done.stdout


def test_several_hosts_of_which_one_is_away(bed: Bed) -> None:
    done = ran("discover", "ada@nowhere", "ada@far")
    assert done.returncode == 12
    assert "nowhere" in done.stderr
    assert "ada@far: 2 kernels" in done.stdout


def test_no_python_over_there(bed: Bed) -> None:
    from frontend import without_python

    with without_python(bed.far):
        error = discover(status=20)["error"]
    assert "no Python" in error["sentence"]
