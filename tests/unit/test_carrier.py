"""What carries a channel: the loop and its lines."""

from __future__ import annotations

import os

from remote_kernels.carrier import Line, Loop
from remote_kernels.channel import Channel


def test_a_line_that_takes_nothing_any_more_wakes_whom_it_concerns() -> None:
    loop, channel = Loop(), Channel(bytes(16))
    from_nobody, ours = os.pipe()
    to_us, to_nobody = os.pipe()
    os.close(from_nobody)
    ended: list[bool] = []
    line = Line(loop, channel, (to_us, ours), lambda: ended.append(True))
    # Only this would wake it otherwise.
    late = loop.after(20, lambda: None)
    while not ended and late.when is not None:
        loop.turn()
    assert ended == [True]
    assert late.when is not None
    line.close()
    for descriptor in (ours, to_us, to_nobody):
        os.close(descriptor)


def test_a_time_that_is_far_away() -> None:
    loop = Loop()
    called: list[str] = []
    loop.after(100 * 365 * 86400.0, lambda: called.append("late"))
    reads, writes = os.pipe()
    loop.watch(reads, lambda: called.append(os.read(reads, 1).decode()))
    os.write(writes, b"x")
    loop.turn()
    assert called == ["x"]
    os.close(reads)
    os.close(writes)
