"""Workers in the test's own process, watched through the events that they announce."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from dibs.rpc.connection import Connection
from dibs.worker.connector.events import Event, EventName
from dibs.worker.process.item import Runnable
from dibs.worker.runtime import Worker
from dibs.worker.shared.settings import WorkerSettings

_LONGEST_S = 20.0


@dataclass(frozen=True)
class Job:
    """A task as the worker sees one."""

    name: str
    function: Callable[..., Any]
    is_async: bool = False
    types: None = None

    def gives_up_on(self, error: BaseException) -> bool:
        """After no exception."""
        return False


@dataclass
class Watched:
    """A running worker.

    Attributes:
        worker: the worker.
        events: what it has announced.
        run: ends with it.
    """

    worker: Worker
    events: list[Event]
    run: asyncio.Task[int]
    _news: asyncio.Event

    def count(self, name: EventName) -> int:
        """How many items the events of that name told of, or how many there were if they tell of none."""
        return sum(event.details.get("count", 1) for event in self.events if event.name is name)

    async def until(self, name: EventName, count: int = 1) -> None:
        """Returns when the events of that name told of so many."""
        async with asyncio.timeout(_LONGEST_S):
            while self.count(name) < count:
                self._news.clear()
                await self._news.wait()

    async def stopped(self) -> int:
        """Tells it to stop; how many tasks it left running."""
        self.worker.stop()
        async with asyncio.timeout(_LONGEST_S):
            return await self.run


@asynccontextmanager
async def working(target: str, jobs: Mapping[str, Runnable], **settings: Any) -> AsyncIterator[Watched]:
    """A worker that runs inside the with."""
    events: list[Event] = []
    news = asyncio.Event()

    def observe(event: Event) -> None:
        events.append(event)
        news.set()

    worker = Worker(Connection(target=target), jobs.get, jobs, WorkerSettings(**settings), observe)
    run = asyncio.create_task(worker.run(), name="worker")
    watched = Watched(worker, events, run, news)
    try:
        yield watched
    finally:
        if not run.done():
            worker.stop()
        await asyncio.wait([run], timeout=_LONGEST_S)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


@dataclass
class Gate:
    """A function for a task that tells when it has begun and goes on when it is let.

    Attributes:
        calls: how often it was called.
    """

    calls: int = 0
    _begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _open: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> int:
        self.calls += 1
        self._begun.release()
        assert self._open.wait(_LONGEST_S)
        return self.calls

    async def begun(self) -> None:
        """Returns when one more call has begun."""
        assert await asyncio.to_thread(self._begun.acquire, timeout=_LONGEST_S)

    def open(self) -> None:
        """Lets calls end."""
        self._open.set()
