"""Lengths of time as people write them in settings: `500ms`, `30d`; and what settings make of them and of sizes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

from dibs.contract.sizes import parse_size

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)?")
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


def format_span(span: timedelta) -> str:
    """A length of time in the largest unit that leaves no fraction."""
    for unit in ("d", "h", "m", "s", "ms"):
        if span and not span % _UNITS[unit]:
            return f"{span // _UNITS[unit]}{unit}"
    return f"{microseconds(span)}us" if span else "0s"


def microseconds(span: timedelta) -> int:
    """A length of time in whole microseconds."""
    return span // timedelta(microseconds=1)


#: A length of time; text such as `500ms`, `2s`, `5m`, `12h`, `30d`, or a number of seconds.
Span = Annotated[timedelta, BeforeValidator(parse_span)]
#: An amount of bytes; a number, or text such as `256KiB` or `4MiB`.
Size = Annotated[int, BeforeValidator(parse_size)]
