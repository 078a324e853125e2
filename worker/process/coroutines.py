"""Slots for ``async def`` tasks: one event loop in a thread of its own.

It is not the loop of the stream: a task that blocks its loop, or computes for long, would hold up the receipts and
acks of all others, and the notice that it has been cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dibs.context import CURRENT_TASK

from ..begun import BEGUN, ENDED
from ..bell import Bell
from .execution import Execution
from .lane import Lane, Progress
from .leased import LeasedTask

_log = logging.getLogger("dibs.worker")

#: What tasks that are ended at the stop of the worker get for their clean-up.
_CLEAN_UP_S = 1.0


class _Call:
    """One running task, when it began, and its position."""

    __slots__ = ("position", "running", "since", "task")

    def __init__(self, running: LeasedTask, since: float, position: int) -> None:
        self.running = running
        self.since = since
        self.position = position
        self.task: asyncio.Task[None] | None = None


class CoroutineLane(Lane):
    """Runs coroutine functions, each call in an asyncio task of its own.

    Attributes:
        loop: where they run.
    """

    def __init__(self, slots: int, execution: Execution, bell: Bell, progress: Progress) -> None:
        super().__init__(slots, execution, bell, progress)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="dibs-async", daemon=True)
        #: Written in the thread, read elsewhere, by taking copies.
        self._calls: dict[_Call, None] = {}
        self._finished = 0
        self._busy_s = 0.0
        self._stopping = False

    def start(self) -> None:
        """Starts the thread and its loop."""
        self._thread.start()

    def wake(self, count: int) -> None:
        """Lets the loop look for items."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._begin)

    def totals(self) -> tuple[int, float]:
        """Items run so far, and seconds from the begin to the end of each."""
        return self._finished, self._busy_s

    def running(self) -> Sequence[LeasedTask]:
        """What runs now."""
        return [call.running for call in tuple(self._calls)]

    def held_up_s(self, now: float) -> float:
        """For how long every slot has been taken, at least."""
        calls = tuple(self._calls)
        return now - max(call.since for call in calls) if len(calls) >= self.slots else 0.0

    def cancel(self, id: str, token: int) -> None:
        """Cancels the asyncio task of the item."""
        for call in tuple(self._calls):
            if call.running.taskid == id and call.running.lease_token <= token:
                call.running.cancelled = True
                if call.task is not None and not self.loop.is_closed():
                    self.loop.call_soon_threadsafe(call.task.cancel)

    def stop(self, timeout_s: float) -> None:
        """Cancels what still runs, without reporting it, and ends the loop."""
        self._stopping = True
        if self._thread.ident is None:
            self.loop.close()
            return
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout_s + _CLEAN_UP_S)

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self._clean_up())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    async def _clean_up(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_CLEAN_UP_S)
        await self.loop.shutdown_asyncgens()

    def _begin(self) -> None:
        """Begins as many items as there are free slots."""
        while len(self._calls) < self.slots and not self._stopping:
            try:
                item = self.ready.popleft()
            except IndexError:
                return
            now = time.monotonic()
            try:
                running = self._execution.begin(item, now)
            except Exception:  # noqa: BLE001 - its place among those that are held would never come free
                _log.exception("no slot could begin item %s, which waits for its lease to run out", item[0].id)
                running = None
            if running is None:
                self._ended(now, item[0].lease_token, item[3])
                continue
            self._progress.marks[item[3]] = BEGUN
            task = item[2]
            call = _Call(running, now, item[3])
            self._calls[call] = None
            call.task = self.loop.create_task(self._run(call, task.function), name=task.name)

    async def _run(self, call: _Call, function: Callable[..., Awaitable[Any]]) -> None:
        running = call.running
        execution = self._execution
        CURRENT_TASK.begin(running)
        try:
            if execution.is_cancelled(running):
                execution.never_begins(running)
            else:
                result = await function(*running.args, **running.kwargs)
                self.leave_if_forked(running, 0)
                if execution.succeeded(running, result):
                    self._progress.marks[call.position] = ENDED
        except asyncio.CancelledError as error:
            self.leave_if_forked(running, 1)
            if not self._stopping:
                execution.failed(running, error)
        except BaseException as error:  # noqa: BLE001 - SystemExit is the task's failure too, not the loop's end
            self.leave_if_forked(running, 1)
            execution.failed(running, error)
        finally:
            del self._calls[call]
            if not self._stopping:
                self._ended(call.since, running.delivery.lease_token, call.position)
                self._begin()

    def _ended(self, since: float, token: int, position: int) -> None:
        self._progress.ended.append(position)
        self._busy_s += time.monotonic() - since
        self._finished += 1
        if self._bell.armed and (token or len(self.ready) < self.low_water):
            self._bell.ring()
