"""Where leased items come from, for the streams that wait for them, and where they go that nobody takes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dibs.contract.standing import Standing

from ..border.errors import Busy
from ..engine.engine import Engine
from ..engine.types import LeaseQuery, LeaseReply
from ..engine.workers import skill_set
from .callers import Callers
from .groups import Consumer, Group
from .orphans import Orphans
from .returns import Returns
from .unknown_tasks import UnknownTasks

_log = logging.getLogger(__name__)

#: Pause after something that must not happen.
_AFTER_FAULT_S = 1.0


class Dispatch:
    """Owns the groups, the callers, and what is on its way back to Redis.

    Args:
        engine: carries it out.
        most_waiting: names of queues that all groups together may wait for.

    Attributes:
        returns: takes what was leased and reached nobody.
        settling: notes the streams whose acks, nacks and refreshes wait for Redis.
    """

    def __init__(self, engine: Engine, most_waiting: int = 100_000) -> None:
        #: Names of queues that the groups wait for, and the most that they may.
        self._waiting, self._most_waiting = 0, most_waiting
        self.returns = Returns(engine)
        self.settling = Standing(_log, "no acks and nacks wait for Redis any more")
        self._leasing = Standing(_log, "no leases wait for Redis any more")
        self._engine = engine
        self._callers = Callers(engine)
        self._orphans = Orphans(self._callers, self.returns)
        self._groups: dict[tuple[str, LeaseQuery, str, bool], Group] = {}
        #: How many groups want the same and know different tasks.
        self._alike: Counter[tuple[str, LeaseQuery]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def serve(
        self,
        namespace: str,
        query: LeaseQuery,
        consumer: Consumer,
        task_names: Sequence[str] = (),
        *,
        says_begun: bool = False,
    ) -> Iterator[Group]:
        """Delivers to the consumer inside the with; call `credited` on what it yields when the credit has grown.

        Args:
            namespace: where.
            query: what it wants.
            consumer: who takes the items.
            task_names: tasks whose items it takes; none: of any task.
            says_begun: it says when items begin; else they have when it has them.

        Raises:
            Busy: too many names of queues are waited for.
        """
        wanted = (namespace, query)
        key = (*wanted, skill_set(task_names) if task_names else "", says_begun)
        group = self._groups.get(key)
        if group is None:
            if self._waiting + len(query.queues) > self._most_waiting:
                raise Busy(
                    f"queues: {self._most_waiting} names are waited for here, the most that may be: call another broker"
                )
            self._alike[wanted] += 1
            self._waiting += len(query.queues)
            group = self._groups[key] = Group(
                self._engine,
                self._callers,
                self._orphans,
                self.returns,
                namespace,
                query,
                UnknownTasks(
                    self._engine, self.returns, self._own, namespace, task_names, lambda: self._alike[wanted] > 1
                )
                if task_names
                else None,
                self._leasing,
                says_begun=says_begun,
            )
            self._own(self._pump(group, namespace), f"dibs-lease-{namespace}")
        group.consumers[consumer] = None
        group.credited()
        try:
            yield group
        finally:
            del group.consumers[consumer]
            if not group.consumers:
                del self._groups[key]
                self._alike[wanted] -= 1
                if not self._alike[wanted]:
                    del self._alike[wanted]
                self._waiting -= len(query.queues)
                group.close()

    async def lease(self, namespace: str, query: LeaseQuery, max_items: int) -> LeaseReply:
        """Leases for one consumer that is there now.

        If the answer does not come, or the consumer does not wait for it, what was leased goes back when it comes.

        Raises:
            EngineError: no answer.
        """
        self._orphans.check_room()
        caller = self._callers.take(namespace)
        try:
            return await caller.lease(query, (max_items,))
        finally:
            self._orphans.part(caller, query)

    def received(self, namespace: str, tokens: Collection[int]) -> None:
        """Says that shares were received: deliveries under these tokens count."""
        if tokens:
            self._engine.receipts.received(namespace, tokens)

    def tidy(self) -> None:
        """Forgets what is kept for namespaces where nothing happens."""
        self._callers.tidy()
        self.returns.tidy()

    async def close(self, within_s: float) -> None:
        """Wait until Redis knows everything that it has to know; call when no consumer is left.

        After so many seconds it gives up: what is at least once comes back when its lease runs out, its attempt unused;
        at-most-once items that did not get back are lost, and logged.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s

        def left() -> float:
            return max(deadline - loop.time(), 0.0)

        while self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=left())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._orphans.close(left())
        await self.returns.close(left())
        await self._engine.receipts.close(left())

    async def _pump(self, group: Group, namespace: str) -> None:
        while True:
            try:
                return await group.pump()
            except Exception:  # noqa: BLE001 - its streams would wait for ever, and so would all that join them
                _log.exception("dealing out in namespace %s failed; leases bring back what it held", namespace)
                await asyncio.sleep(_AFTER_FAULT_S)

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
