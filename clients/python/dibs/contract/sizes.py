"""Amounts of bytes as people write them: `1000`, `256KiB`, `4MiB`."""

from __future__ import annotations

import re
from typing import Any

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


def parse_size(value: Any) -> Any:
    """An amount of bytes from text: a number, alone or with `B`, `KiB`, `MiB` or `GiB` (`kB` and so on: decimal)."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None or (match[2] or "").lower() not in _FACTORS:
        raise ValueError("must be an amount of bytes such as 1000, 256KiB or 4MiB")
    return int(match[1]) * _FACTORS[(match[2] or "").lower()]


def format_size(size: int) -> str:
    """An amount of bytes in the largest binary unit that leaves no fraction."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size and not size % factor:
            return f"{size // factor}{unit}"
    return f"{size}B"
