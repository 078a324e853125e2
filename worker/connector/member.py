"""The process of one number of a worker, with the streams of its lanes, from the first hello to the end."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from ..shared.hello import Hello
from ..shared.sorts import Sort, worker_name
from .keeping import Kept
from .line import Line
from .lines import Lines
from .operator import Operator
from .registering import Registering
from .task_process import Program


class Member:
    """One of those that a connector keeps.

    Args:
        number: from 1.
        name: what its streams call themselves.
        program: what it runs.
        registering: told what there is to register.
        greeted: called with each hello.
        operator: takes commands.

    Attributes:
        number: its own.
        kept: the process.
        stopping: it takes no more items.
    """

    def __init__(
        self,
        number: int,
        name: str,
        program: Program,
        registering: Registering,
        greeted: Callable[[Hello], None],
        operator: Operator,
    ) -> None:
        self.number = number
        self.stopping = False
        self._settings = dataclasses.replace(program.settings, worker_id=name)
        self._registering = registering
        self._operator = operator
        self._tell_greeted = greeted
        self._first: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self.kept = Kept(number, program, self._greeted)
        self._lines = Lines(self._make_line)

    @property
    def ready(self) -> bool:
        """Whether it has a process that takes items."""
        return self.kept.current is not None

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits here or is to be told."""
        lanes = self.kept.lanes.values()
        return self.ready and not any(lane.held or lane.outbox.pending() or lane.outbox.unsettled for lane in lanes)

    @property
    def full(self) -> bool:
        """Whether a lane has no room for more."""
        current = self.kept.current
        return current is not None and any(
            lane.slots and lane.held.count >= lane.slots for lane in current.lanes.values()
        )

    async def run(self) -> bool:
        """Run until it was stopped and everything is done, or cannot work from the start.

        Returns:
            whether it could.

        Raises:
            BrokerError: no broker ever took it on, because of what it says or who it is.
        """
        keeping = asyncio.create_task(self.kept.keep(), name=f"dibs-keep-{self.number}")
        try:
            await asyncio.wait((keeping, self._first), return_when=asyncio.FIRST_COMPLETED)
            if self._first.done():
                await self._lines.finished(keeping)
            return not self.kept.unfit
        finally:
            await self._lines.close()
            await self.kept.end()
            await keeping

    def stop(self) -> None:
        """Take no more items, and end when what is here is done or the wait is over. Idempotent."""
        if not self.stopping:
            self.stopping = True
            self.kept.stop()
            self._lines.stop()

    def _make_line(self, sort: Sort, alone: bool) -> Line:
        lane = self.kept.lanes[sort]
        name = worker_name(self._settings.worker_id, sort, alone=alone)
        return Line(
            self._first.result().connection,
            lane,
            lane.outbox,
            dataclasses.replace(self._settings, worker_id=name),
            register_again=self._registering.again,
            operator=self._operator,
        )

    def _greeted(self, hello: Hello) -> None:
        if not self._first.done():
            self._first.set_result(hello)
        self._tell_greeted(hello)
        self._registering.know(hello)
        self._lines.know({sort: lane.task_names for sort, lane in hello.lanes.items()})
