"""Calls that arrive while one is in flight share the next script call."""

from __future__ import annotations

import asyncio

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Ack, Enqueued, Nack, NackReason, Outcome, Refresh, Refreshed

from .conftest import MakeEngine
from .helpers import KEPT, NS, ids_of, lease, lease_one, new, put, script_calls


@pytest.fixture
async def counted(make_engine: MakeEngine, raw: redis.Redis) -> Engine:
    """An engine that does nothing of itself, with Redis's statistics at nought."""
    engine = await make_engine(poll_interval_s=1e6)
    await engine._timers.close()
    # Every script is known to Redis, and the namespace to the engine.
    await put(engine, "warm", spec=KEPT)
    item = await lease_one(engine)
    await engine.refresh(NS, [Refresh(item.id, item.token)])
    await engine.nack(NS, [Nack(item.id, item.token, NackReason.RELEASED)])
    await engine.ack(NS, [Ack(item.id, (await lease_one(engine)).token)])
    raw.config_resetstat()
    return engine


async def test_calls_of_one_moment_share_a_script_call(counted: Engine, raw: redis.Redis) -> None:
    replies = await asyncio.gather(*(counted.enqueue(NS, f"r{n}", [new(f"i{n}")]) for n in range(500)))
    assert replies == [[Enqueued.CREATED]] * 500
    assert script_calls(raw) == 1
    assert ids_of(await lease(counted)) == [f"i{n}" for n in range(500)]


async def test_calls_that_arrive_while_one_is_in_flight_share_the_next(counted: Engine, raw: redis.Redis) -> None:
    first = asyncio.create_task(counted.enqueue(NS, "", [new("first")]))
    # Far enough for its script call to be on its way.
    for _ in range(3):
        await asyncio.sleep(0)
    assert not first.done()
    await asyncio.gather(first, *(counted.enqueue(NS, "", [new(f"i{n}")]) for n in range(100)))
    assert script_calls(raw) == 2


async def test_every_caller_gets_its_own_outcomes(counted: Engine, raw: redis.Redis) -> None:
    await put(counted, *(f"i{n}" for n in range(100)), spec=KEPT)
    items = await lease(counted)
    raw.config_resetstat()
    wrong = [item._replace(token=item.token + 1) if n % 3 else item for n, item in enumerate(items)]
    refreshed = await asyncio.gather(*(counted.refresh(NS, [Refresh(item.id, item.token)]) for item in wrong))
    acked = await asyncio.gather(*(counted.ack(NS, [Ack(item.id, item.token)]) for item in wrong))
    expected = [Outcome.LEASE_SUPERSEDED if n % 3 else Outcome.OK for n in range(100)]
    assert refreshed == [[Refreshed(outcome, False)] for outcome in expected]
    assert acked == [[outcome] for outcome in expected]
    rest = [item for n, item in enumerate(items) if n % 3]
    nacked = await asyncio.gather(*(counted.nack(NS, [Nack(item.id, item.token, NackReason.FAILED)]) for item in rest))
    assert nacked == [[Outcome.OK]] * len(rest)
    assert script_calls(raw) == 3


async def test_no_script_call_has_more_than_a_thousand_items(counted: Engine, raw: redis.Redis) -> None:
    calls = [[new(f"i{n}-{m}") for m in range(300)] for n in range(10)]
    await asyncio.gather(*(counted.enqueue(NS, "", call) for call in calls))
    assert script_calls(raw) == 4
    found = [id for _ in range(3) for id in ids_of(await lease(counted))]
    assert found == [item.id for call in calls for item in call]


async def test_large_bodies_make_smaller_script_calls(counted: Engine, raw: redis.Redis) -> None:
    body = b"x" * 262_144
    await asyncio.gather(*(counted.enqueue(NS, "", [new(f"i{n}", body=body)]) for n in range(64)))
    # 16 MiB in slices of 4.
    assert 4 <= script_calls(raw) <= 5


async def test_a_caller_that_gives_up_does_no_harm_to_the_others(counted: Engine) -> None:
    callers = [asyncio.create_task(counted.enqueue(NS, "", [new(f"i{n}")])) for n in range(10)]
    for _ in range(3):
        await asyncio.sleep(0)
    callers[4].cancel()
    done = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(done.pop(4), asyncio.CancelledError)
    assert done == [[Enqueued.CREATED]] * 9
    # What was on its way is done all the same.
    assert len(await lease(counted)) == 10
    assert await counted.enqueue(NS, "", [new("next")]) == [Enqueued.CREATED]


async def test_namespaces_do_not_wait_for_each_other(counted: Engine) -> None:
    replies = await asyncio.gather(*(counted.enqueue(f"ns{n % 5}", "", [new("a")]) for n in range(50)))
    assert sorted(code for (code,) in replies) == [Enqueued.CREATED] * 5 + [Enqueued.EXISTS] * 45
