"""What an engine costs that has nothing to do."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
import redis

from dibs.broker.engine.types import Kind, LeaseQuery

from ..support.waiting import until as becomes
from .conftest import MakeEngine
from .helpers import HOUR_US, LEASED, NS, PREFIX, TASKS, new, put, script_calls


async def test_an_engine_that_knows_no_namespace_calls_nothing(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(poll_interval_s=0.05)
    # It looks at who else is there now and then.
    await asyncio.to_thread(becomes, lambda: engine.peers.current)
    raw.config_resetstat()
    # A span of time is what is measured here.
    await asyncio.sleep(0.3)
    assert script_calls(raw) == 0


async def test_a_namespace_where_somebody_waits_is_looked_at_once_per_interval(
    make_engine: MakeEngine, raw: redis.Redis
) -> None:
    engine = await make_engine(poll_interval_s=0.2)
    await put(engine, "later", due=f"+{HOUR_US}")
    await put(engine, "leased", spec=LEASED._replace(queue="other"))
    await engine.lease(NS, TASKS, 10)
    with ExitStack() as waiting:
        for n in range(200):
            # Queues and waiters cost nothing.
            query = LeaseQuery(Kind.TASK, (f"q{n}",))
            waiting.enter_context(engine.hints.on_ready(NS, query.kind, query.queues, lambda: None))
            await engine.lease(NS, query, 1, note_hunger=True)
        raw.config_resetstat()
        await asyncio.sleep(1.0)
        # Every 0.15 to 0.2 s.
        assert 4 <= script_calls(raw) <= 8


async def test_a_namespace_where_nobody_waits_is_not_looked_at(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(poll_interval_s=0.05)
    for n in range(100):
        await engine.enqueue(f"ns{n}", "", [new("later", due=f"+{HOUR_US}")])
    with engine.hints.on_ready("ns0", Kind.TASK, (), lambda: None):
        await asyncio.sleep(0.1)
    with engine.hints.on_changed("ns1", ["later"], lambda _: None):
        await asyncio.sleep(0.1)
    # A look may have been under way.
    await asyncio.sleep(0.1)
    raw.config_resetstat()
    await asyncio.sleep(0.3)
    assert script_calls(raw) == 0


async def test_looks_at_many_namespaces_where_somebody_waits_are_bounded_together(
    make_engine: MakeEngine, raw: redis.Redis
) -> None:
    engine = await make_engine(poll_interval_s=0.01)
    with ExitStack() as waiting:
        for n in range(200):
            await engine.enqueue(f"ns{n}", "", [new("later", due=f"+{HOUR_US}")])
            waiting.enter_context(engine.hints.on_ready(f"ns{n}", Kind.TASK, (), lambda: None))
        raw.config_resetstat()
        await asyncio.sleep(0.6)
        # 1,000 a second, and a third more for the jitter: not 20,000.
        assert 0 < script_calls(raw) <= 1000


async def test_where_nobody_waits_the_other_interval_holds(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(poll_interval_s=0.01, idle_poll_interval_s=0.2)
    await put(engine, "later", due=f"+{HOUR_US}")
    raw.config_resetstat()
    await asyncio.sleep(1.0)
    assert 4 <= script_calls(raw) <= 8


@pytest.mark.parametrize("thing", ["queue", "item", "dead letter"])
async def test_whoever_begins_to_wait_is_looked_after_at_once(
    make_engine: MakeEngine, raw: redis.Redis, thing: str
) -> None:
    gone, heir = await make_engine(), await make_engine(poll_interval_s=0.05)
    await put(heir, "known")
    # Long enough for the look that a new namespace gets.
    await asyncio.sleep(0.2)
    await put(gone, "a", due="+100000", spec=LEASED._replace(queue="late"))
    await gone.close()
    waits = {
        "queue": heir.hints.on_ready(NS, Kind.TASK, ("late",), lambda: None),
        "item": heir.hints.on_changed(NS, ["known"], lambda _: None),
        "dead letter": heir.hints.on_dead(NS, Kind.TASK, "dead", lambda: None),
    }
    with waits[thing]:
        await asyncio.to_thread(becomes, lambda: raw.llen(PREFIX + "queue:t:late") == 1)


async def test_what_is_due_far_away_wakes_nobody_before(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(poll_interval_s=60)
    for n in range(20):
        await put(engine, f"i{n}", due=f"+{HOUR_US + n}")
    raw.config_resetstat()
    await asyncio.sleep(0.3)
    assert script_calls(raw) == 0
