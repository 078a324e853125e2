"""Runs what is enqueued in the thread or the event loop of a test, with the code by which workers run it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Protocol

from ..codecs.sealing import Sealing
from ..errors import DibsError
from ..v1 import broker_pb2 as pb
from ..v1 import types_pb2 as tpb

if TYPE_CHECKING:
    from ..worker.process.here import Here
    from ..worker.process.item import Runnable

#: Runs in one go. Tasks that enqueue each other without an end run for ever with a real worker, too; a test has to end.
MOST_RUNS = 10_000

#: Ids of the items that run here, the innermost last; each has been waiting for the next.
_chain: ContextVar[tuple[str, ...]] = ContextVar("dibs_testing_chain", default=())


class Source(Protocol):
    """Where items come from, and where it is told what came of them."""

    def lease(self) -> tuple[tpb.Delivery, Runnable] | None:
        """The next item that can run, and its task; None: there is none."""

    def report(self, request: pb.WorkRequest) -> None:
        """Acks, nacks and refreshes."""

    def rest(self) -> None:
        """There was nothing more that could run."""


class Bench:
    """Runs items one after the other. Safe to use from several threads, and by the tasks that it runs."""

    def __init__(self) -> None:
        self._sources: list[tuple[Source, Here]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        #: Ids of items that run, in any thread, and of those among them that are held up by a wait.
        self._running: list[str] = []
        self._held_up: list[str] = []

    def add(self, source: Source, sealing: Sealing | None) -> None:
        """Run what comes from there, too.

        Args:
            source: where it comes from.
            sealing: decodes arguments and encodes results; None: they are plain.
        """
        from ..worker.process.here import Here

        self._sources.append((source, Here(sealing)))

    @property
    def inside(self) -> bool:
        """Whether a task runs here."""
        return bool(_chain.get())

    def run_ready(self) -> int:
        """Run what can run, in this thread, until there is nothing left; how many runs that were.

        Raises:
            DibsError: there is no end to it.
        """
        runs = 0
        for source, here, delivery, task in self._leased():
            with self._runs(delivery.id):
                if not task.is_async:
                    here.run(delivery, task)
                else:
                    self._run_in_loop(here.run_async(delivery, task))
            _report(source, here)
            runs += 1
        return runs

    async def run_ready_async(self) -> int:
        """As `run_ready`, in this event loop; plain functions hold it up."""
        runs = 0
        for source, here, delivery, task in self._leased():
            with self._runs(delivery.id):
                if not task.is_async:
                    here.run(delivery, task)
                else:
                    await here.run_async(delivery, task)
            _report(source, here)
            runs += 1
        return runs

    def cancel(self, id: str, token: int) -> None:
        """Tell an item that runs that somebody has cancelled it."""
        for _, here in self._sources:
            here.cancel(id, token)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For a with around a wait: what runs here, if anything does, is held up by it."""
        mine = _chain.get()[-1:]
        with self._lock:
            self._held_up.extend(mine)
        try:
            yield
        finally:
            with self._lock:
                for id in mine:
                    self._held_up.remove(id)

    def is_busy_elsewhere(self) -> bool:
        """Whether something runs in another thread or coroutine that is not held up itself."""
        mine = _chain.get()
        with self._lock:
            return any(id not in mine and id not in self._held_up for id in self._running)

    def close(self) -> None:
        """Close the event loop that coroutine functions ran in."""
        if self._loop is not None and not self._loop.is_running():
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _leased(self) -> Iterator[tuple[Source, Here, tpb.Delivery, Runnable]]:
        runs = 0
        found = True
        while found:
            found = False
            for source, here in self._sources:
                while (leased := source.lease()) is not None:
                    found = True
                    runs += 1
                    if runs > MOST_RUNS:
                        last = leased[1].name
                        raise DibsError(f"{MOST_RUNS:,} tasks ran at once, the last was {last}: is there an end to it?")
                    yield source, here, *leased
        for source, _ in self._sources:
            source.rest()

    @contextmanager
    def _runs(self, id: str) -> Iterator[None]:
        with self._lock:
            self._running.append(id)
        token = _chain.set((*_chain.get(), id))
        try:
            yield
        finally:
            _chain.reset(token)
            with self._lock:
                self._running.remove(id)

    def _run_in_loop(self, call: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine for who has no event loop, or may not wait in the one that there is."""
        if _is_in_loop():
            with ThreadPoolExecutor(1, "dibs-async") as threads:
                threads.submit(copy_context().run, asyncio.run, call).result()
            return
        if self._loop is None or self._loop.is_running() or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(call)


def _report(source: Source, here: Here) -> None:
    for request in here.reports():
        source.report(request)


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
