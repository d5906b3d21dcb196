"""The keeper's spool: a ring in a file, bounded, that a full disk does not rob."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote_kernels.spool import FileSpool, Room

STEPS = st.lists(st.tuples(st.booleans(), st.integers(1, 3_000_000)), max_size=30)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_it_gives_back_what_it_was_given(tmp_path_factory: pytest.TempPathFactory, steps) -> None:  # type: ignore[no-untyped-def]
    room = Room(1 << 20)
    spool = FileSpool(room, str(tmp_path_factory.getbasetemp()))
    held = bytearray()
    number = 0
    for put, size in steps:
        if put and not spool.full:
            piece = number.to_bytes(4, "big") * (min(size, 1 << 18) // 4 + 1)
            number += 1
            spool.put(piece)
            held += piece
        else:
            piece = spool.take(size)
            assert piece == held[: len(piece)]
            assert piece or not held
            del held[: len(piece)]
        assert len(spool) == room.used == len(held)
    spool.clear()
    assert room.used == len(spool) == 0


def test_its_file_has_no_name_and_goes_when_it_is_empty(tmp_path: Path) -> None:
    spool = FileSpool(Room(1 << 20), str(tmp_path))
    spool.put(b"x" * 1000)
    assert not list(tmp_path.iterdir())
    assert os.fstat(spool._file).st_size == 1000
    spool.take(1000)
    assert os.fstat(spool._file).st_size == 0


def test_all_spools_share_their_room(tmp_path: Path) -> None:
    room = Room(1 << 20)
    first, second = FileSpool(room, str(tmp_path)), FileSpool(room, str(tmp_path))
    first.put(bytes(1 << 20))
    assert second.full
    first.take(1)
    assert not second.full


def test_a_full_disk_keeps_the_rest_in_memory_and_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = FileSpool(Room(1 << 20), str(tmp_path))
    spool.put(b"before")

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        spool.put(b"while")
        assert spool.full
    spool.put(b"after")
    assert [spool.take(6), spool.take(100)] == [b"before", b"whileafter"]
    assert not spool.full
