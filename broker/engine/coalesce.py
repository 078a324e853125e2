"""Calls that arrive while one is in flight share the next one: batches form by themselves, without a timer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Coalescer(Generic[T, R]):
    """Gathers submissions into batches for `run`, one batch in flight at a time.

    Args:
        run: performs a batch; answers one result per entry, in order.
        limit: largest sum of weights in one batch. A submission is never divided.
        weigh: weight of a submission; default: its number of entries.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R]]],
        limit: int,
        weigh: Callable[[Sequence[T]], int] = len,
    ) -> None:
        self._run = run
        self._limit = limit
        self._weigh = weigh
        self._waiting: deque[tuple[Sequence[T], int, asyncio.Future[Sequence[R]]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing waits."""
        return self._runner is None and not self._waiting

    async def submit(self, entries: Sequence[T]) -> Sequence[R]:
        """Perform the entries with the next batch; raise what that batch raised."""
        future: asyncio.Future[Sequence[R]] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, self._weigh(entries), future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._drain())
        return await future

    async def close(self) -> None:
        """Wait for what is in flight."""
        if self._runner is not None:
            await self._runner

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._flush()
        finally:
            self._runner = None

    async def _flush(self) -> None:
        batch: list[T] = []
        shares: list[tuple[int, asyncio.Future[Sequence[R]]]] = []
        weight = 0
        while self._waiting and (not batch or weight + self._waiting[0][1] <= self._limit):
            entries, own_weight, future = self._waiting.popleft()
            if future.cancelled():
                continue
            batch.extend(entries)
            shares.append((len(entries), future))
            weight += own_weight
        if not batch:
            return
        try:
            results = await self._run(batch)
        except Exception as error:  # noqa: BLE001 - handed on to every caller of this batch
            for _, future in shares:
                if not future.done():
                    future.set_exception(error)
            return
        at = 0
        for count, future in shares:
            if not future.done():
                future.set_result(results[at : at + count])
            at += count


class Coalescers(Generic[T, R]):
    """A `Coalescer` for each namespace, made when it is needed.

    Args:
        run: performs a batch of a namespace; answers one result per entry, in order.
        limit: as for `Coalescer`.
        weigh: as for `Coalescer`.
    """

    def __init__(
        self,
        run: Callable[[str, list[T]], Awaitable[Sequence[R]]],
        limit: int,
        weigh: Callable[[Sequence[T]], int] = len,
    ) -> None:
        self._run = run
        self._limit = limit
        self._weigh = weigh
        self._made: dict[str, Coalescer[T, R]] = {}

    def __len__(self) -> int:
        """Of how many namespaces there is one."""
        return len(self._made)

    def submit(self, namespace: str, entries: Sequence[T]) -> Awaitable[Sequence[R]]:
        """Perform the entries with the next batch of their namespace; raise what that batch raised."""
        one = self._made.get(namespace)
        if one is None:
            one = self._made[namespace] = Coalescer(lambda batch: self._run(namespace, batch), self._limit, self._weigh)
        return one.submit(entries)

    def tidy(self) -> None:
        """Forget those where nothing is under way."""
        for namespace in [name for name, one in self._made.items() if one.idle]:
            del self._made[namespace]

    async def close(self) -> None:
        """Wait for what is in flight."""
        await asyncio.gather(*(one.close() for one in self._made.values()))
