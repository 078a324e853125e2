"""Waits between attempts that fail."""

from __future__ import annotations

import random


class Backoff:
    """Each wait is longer than the one before, up to a limit, and random in its upper half.

    The randomness keeps many workers that lost the same broker from coming back all at once.

    Args:
        first_s: the first wait, in seconds.
        most_s: the longest wait, in seconds.
        factor: from one wait to the next.
    """

    def __init__(self, first_s: float, most_s: float, factor: float = 2.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._factor = factor
        self._next_s = first_s

    def next_s(self) -> float:
        """The next wait, in seconds."""
        wait = self._next_s
        self._next_s = min(wait * self._factor, self._most_s)
        return wait * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begins anew, after a success."""
        self._next_s = self._first_s
