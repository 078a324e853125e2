"""A lane with its items: which of them begin, for how many more there is room, what goes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from dibs.codecs.sealing import Sealing
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..shared.entries import Entries
from ..shared.frames import ranges
from ..shared.leases import lease_seconds
from ..shared.limits import MAX_CREDIT
from ..shared.memory import Table
from ..shared.not_known_here import NotKnownHere
from ..shared.settings import WorkerSettings
from ..shared.sorts import Sort
from .coroutines import CoroutineLane
from .credit import LaneCredit
from .execution import Execution
from .item import Item, Runnable
from .lane import Lane, Progress
from .leased import LeasedTask
from .threads import ThreadLane
from .waits import Waits

#: When every slot has been busy with one item for so long, nothing is held ahead any more.
_HELD_UP_S = 0.1
#: How long the notice that an item was cancelled is kept for an item that has not been seen.
_CANCELLED_KEPT_S = 10.0


class Slots:
    """The slots for one sort of tasks: threads for plain functions, one event loop for coroutine functions.

    One thread deals, another may look after what waits; the lane's own threads run it.

    Args:
        sort: of the tasks.
        tasks: what can be run, by name. If there is none everything is handed back.
        settings: how many at once.
        entries: what came of items is put here; its bell is rung.
        table: what is known of items, by their positions.
        waits: of the process.
        sealing: decodes arguments and encodes results; None: they are plain.

    Attributes:
        sort: of the tasks.
        slots: how many items run at once.
        dealt: items dealt so far.
        released: items handed back so far because they could not begin.
    """

    def __init__(
        self,
        sort: Sort,
        tasks: Mapping[str, Runnable],
        settings: WorkerSettings,
        entries: Entries,
        table: Table,
        waits: Waits,
        sealing: Sealing | None = None,
    ) -> None:
        self.sort = sort
        self.slots = settings.slots(sort) if tasks else 0
        self.dealt = 0
        self.released = 0
        self._tasks = tasks
        self._entries = entries
        self._execution = Execution(tasks, entries, table.ends, sealing, settings.log_runs)
        self._unknown = NotKnownHere(entries)
        self._stale_after = settings.stale_after
        self._progress = Progress(table.marks)
        #: Held by who deals or takes back.
        self._dealing = threading.Lock()
        # Without tasks there is no need for a loop.
        kind = CoroutineLane if sort is Sort.ASYNC and tasks else ThreadLane
        self._lane: Lane = kind(self.slots, self._execution, entries.bell, self._progress, waits)
        self._credit = LaneCredit(self.slots, settings.prefetch, settings.horizon)
        #: As far as the credit has been told.
        self._finished = 0
        self._busy_s = 0.0

    @property
    def held(self) -> int:
        """Items here, running or not."""
        return self._lane.held()

    @property
    def ready(self) -> bool:
        """Whether items wait for a slot."""
        return bool(self._lane.ready)

    @property
    def something(self) -> bool:
        """Whether there is something to report."""
        return bool(self._progress.ended or self._entries)

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loop that runs tasks, if there is one."""
        return [self._lane.loop] if isinstance(self._lane, CoroutineLane) else []

    def start(self) -> None:
        """Start the threads."""
        self._lane.start()

    def stop(self, timeout_s: float) -> None:
        """End the threads; blocks. What still runs is left alone after the timeout."""
        self._lane.stop(timeout_s)

    def deal(self, deliveries: Sequence[tpb.Delivery], first: int, arrived: float, on_wire: int) -> None:
        """Give items to the slots.

        Args:
            deliveries: the items.
            first: position of the first of them.
            arrived: when they came, on the monotonic clock.
            on_wire: credit that the broker has.
        """
        find = self._tasks.get
        items: list[Item] = []
        for position, delivery in enumerate(deliveries, first):
            task = find(delivery.content.task_name)
            if task is None:
                self._unknown.hand_back(delivery)
                self._progress.ended.append(position)
            else:
                items.append((delivery, arrived, task, position))
        with self._dealing:
            self.dealt += len(deliveries)
            # From here on down a fresh request is worth a message; see credit_change.
            ahead = self._credit.ahead
            self._lane.low_water = max(1, ahead - ahead // 4 - max(on_wire, 0))
            if items:
                self._lane.submit(items, len(items))
        if len(items) < len(deliveries) and self._entries.bell.armed:
            self._entries.bell.ring()

    def standing(self) -> tuple[int, int, int]:
        """Items dealt so far, for how many more there is room, and how many are held ahead at most."""
        with self._dealing:
            finished, busy_s = self._lane.totals()
            if finished != self._finished:
                self._credit.finished(finished - self._finished, busy_s - self._busy_s)
                self._finished, self._busy_s = finished, busy_s
            return self.dealt, min(self._credit.room(self._lane.held()), MAX_CREDIT), self._credit.ahead

    def gather(self) -> tuple[list[tuple[int, int]], list[tuple[int, bytes]]]:
        """Take what is to be reported: ranges of positions that are done, and messages with their entries.

        An item's entry comes no later than its position. One thread at a time.
        """
        ended = self._progress.ended
        # Before the entries: theirs are among these.
        positions = [ended.popleft() for _ in range(len(ended))]
        parts: list[tuple[int, bytes]] = []
        left = len(self._entries)
        while left > 0:
            request, about = self._entries.take()
            left -= len(about)
            parts.append((len(about), request.SerializeToString()))
        return ranges(positions) if positions else [], parts

    def hand_back(self) -> None:
        """Hands back what has not begun and can go back, and rings."""
        self._release(lambda item: lease_seconds(item[0]) > 0)

    def drop(self) -> None:
        """Begins nothing more, and tells nobody."""
        with self._dealing:
            self._lane.take_back(lambda item: True)

    def abandon(self) -> list[Item]:
        """Begins nothing more, and cancels what can be cancelled; the items that will not begin."""
        with self._dealing:
            items = self._lane.take_back(lambda item: True)
        self._lane.abandon()
        return items

    def look_after(self, now: float) -> None:
        """To be called now and then while there are items.

        Long tasks end the holding ahead, items that have waited too long go back, those whose leases are over
        are told so, old notices are forgotten.
        """
        with self._dealing:
            if self._lane.held_up_s(now) >= _HELD_UP_S:
                self._credit.restart()
        self._lane.lose(now)
        self._release(lambda item: 0 < min(self._stale_after, lease_seconds(item[0]) / 2) <= now - item[1])
        notices = self._execution.cancelled
        if notices:
            here = {item[0].id for item in tuple(self._lane.ready)}
            for id, (_, since) in tuple(notices.items()):
                if now - since > _CANCELLED_KEPT_S and id not in here:
                    notices.pop(id, None)

    def rest(self) -> None:
        """To be called when there has been nothing to do for a while: what was measured is old."""
        with self._dealing:
            self._credit.restart()
        self._execution.cancelled.clear()

    def cancel(self, leases: Iterable[tuple[str, int]], now: float) -> None:
        """Tells the items of these ids, if they are here under these lease tokens, that somebody has cancelled them."""
        for id, token in leases:
            self._execution.cancelled[id] = (token, now)
            self._lane.cancel(id, token)

    def running(self) -> Sequence[LeasedTask]:
        """What runs now."""
        return self._lane.running()

    def _release(self, wanted: Callable[[Item], bool]) -> None:
        with self._dealing:
            items = self._lane.take_back(wanted)
        for item in items:
            self._entries.nack(item[0], pb.NACK_REASON_RELEASED)
            self._progress.ended.append(item[3])
        self.released += len(items)
        if items and self._entries.bell.armed:
            self._entries.bell.ring()


def stop_all(slots: Iterable[Slots], timeout_s: float) -> None:
    """End the threads of several lanes within one time; blocks."""
    deadline = time.monotonic() + timeout_s
    for one in slots:
        one.stop(max(0.0, deadline - time.monotonic()))
