"""The deepest."""

import yaml

from .. import other

assert other.VALUE
