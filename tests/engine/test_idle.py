"""What an engine costs that has nothing to do."""

from __future__ import annotations

import asyncio

import redis

from dibs.broker.engine.types import Kind, LeaseQuery

from .conftest import MakeEngine
from .helpers import HOUR_US, LEASED, NS, TASKS, put, script_calls, until


async def test_an_engine_that_knows_no_namespace_calls_nothing(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(poll_interval_s=0.05)
    await until(engine.hints.subscribed)
    raw.config_resetstat()
    # A span of time is what is measured here.
    await asyncio.sleep(0.3)
    assert script_calls(raw) == 0


async def test_an_idle_engine_looks_at_a_namespace_once_per_interval(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(poll_interval_s=0.2)
    await put(engine, "later", due=f"+{HOUR_US}")
    await put(engine, "leased", spec=LEASED._replace(queue="other"))
    await engine.lease(NS, TASKS, 10)
    for n in range(200):
        # Queues and waiters cost nothing.
        await engine.lease(NS, LeaseQuery(Kind.TASK, (f"q{n}",)), 1, note_hunger=True)
    raw.config_resetstat()
    await asyncio.sleep(1.0)
    # Every 0.15 to 0.2 s.
    assert 4 <= script_calls(raw) <= 8


async def test_what_is_due_far_away_wakes_nobody_before(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(poll_interval_s=60)
    for n in range(20):
        await put(engine, f"i{n}", due=f"+{HOUR_US + n}")
    raw.config_resetstat()
    await asyncio.sleep(0.3)
    assert script_calls(raw) == 0
