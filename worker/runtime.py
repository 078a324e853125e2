"""A worker that runs tasks in its own process: for tests, programs that are workers, and debuggers.

Code that holds the interpreter for long holds up its stream, too; `dibs worker` keeps the two apart.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from dibs.codecs.sealing import Sealing
from dibs.rpc.connection import Connection
from dibs.tasks.middleware import Layers
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .connector.condition import Condition
from .connector.events import Announcer, EventName, Observer
from .connector.hands import Standing, tell_lost
from .connector.held import Batch, Held
from .connector.line import Line
from .connector.lines import Lines
from .connector.operator import Operator
from .connector.outbox import Outbox
from .connector.overrunning import Overrunning
from .connector.renewing import Renewing
from .process.coroutines import CLEAN_UP_S
from .process.item import Runnable, by_sort
from .process.load import found_tasks
from .process.slots import Slots, stop_all
from .process.waits import Waits
from .shared.logs import Said
from .shared.memory import Table
from .shared.settings import WorkerSettings
from .shared.sorts import Sort, worker_name

_log = logging.getLogger("dibs.worker")

_log = logging.getLogger("dibs.worker")

#: How often it is looked what runs, and what does although its lease is over.
_LOOK_EVERY_S = 1.0


class Worker:
    """Runs tasks until it is stopped.

    Args:
        connection: where the brokers are.
        registry_find: the task of a name, or None; asked once for each name, when the worker starts.
        task_names: names of the tasks to run, 1 to 10,000.
        settings: see there.
        observer: told what happens, in the loop; must not block.
        register_again: called when Redis has lost what was registered; must not block.
        sealing: decodes arguments and encodes results; None: they are plain.
        layers: told when it has started, and when it stops.

    Raises:
        ValueError: there is no task to run, or there are too many.

    Example:
        ``await Worker(instance.connection, instance.registry.find, instance.registry.names()).run()``
    """

    def __init__(
        self,
        connection: Connection,
        registry_find: Callable[[str], Runnable | None],
        task_names: Iterable[str],
        settings: WorkerSettings | None = None,
        observer: Observer | None = None,
        *,
        register_again: Callable[[], None] = lambda: None,
        sealing: Sealing | None = None,
        layers: Layers | None = None,
    ) -> None:
        self._layers = layers or Layers()
        settings = settings or WorkerSettings()
        tasks = found_tasks(registry_find, task_names)
        waits = Waits(tasks, settings)
        self._tasks = {sort: some for sort, some in by_sort(tasks).items() if some}
        self._hands = {sort: LocalHands(sort, some, settings, waits, sealing) for sort, some in self._tasks.items()}
        self._slots = [hands.slots for hands in self._hands.values()]
        self._announce = Announcer(observer)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_asked = self._stop_begun = False

        def make(sort: Sort, alone: bool) -> Line:
            hands = self._hands[sort]
            name = worker_name(settings.worker_id, sort, alone=alone)
            of_lane = dataclasses.replace(settings, worker_id=name)
            operator = Operator(settings.worker_id, self.command)
            return Line(connection, hands, hands.outbox, of_lane, observer, register_again, operator)

        self._lines = Lines(make)

    def command(self, command: tpb.WorkerCommand) -> None:
        """Do what an operator wants, as far as it can be done here."""
        if command.WhichOneof("command") == "stop":
            _log.info(Said("stopping", reason="an operator wants it"))
            self.stop()
        else:
            _log.warning(Said("an operator wants what this worker cannot do", command=str(command).strip()))

    @property
    def stopping(self) -> bool:
        """Whether it takes no more items."""
        return self._stop_asked

    @property
    def held(self) -> int:
        """Items here that are not reported. From any thread."""
        return sum(hands.held for hands in self._hands.values())

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits here or is to be told."""
        hands = self._hands.values()
        return not any(one.held or one.outbox.pending() or one.outbox.unsettled for one in hands)

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops at work beside the one that it runs in."""
        return [loop for one in self._slots for loop in one.loops]

    async def run(self) -> int:
        """Works until `stop`, and then until what is here is done or the wait is over.

        Returns:
            how many items still ran, and will be delivered again if they may.

        Raises:
            BrokerError: no broker ever took this worker on, because of what it says or who it is.
        """
        self._loop = asyncio.get_running_loop()
        for one in self._slots:
            one.start()
        self._layers.worker_started()
        self._announce(EventName.STARTED)
        left: int | None = None
        try:
            self._lines.know(self._tasks)
            if self._stop_asked:
                self._begin_stop()
            left = await self._lines.finished()
            self._announce(EventName.STOPPED, unfinished=left)
        finally:
            await self._lines.close()
            await asyncio.to_thread(stop_all, self._slots, 1.0 if left == 0 else 0.0)
        return left

    def stop(self) -> None:
        """Take no more items, and end when what is here is done or the wait is over. From any thread; idempotent."""
        self._stop_asked = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_stop)

    def _begin_stop(self) -> None:
        if not self._stop_begun:
            self._stop_begun = True
            self._announce(EventName.STOPPING)
            self._lines.stop()
            self._layers.worker_stopping()


class LocalHands:
    """Slots of this process as hands.

    Args:
        sort: of the tasks.
        tasks: by name.
        settings: how many at once.
        waits: of the worker.
        sealing: as for `Worker`.

    Attributes:
        condition: as of `Hands`.
        outbox: where they put what came of items.
        slots: who runs the items.
    """

    def __init__(
        self,
        sort: Sort,
        tasks: dict[str, Runnable],
        settings: WorkerSettings,
        waits: Waits,
        sealing: Sealing | None = None,
    ) -> None:
        self.arrived = asyncio.Event()
        self.condition = Condition()
        self.outbox = Outbox()
        table = Table.new()
        self.slots = Slots(sort, tasks, settings, self.outbox.entries, table, waits, sealing)
        self._held = Held(table)
        self._renewing = Renewing(self._held, self.outbox)
        self._overrunning = Overrunning(self._held)
        self._hard = settings.hard
        self._look_at = 0.0
        self._given_up = False
        #: Parts of items that are not reported yet, whose batches are to be found out.
        self.outbox.collect = self._collect

    @property
    def held(self) -> int:
        """Items here that are not reported."""
        return 0 if self._given_up else self._held.count

    @property
    def finished(self) -> int:
        """Items that have been reported, in all."""
        return self._held.reported

    @property
    def released(self) -> int:
        """Items that were handed back because they could not begin, in all."""
        return self.slots.released

    def deal(self, batch: Batch, on_wire: int) -> None:
        """Has items run."""
        self.arrived.set()
        for piece in self._held.place(batch):
            self.slots.deal(piece.deliveries, piece.first, piece.arrived, on_wire)

    def standing(self) -> Standing:
        """For what there is room now."""
        _, room, ahead = self.slots.standing()
        return Standing(room, self.slots.slots, ahead)

    def hand_back(self) -> None:
        """Hands back what has not begun and can go back."""
        self.slots.hand_back()
        self._collect()

    def abandon(self) -> None:
        """As of `Hands`. Functions cannot be ended: they go on while the process lives, and nobody hears of it."""
        for delivery, *_ in self.slots.abandon():
            if delivery.lease_token:
                self.outbox.entries.nack(delivery, pb.NACK_REASON_NOT_BEGUN)
            else:
                tell_lost(delivery)
        asyncio.get_running_loop().call_later(CLEAN_UP_S if self.slots.sort is Sort.ASYNC else 0, self._give_up)

    def _give_up(self) -> None:
        """What has not ended by now was stopped."""
        self._collect()
        self._given_up = True
        for running in self.slots.running():
            running.retried = True
            self.outbox.entries.stopped(running.delivery)
        self.outbox.bell.ring_here()

    def look_after(self, now: float) -> None:
        """To be called now and then while there are items."""
        self.slots.look_after(now)
        self._collect()
        self._renewing.look(now)
        for one in self._overrunning.look(now, self._hard):
            text = "task goes on after its time limit; only a worker with task processes can end it"
            _log.error(Said(text, task=one.terms.task_name, id=one.terms.id, time_limit=one.terms.limit_s))
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            self.condition = Condition(self._held.overdue(now), None, self._held.runs_long(now))

    def rest(self) -> None:
        """To be called when there has been nothing to do for a while."""
        self.slots.rest()
        self.condition = Condition()

    def cancel(self, leases: Iterable[tuple[str, int]], now: float) -> None:
        """Tells items that somebody has cancelled them."""
        self.slots.cancel(leases, now)

    def running(self) -> Sequence[str]:
        """What runs now: name and id of each."""
        return [f"{running.name} {running.taskid}" for running in self.slots.running()]

    def newly_begun(self) -> Sequence[tuple[str, int]]:
        """As of `Hands`."""
        return self._held.newly_begun()

    def forget_told(self) -> None:
        """Likewise."""
        self._held.forget_told()

    def items(self) -> Iterator[tpb.Delivery]:
        """What is here and not reported; reads everything."""
        return (delivery for delivery, _ in self._held.unreported())

    def _collect(self) -> None:
        if self.slots.something:
            ranges, parts = self.slots.gather()
            for count, data in parts:
                self._held.said(self.outbox.add(data, count))
            if ranges:
                self._held.report(ranges)
