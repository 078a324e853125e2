"""Waiting for what tells nobody: another process, or a thread that announces nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

_LONGEST_S = 30.0


def until(condition: Callable[[], object], what: str = "", timeout_s: float = _LONGEST_S) -> None:
    """Returns when the condition holds. Where there is an event, await that instead.

    Args:
        condition: looked at every few milliseconds.
        what: is waited for, for the failure.
        timeout_s: seconds until that fails.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
