"""A module beside the notebooks."""

import requests


def double(value):
    """Twice of it."""
    return requests and 2 * value
