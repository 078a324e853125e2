"""Time's own work: one timer per process moves what is due and ends leases that ran out.

Every broker may do it for every namespace; the script makes that harmless. Between the due times it knows of, each
namespace is looked at now and then: that finds what other brokers left behind, and what missed hints hid.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import random
from collections.abc import Awaitable, Callable

from dibs.contract.standing import Standing

from .errors import EngineError

_log = logging.getLogger(__name__)

#: The clocks of this host and of Redis are compared to within a network round trip; waking a little late saves a
#: second look.
_MARGIN_S = 0.001
#: Looks that are under way at a time.
_MOST_LOOKS = 32


class Timers:
    """Calls `advance(namespace)` whenever that namespace has something due, and after a pause without that.

    Args:
        advance: does the work; answers the next due time in microseconds of Redis's clock (or -1) and that clock's now,
            or None when it has told both itself.
        pause_s: most seconds between looks at a namespace, infinite for none but those that are due; jittered
            downwards by up to a quarter.
    """

    def __init__(
        self, advance: Callable[[str], Awaitable[tuple[int, int] | None]], pause_s: Callable[[str], float]
    ) -> None:
        self._advance = advance
        self._pause_s = pause_s
        self._next: dict[str, float] = {}
        #: Times of looks and namespaces; one that `_next` no longer has is void.
        self._heap: list[tuple[float, str]] = []
        self._sooner = asyncio.Event()
        self._offset_s = 0.0
        self._failing = Standing(_log, "every namespace advances again")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._loop(), name="dibs-timers")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def add(self, namespace: str) -> None:
        """Look after a namespace from now on."""
        if namespace not in self._next:
            self._set(namespace, asyncio.get_running_loop().time())

    def remove(self, namespace: str) -> None:
        """Look after a namespace no longer, until it is added again or something is due there."""
        self._next.pop(namespace, None)

    def due(self, namespace: str, due_us: int) -> None:
        """Says that something is due at a time of Redis's clock (-1: nothing)."""
        if due_us >= 0:
            self._bring_forward(namespace, due_us / 1e6 - self._offset_s + _MARGIN_S)

    def hasten(self, namespace: str) -> None:
        """Says that the pause has become shorter, if the namespace is looked after."""
        if namespace in self._next:
            self._bring_forward(namespace, self._after_pause(namespace))

    def see_clock(self, now_us: int) -> None:
        """Learns Redis's clock from a reply."""
        self._offset_s = now_us / 1e6 - asyncio.get_running_loop().time()

    def redis_now_us(self) -> int:
        """Redis's clock now in microseconds, as far as the last reply told."""
        return int((asyncio.get_running_loop().time() + self._offset_s) * 1e6)

    def _after_pause(self, namespace: str) -> float:
        return asyncio.get_running_loop().time() + self._pause_s(namespace) * random.uniform(0.75, 1.0)

    def _bring_forward(self, namespace: str, at: float) -> None:
        if at < self._next.get(namespace, math.inf):
            self._set(namespace, at)

    def _set(self, namespace: str, at: float) -> None:
        self._next[namespace] = at
        if at == math.inf:
            return
        if len(self._heap) > 2 * len(self._next) + _MOST_LOOKS:
            self._heap = [(time, name) for name, time in self._next.items() if time < math.inf]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (at, namespace))
        if self._heap[0][0] == at:
            self._sooner.set()

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._sooner.clear()
            if namespaces := self._take(loop.time()):
                await asyncio.gather(*map(self._look, namespaces))
                continue
            try:
                async with asyncio.timeout_at(self._heap[0][0] if self._heap else None):
                    await self._sooner.wait()
            except TimeoutError:
                continue

    def _take(self, now: float) -> list[str]:
        """Namespaces whose time has come, as many as are looked at at once; their next time is that of their pause."""
        namespaces: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(namespaces) < _MOST_LOOKS:
            at, namespace = heapq.heappop(self._heap)
            if self._next.get(namespace) == at:
                namespaces.append(namespace)
                self._set(namespace, self._after_pause(namespace))
        return namespaces

    async def _look(self, namespace: str) -> None:
        try:
            told = await self._advance(namespace)
        except EngineError as error:
            self._failing.note(namespace, "could not advance namespace %s: %s", namespace, error)
            return
        self._failing.end(namespace)
        if told is not None:
            due_us, now_us = told
            self.see_clock(now_us)
            self.due(namespace, due_us)
