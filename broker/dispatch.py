"""Deals leased items out to the streams that wait for them.

Streams that want the same (namespace, queues, overrides) form a group and share one lease call at a time, whose
items are dealt out first come, first served. A group whose queues are empty sleeps until a hint wakes it: an idle
stream costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from .engine.engine import MAX_BATCH, Engine
from .engine.errors import EngineError
from .engine.types import Leased, LeaseQuery, Nack, NackReason
from .unknown_tasks import UnknownTasks

_log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.05
_BACKOFF_MOST_S = 2.0


#: The id of an item and the token of its lease.
Lease = tuple[str, int]


def returnable(items: Sequence[Leased]) -> list[Lease]:
    """Those that go back if nobody knows whether they were received: not at-most-once ones, somebody may have them."""
    return [(item.id, item.token) for item in items if item.token and item.lease_us]


class Consumer(Protocol):
    """A stream that takes items."""

    @property
    def credit(self) -> int:
        """How many more items it takes now; 0 or less: none."""

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        """Takes items, at most its credit, and lowers the credit. They are the consumer's from here on."""

    def takes(self, item: Leased) -> bool:
        """Whether it can do anything with an item."""


class Dispatch:
    """Owns the groups and what is on its way back to Redis."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._groups: dict[tuple[str, LeaseQuery], Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def serve(self, namespace: str, query: LeaseQuery, consumer: Consumer) -> Iterator[Group]:
        """Delivers to the consumer inside the with; call `credited` on what it yields when the credit has grown."""
        key = (namespace, query)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(self, self._engine, namespace, query)
            self._own(group.pump(), f"dibs-lease-{namespace}")
        group.consumers[consumer] = None
        group.credited()
        try:
            yield group
        finally:
            del group.consumers[consumer]
            if not group.consumers:
                del self._groups[key]
                group.close()

    def give_back(self, namespace: str, items: Sequence[Leased], *, delay_us: int = 0) -> None:
        """Returns items that never left this process to the heads of their queues, in the background.

        Args:
            namespace: theirs.
            items: what was leased; no attempt is used up.
            delay_us: have them wait this long instead.
        """
        leased = [Nack(item.id, item.token, NackReason.UNSEEN, delay_us) for item in items if item.token]
        taken = [item for item in items if not item.token]
        self._give_back_soon(namespace, leased, taken, delay_us)

    def give_back_sent(self, namespace: str, leases: Sequence[Lease]) -> None:
        """Returns what `returnable` says of items that were sent and perhaps not received, likewise."""
        self._give_back_soon(namespace, [Nack(id, token, NackReason.RELEASED, 0) for id, token in leases], (), 0)

    def hold_back(self, namespace: str, held: Mapping[str, Sequence[Leased]], unknown: UnknownTasks) -> None:
        """Returns items of tasks that a worker does not know, in the background, to wait for one that does.

        Args:
            namespace: theirs.
            held: items that never left this process, by their tasks' names.
            unknown: tells how long they wait.
        """
        self._own(self._hold_back(namespace, held, unknown), f"dibs-hold-back-{namespace}")

    async def close(self) -> None:
        """Waits until everything that was on its way back is back; call when no consumer is left."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hold_back(self, namespace: str, held: Mapping[str, Sequence[Leased]], unknown: UnknownTasks) -> None:
        elsewhere: set[str] = set()
        try:
            elsewhere = await self._engine.known_by_workers(namespace, list(held))
        except EngineError as error:
            _log.warning("could not ask who knows %d tasks: %s", len(held), error)
        for name, items in held.items():
            delay_us = unknown.delay_us(name, elsewhere=name in elsewhere)
            self.give_back(namespace, items, delay_us=delay_us)

    def _give_back_soon(self, namespace: str, leased: Sequence[Nack], taken: Sequence[Leased], delay_us: int) -> None:
        if leased or taken:
            self._own(self._give_back(namespace, leased, taken, delay_us), f"dibs-give-back-{namespace}")

    async def _give_back(self, namespace: str, leased: Sequence[Nack], taken: Sequence[Leased], delay_us: int) -> None:
        try:
            for at in range(0, len(leased), MAX_BATCH):
                await self._engine.nack(namespace, leased[at : at + MAX_BATCH])
            for at in range(0, len(taken), MAX_BATCH):
                await self._engine.restore(namespace, taken[at : at + MAX_BATCH], delay_us=delay_us)
        except EngineError as error:
            _log.warning(
                "could not give back: %s; %d items wait for their leases to run out, %d at-most-once items are lost",
                error,
                len(leased),
                len(taken),
            )


class Group:
    """Streams that want the same; one task leases for all of them."""

    def __init__(self, dispatch: Dispatch, engine: Engine, namespace: str, query: LeaseQuery) -> None:
        self.consumers: dict[Consumer, None] = {}
        self._dispatch = dispatch
        self._engine = engine
        self._namespace = namespace
        self._query = query
        self._closed = False
        #: Set by hints; cleared before each lease, so that a hint during the call is not missed.
        self._ready = asyncio.Event()
        #: Set when some consumer may have credit.
        self._credited = asyncio.Event()

    def credited(self) -> None:
        """Says that a consumer has credit again."""
        self._credited.set()

    def close(self) -> None:
        """Ends the pump; what a lease in flight brings goes back."""
        self._closed = True
        self._ready.set()
        self._credited.set()

    async def pump(self) -> None:
        """Leases and deals out until closed."""
        backoff = _BACKOFF_FIRST_S
        with self._engine.hints.on_ready(self._namespace, self._query.kind, self._query.queues, self._ready.set):
            while not self._closed:
                wanted = min(sum(max(consumer.credit, 0) for consumer in self.consumers), MAX_BATCH)
                if wanted <= 0:
                    self._credited.clear()
                    await self._credited.wait()
                    continue
                self._ready.clear()
                try:
                    reply = await self._engine.lease(self._namespace, self._query, wanted, note_hunger=True)
                except EngineError as error:
                    _log.warning("lease in namespace %s failed, trying again: %s", self._namespace, error)
                    await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
                    backoff = min(backoff * 2, _BACKOFF_MOST_S)
                    continue
                backoff = _BACKOFF_FIRST_S
                left = self._deal(reply.items, reply.now_us)
                if left:
                    self._dispatch.give_back(self._namespace, left)
                if reply.drained and not self._closed:
                    await self._ready.wait()

    def pass_on(self, items: Sequence[Leased], now_us: int, by: Consumer) -> Sequence[Leased]:
        """Hands items that a consumer cannot take to others that can; answers what nobody takes now."""
        for consumer in tuple(self.consumers):
            if consumer is not by and consumer.credit > 0:
                taken = [item for item in items if consumer.takes(item)][: consumer.credit]
                if taken:
                    consumer.deliver(taken, now_us)
                    gone = {item.id for item in taken}
                    items = [item for item in items if item.id not in gone]
        return items

    def _deal(self, items: Sequence[Leased], now_us: int) -> Sequence[Leased]:
        """Hands items to consumers in their order; answers what nobody takes any more."""
        for consumer in tuple(self.consumers):
            if not items:
                break
            share = min(consumer.credit, len(items))
            if share > 0:
                consumer.deliver(items[:share], now_us)
                items = items[share:]
                # Served ones go to the end of the line.
                self.consumers[consumer] = self.consumers.pop(consumer)
        return items
