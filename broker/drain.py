"""The news that this broker is going away, for everything that stays open for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")


class Drain:
    """Begins once and never ends. The server begins it; streaming handlers watch it and come to an end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._callbacks: dict[object, Callable[[], None]] = {}

    @property
    def begun(self) -> bool:
        """Whether the broker is going away."""
        return self._event.is_set()

    def begin(self) -> None:
        """Tells everybody. A second call does nothing."""
        if not self.begun:
            self._event.set()
            for callback in tuple(self._callbacks.values()):
                callback()

    async def wait(self) -> None:
        """Returns when the broker is going away."""
        await self._event.wait()

    @contextmanager
    def on_begin(self, callback: Callable[[], None]) -> Iterator[None]:
        """Calls back, without blocking, if the drain begins inside the with."""
        key = object()
        self._callbacks[key] = callback
        try:
            yield
        finally:
            del self._callbacks[key]

    async def requests(self, source: AsyncIterator[_T]) -> AsyncGenerator[_T, None]:
        """The requests of a stream until the drain begins; one that is being handled then is still finished.

        Costs nothing for each message: the drain interrupts the wait for the next one, as a timeout would.
        """
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        waiting = interrupted = False

        def interrupt() -> None:
            nonlocal interrupted
            if waiting:
                interrupted = True
                task.cancel()

        with self.on_begin(interrupt):
            while not self.begun:
                waiting = True
                try:
                    message = await anext(source)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    # Ours alone, or the call was cancelled as well?
                    if interrupted and task.uncancel() <= before:
                        return
                    raise
                finally:
                    waiting = False
                yield message
