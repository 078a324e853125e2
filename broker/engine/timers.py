"""Time's own work: one timer per process moves what is due and ends leases that ran out.

Every broker may do it for every namespace; the script makes that harmless. Between the due times it knows of, each
namespace is looked at once per poll interval: that finds what other brokers left behind, and what missed hints hid.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from .errors import EngineError

_log = logging.getLogger(__name__)

#: The clocks of this host and of Redis are compared to within a network round trip; waking a little late saves a
#: second look.
_MARGIN_S = 0.001


class Timers:
    """Calls `advance(namespace)` whenever that namespace has something due, and at least once per poll interval.

    Args:
        advance: does the work; answers the next due time in microseconds of Redis's clock (or -1) and that clock's now.
        poll_s: seconds between looks at a namespace, jittered downwards by up to a quarter.
    """

    def __init__(self, advance: Callable[[str], Awaitable[tuple[int, int]]], poll_s: float) -> None:
        self._advance = advance
        self._poll_s = poll_s
        self._next: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._offset_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._loop(), name="dibs-timers")

    async def close(self) -> None:
        """Stops looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def add(self, namespace: str) -> None:
        """Looks after a namespace from now on."""
        if namespace not in self._next:
            self._next[namespace] = asyncio.get_running_loop().time()
            self._changed.set()

    def due(self, namespace: str, due_us: int) -> None:
        """Says that something is due at a time of Redis's clock (-1: nothing)."""
        if due_us < 0:
            return
        at = due_us / 1e6 - self._offset_s + _MARGIN_S
        if at < self._next.get(namespace, float("inf")):
            self._next[namespace] = at
            self._changed.set()

    def see_clock(self, now_us: int) -> None:
        """Learns Redis's clock from a reply."""
        self._offset_s = now_us / 1e6 - asyncio.get_running_loop().time()

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            now = loop.time()
            for namespace in [name for name, at in self._next.items() if at <= now]:
                self._next[namespace] = now + self._poll_s * random.uniform(0.75, 1.0)
                try:
                    due_us, now_us = await self._advance(namespace)
                except EngineError as error:
                    _log.warning("could not advance namespace %s: %s", namespace, error)
                    continue
                self.see_clock(now_us)
                self.due(namespace, due_us)
            wait = min(self._next.values(), default=now + self._poll_s) - loop.time()
            try:
                async with asyncio.timeout(max(wait, 0)):
                    await self._changed.wait()
            except TimeoutError:
                continue
