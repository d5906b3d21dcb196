"""Another part."""

from .other import VALUE
from .deeper.nested import yaml
