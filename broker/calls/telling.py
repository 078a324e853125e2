"""What a worker is told of now and then, not each time that it comes up."""

from __future__ import annotations

import time
from collections.abc import Iterable

#: How often a worker is told of a name.
_TELL_S = 60.0
#: Names that are remembered; beyond that they are forgotten, and told of again.
_MAX_NAMES = 10_000


class NamesToTell:
    """Names of tasks that a worker does not know, each told at most once a minute.

    Attributes:
        untold: names that are to be told; whoever tells them empties this.
    """

    def __init__(self) -> None:
        self.untold: list[str] = []
        self._told_again_at: dict[str, float] = {}

    def note(self, names: Iterable[str]) -> bool:
        """Take names that came up; whether there is one more to tell."""
        now = time.monotonic()
        before = len(self.untold)
        for name in names:
            if now >= self._told_again_at.get(name, 0.0):
                if len(self._told_again_at) >= _MAX_NAMES:
                    self._told_again_at.clear()
                self._told_again_at[name] = now + _TELL_S
                self.untold.append(name)
        return len(self.untold) > before
