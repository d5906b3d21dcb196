"""Tests on a cluster: each must leave its machines and its schedulers as they were."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _leave_nothing(nothing_remains: None, jupyter: None) -> None:
    """Look at all machines and schedulers after every test."""
