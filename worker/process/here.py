"""Runs items at once, where it is called, as slots do: for tests, whose tasks then run in the test's own thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

from dibs.codecs.sealing import Sealing
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..shared.entries import Entries
from ..shared.memory import Table
from ..shared.settings import WorkerSettings
from .coroutines import CoroutineLane
from .execution import Execution
from .item import Item, Runnable
from .lane import Progress
from .leased import LeasedTask
from .threads import ThreadLane, _Slot
from .waits import Waits


class _NoBell:
    """Nobody waits to report: who calls does."""

    armed = False

    def ring(self) -> None:
        """Nothing to wake."""


class Here:
    """The slots of a worker without their threads. Safe to use from several threads, and by tasks that it runs.

    Args:
        sealing: decodes arguments and encodes results; None: they are plain.
    """

    def __init__(self, sealing: Sealing | None) -> None:
        bell = _NoBell()
        table = Table.new()
        #: What has been run, by name.
        self._tasks: dict[str, Runnable] = {}
        self._entries = Entries(bell)
        self._progress = Progress(table.marks)
        self._execution = _ExecutionHere(self._tasks, self._entries, table.ends, sealing)
        # Nobody has to be told of slots that are held up: there are as many as calls.
        waits = Waits(self._tasks, WorkerSettings())
        self._plain = _PlainHere(0, self._execution, bell, self._progress, waits)
        self._coroutines = _CoroutinesHere(1, self._execution, bell, self._progress, waits)
        #: Held by who takes entries.
        self._taking = threading.Lock()

    def run(self, delivery: tpb.Delivery, task: Runnable) -> None:
        """Run an item of a plain function in this thread."""
        self._tasks[task.name] = task
        self._plain.run((delivery, time.monotonic(), task, 0))
        self._execution.raise_interrupt()

    async def run_async(self, delivery: tpb.Delivery, task: Runnable) -> None:
        """Run an item of a coroutine function in this event loop, in an asyncio task of its own."""
        self._tasks[task.name] = task
        await self._coroutines.run((delivery, time.monotonic(), task, 0))
        self._execution.raise_interrupt()

    def cancel(self, id: str, token: int) -> None:
        """Tell the item of that id, if it runs, that somebody has cancelled it."""
        self._plain.cancel(id, token)
        self._coroutines.cancel(id, token)

    def reports(self) -> Iterator[pb.WorkRequest]:
        """What has come of items since the last call, in messages as a worker sends them."""
        while True:
            with self._taking:
                self._progress.ended.clear()
                if not self._entries:
                    return
                request, _ = self._entries.take()
            yield request


class _ExecutionHere(Execution):
    """Lets Ctrl-C through: here it is meant for who calls, not for the task."""

    _interrupt: KeyboardInterrupt | None = None

    def failed(self, running: LeasedTask, error: BaseException) -> None:
        """As `Execution.failed`."""
        super().failed(running, error)
        if isinstance(error, KeyboardInterrupt):
            self._interrupt = error

    def raise_interrupt(self) -> None:
        """Raise it, if there was one."""
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            raise interrupt


class _PlainHere(ThreadLane):
    """A lane whose slots are the threads of those who call."""

    def run(self, item: Item) -> None:
        """Run one item."""
        self._stopping = True  # a slot that finds nothing more to do returns
        with self._slot() as slot:
            self.ready.append(item)
            self._serve(slot)

    def leave_if_forked(self, running: LeasedTask, code: int) -> None:
        """A test may run in a child that was forked."""

    @contextmanager
    def _slot(self) -> Iterator[_Slot]:
        slot = _Slot()
        self._slots.append(slot)
        try:
            yield slot
        finally:
            self._slots.remove(slot)


class _CoroutinesHere(CoroutineLane):
    """A lane whose loops are those of who calls."""

    def __init__(self, slots: int, execution: Execution, bell: _NoBell, progress: Progress, waits: Waits) -> None:
        super().__init__(slots, execution, bell, progress, waits)
        self.loop.close()  # it is never started
        #: Held by who begins a call, in whatever loop.
        self._beginning = threading.Lock()

    async def run(self, item: Item) -> None:
        """Run one item."""
        with self._beginning:
            before = set(self._calls)
            self.loop, self._context = asyncio.get_running_loop(), copy_context()
            self._begin_one(item, time.monotonic())
            begun = [call.task for call in self._calls if call not in before and call.task is not None]
        if not begun:
            return
        try:
            await asyncio.wait(begun)
        except asyncio.CancelledError:
            begun[0].cancel()
            raise

    def cancel(self, id: str, token: int) -> None:
        """Cancel the asyncio task of the item, in its own loop."""
        for call in tuple(self._calls):
            if call.running.taskid == id and call.running.lease_token <= token and call.task is not None:
                call.running.cancelled = True
                call.task.get_loop().call_soon_threadsafe(call.task.cancel)

    def _begin(self) -> None:
        """There is nothing that waits for a free slot."""

    def leave_if_forked(self, running: LeasedTask, code: int) -> None:
        """A test may run in a child that was forked."""
