"""The news that this broker is going away, for everything that stays open for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .errors import Draining

_T = TypeVar("_T")


class Drain:
    """Begins once and never ends. The server begins it; streaming handlers watch it and come to an end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._callbacks: dict[object, Callable[[], object]] = {}

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
        """Return when the broker is going away."""
        await self._event.wait()

    @contextmanager
    def on_begin(self, callback: Callable[[], object]) -> Iterator[None]:
        """Call back, without blocking, if the drain begins inside the with."""
        key = object()
        self._callbacks[key] = callback
        try:
            yield
        finally:
            del self._callbacks[key]

    async def unless_begun(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Awaits what only looks and waits; the drain cuts it short. Raises `Draining` then.

        So the shutdown is not held up, and the client asks another broker.
        """
        task = asyncio.create_task(work, name="dibs-unless-draining")
        try:
            with self.on_begin(task.cancel):
                if self.begun:
                    raise Draining
                return await task
        except asyncio.CancelledError:
            if self.begun:
                raise Draining from None
            raise
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

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
