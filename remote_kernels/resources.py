"""What a job is asked for, read in one spelling and written as each scheduler wants it."""

from __future__ import annotations

import re

from remote_kernels.errors import OptionsError

_TIME = re.compile(r"(?:(?P<days>\d{1,9})-)?(?P<hours>\d{1,9}):(?P<minutes>\d\d):(?P<seconds>\d\d)")
_UNIT_TIME = re.compile(r"(?P<count>\d{1,9}) ?(?P<unit>s|min|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}

# A century: no clock and no wait that we use takes more than three.
_LONGEST = 36525 * 86400

_MEMORY = re.compile(r"(?P<count>\d{1,15}) ?(?P<unit>[KMGT])(?:i?B)?", re.IGNORECASE)
_KIBIBYTES = {"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}


def seconds(text: str, flag: str) -> int:
    """A time in seconds.

    Args:
        text: ``4:00:00``, ``1-12:00:00``, ``90m``, ``36h`` or ``2d``.
        flag: of the option, for the error.

    Raises:
        OptionsError: it is none of these. ``4:00`` is refused, since schedulers do not agree
            whether it means hours or minutes. So is what is longer than a century.
    """
    found = _TIME.fullmatch(text)
    if found and int(found["minutes"]) < 60 and int(found["seconds"]) < 60:
        hours = 24 * int(found["days"] or 0) + int(found["hours"])
        total = (60 * hours + int(found["minutes"])) * 60 + int(found["seconds"])
    elif found := _UNIT_TIME.fullmatch(text):
        total = int(found["count"]) * _SECONDS[found["unit"]]
    else:
        total = 0
    if total > _LONGEST:
        raise OptionsError(f"{flag} {text!r} is more than 100 years")
    if not total:
        raise OptionsError(f"{flag} {text!r} is no time: write H:MM:SS, D-HH:MM:SS, 90m, 4h or 2d")
    return total


def clock(total: int) -> str:
    """A time as ``H:MM:SS``, which every scheduler reads alike.

    Args:
        total: in seconds.
    """
    return f"{total // 3600}:{total // 60 % 60:02}:{total % 60:02}"


def kibibytes(text: str, flag: str) -> int:
    """An amount of memory in KiB.

    Args:
        text: ``16G``, ``512M`` and the like, counted in 1024s.
        flag: of the option, for the error.

    Raises:
        OptionsError: it is no such thing, or has no unit.
    """
    found = _MEMORY.fullmatch(text)
    if not found or not int(found["count"]):
        raise OptionsError(f"{flag} {text!r} is no amount of memory: write 16G or 512M")
    return int(found["count"]) * _KIBIBYTES[found["unit"].upper()]


def memory(total: int) -> str:
    """An amount of memory as ``16G``, in the largest unit that gives a whole number.

    Args:
        total: in KiB.
    """
    unit = next(u for u in "TGMK" if total % _KIBIBYTES[u] == 0)
    return f"{total // _KIBIBYTES[unit]}{unit}"
