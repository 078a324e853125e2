"""Streams that want the same share one lease call at a time, whose items are dealt out first come, first served.

A group whose queues are empty sleeps until a hint wakes it: an idle stream costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator, Sequence
from typing import Protocol

from dibs.contract.pauses import Pauses
from dibs.contract.standing import Standing

from ..engine.engine import MAX_BATCH, Engine
from ..engine.errors import EngineError
from ..engine.types import Leased, LeaseQuery, LeaseReply
from .callers import Callers
from .orphans import Orphans
from .returns import Returns
from .unknown_tasks import UnknownTasks

_log = logging.getLogger(__name__)

#: Half an hour: Redis keeps for two hours what is waited for.
_NOTED_AGAIN_S = 1800.0


class Consumer(Protocol):
    """A stream that takes items."""

    @property
    def credit(self) -> int:
        """How many more items it takes now; 0 or less: none."""

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        """Take items of one share, at most its credit, and lower the credit. They are the consumer's from here on."""

    def note_unknown(self, names: Sequence[str]) -> None:
        """Hears of tasks that it does not know and that have come up."""


class Group:
    """Consumers that want the same; one task leases for all of them."""

    def __init__(
        self,
        engine: Engine,
        callers: Callers,
        orphans: Orphans,
        returns: Returns,
        namespace: str,
        query: LeaseQuery,
        unknown: UnknownTasks | None,
        failing: Standing,
        *,
        says_begun: bool = False,
    ) -> None:
        self.consumers: dict[Consumer, None] = {}
        self._engine = engine
        self._callers = callers
        self._orphans = orphans
        self._returns = returns
        self._namespace = namespace
        self._query = query
        #: Whether the consumers say when items begin.
        self._says_begun = says_begun
        #: None: the consumers take any task.
        self._unknown = unknown
        self._failing = failing
        self._closed = asyncio.Event()
        #: Set by hints; cleared before each lease, so that a hint during the call is not missed.
        self._ready = asyncio.Event()
        #: Set when some consumer may have credit.
        self._credited = asyncio.Event()

    def credited(self) -> None:
        """Says that a consumer has credit again."""
        self._credited.set()

    def close(self) -> None:
        """End the pump; what a lease in flight brings goes back."""
        self._closed.set()
        self._ready.set()
        self._credited.set()

    async def pump(self) -> None:
        """Leases and deals out until closed; an answer that has not come by then is asked for by others."""
        caller = self._callers.take(self._namespace)
        pauses = Pauses()
        try:
            with self._engine.hints.on_ready(self._namespace, self._query.kind, self._query.queues, self._ready.set):
                while not self._closed.is_set():
                    shares = self._shares()
                    if not shares and not caller.in_doubt:
                        self._credited.clear()
                        await self._credited.wait()
                        continue
                    self._ready.clear()
                    sifts = self._unknown is not None and self._unknown.sifts
                    try:
                        self._orphans.check_room()
                        if self._unknown is not None:
                            await self._unknown.teach()
                        skills = "" if self._unknown is None else self._unknown.digest
                        reply = await caller.lease(
                            self._query,
                            shares,
                            note_hunger=True,
                            skills=skills,
                            sift=sifts,
                            says_begun=self._says_begun,
                        )
                    except EngineError as error:
                        self._failing.note(
                            self, "lease in namespace %s failed, trying again: %s", self._namespace, error
                        )
                        await self._pause(pauses.next_s())
                        continue
                    pauses.reset()
                    self._failing.end(self)
                    items: Sequence[Leased] = reply.items
                    if self._unknown is not None:
                        items = self._known(self._unknown, reply, sifted=sifts)
                    if items:
                        whole = len(items) == len(reply.items) and not caller.repeated
                        dealt = by_size(items, shares) if whole else by_token(items, shares)
                        self._returns.unseen(self._namespace, self._deal(dealt, reply.now_us))
                    if len(items) < len(reply.items):
                        await self._returns.until_back(self._namespace)
                    if reply.drained:
                        await self._until_ready()
        finally:
            self._failing.end(self)
            self._orphans.part(caller, self._query)

    def _known(self, unknown: UnknownTasks, reply: LeaseReply, *, sifted: bool) -> Sequence[Leased]:
        """What the consumers know of an answer; they are told of the rest, which goes back."""
        items, names = unknown.take_out(reply, sifted=sifted)
        if names:
            for consumer in self.consumers:
                consumer.note_unknown(names)
        return items

    def _shares(self) -> list[int]:
        """How many items to lease for each consumer that takes some, in their order."""
        shares = []
        left = MAX_BATCH
        for consumer in self.consumers:
            share = min(consumer.credit, left)
            if share > 0:
                shares.append(share)
                left -= share
                if not left:
                    break
        return shares

    def _deal(self, dealt: Iterator[Sequence[Leased]], now_us: int) -> list[Leased]:
        """Hands out shares, each to one consumer; answers what nobody takes any more."""
        left: list[Leased] = []
        for share in dealt:
            consumer = self._taker(len(share))
            taken = 0 if consumer is None else min(consumer.credit, len(share))
            if consumer is not None and taken > 0:
                # Served ones go to the end of the line.
                self.consumers[consumer] = self.consumers.pop(consumer)
                consumer.deliver(share[:taken], now_us)
            left += share[max(taken, 0) :]
        return left

    def _taker(self, size: int) -> Consumer | None:
        """The first in the line that takes so many, else the one that takes most: credit may have been taken back."""
        for consumer in self.consumers:
            if consumer.credit >= size:
                return consumer
        return max(self.consumers, key=lambda consumer: consumer.credit, default=None)

    async def _until_ready(self) -> None:
        """Wait for a hint, or until it is time to note in Redis again what is waited for."""
        try:
            async with asyncio.timeout(_NOTED_AGAIN_S * random.uniform(0.75, 1.0)):
                await self._ready.wait()
        except TimeoutError:
            return

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return


def by_size(items: Sequence[Leased], sizes: Sequence[int]) -> Iterator[Sequence[Leased]]:
    """The shares of an answer, as they were asked for."""
    at = 0
    for size in sizes:
        if at >= len(items):
            return
        yield items[at : at + size]
        at += size


def by_token(items: Sequence[Leased], sizes: Sequence[int]) -> Iterator[Sequence[Leased]]:
    """The shares of an answer that was asked for with other sizes than these: what has a token belongs together."""
    if len(sizes) == 1:
        yield items
        return
    shares: dict[int, list[Leased]] = {}
    for item in items:
        shares.setdefault(item.token, []).append(item)
    loose = shares.pop(0, [])
    yield from (shares[token] for token in sorted(shares))
    while loose:
        for size in sizes or (len(loose),):
            if loose:
                yield loose[:size]
                loose = loose[size:]
