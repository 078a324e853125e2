"""All lanes of a worker together: who gets which item, how many more to ask for, what goes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from dibs.v1 import types_pb2 as tpb

from .coroutines import CoroutineLane
from .credit import LaneCredit, credit_change
from .execution import Execution, Item, Runnable
from .lane import Lane
from .leased import lease_seconds
from .outbox import Outbox
from .settings import WorkerSettings
from .threads import ThreadLane
from .unknown import UnknownTasks

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

    For the stream's loop only, but for what the lanes' own threads do.

    Args:
        tasks: what can be run, by name.
        settings: how many at once.
        execution: shared by all slots.
        outbox: where what is not run is given back.

    Attributes:
        arrived: set when items arrive; whoever looks after them clears it.
    """

    def __init__(
        self, tasks: Mapping[str, Runnable], settings: WorkerSettings, execution: Execution, outbox: Outbox
    ) -> None:
        self.arrived = asyncio.Event()
        self._tasks = tasks
        self._execution = execution
        self._unknown = UnknownTasks(outbox)
        self._stale_after = settings.stale_after
        self._counted: list[_Counted] = []
        self._lanes: dict[str, int] = {}
        kinds: dict[bool, int] = {}
        for name, task in tasks.items():
            if task.is_async not in kinds:
                kinds[task.is_async] = len(self._counted)
                lane: Lane = (
                    CoroutineLane(settings.async_tasks, execution, outbox.bell)
                    if task.is_async
                    else ThreadLane(settings.threads, execution, outbox.bell)
                )
                self._counted.append(_Counted(lane, LaneCredit(lane.slots, settings.prefetch, settings.horizon)))
            self._lanes[name] = kinds[task.is_async]
        self._slots = sum(counted.lane.slots for counted in self._counted)

    @property
    def unknown(self) -> UnknownTasks:
        """Deals with tasks that are not among `tasks`."""
        return self._unknown

    @property
    def held(self) -> int:
        """Items here, running or not."""
        return sum(counted.lane.held() for counted in self._counted)

    @property
    def finished(self) -> int:
        """Items run so far."""
        return sum(counted.lane.totals()[0] for counted in self._counted)

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

    def deal(self, deliveries: Iterable[tpb.Delivery], now: float) -> None:
        """Gives items to their lanes."""
        self.arrived.set()
        find = self._tasks.get
        if len(self._counted) == 1:
            items: list[Item] = []
            for delivery in deliveries:
                task = find(delivery.content.task_name)
                if task is None:
                    self._unknown.hand_back(delivery)
                else:
                    items.append((delivery, now, task))
            if items:
                self._counted[0].lane.submit(items, len(items))
            return
        shares: list[list[Item]] = [[] for _ in self._counted]
        for delivery in deliveries:
            name = delivery.content.task_name
            task = find(name)
            if task is None:
                self._unknown.hand_back(delivery)
            else:
                shares[self._lanes[name]].append((delivery, now, task))
        total = sum(map(len, shares))
        for counted, share in zip(self._counted, shares, strict=True):
            counted.credit.arrived(len(share), total)
            if share:
                counted.lane.submit(share, len(share))

    def credit_change(self, on_wire: int, most: int) -> int:
        """By how much to change the credit that the broker has, of at most so much."""
        rooms: list[float] = []
        held_in_all = ahead_in_all = 0
        alone = len(self._counted) == 1
        for counted in self._counted:
            lane, credit = counted.lane, counted.credit
            finished, busy_s = lane.totals()
            if finished != counted.finished:
                credit.finished(finished - counted.finished, busy_s - counted.busy_s)
                counted.finished, counted.busy_s = finished, busy_s
            held = lane.held()
            rooms.append(credit.room(held, alone=alone))
            held_in_all += held
            ahead_in_all += credit.ahead
            # From here on down a fresh request is worth a message; see credit_change.
            lane.low_water = max(1, credit.ahead - credit.ahead // 4 - max(on_wire, 0))
        change = credit_change(rooms, on_wire, slots=self._slots, held=held_in_all, ahead=ahead_in_all)
        return min(change, most - on_wire)

    def take_stale(self, now: float) -> list[Item]:
        """Takes items out that have waited here for too long and can be handed back."""

        def stale(item: Item) -> bool:
            lease_s = lease_seconds(item[0])
            return lease_s > 0 and now - item[1] >= min(self._stale_after, lease_s / 2)

        return self.take_back(stale)

    def take_back(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Takes items out that have not begun."""
        return [item for counted in self._counted for item in counted.lane.take_back(wanted)]

    def look_after(self, now: float) -> None:
        """To be called now and then while there are items: long tasks end the holding ahead, old notices go."""
        for counted in self._counted:
            if counted.lane.held_up_s(now) >= _HELD_UP_S:
                counted.credit.restart()
        notices = self._execution.cancelled
        if notices:
            here = {item[0].id for counted in self._counted for item in tuple(counted.lane.ready)}
            for id, (_, since) in tuple(notices.items()):
                if now - since > _CANCELLED_KEPT_S and id not in here:
                    del notices[id]

    def rest(self) -> None:
        """To be called when there has been nothing to do for a while: what was measured is old."""
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
