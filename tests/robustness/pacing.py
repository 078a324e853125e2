"""Doing something again and again for a while."""

from __future__ import annotations

import time
from collections.abc import Iterator


def rounds(seconds: float, pause_s: float) -> Iterator[int]:
    """Numbers from 0, a pause after each, for about so many seconds; at least one."""
    for turn in range(max(1, round(seconds / pause_s))):
        yield turn
        time.sleep(pause_s)
