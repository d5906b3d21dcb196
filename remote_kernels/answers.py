"""A program of ours on the far side that is asked, and answers, until nobody asks any more.

What is asked is a line of JSON: the name of a function, and its arguments. Answers are one or more
frames: a line with our mark, TELL, DONE or FAIL and a length, and then so many bytes of JSON,
packed. The far side runs this file: Python 3.6, the standard library alone.
"""

import json
import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

TELL, DONE, FAIL = "TELL", "DONE", "FAIL"


class CannotAnswer(Exception):
    """What was asked for cannot be had; says why."""


def answer(
    mark: str, functions: "Mapping[str, Callable[..., Iterator[Any]]]", stays_for: int
) -> None:
    """Answer until the end of what is asked; does not return.

    Args:
        mark: begins each line that is ours.
        functions: that can be asked for, by their names; each gives its answers one by one.
        stays_for: seconds that the session is to stay open behind us.
    """
    _say(mark, TELL, os.uname().nodename)
    while True:
        line = sys.stdin.buffer.readline()
        if not line.endswith(b"\n"):
            break
        name, arguments = json.loads(line.decode())
        try:
            for found in functions[name](*arguments):
                _say(mark, TELL, found)
        except (CannotAnswer, OSError) as error:
            _say(mark, FAIL, str(error))
        else:
            _say(mark, DONE, None)
    if stays_for:
        os.execvp("sleep", ["sleep", str(stays_for)])
    os._exit(0)


def _say(mark: str, kind: str, found: "Any") -> None:
    # What is not UTF-8 in a path goes as JSON's escape of a lone surrogate, and comes back so.
    data = zlib.compress(json.dumps(found).encode("ascii"))
    frame = f"\n{mark} {kind} {len(data)}\n".encode() + data
    try:
        sys.stdout.buffer.write(frame)
        sys.stdout.buffer.flush()
    except OSError:
        # Nobody listens any more.
        os._exit(0)
