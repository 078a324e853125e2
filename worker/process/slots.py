"""All lanes of a process together: who gets which item, for how many more there is room, what goes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..entries import Entries
from ..frames import ranges
from ..leases import lease_seconds
from ..limits import MAX_CREDIT
from ..settings import WorkerSettings
from ..unknown import UnknownTasks
from .coroutines import CoroutineLane
from .credit import LaneCredit
from .execution import Execution, Item, Runnable
from .lane import Lane, Progress
from .threads import ThreadLane

#: When every slot of a lane has been busy with one item for so long, nothing is held ahead any more.
_HELD_UP_S = 0.1
#: How long the notice that an item was cancelled is kept for an item that has not been seen.
_CANCELLED_KEPT_S = 10.0


class _Counted:
    """A lane, its credit, and what has been counted of it."""

    __slots__ = ("busy_s", "credit", "finished", "lane")

    def __init__(self, lane: Lane, credit: LaneCredit) -> None:
        self.lane = lane
        self.credit = credit
        self.finished = 0
        self.busy_s = 0.0


class Slots:
    """The lanes that the tasks need: threads for plain functions, one event loop for coroutine functions.

    One thread deals, another may look after what waits; the lanes' own threads run it.

    Args:
        tasks: what can be run, by name.
        settings: how many at once.
        entries: what came of items is put here; its bell is rung.
        marks: a byte for each position of an item; see `dibs.worker.begun`.

    Attributes:
        slots: how many items run at once.
        dealt: items dealt so far.
        released: items handed back so far because they could not begin.
    """

    def __init__(
        self, tasks: Mapping[str, Runnable], settings: WorkerSettings, entries: Entries, marks: memoryview
    ) -> None:
        self.dealt = 0
        self.released = 0
        self._tasks = tasks
        self._entries = entries
        self._execution = Execution(entries)
        self._unknown = UnknownTasks(entries)
        self._stale_after = settings.stale_after
        self._progress = Progress(marks)
        #: Held by who deals or takes back.
        self._dealing = threading.Lock()
        self._counted: list[_Counted] = []
        self._lanes: dict[str, int] = {}
        kinds: dict[bool, int] = {}
        for name, task in tasks.items():
            if task.is_async not in kinds:
                kinds[task.is_async] = len(self._counted)
                sort, count = (CoroutineLane, settings.async_tasks) if task.is_async else (ThreadLane, settings.threads)
                lane: Lane = sort(count, self._execution, entries.bell, self._progress)
                self._counted.append(_Counted(lane, LaneCredit(lane.slots, settings.prefetch, settings.horizon)))
            self._lanes[name] = kinds[task.is_async]
        self.slots = sum(counted.lane.slots for counted in self._counted)

    @property
    def held(self) -> int:
        """Items here, running or not."""
        return sum(counted.lane.held() for counted in self._counted)

    @property
    def ready(self) -> bool:
        """Whether items wait for a slot."""
        return any(counted.lane.ready for counted in self._counted)

    @property
    def something(self) -> bool:
        """Whether there is something to report."""
        return bool(self._progress.ended or self._entries)

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops that run tasks."""
        return [counted.lane.loop for counted in self._counted if isinstance(counted.lane, CoroutineLane)]

    def start(self) -> None:
        """Starts the lanes."""
        for counted in self._counted:
            counted.lane.start()

    def stop(self, timeout_s: float) -> None:
        """Ends the lanes; blocks. What still runs is left alone after the timeout."""
        deadline = time.monotonic() + timeout_s
        for counted in self._counted:
            counted.lane.stop(max(0.0, deadline - time.monotonic()))

    def deal(self, deliveries: Sequence[tpb.Delivery], first: int, arrived: float, on_wire: int) -> None:
        """Gives items to their lanes.

        Args:
            deliveries: the items.
            first: position of the first of them.
            arrived: when they came, on the monotonic clock.
            on_wire: credit that the broker has.
        """
        find = self._tasks.get
        shares: list[list[Item]] = [[] for _ in self._counted]
        alone = len(shares) == 1
        share = shares[0]
        for position, delivery in enumerate(deliveries, first):
            name = delivery.content.task_name
            task = find(name)
            if task is None:
                self._unknown.hand_back(delivery)
                self._progress.ended.append(position)
            elif alone:
                share.append((delivery, arrived, task, position))
            else:
                shares[self._lanes[name]].append((delivery, arrived, task, position))
        total = sum(map(len, shares))
        with self._dealing:
            self.dealt += len(deliveries)
            for counted, share in zip(self._counted, shares, strict=True):
                credit = counted.credit
                # From here on down a fresh request is worth a message; see credit_change.
                counted.lane.low_water = max(1, credit.ahead - credit.ahead // 4 - max(on_wire, 0))
                if not alone:
                    credit.arrived(len(share), total)
                if share:
                    counted.lane.submit(share, len(share))
        if total < len(deliveries) and self._entries.bell.armed:
            self._entries.bell.ring()

    def standing(self) -> tuple[int, int, int]:
        """Items dealt so far, for how many more there is room, and how many are held ahead at most."""
        rooms: list[float] = []
        ahead = 0
        alone = len(self._counted) == 1
        with self._dealing:
            for counted in self._counted:
                lane, credit = counted.lane, counted.credit
                finished, busy_s = lane.totals()
                if finished != counted.finished:
                    credit.finished(finished - counted.finished, busy_s - counted.busy_s)
                    counted.finished, counted.busy_s = finished, busy_s
                rooms.append(credit.room(lane.held(), alone=alone))
                ahead += credit.ahead
            return self.dealt, min(int(min(rooms)), MAX_CREDIT), ahead

    def gather(self) -> tuple[list[tuple[int, int]], list[tuple[int, bytes]]]:
        """Takes what is to be reported: ranges of positions that are done, and messages with their entries.

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
            for counted in self._counted:
                counted.lane.take_back(lambda item: True)

    def look_after(self, now: float) -> None:
        """To be called now and then while there are items.

        Long tasks end the holding ahead, items that have waited too long go back, old notices are forgotten.
        """
        with self._dealing:
            for counted in self._counted:
                if counted.lane.held_up_s(now) >= _HELD_UP_S:
                    counted.credit.restart()
        self._release(lambda item: 0 < min(self._stale_after, lease_seconds(item[0]) / 2) <= now - item[1])
        notices = self._execution.cancelled
        if notices:
            here = {item[0].id for counted in self._counted for item in tuple(counted.lane.ready)}
            for id, (_, since) in tuple(notices.items()):
                if now - since > _CANCELLED_KEPT_S and id not in here:
                    notices.pop(id, None)

    def rest(self) -> None:
        """To be called when there has been nothing to do for a while: what was measured is old."""
        with self._dealing:
            for counted in self._counted:
                counted.credit.restart()
        self._execution.cancelled.clear()

    def cancel(self, leases: Iterable[tuple[str, int]], now: float) -> None:
        """Tells the items of these ids, if they are here under these lease tokens, that somebody has cancelled them."""
        for id, token in leases:
            self._execution.cancelled[id] = (token, now)
            for counted in self._counted:
                counted.lane.cancel(id, token)

    def running(self) -> Sequence[str]:
        """What runs now: name and id of each."""
        return [f"{running.name} {running.taskid}" for counted in self._counted for running in counted.lane.running()]

    def _release(self, wanted: Callable[[Item], bool]) -> None:
        with self._dealing:
            items = [item for counted in self._counted for item in counted.lane.take_back(wanted)]
        for item in items:
            self._entries.nack(item[0], pb.NACK_REASON_RELEASED)
            self._progress.ended.append(item[3])
        self.released += len(items)
        if items and self._entries.bell.armed:
            self._entries.bell.ring()
