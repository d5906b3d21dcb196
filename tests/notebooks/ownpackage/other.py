"""A part."""

import six

VALUE = 3 if six else 0
