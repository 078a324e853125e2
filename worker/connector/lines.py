"""The lines of one process: a stream to a broker for each sort of tasks that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from ..shared.sorts import Sort
from .line import Line

#: Makes the line of a lane. Whether it is the only one so far is said.
MakeLine = Callable[[Sort, bool], Line]


class Lines:
    """Begins lines as there are tasks for them, and runs them until all have ended.

    Args:
        make: makes one, which does not know any task yet.
    """

    def __init__(self, make: MakeLine) -> None:
        self._make = make
        self._lines: dict[Sort, Line] = {}
        self._running: dict[asyncio.Task[int], None] = {}
        self._stopping = False
        #: Set when one has ended, or something else that `finished` looks at.
        self._news = asyncio.Event()

    def know(self, task_names: Mapping[Sort, Iterable[str]]) -> None:
        """Says which tasks there are now, by their sorts. A line begins with the first of its sort."""
        names = {sort: list(some) for sort, some in task_names.items() if some}
        everything = frozenset(name for some in names.values() for name in some)
        new = [sort for sort in names if sort not in self._lines]
        for sort in new:
            self._lines[sort] = self._make(sort, len(names) == 1 and not self._lines)
        for sort, line in self._lines.items():
            line.knows(names.get(sort, ()), everything)
        for sort in new:
            line = self._lines[sort]
            if self._stopping:
                line.stop()
            task = asyncio.create_task(line.run(), name=f"dibs-line-{sort.label}")
            self._running[task] = None
            task.add_done_callback(self.look)

    def stop(self) -> None:
        """Has each take no more items, and end when what is here is done or the wait is over. Idempotent."""
        self._stopping = True
        for line in self._lines.values():
            line.stop()

    def look(self, _: object = None) -> None:
        """Has `finished` look again."""
        self._news.set()

    async def finished(self, beside: asyncio.Task[None] | None = None) -> int:
        """Return when all lines have ended: how many items still ran, and will be delivered again if they may.

        Args:
            beside: what it raises is raised here, too.

        Raises:
            BrokerError: no broker ever took one of them on, because of what it says or who it is.
        """
        if beside is not None:
            beside.add_done_callback(self.look)
        left = 0
        while True:
            self._news.clear()
            if beside is not None and beside.done():
                beside.result()
            for task in [task for task in self._running if task.done()]:
                del self._running[task]
                left += task.result()
            if not self._running:
                return left
            await self._news.wait()

    async def close(self) -> None:
        """Give up those that still run."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
