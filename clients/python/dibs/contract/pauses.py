"""How long to wait from one attempt that failed to the next."""

from __future__ import annotations

import random

#: What a pause begins with and grows to unless somebody says otherwise, in seconds.
FIRST_S = 0.05
LONGEST_S = 2.0


class Pauses:
    """Each pause is twice as long as the one before, up to a limit, and random in its upper half.

    The randomness keeps many that failed together from coming back together.

    Args:
        first_s: the first pause, in seconds.
        longest_s: the longest.
    """

    __slots__ = ("_first_s", "_longest_s", "_next_s")

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._first_s = self._next_s = first_s
        self._longest_s = longest_s

    def next_s(self) -> float:
        """The next pause, in seconds."""
        pause = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, self._longest_s)
        return pause

    def reset(self) -> None:
        """Begin with the shortest again: it has worked."""
        self._next_s = self._first_s
