"""Kernels of the interface ``lsf``: of stubs that say what LSF says, with real jobs of Slurm."""

from __future__ import annotations

import pytest

from queues import Queue, param

pytestmark = [
    pytest.mark.needs("slurm"),
    pytest.mark.parametrize("queue", [param("lsf")], indirect=True),
]


def test_only_a_login_shell_finds_it(queue: Queue) -> None:
    assert queue.in_login_shell("type -p bsub bjobs bkill").count("/tests/stubs/lsf/") == 3
    login, user = queue.bed.login, queue.kind.user
    assert login.run(["sh", "-c", "command -v bsub"], user=user, check=False).status
