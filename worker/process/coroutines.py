"""Slots for ``async def`` tasks: one event loop in a thread of its own.

It is not the loop of the stream: a task that blocks its loop, or computes for long, would hold up the receipts and
acks of all others, and the notice that it has been cancelled.

Tasks can do anything to their loop. It goes on when one stops it; when it is beyond repair, such as after a task that
closed its descriptors, what runs in it fails and another one takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any

from dibs.errors import TimeLimitExceeded
from dibs.tasks.context import CURRENT_TASK
from dibs.tasks.slot_waits import SLOT_WAITS

from ..shared.begun import BEGUN, ENDED
from ..shared.bell import Bell
from ..shared.leases import limit_seconds
from ..shared.logs import Said
from .execution import Execution, describe
from .item import Item
from .lane import Lane, Progress
from .leased import LeasedTask
from .waits import Waits

_log = logging.getLogger("dibs.worker")

#: What tasks that are ended at the stop of the worker get for their clean-up.
CLEAN_UP_S = 1.0
#: How often the log tells that tasks stop their loop, at most.
_TELL_EVERY_S = 1.0
#: How long to wait for a new loop while the process has no descriptor left.
_PAUSE_S = 1.0


class LoopBroken(Exception):
    """The event loop that a task ran in is beyond repair; the task is not to blame, or one of those beside it is."""


class _Call:
    """One running task, when it began, and its position."""

    __slots__ = ("limit", "over", "position", "running", "since", "task")

    def __init__(self, running: LeasedTask, since: float, position: int) -> None:
        self.running = running
        self.since = since
        self.position = position
        self.task: asyncio.Task[None] | None = None
        #: What cancels it when its time limit is over, and whether that has.
        self.limit: asyncio.TimerHandle | None = None
        self.over = False


class CoroutineLane(Lane):
    """Runs coroutine functions, each call in an asyncio task of its own.

    Attributes:
        loop: where they run; another one when a task has broken it.
    """

    def __init__(self, slots: int, execution: Execution, bell: Bell, progress: Progress, waits: Waits) -> None:
        super().__init__(slots, execution, bell, progress, waits)
        self.loop = asyncio.new_event_loop()
        #: Loops that are beyond repair. They are never closed: their descriptors may be somebody else's by now.
        self._broken: list[asyncio.AbstractEventLoop] = []
        self._thread = threading.Thread(target=self._work, name="dibs-async", daemon=True)
        #: Written in the thread, read elsewhere, by taking copies.
        self._calls: dict[_Call, None] = {}
        self._finished = 0
        self._busy_s = 0.0
        self._stopping = False
        self._abandoning = False
        #: What each task gets a copy of, so that what one sets there does not reach the next one.
        self._context = Context()
        self._told_at = -_TELL_EVERY_S

    def start(self) -> None:
        """Start the thread and its loop."""
        self._thread.start()

    def wake(self, count: int) -> None:
        """Lets the loop look for items."""
        # A loop that has been closed is replaced, and the new one looks by itself.
        with suppress(RuntimeError):
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
        """Cancel the asyncio task of the item."""
        for call in tuple(self._calls):
            if call.running.taskid == id and call.running.lease_token <= token:
                call.running.cancelled = True
                self._cancel(call)

    def _cancel(self, call: _Call) -> None:
        if call.task is not None:
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(call.task.cancel)

    def lose(self, now: float) -> None:
        """As of `Lane`, and cancels those whose leases were to be renewed: nobody waits for them any more."""
        for call in tuple(self._calls):
            if not call.running.lost and call.running.is_over(now):
                self._execution.lose(call.running)
                if call.running.delivery.renew:
                    self._cancel(call)

    def abandon(self) -> None:
        """Cancel what runs. What a task returns or raises all the same counts; otherwise it was stopped."""
        self._abandoning = True
        for call in tuple(self._calls):
            self._cancel(call)

    def stop(self, timeout_s: float) -> None:
        """Cancel what still runs, without reporting it, and end the loop."""
        self._stopping = True
        if self._thread.ident is None:
            self.loop.close()
            return
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout_s + CLEAN_UP_S)

    def _work(self) -> None:
        """Run the loop until the lane stops, whatever tasks do to it."""
        SLOT_WAITS.set(self._waits)
        # Of the thread: who begins a task may be another one that ends, or who deals.
        self._context = copy_context()
        while not self._stopping:
            asyncio.set_event_loop(self.loop)
            try:
                self.loop.call_soon(self._begin)
                self.loop.run_forever()
                if not self._stopping:
                    self._tell("a task has stopped the event loop of all async tasks, which goes on", None)
            except (SystemExit, KeyboardInterrupt) as error:
                # Of a callback, or of an asyncio task that a task has made. The loop itself is whole.
                self._tell("an asyncio callback wanted to end the process; its event loop goes on", error)
            except BaseException as error:  # noqa: BLE001 - without its loop the worker would only look alive
                self._replace_loop(error)
        try:
            self.loop.run_until_complete(self._clean_up())
        except Exception:  # noqa: BLE001 - the thread ends in any case
            _log.exception("async tasks could not clean up")
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    def _tell(self, text: str, error: BaseException | None) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            tasks = ", ".join(sorted({running.name for running in self.running()}))
            _log.warning(Said(text, running=tasks), exc_info=error)

    def _replace_loop(self, error: BaseException) -> None:
        """Has another loop take the place of one that is beyond repair; what ran in it has failed."""
        _log.error("the event loop of all async tasks broke, what ran in it has failed", exc_info=error)
        self._broken.append(self.loop)
        while True:
            try:
                self.loop = asyncio.new_event_loop()
                break
            except OSError:
                _log.exception("no new event loop yet")
                time.sleep(_PAUSE_S)
        for call in tuple(self._calls):
            self._fail(call, LoopBroken(f"the event loop that it ran in broke: {describe(error).splitlines()[-1]}"))
            self._finish(call)

    async def _clean_up(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CLEAN_UP_S)
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
                self._begin_one(item, now)
            except Exception as error:  # noqa: BLE001 - its place among those that are held would never come free
                self._execution.broke_off(item, error)
                self._ended(now, item[0].lease_token, item[3])

    def _begin_one(self, item: Item, now: float) -> None:
        running = self._execution.begin(item, now)
        if running is None:
            self._ended(now, item[0].lease_token, item[3])
            return
        self._progress.marks[item[3]] = BEGUN
        task = item[2]
        call = _Call(running, now, item[3])
        call.task = self.loop.create_task(self._run(call, task.function), name=task.name, context=self._context.copy())
        self._calls[call] = None
        if running.delivery.HasField("run_timeout"):
            call.limit = self.loop.call_later(limit_seconds(running.delivery), self._end_over, call)

    @staticmethod
    def _end_over(call: _Call) -> None:
        """Cancel a call whose time limit is over."""
        call.over = True
        assert call.task is not None
        call.task.cancel()

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
            if call.over and not running.cancelled:
                self._fail(call, TimeLimitExceeded().with_traceback(error.__traceback__))
            elif self._abandoning and not running.cancelled and call in self._calls:
                self._execution.interrupted(running)
            elif not self._stopping:
                self._fail(call, error)
        except BaseException as error:  # noqa: BLE001 - SystemExit is the task's failure too, not the loop's end
            self.leave_if_forked(running, 1)
            self._fail(call, error)
        finally:
            if self._finish(call):
                self._begin()

    def _fail(self, call: _Call, error: BaseException) -> None:
        # What a broken loop left is told of already; its coroutines end when they are thrown away, whenever that is.
        if call in self._calls:
            self._execution.failed(call.running, error)

    def _finish(self, call: _Call) -> bool:
        """Count a call as done; False: it has been counted, or need not be any more."""
        if call not in self._calls:
            return False
        del self._calls[call]
        if call.limit is not None:
            call.limit.cancel()
        if not self._stopping:
            took = self._ended(call.since, call.running.delivery.lease_token, call.position)
            if took >= self._execution.log_after:
                self._execution.log_run(call.running, took)
        return not self._stopping

    def _ended(self, since: float, token: int, position: int) -> float:
        """Count an item as done; how many seconds it took."""
        took = time.monotonic() - since
        self._progress.ended.append(position)
        self._busy_s += took
        self._finished += 1
        if self._bell.armed and (token or len(self.ready) < self.low_water):
            self._bell.ring()
        return took
