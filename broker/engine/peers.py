"""Whether every broker on the same Redis reads what this one writes: what earlier versions cannot read is not written
while one of them is there.

Brokers of any version have one subscription each to the hints channel, and those of this format one more, on the same
connection, to a channel that is named after it. So long as both have as many listeners, no broker is of an earlier
version, however brokers come, go or die.

The look also finds out when Redis has lost its data.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from .errors import EngineError

_log = logging.getLogger(__name__)

#: What this version writes: 1 has leases that stand together, and parked items, and counts bytes.
FORMAT = 1
_LOOK_S = 5.0


class Peers:
    """Looks who else is there.

    Args:
        count: how many listen to the hints, and how many of them know this format.
        generation: reads the generation of the data.
        uncounted: reads when a broker of an earlier version was last there; noted before, if one is there now.
        subscribed: set while this broker listens to hints itself.
    """

    def __init__(
        self,
        count: Callable[[], Awaitable[tuple[int, int]]],
        generation: Callable[[], Awaitable[bytes]],
        uncounted: Callable[[bool], Awaitable[int]],
        subscribed: asyncio.Event,
    ) -> None:
        self._count = count
        self._read_generation = generation
        self._read_uncounted = uncounted
        self._subscribed = subscribed
        self._task: asyncio.Task[None] | None = None
        self._current = False
        #: Of the data in Redis, as of the last look.
        self._generation: bytes | None = None
        #: When a broker of an earlier version was last there, in microseconds of Redis's clock; 0: none is known of.
        self.uncounted_us = 0
        self._on_lost: set[Callable[[], None]] = set()

    @property
    def current(self) -> bool:
        """Whether every broker that is there reads what this one writes, as of the last look.

        While this broker does not listen itself it cannot tell, and it is not so.
        """
        return self._current and self._subscribed.is_set()

    def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._loop(), name="dibs-peers")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def look(self) -> None:
        """Look now. Raises `EngineError`."""
        listening, knowing = await self._count()
        if self._subscribed.is_set():
            # Before it may count as current.
            self.uncounted_us = await self._read_uncounted(listening > knowing)
        self._current = self._subscribed.is_set() and listening == knowing
        generation = await self._read_generation()
        if self._generation not in (None, generation):
            _log.error("Redis has lost its data: what was queued is gone, tasks and schedules are registered again")
            for tell in tuple(self._on_lost):
                tell()
        self._generation = generation

    @contextmanager
    def on_data_lost(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call `tell` when Redis has lost its data while this broker was there, within 5 s."""
        self._on_lost.add(tell)
        try:
            yield
        finally:
            self._on_lost.discard(tell)

    async def _loop(self) -> None:
        while True:
            await self._subscribed.wait()
            try:
                await self.look()
            except EngineError as error:
                self._current = False
                _log.debug("could not look for other brokers: %s", error)
            await asyncio.sleep(_LOOK_S)
