"""Kernels in environments that are activated, with variables of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bed import Bed
from frontend import Kernel, Site, add_kernel, failing

HOOK = "export LD_LIBRARY_PATH=$CONDA_PREFIX/lib"


@pytest.mark.parametrize("channel", [[], ["--channel", "forward"]])
def test_an_environment_is_activated(
    bed: Bed, site: Site, tmp_path: Path, channel: list[str]
) -> None:
    prefix = "/home/ada/envs/torch 2"
    bed.far.run(["mkdir", "-p", f"{prefix}/conda-meta", f"{prefix}/bin"], user="ada")
    bed.far.write(f"{prefix}/etc/conda/activate.d/libs.sh", f"{HOOK}\n", user="ada")
    try:
        spec = add_kernel(
            *(site, "--activate=~/envs/torch 2", *channel),
            *("--env", "WHERE=$CONDA_PREFIX/x", "SECRET=s3cret `date`", "LD_LIBRARY_PATH=/l:$PATH"),
            "--remote-precmd=export PRECMD=$CONDA_PREFIX",
        )
        with Kernel(spec, tmp_path) as kernel:
            found = kernel.value("dict(__import__('os').environ)")
            lines = [x.args for x in bed.far.processes()]
        assert found["CONDA_PREFIX"] == found["PRECMD"] == prefix
        assert found["WHERE"] == f"{prefix}/x"
        assert found["SECRET"] == "s3cret `date`"
        assert found["PATH"].startswith(f"{prefix}/bin:")
        # The person's own variables come last, and so replace what a hook has set.
        assert found["LD_LIBRARY_PATH"] == f"/l:{found['PATH']}"
        assert not [name for name in found if name.startswith(("rk_", "REMOTE_KERNELS"))]
        assert not [line for line in lines if "s3cret" in line]
    finally:
        bed.far.run(["rm", "-r", "/home/ada/envs"])


@pytest.mark.parametrize("channel", [[], ["--channel", "forward"]])
def test_an_environment_that_is_not_there(site: Site, tmp_path: Path, channel: list[str]) -> None:
    status, stderr = failing(add_kernel(site, "--activate=~/no env", *channel), tmp_path)
    assert status == 29
    assert "cannot activate the environment ~/no env" in stderr
    assert "/home/ada/no env: no such directory" in stderr


@pytest.mark.parametrize("user", ["cora", "fred", "zoe", "dora"])
def test_in_other_shells(bed: Bed, tmp_path: Path, user: str) -> None:
    prefix = f"/home/{user}/venvs/one"
    bed.far.run(["mkdir", "-p", f"{prefix}/bin"], user=user)
    try:
        there = Site(bed.far, user, bed.far_python, ["-i", "ssh", "-x", f"{user}@far"])
        spec = add_kernel(there, f"--activate={prefix}", "--env", "A=b c")
        with Kernel(spec, tmp_path) as kernel:
            assert kernel.value("__import__('os').environ['VIRTUAL_ENV']") == prefix
            assert kernel.value("__import__('os').environ['A']") == "b c"
            assert kernel.value("__import__('os').environ['PATH']").startswith(f"{prefix}/bin:")
    finally:
        bed.far.run(["rm", "-r", f"/home/{user}/venvs"])
