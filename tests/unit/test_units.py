"""Lengths of time and amounts of bytes as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibs.broker.config.units import format_span, parse_span
from dibs.contract.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("2", timedelta(seconds=2)),
        ("0.5", timedelta(milliseconds=500)),
        (" 12 h ", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("7us", timedelta(microseconds=7)),
        (3, timedelta(seconds=3)),
        (0.25, timedelta(milliseconds=250)),
        (timedelta(seconds=9), timedelta(seconds=9)),
    ],
)
def test_a_length_of_time_is_read(text: object, span: timedelta) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["", "-1s", "2 weeks", "nan", "inf", "1e3", -1, "s", "99999999999d"])
def test_a_bad_length_of_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"must be a length of time|is too long"):
        parse_span(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1000", 1000), ("256KiB", 262144), ("4 mib", 4194304), ("1kB", 1000), (5, 5), ("7B", 7)]
)
def test_an_amount_of_bytes_is_read(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "4 miles", "KiB", "1.5MiB"])
def test_a_bad_amount_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an amount of bytes"):
        parse_size(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=4000)))
def test_a_written_length_of_time_reads_as_itself(span: timedelta) -> None:
    assert parse_span(format_span(span)) == span


@given(st.integers(0, 2**40))
def test_a_written_amount_of_bytes_reads_as_itself(size: int) -> None:
    assert parse_size(format_size(size)) == size
