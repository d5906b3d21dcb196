"""Ours, which comes first."""

OURS = True
