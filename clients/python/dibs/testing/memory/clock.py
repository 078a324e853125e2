"""The clock of a broker in memory: the machine's, and as far ahead of it as it has been moved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ...rpc import waiting


class Clock:
    """Tells the time; a test moves it."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        #: What it shows while it is held; None: it goes.
        self._held: float | None = None

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time() + self._ahead_s if self._held is None else self._held

    def advance(self, seconds: float) -> None:
        """Let time pass, for those who wait for results as well."""
        if self._held is None:
            self._ahead_s += seconds
        else:
            self._held += seconds
        waiting.skip(seconds)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside the with it stands still unless it is moved, so that what runs takes no time; then it goes on."""
        if self._held is not None:
            yield
            return
        self._held = self.now()
        try:
            yield
        finally:
            self._ahead_s = self._held - time.time()
            self._held = None
