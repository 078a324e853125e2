"""Lengths of time and amounts of bytes as people write them in settings: `500ms`, `30d`, `256KiB`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)?")
_SIZE = re.compile(r"(\d+)\s*([A-Za-z]+)?")
_FACTORS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_UNITS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def parse_span(value: Any) -> Any:
    """A length of time from text: a number with `us`, `ms`, `s`, `m`, `h` or `d`, or of seconds without a unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return value
    match = _SPAN.fullmatch(value.strip())
    if match is None:
        raise ValueError("must be a length of time such as 500ms, 2s, 5m, 12h or 30d")
    try:
        return float(match[1]) * _UNITS[match[2] or "s"]
    except OverflowError:
        raise ValueError("is too long") from None


def parse_size(value: Any) -> Any:
    """An amount of bytes from text: a number, alone or with `B`, `KiB`, `MiB` or `GiB` (`kB` and so on: decimal)."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None or (match[2] or "").lower() not in _FACTORS:
        raise ValueError("must be an amount of bytes such as 1000, 256KiB or 4MiB")
    return int(match[1]) * _FACTORS[(match[2] or "").lower()]


def format_span(span: timedelta) -> str:
    """A length of time in the largest unit that leaves no fraction."""
    for unit in ("d", "h", "m", "s", "ms"):
        if span and not span % _UNITS[unit]:
            return f"{span // _UNITS[unit]}{unit}"
    return f"{microseconds(span)}us" if span else "0s"


def format_size(size: int) -> str:
    """An amount of bytes in the largest binary unit that leaves no fraction."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size and not size % factor:
            return f"{size // factor}{unit}"
    return f"{size}B"


def microseconds(span: timedelta) -> int:
    """A length of time in whole microseconds."""
    return span // timedelta(microseconds=1)


#: A length of time; text such as `500ms`, `2s`, `5m`, `12h`, `30d`, or a number of seconds.
Span = Annotated[timedelta, BeforeValidator(parse_span)]
#: An amount of bytes; a number, or text such as `256KiB` or `4MiB`.
Size = Annotated[int, BeforeValidator(parse_size)]
