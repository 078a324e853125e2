"""A row of numbers as a row of small bars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """The last numbers as bars, the newest at the right.

    Args:
        values: zero or more each, the newest last. More than `width` are drawn together: the highest of each group.
        width: characters; where there are not so many numbers, the left is blank.
    """
    if len(values) > width:
        edges = [round(step * len(values) / width) for step in range(width + 1)]
        values = [max(values[start:end]) for start, end in pairwise(edges)]
    highest = max(values, default=0.0)
    return "".join(_bar(value, highest) for value in values).rjust(width)


def _bar(value: float, top: float) -> str:
    if value <= 0 or top <= 0:
        return _BARS[0] if value == 0 else " "
    # What is not nothing is told apart from nothing.
    return _BARS[min(max(round(value / top * (len(_BARS) - 1)), 1), len(_BARS) - 1)]
