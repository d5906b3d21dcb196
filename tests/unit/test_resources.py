"""What a job is asked for: times and memory, read in one spelling or refused in words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_kernels.errors import OptionsError
from remote_kernels.resources import clock, kibibytes, memory, seconds

HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("4:00:00", 4 * HOUR),
        ("04:00:00", 4 * HOUR),
        ("0:00:01", 1),
        ("0:59:59", HOUR - 1),
        ("36:00:00", 36 * HOUR),
        ("1000:00:00", 1000 * HOUR),
        ("1-12:00:00", 36 * HOUR),
        ("0-4:00:00", 4 * HOUR),
        ("7-00:00:00", 7 * DAY),
        # More hours than a day has.
        ("1-30:00:00", DAY + 30 * HOUR),
        ("30s", 30),
        ("90m", 90 * 60),
        ("90min", 90 * 60),
        ("90 min", 90 * 60),
        ("4h", 4 * HOUR),
        ("2d", 2 * DAY),
        ("007d", 7 * DAY),
    ],
)
def test_times(text: str, wanted: int) -> None:
    assert seconds(text, "--time") == wanted


@pytest.mark.parametrize(
    "text",
    [
        # Minutes to Slurm, hours and minutes to LSF, minutes and seconds to PBS.
        "4:00",
        "1-12",
        "1-12:00",
        *("4", "", " ", "h", "4x", "4H", "4 hours", "1h30m", "1.5h", "-4h", "+4h"),
        *("4:0:0", "4:00:0", "4:60:00", "4:00:60", "4:00:00:00", ":00:00", "1-:00:00"),
        *("0:00:00", "0h", "00d", "0-0:00:00"),
        *(" 4h", "4h ", "4h\n", "4:00:00\n", "4  h"),
        *("infinite", "UNLIMITED", "$(id)", "4h;id"),
    ],
)
@pytest.mark.parametrize("flag", ["--time", "--launch-timeout"])
def test_what_is_no_time(text: str, flag: str) -> None:
    with pytest.raises(OptionsError) as caught:
        seconds(text, flag)
    assert caught.value.sentence == (
        f"{flag} {text!r} is no time: write H:MM:SS, D-HH:MM:SS, 90m, 4h or 2d"
    )


@given(st.integers(1, 10**7))
def test_a_clock_is_read_back(total: int) -> None:
    text = clock(total)
    assert re.fullmatch(r"\d+:[0-5]\d:[0-5]\d", text)
    assert seconds(text, "--time") == total


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_days_are_hours(days: int, hours: int, minutes: int, rest: int) -> None:
    with_days = seconds(f"{days}-{hours:02}:{minutes:02}:{rest:02}", "--time")
    assert with_days == seconds(f"{24 * days + hours}:{minutes:02}:{rest:02}", "--time")


@given(st.text(max_size=12))
def test_a_time_or_a_refusal(text: str) -> None:
    try:
        assert seconds(text, "--time") > 0
    except OptionsError as error:
        assert repr(text) in error.sentence  # noqa: PT017 - either is right


def test_digits_of_other_scripts_are_passed_on_as_those_that_schedulers_know() -> None:
    assert clock(seconds("٤h", "--time")) == "4:00:00"
    assert memory(kibibytes("٤G", "--memory")) == "4G"


@pytest.mark.parametrize(
    ("total", "wanted"),
    [(1, "0:00:01"), (90 * 60, "1:30:00"), (4 * HOUR, "4:00:00"), (100 * HOUR, "100:00:00")],
)
def test_clocks(total: int, wanted: str) -> None:
    assert clock(total) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1K", 1),
        ("512M", 512 << 10),
        ("16G", 16 << 20),
        ("2T", 2 << 30),
        ("16g", 16 << 20),
        ("16GB", 16 << 20),
        ("16gb", 16 << 20),
        ("16GiB", 16 << 20),
        ("16 GiB", 16 << 20),
        ("016G", 16 << 20),
        ("1536M", 3 << 19),
    ],
)
def test_memory(text: str, wanted: int) -> None:
    assert kibibytes(text, "--memory") == wanted


@pytest.mark.parametrize(
    "text",
    [
        # A number alone is megabytes to Slurm, bytes to PBS and Grid Engine, kilobytes to LSF.
        "16",
        *("", " ", "G", "16X", "1.5G", "-16G", "+16G", "16 G B", "16Gi b", "16P", "16B", "16i"),
        *("0G", "000M", " 16G", "16G ", "16G\n", "16  G", "16Go", "$(id)", "16G,x"),
    ],
)
def test_what_is_no_memory(text: str) -> None:
    with pytest.raises(OptionsError) as caught:
        kibibytes(text, "--memory")
    assert caught.value.sentence == f"--memory {text!r} is no amount of memory: write 16G or 512M"


@given(st.integers(1, 1 << 40))
def test_memory_is_read_back(total: int) -> None:
    text = memory(total)
    assert re.fullmatch(r"\d+[KMGT]", text)
    assert kibibytes(text, "--memory") == total


@pytest.mark.parametrize(
    ("total", "wanted"),
    [
        *((1, "1K"), (1000, "1000K"), (1 << 10, "1M"), (1025, "1025K"), (16 << 20, "16G")),
        *((3 << 19, "1536M"), (1 << 30, "1T"), (1024 << 30, "1024T")),
    ],
)
def test_memory_has_the_largest_unit_that_fits(total: int, wanted: str) -> None:
    assert memory(total) == wanted
