"""Slots for plain functions: threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any

from dibs.tasks.context import CURRENT_TASK
from dibs.tasks.slot_waits import SLOT_WAITS

from ..shared.begun import BEGUN, ENDED
from ..shared.bell import Bell
from ..shared.leases import limit_seconds
from .execution import Execution
from .item import Item
from .lane import Lane, Progress
from .leased import LeasedTask
from .limiting import Limits
from .waits import Waits

_log = logging.getLogger("dibs.worker")


class _Slot:
    """One thread's state: written by the thread, read by the loop."""

    __slots__ = ("begun", "busy_s", "finished", "item", "running", "since", "thread")

    def __init__(self) -> None:
        #: Popped, and not counted as finished.
        self.item: Item | None = None
        self.running: LeasedTask | None = None
        #: When the running item began; 0 when idle.
        self.since = 0.0
        #: Items popped, and those of them that are done.
        self.begun = 0
        self.finished = 0
        self.busy_s = 0.0
        self.thread: threading.Thread | None = None


class ThreadLane(Lane):
    """Runs plain functions. The threads are daemons: a task that never ends does not keep the process."""

    def __init__(self, slots: int, execution: Execution, bell: Bell, progress: Progress, waits: Waits) -> None:
        super().__init__(slots, execution, bell, progress, waits)
        self._slots = [_Slot() for _ in range(slots)]
        #: One token for each slot that shall look for items; tokens left over cost a look.
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._stopping = False
        self._limits = Limits()

    def start(self) -> None:
        """Start the threads."""
        for number, slot in enumerate(self._slots, 1):
            slot.thread = threading.Thread(target=self._work, args=(slot,), name=f"dibs-slot-{number}", daemon=True)
            slot.thread.start()

    def wake(self, count: int) -> None:
        """Sees to it that up to `count` idle threads look for items."""
        # A token that nobody has taken yet is for an earlier item, whose thread may not come back for long.
        for _ in range(min(max(count, len(self.ready)), self.slots) - self._tokens.qsize()):
            self._tokens.put(None)

    def totals(self) -> tuple[int, float]:
        """Items run so far, and seconds that threads spent on them."""
        return sum(slot.finished for slot in self._slots), sum(slot.busy_s for slot in self._slots)

    def running(self) -> Sequence[LeasedTask]:
        """What runs now."""
        return [running for slot in self._slots if (running := slot.running) is not None]

    def held_up_s(self, now: float) -> float:
        """For how long every thread has been busy with its item, at least."""
        since = [slot.since for slot in self._slots]
        return now - max(since) if since and all(since) else 0.0

    def cancel(self, id: str, token: int) -> None:
        """Set the flag that the running function may look at."""
        for running in self.running():
            if running.taskid == id and running.lease_token <= token:
                running.cancelled = True

    def abandon(self) -> None:
        """Does nothing: a thread cannot be ended."""

    def stop(self, timeout_s: float) -> None:
        """End idle threads."""
        self._stopping = True
        for _ in self._slots:
            self._tokens.put(None)
        deadline = time.monotonic() + timeout_s
        for slot in self._slots:
            if slot.thread is not None:
                slot.thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, slot: _Slot) -> None:
        """Run items until the lane stops, whatever is raised in this thread."""
        SLOT_WAITS.set(self._waits)
        broken: BaseException | None = None
        while True:
            try:
                if broken is not None:
                    error, broken = broken, None
                    self._recover(slot, error)
                self._serve(slot)
                return
            except BaseException as error:  # noqa: BLE001 - without its slots the worker would only look alive
                broken = error

    def _serve(self, slot: _Slot) -> None:
        pop = self.ready.popleft
        ready = self.ready
        clock = time.monotonic
        begin = self._execution.begin
        log_after = self._execution.log_after
        bell = self._bell
        marks, ended = self._progress.marks, self._progress.ended
        now = clock()
        while True:
            try:
                item = pop()
            except IndexError:
                slot.since = 0.0
                if self._stopping:
                    return
                self._tokens.get()
                now = clock()
                continue
            slot.item = item
            slot.begun += 1
            slot.since = now
            running = begin(item, now)
            if running is not None:
                marks[item[3]] = BEGUN
                if self._run(slot, item[2].function, running):
                    marks[item[3]] = ENDED
            started, now = now, clock()
            slot.busy_s += now - started
            slot.item = None
            ended.append(item[3])
            slot.finished += 1
            if bell.armed and (item[0].lease_token or len(ready) < self.low_water):
                bell.ring()
            if now - started >= log_after and running is not None:
                self._execution.log_run(running, now - started)
                now = clock()

    def _recover(self, slot: _Slot, error: BaseException) -> None:
        """Tells of an item that could not begin, or whose thread was interrupted outside of its function.

        Time limits of some libraries raise in a thread when its function has returned already.
        """
        item, slot.item = slot.item, None
        slot.running = None
        if item is None:
            _log.error("a thread of tasks was interrupted between two of them, and goes on", exc_info=error)
        else:
            self._execution.broke_off(item, error)
            self._progress.ended.append(item[3])
        slot.finished = slot.begun
        if self._bell.armed:
            self._bell.ring()

    def _run(self, slot: _Slot, function: Callable[..., Any], running: LeasedTask) -> bool:
        """Call the function; True: there is nothing to tell but the plain success."""
        slot.running = running
        execution = self._execution
        try:
            if execution.is_cancelled(running):
                execution.never_begins(running)
                return False
            # In a context of its own, so that what a task sets there does not reach the next one.
            if running.delivery.HasField("run_timeout"):
                result = self._limits.run(
                    limit_seconds(running.delivery), partial(copy_context().run, _call, function, running)
                )
            else:
                result = copy_context().run(_call, function, running)
            if self._forked:
                self.leave_if_forked(running, 0)
            return execution.succeeded(running, result)
        except BaseException as error:  # noqa: BLE001 - SystemExit is the task's failure too, not the thread's end
            self.leave_if_forked(running, 1)
            execution.failed(running, error)
            return False
        finally:
            slot.running = None


def _call(function: Callable[..., Any], running: LeasedTask) -> Any:
    CURRENT_TASK.begin(running)
    return function(*running.args, **running.kwargs)
