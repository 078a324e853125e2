"""A worker that runs tasks in its own process: for tests, programs that are workers, and debuggers.

Code that holds the interpreter for long holds up its stream, too; `dibs worker` keeps the two apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from dibs.connection import Connection
from dibs.v1 import types_pb2 as tpb

from .begun import RING
from .connector.events import Observer
from .connector.hands import Standing
from .connector.held import Batch, Held
from .connector.line import Line
from .connector.outbox import Outbox
from .process.execution import Runnable
from .process.load import found_tasks
from .process.slots import Slots
from .settings import WorkerSettings


class Worker:
    """Runs tasks until it is stopped.

    Args:
        connection: where the brokers are.
        registry_find: the task of a name, or None; asked once for each name, when the worker starts.
        task_names: names of the tasks to run, 1 to 10,000.
        settings: see there.
        observer: told what happens, in the loop; must not block.
        register_again: called when Redis has lost what was registered; must not block.

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
    ) -> None:
        tasks = found_tasks(registry_find, task_names)
        settings = settings or WorkerSettings()
        outbox = Outbox()
        marks = memoryview(bytearray(RING))
        self._slots = Slots(tasks, settings, outbox.entries, marks)
        hands = LocalHands(self._slots, outbox, marks)
        self._line = Line(connection, tasks, hands, outbox, settings, observer, register_again)

    @property
    def stopping(self) -> bool:
        """Whether it takes no more items."""
        return self._line.stopping

    @property
    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops at work beside the one that it runs in."""
        return self._slots.loops

    async def run(self) -> int:
        """Works until `stop`, and then until what is here is done or the wait is over.

        Returns:
            how many items still ran, and will be delivered again if they may.

        Raises:
            BrokerError: no broker ever took this worker on, because of what it says or who it is.
        """
        self._slots.start()
        left: int | None = None
        try:
            left = await self._line.run()
        finally:
            await asyncio.to_thread(self._slots.stop, 1.0 if left == 0 else 0.0)
        return left

    def stop(self) -> None:
        """Takes no more items, and ends when what is here is done or the wait is over. From any thread; idempotent."""
        self._line.stop()


class LocalHands:
    """Slots of this process as hands.

    Args:
        slots: who runs the items.
        outbox: where the slots put entries.
        marks: theirs.
    """

    def __init__(self, slots: Slots, outbox: Outbox, marks: memoryview) -> None:
        self.arrived = asyncio.Event()
        self._slots = slots
        self._outbox = outbox
        self._held = Held(marks)
        #: Parts of items that are not reported yet, whose batches are to be found out.
        outbox.collect = self._collect

    @property
    def held(self) -> int:
        """Items here that are not reported."""
        return self._held.count

    @property
    def finished(self) -> int:
        """Items that have been reported, in all."""
        return self._held.reported

    @property
    def released(self) -> int:
        """Items that were handed back because they could not begin, in all."""
        return self._slots.released

    def deal(self, batch: Batch, on_wire: int) -> None:
        """Has items run."""
        self.arrived.set()
        for piece in self._held.place(batch):
            self._slots.deal(piece.deliveries, piece.first, piece.arrived, on_wire)

    def standing(self) -> Standing:
        """For what there is room now."""
        _, room, ahead = self._slots.standing()
        return Standing(room, self._slots.slots, ahead)

    def hand_back(self) -> None:
        """Hands back what has not begun and can go back."""
        self._slots.hand_back()
        self._collect()

    def look_after(self, now: float) -> None:
        """To be called now and then while there are items."""
        self._slots.look_after(now)
        self._collect()

    def rest(self) -> None:
        """To be called when there has been nothing to do for a while."""
        self._slots.rest()

    def cancel(self, leases: Iterable[tuple[str, int]], now: float) -> None:
        """Tells items that somebody has cancelled them."""
        self._slots.cancel(leases, now)

    def running(self) -> Sequence[str]:
        """What runs now: name and id of each."""
        return self._slots.running()

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
        if self._slots.something:
            ranges, parts = self._slots.gather()
            for count, data in parts:
                self._held.said(self._outbox.add(data, count))
            if ranges:
                self._held.report(ranges)
