"""unison, where both sides have one: it brings to each side what was changed on the other.

It gets to see what it can tell for certain. A file that was changed within two seconds and has the
same size is an unchanged one for it (2.52), so that it could overwrite somebody's work; such files,
conflicts among them, are left to ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from remote_kernels import errors
from remote_kernels.sync import agreed
from remote_kernels.sync.line import LINE, Reach, run
from remote_kernels.sync.plan import Plan
from remote_kernels.sync.walk import Sight
from remote_kernels.tree import PARTIAL

# From this one on (2022) different ones understand each other.
_OLDEST = (2, 52)
_VERSION = re.compile(r"^unison version (\d+)\.(\d+).*$", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
# What it would read otherwise in its arguments, or not at all.
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_PATTERN = re.compile(r"[\\*?\[\]{},]")
# More of them than this are no words of a command.
_MOST = 2000
_PERCENT = re.compile(rb"^\s*(\d+)%\s")
# Of it: all done, some left, some failed.
_ENDED = (0, 1, 2)


class Two(NamedTuple):
    """The programs.

    Attributes:
        here: path of that on this side.
        there: path of that over there.
    """

    here: str
    there: str

    @classmethod
    def read(cls, here: Sequence[str], there: Sequence[str]) -> Two | None:
        """What both sides say of their programs; None if there are not two that fit together.

        Args:
            here: path, and what it says of its version.
            there: the same of the other one.
        """
        versions = [_VERSION.search(said) for _, said in (here, there)]
        first, second = versions
        if first is None or second is None or not _PLAIN.fullmatch(there[0]):
            return None
        are_new = all((int(x[1]), int(x[2])) >= _OLDEST for x in (first, second))
        return cls(here[0], there[0]) if are_new or first[0] == second[0] else None


def not_for_it(steps: Plan, sight: Sight) -> list[str] | None:
    """The paths that it is not to see; None if they are too many, or cannot be named.

    Args:
        steps: what is to be done.
        sight: what there is.
    """
    paths = [*sight.left_out, *sight.blind]
    paths += [conflict.path for conflict in steps.conflicts]
    paths += [*(kept.path for kept in steps.kept), *(gone.path for gone in steps.replaced)]
    for copy in steps.copies:
        here, there = sight.here.get(copy.path), sight.there.get(copy.path)
        if here is not None and there is not None and here.size == there.size:
            paths.append(copy.path)
    if len(paths) > _MOST or any(map(_UNFIT.search, paths)):
        return None
    return paths


def can_name(root: str) -> bool:
    """Whether it can be told of a directory.

    Args:
        root: the directory.
    """
    return not _UNFIT.search(root)


def reconcile(
    two: Two,
    reach: Reach,
    here: str,
    private: Path,
    not_seen: Sequence[str],
    *,
    told: Callable[[int], None],
    log: Callable[[str], None],
) -> str:
    """Let it do all that is in no conflict.

    Args:
        two: the programs.
        reach: the directory over there.
        here: the one on this side.
        private: a directory for it alone.
        not_seen: paths that it is not to see.
        told: takes how far it is, in percent.
        log: takes when somebody is asked for what the login needs.

    Returns:
        Why it could not; empty if it could.

    Raises:
        ConnectionLostError: the line broke.
        LoginError: a login of its own was refused.
    """
    said: list[str] = []

    def hears(data: bytes) -> None:
        pieces = re.split(rb"[\r\n]", data)
        for piece in pieces:
            found = _PERCENT.match(piece)
            if found is not None:
                told(min(int(found[1]), 100))
            elif b"rror" in piece:
                said.append(piece.decode("utf-8", "replace"))

    archives = agreed.directory() / "unison"
    archives.mkdir(mode=0o700, parents=True, exist_ok=True)
    ended = run(
        _command(two, reach, here, private, not_seen),
        *(reach, private),
        # The host, and what it asks of every ssh.
        words=3,
        # So that the person's own settings say nothing here.
        env={"UNISON": str(archives), "UNISONLOCALHOSTNAME": os.uname().nodename},
        hears=hears,
        log=log,
    )
    if ended.lost is not None:
        raise ended.lost
    text = "; ".join([*said, *ended.said][-3:])
    if "Lost connection" in text:
        raise errors.ConnectionLostError("it broke", host=str(reach.way), said=ended.said)
    return "" if ended.status in _ENDED else text or f"it ended with status {ended.status}"


def _command(
    two: Two, reach: Reach, here: str, private: Path, not_seen: Sequence[str]
) -> list[str]:
    ignored = [f"Name {PARTIAL}*", *(f"Path {_PATTERN.sub(_quoted, x)}" for x in not_seen)]
    return [
        two.here,
        # A relative one would begin at the home over there.
        *(here, f"ssh://there/{reach.root}"),
        *("-sshcmd", str(private / LINE), "-servercmd", two.there),
        *("-ui", "text", "-batch", "-auto", "-dumbtty", "-contactquietly", "-log=false"),
        # The last: whoever else would hold a lock has our turn to wait for.
        *("-times", "-perms", "0o777", "-ignorelocks"),
        *(word for pattern in ignored for word in ("-ignore", pattern)),
    ]


def _quoted(found: re.Match[str]) -> str:
    return f"\\{found[0]}"
