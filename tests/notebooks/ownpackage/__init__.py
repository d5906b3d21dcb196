"""A package beside the notebooks."""

from . import other
