"""Pieces become lines, whatever their sizes, and none of them fills the memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remote_kernels.lines import LONGEST_LINE, Lines


@given(st.lists(st.binary(max_size=20)))
def test_pieces_make_the_lines_of_the_whole(pieces: list[bytes]) -> None:
    lines = Lines()
    found = [line for piece in pieces for line in lines.take(piece)]
    *whole, partial = b"".join(pieces).split(b"\n")
    assert found == whole
    assert lines.take(b"", last=True) == ([partial] if partial else [])
    assert lines.rest() == b""


def test_a_line_that_never_ends_is_cut() -> None:
    lines = Lines()
    piece = b"x" * 1000
    found = [line for _ in range(200) for line in lines.take(piece)]
    assert sum(map(len, found)) > 100_000
    assert max(map(len, found)) <= LONGEST_LINE + len(piece)
    assert len(lines.rest()) <= LONGEST_LINE
