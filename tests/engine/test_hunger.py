"""What is waited for is noted in Redis: so many names at most, and for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Kind, Leased, LeaseQuery
from dibs.broker.leasing import groups
from dibs.broker.leasing.dispatch import Dispatch

from .helpers import NS, PREFIX, put

HUNGRY = PREFIX + "hungry:t"


async def test_names_that_are_waited_for_are_bounded_and_go_by_themselves(engine: Engine, raw: redis.Redis) -> None:
    for first in range(0, 25_000, 1000):
        query = LeaseQuery(Kind.TASK, tuple(f"q{n}" for n in range(first, first + 1000)))
        await engine.lease(NS, query, 1, note_hunger=True)
        assert int(raw.scard(HUNGRY)) <= 20_000
    assert 7_000_000 < int(raw.pttl(HUNGRY)) <= 7_200_000


async def test_so_are_dead_letter_queues(engine: Engine, raw: redis.Redis) -> None:
    await engine.dead_letters.take(NS, Kind.TASK, "dead", 1, room=1000, item_bytes=1000, note_hunger=True)
    assert raw.ttl(PREFIX + "hungry:xt") != -1


class Waiter:
    credit = 1

    def __init__(self) -> None:
        self.got = asyncio.Event()

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        self.got.set()

    def note_unknown(self, names: Sequence[str]) -> None: ...


async def test_who_waits_long_notes_it_again(engine: Engine, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_NOTED_AGAIN_S", 0.05)
    dispatch, waiter = Dispatch(engine), Waiter()
    with dispatch.serve(NS, LeaseQuery(Kind.TASK, ("q",)), waiter):
        async with asyncio.timeout(10):
            while not raw.exists(HUNGRY):  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.01)
            raw.delete(HUNGRY)
            while not raw.exists(HUNGRY):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await put(engine, "a")
        await asyncio.wait_for(waiter.got.wait(), 10)
    await dispatch.close(5)
