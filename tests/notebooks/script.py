"""A script."""

import six

if __name__ == "__main__":
    import ujson
