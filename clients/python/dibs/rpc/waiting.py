"""The clock of those who wait for results: the monotonic one, and what tests have skipped of it."""

from __future__ import annotations

import time

_skipped_s = 0.0


def now() -> float:
    """Seconds on the monotonic clock, with what was skipped."""
    return time.monotonic() + _skipped_s


def skip(seconds: float) -> None:
    """Let that much time pass at once, for all who wait in this process; for brokers whose clock can be moved."""
    global _skipped_s
    _skipped_s += seconds
