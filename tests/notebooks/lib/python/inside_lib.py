"""In lib/python."""

import six
