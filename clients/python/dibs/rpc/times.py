"""Lengths of time: seconds as a number, or a timedelta; on the wire a Duration."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration

#: A length of time: seconds as int or float, or a timedelta.
Seconds: TypeAlias = float | timedelta

_NANOS = 1_000_000_000


def to_seconds(value: Seconds, name: str) -> float:
    """`value` in seconds.

    Args:
        value: seconds, or a timedelta; zero or more.
        name: what the caller calls it, for the error.

    Raises:
        ValueError: it is negative, not finite, or not a number.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} must be seconds (zero or more) or a timedelta, not {value!r}")
    return seconds


def to_wait(value: Seconds, name: str) -> float:
    """`value` in seconds, for what is waited: less than none is none.

    Args:
        value: seconds, or a timedelta.
        name: what the caller calls it, for the error.

    Raises:
        ValueError: it is not finite, or not a number.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    is_negative = isinstance(seconds, int | float) and float("-inf") < seconds < 0
    return 0.0 if is_negative else to_seconds(value, name)


def to_duration(seconds: float) -> Duration:
    """`seconds`, zero or more, as a Duration, to the nearest nanosecond."""
    whole = int(seconds)
    nanos = round((seconds - whole) * _NANOS)
    return Duration(seconds=whole + nanos // _NANOS, nanos=nanos % _NANOS)
