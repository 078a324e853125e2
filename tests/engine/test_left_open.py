"""What producers of data leave open, consumers decide; what producers name stays."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from dibs.broker.engine import keys
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Conflict, Kind, LeaseQuery, State

from .conftest import MakeEngine
from .helpers import KEPT, NS, PREFIX, SECOND_US, Clock, lease, lease_one, nack, new, put, state_of, until

OPEN = KEPT._replace(kind=Kind.DATA, attempts=1, lease_us=0, open="ad")
PLAIN = LeaseQuery(Kind.DATA, ("q",), 10 * SECOND_US)
ASKING = LeaseQuery(Kind.DATA, ("q",), 10 * SECOND_US, None, 3, "dead")


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    """One that has seen that no broker of an earlier version is there."""
    engine = await make_engine()
    await until(engine.hints.subscribed)
    await engine.peers.look()
    assert engine.peers.current
    return engine


@pytest.fixture
async def still(make_engine: MakeEngine, clock: Clock) -> Engine:
    """The same with a clock that stands still."""
    engine = await make_engine(clock="clock_shifted", poll_interval_s=1e6)
    await engine._timers.close()
    await until(engine.hints.subscribed)
    await engine.peers.look()
    return engine


async def test_attempts_and_dead_letters_are_those_of_who_leases(engine: Engine) -> None:
    await put(engine, "a", spec=OPEN)
    for number in (1, 2, 3):
        item = await lease_one(engine, ASKING)
        assert (item.attempt, item.attempts) == (number, 3)
        await nack(engine, item, error="why")
    assert await state_of(engine, "a") is State.DEAD
    assert [queue.name for queue in await engine.dead_letters.queues(NS, Kind.DATA)] == ["dead"]


async def test_a_lease_that_runs_out_counts_as_well(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=OPEN)
    for _ in range(3):
        await lease_one(still, ASKING)
        clock.passes(11 * SECOND_US)
    assert await lease(still, 1, ASKING) == []
    assert await state_of(still, "a") is State.DEAD


@pytest.mark.parametrize(("left_open", "attempts", "end"), [("a", 3, State.FAILED), ("d", 1, State.DEAD)])
async def test_what_the_producer_named_stays(engine: Engine, left_open: str, attempts: int, end: State) -> None:
    await put(engine, "a", spec=OPEN._replace(open=left_open))
    for _ in range(attempts):
        await nack(engine, await lease_one(engine, ASKING))
    assert await lease(engine, 1, ASKING) == []
    assert await state_of(engine, "a") is end


async def test_whose_producer_named_all_is_delivered_so(engine: Engine) -> None:
    await put(engine, "a", spec=OPEN._replace(open="", attempts=2))
    assert (await lease_one(engine, ASKING)).attempts == 2


async def test_who_names_nothing_gets_what_there_is(engine: Engine) -> None:
    await put(engine, "a", spec=OPEN)
    assert (await lease_one(engine, PLAIN)).attempts == 1


async def test_the_next_who_names_something_is_the_one_that_counts(engine: Engine) -> None:
    await put(engine, "a", spec=OPEN)
    await nack(engine, await lease_one(engine, ASKING))
    again = await lease_one(engine, PLAIN)
    assert (again.attempt, again.attempts) == (2, 3)
    await nack(engine, again)
    other = LeaseQuery(Kind.DATA, ("q",), 10 * SECOND_US, None, 7, "others")
    last = await lease_one(engine, other)
    assert (last.attempt, last.attempts) == (3, 7)


async def test_a_number_for_this_call_goes_before(engine: Engine) -> None:
    await put(engine, "a", spec=OPEN)
    assert (await lease_one(engine, LeaseQuery(Kind.DATA, ("q",), 10 * SECOND_US, 5, 3, "dead"))).attempts == 5


async def test_what_is_taken_for_good_has_no_more_attempts(engine: Engine) -> None:
    await put(engine, "a", spec=OPEN._replace(keep_us=0))
    item = await lease_one(engine, LeaseQuery(Kind.DATA, ("q",), 0, None, 3, "dead"))
    assert (item.token, item.attempts) == (0, 1)
    assert await state_of(engine, "a") is State.UNKNOWN


async def test_items_of_several_sorts_are_leased_together(engine: Engine) -> None:
    await put(engine, "open", spec=OPEN)
    await put(engine, "named", spec=OPEN._replace(open="", attempts=2))
    await put(engine, *(f"more{n}" for n in range(50)), spec=OPEN)
    found = {item.id: item.attempts for item in await lease(engine, 100, ASKING)}
    assert found == {"open": 3, "named": 2, **{f"more{n}": 3 for n in range(50)}}
    (counts,) = await engine.queues.describe(NS, Kind.DATA, ["q"])
    assert counts is not None
    assert (counts.ready, counts.leased) == (0, 52)


async def test_beside_a_broker_of_an_earlier_version_nothing_is_left_open(engine: Engine, raw: redis.Redis) -> None:
    with raw.pubsub() as old:  # type: ignore[no-untyped-call]
        old.subscribe(keys.hints_channel("dibs"))
        old.get_message(timeout=5)
        await engine.peers.look()
        await put(engine, "a", spec=OPEN)
    record: Any = raw.hget(PREFIX + "item", "a")
    assert b"open=" not in record
    assert (await lease_one(engine, ASKING)).attempts == 1


async def test_a_dead_one_can_be_put_in_anew(engine: Engine) -> None:
    await put(engine, "a", spec=OPEN)
    for _ in range(3):
        await nack(engine, await lease_one(engine, ASKING))
    assert await state_of(engine, "a") is State.DEAD
    await engine.enqueue(NS, "", [new("a", OPEN, conflict=Conflict.REPLACE)])
    assert await engine.dead_letters.queues(NS, Kind.DATA) == []
    (counts,) = await engine.queues.describe(NS, Kind.DATA, ["q"])
    assert counts is not None
    assert (counts.ready, counts.dead) == (1, 0)
