"""Which brokers work on the same Redis: what earlier versions cannot read is not written while one of them is there.

Brokers note every few seconds that they are there and which format they write. Those from before that note nothing, but
each broker of any version has one subscription to the hints channel, so that one too many gives them away. The look
also finds out when Redis has lost its data.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .connections import Argument
from .errors import EngineError

_log = logging.getLogger(__name__)

#: What this version writes: 1 has leases that stand together, and parked items.
FORMAT = 1
_LOOK_S = 5.0
#: How long a goodbye waits for Redis; whoever does not hear it finds out in `_LIFETIME_US`.
_GOODBYE_S = 0.5
#: A broker that was not heard of for so long is gone.
_LIFETIME_US = 15_000_000


class Peers:
    """Looks who else is there.

    Args:
        meet: runs ``meet.lua`` with these arguments.
        name: of this broker, unlike any other's.
        subscribed: set while this broker listens to hints itself.

    """

    def __init__(
        self, meet: Callable[[Sequence[Argument]], Awaitable[Any]], name: str, subscribed: asyncio.Event
    ) -> None:
        self._meet = meet
        self._name = name
        self._subscribed = subscribed
        self._task: asyncio.Task[None] | None = None
        self._current = False
        #: Of the data in Redis, as of the last look.
        self._generation: bytes | None = None
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
        """Stops looking, and says so to the others as far as Redis answers."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._meet((self._name, FORMAT, 0))
        except (EngineError, TimeoutError) as error:
            _log.debug("could not say goodbye to the other brokers: %s", error)

    async def look(self) -> None:
        """Looks now. Raises `EngineError`."""
        there, lowest, listening, generation = await self._meet((self._name, FORMAT, _LIFETIME_US))
        self._current = self._subscribed.is_set() and lowest >= FORMAT and listening == there

        if self._generation not in (None, generation):
            _log.error("Redis has lost its data: what was queued is gone, tasks and schedules are registered again")
            for tell in tuple(self._on_lost):
                tell()
        self._generation = generation

    @contextmanager
    def on_data_lost(self, tell: Callable[[], None]) -> Iterator[None]:
        """Calls `tell` when Redis has lost its data while this broker was there, within 5 s."""
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
