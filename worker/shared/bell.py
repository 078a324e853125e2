"""What a slot rings when there is something to report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Bell(Protocol):
    """Calls whoever reports, once for however many entries have gathered.

    `armed` is written by both sides: who reports arms the bell before looking for entries a last time, a slot that has
    put an entry in and finds it armed rings it. A ring too many does no harm.
    """

    armed: bool

    def ring(self) -> None:
        """Disarm, and see to it that somebody looks. From any thread."""


class LoopBell:
    """Wakes an event loop."""

    def __init__(self) -> None:
        self.armed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: Callable[[], None] = _nobody

    def connect(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        """Say what to call, in which loop."""
        self._loop = loop
        self._wake = wake

    def ring(self) -> None:
        """Wake the loop. From any thread."""
        self.armed = False
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def ring_here(self) -> None:
        """As `ring`, in the loop itself."""
        self.armed = False
        self._wake()


def _nobody() -> None:
    """Nobody listens yet."""
