"""rsync, which carries what files hold, over the connection that everything of a host shares.

It receives into a directory of its own, in the place of a file's name: what is cut off goes on from
there, and nothing that is in use is written to. Names never get into a command.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from remote_kernels import errors
from remote_kernels.shell_text import as_bytes
from remote_kernels.sync.entry import THERE, Side
from remote_kernels.sync.line import LINE, ROOT, Reach, run
from remote_kernels.tree import ARRIVES, PARTIAL, RECEIVER

#: What rsync has to know: --info (3.1, of 2013).
OLDEST = (3, 1)
# Seconds without a byte in either direction.
_SILENCE = 60
# Of rsync(1): some files could not be read, or have gone.
_IN_PART = (23, 24, 25)
# Of rsync(1): protocol, socket, timeouts; and ssh's own.
_LINE_BROKE = (10, 12, 30, 35, 255)
#: What says that there is no room.
FULL = re.compile(r"No space left on device|[Dd]isk quota exceeded")
_VERSION = re.compile(r"version v?(\d+)\.(\d+)")
_PROGRESS = re.compile(rb"^\s*([\d,.]+)\s+\d+%\s")
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")


class Rsync(NamedTuple):
    """The program on one side.

    Attributes:
        path: of it.
        version: of it.
    """

    path: str
    version: tuple[int, int]

    @classmethod
    def read(cls, found: Sequence[str], where: str) -> Rsync:
        """What one side says of its rsync.

        Args:
            found: path, and what it says of its version.
            where: in words.

        Raises:
            ProgramMissingError: it is absent, or too old.
        """
        path, said = found
        version = _VERSION.search(said)
        if not path:
            raise errors.ProgramMissingError(f"there is no rsync {where}")
        if version is None:
            raise errors.ProgramMissingError(f"the rsync {where} does not tell its version: {path}")
        numbers = int(version[1]), int(version[2])
        if numbers < OLDEST:
            raise errors.ProgramMissingError(
                f"the rsync {where} is too old: {path} is {numbers[0]}.{numbers[1]}"
            )
        return cls(path, numbers)


class Trip(NamedTuple):
    """What rsync is to do.

    Attributes:
        reach: the directory over there.
        to: the side that receives.
        here: the directory on this side.
        name: of the sync.
        here_rsync: the program here.
        there_rsync: the program over there.
    """

    reach: Reach
    to: Side
    here: str
    name: str
    here_rsync: Rsync
    there_rsync: Rsync


class Carried(NamedTuple):
    """What has come of it.

    Attributes:
        whole: all has arrived that there was.
        said: what rsync has said.
    """

    whole: bool
    said: tuple[str, ...]


def carry(
    trip: Trip,
    private: Path,
    paths: Sequence[str],
    *,
    goes_on: bool,
    told: Callable[[int], None],
    log: Callable[[str], None],
) -> Carried:
    """Carry what files hold to where it is to arrive.

    Args:
        trip: between which directories.
        private: a directory for it alone.
        paths: of the files.
        goes_on: the beginning of all of them has arrived.
        told: takes how many bytes of the files have arrived.
        log: takes when somebody is asked for what the login needs.

    Raises:
        ConnectionLostError: the line broke; what has arrived is there for the next time.
        DiskFullError: the receiving side has no room.
        LoginError: a login of its own was refused.
        SyncError: rsync cannot do it.
    """
    ended = run(
        _command(trip, goes_on=goes_on),
        *(trip.reach, private),
        words=1,
        first=f"echo $$ >{PARTIAL}{trip.name}/{RECEIVER} && " if trip.to == THERE else "",
        given=b"".join(as_bytes(f"./{path}\0") for path in paths),
        # What a person lets rsync do otherwise is not for this one.
        env={name: "" for name in os.environ if name.startswith("RSYNC_")},
        hears=lambda data: _read_progress(data, told),
        log=log,
    )
    if ended.status == 0 or ended.status in _IN_PART:
        return Carried(ended.status == 0, ended.said)
    where = str(trip.reach.way) if trip.to == THERE else "this machine"
    if any(map(FULL.search, ended.said)):
        sentence = f"there is no room left {'over there' if trip.to == THERE else 'here'}"
        raise errors.DiskFullError(sentence, host=where, said=ended.said)
    if ended.lost is not None:
        raise ended.lost
    if ended.status in _LINE_BROKE or ended.status < 0:
        raise errors.ConnectionLostError("it broke", host=str(trip.reach.way), said=ended.said)
    raise errors.SyncError(f"rsync failed with status {ended.status}", host=where, said=ended.said)


def _read_progress(data: bytes, told: Callable[[int], None]) -> None:
    # Only the last counts; one that is cut in two says less than the next.
    for piece in reversed(data.split(b"\r")):
        found = _PROGRESS.match(piece)
        if found is not None:
            told(int(re.sub(rb"[,.]", b"", found[1])))
            return


def _command(trip: Trip, *, goes_on: bool) -> list[str]:
    here = os.path.join(trip.here, "")
    arrives = f"{PARTIAL}{trip.name}/{ARRIVES}/"
    ends = [here, f"there:{arrives}"] if trip.to == THERE else ["there:.", here + arrives]
    program = trip.there_rsync.path
    # A whole path: what begins with dots Debian's 3.2.7 takes, and does not find.
    root = ROOT if trip.to == THERE else os.path.realpath(trip.here)
    return [
        trip.here_rsync.path,
        # Modes are set when a file is put into its place.
        *("--times", "--inplace", "--no-implied-dirs", f"--timeout={_SILENCE}"),
        # A size and a second that are the same make no file the same.
        "--ignore-times",
        # What has the same beginning needs that no more; else what is there now may help.
        "--append-verify" if goes_on else f"--copy-dest={root}",
        *("--files-from=-", "--from0", "--no-human-readable", "--info=progress2", "--outbuf=L"),
        *(["--rsync-path", program] if _PLAIN.fullmatch(program) else []),
        # What cat cannot write at once it would take for an error.
        "--blocking-io",
        *("--rsh", f"/bin/sh ./{LINE}", "--", *ends),
    ]
