"""When Redis's memory is full nothing more goes in, and everything can be worked off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import OutOfMemory
from dibs.broker.engine.types import (
    Ack,
    Cancelled,
    Conflict,
    Kind,
    LeaseCall,
    Leased,
    LeaseQuery,
    Nack,
    NackReason,
    Outcome,
    Refresh,
    State,
)
from dibs.broker.engine.workers import skill_set

from ..support.redis import running
from .conftest import MakeEngine
from .helpers import (
    HOUR_US,
    KEPT,
    LEASED,
    NS,
    ONCE,
    SECOND_US,
    TASKS,
    Clock,
    ids_of,
    lease,
    lease_one,
    new,
    put,
    state_of,
)

#: For items that are leased before memory is full.
BEFORE = LeaseQuery(Kind.TASK, ("before",))


@pytest.fixture
def raw(redis_program: str) -> Iterator[redis.Redis]:
    """A client of a server of the test's own, whose memory the test fills."""
    with running(redis_program) as server, redis.Redis.from_url(server.url) as client:
        yield client


class FullClock(Clock):
    """Needs room to write down what time it is."""

    def passes(self, us: int) -> None:
        limit = self.raw.config_get("maxmemory")["maxmemory"] or 0
        self.raw.config_set("maxmemory", 0)
        super().passes(us)
        self.raw.config_set("maxmemory", limit)


@pytest.fixture
def clock(raw: redis.Redis) -> Clock:
    """As elsewhere, on that server."""
    clock = FullClock(raw, 1_800_000_000_000_000)
    clock.passes(0)
    return clock


@pytest.fixture
async def still(make_engine: MakeEngine, raw: redis.Redis, clock: Clock) -> Engine:
    """As elsewhere, on that server."""
    path = raw.get_connection_kwargs()["path"]
    engine = await make_engine(url=f"unix://{path}", clock="clock_shifted", poll_interval_s=1e6)
    await engine._timers.close()
    return engine


@pytest.fixture
async def leased(still: Engine, raw: redis.Redis) -> list[Leased]:
    """Ten leased items, beside ten ready, ten delayed by a second and ten taken at most once; then memory is full."""
    spec = KEPT._replace(attempts=2, lease_us=10 * SECOND_US, dead_queue="dead")
    await put(still, *(f"leased{n}" for n in range(10)), spec=spec._replace(queue="before"))
    items = await lease(still, 10, BEFORE)
    await put(still, *(f"ready{n}" for n in range(10)), spec=spec)
    await put(still, *(f"delayed{n}" for n in range(10)), spec=spec, due=f"+{SECOND_US}")
    await put(still, *(f"once{n}" for n in range(10)), spec=ONCE)
    raw.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemory):
        await put(still, "full")
    return items


async def test_enqueue_says_so_and_does_nothing(still: Engine, raw: redis.Redis, leased: list[Leased]) -> None:
    for conflict in Conflict:
        with pytest.raises(OutOfMemory):
            await still.enqueue(NS, "request", [new("a", conflict=conflict), new("b", due=f"+{HOUR_US}")])
    assert await state_of(still, "a") is State.UNKNOWN
    raw.config_set("maxmemory", 0)
    # The request may be made again.
    assert len(await still.enqueue(NS, "request", [new("a"), new("b")])) == 2


async def test_the_engine_is_ready(still: Engine, leased: list[Leased]) -> None:
    await still.ready()


async def test_everything_can_be_leased_and_acked(still: Engine, clock: Clock, leased: list[Leased]) -> None:
    # The delayed ones are due one after another.
    clock.passes(SECOND_US + 10)
    items = await lease(still)
    assert len(items) == 30
    tracked = [item for item in (*items, *leased) if item.token]
    assert set(await still.ack(NS, [Ack(item.id, item.token, b"result") for item in tracked])) == {Outcome.OK}
    assert (await still.lookup(NS, ["ready0"]))[0].result == b"result"


async def test_leases_can_be_lengthened(still: Engine, clock: Clock, leased: list[Leased]) -> None:
    refreshed = await still.refresh(NS, [Refresh(item.id, item.token, HOUR_US) for item in leased])
    assert {one.outcome for one in refreshed} == {Outcome.OK}
    clock.passes(20 * SECOND_US)
    assert await lease(still, 10, BEFORE) == []


@pytest.mark.parametrize("delay_us", [0, SECOND_US])
@pytest.mark.parametrize("reason", [one for one in NackReason if one is not NackReason.UNRECEIVED])
async def test_items_can_be_given_back(
    still: Engine, clock: Clock, leased: list[Leased], reason: NackReason, delay_us: int
) -> None:
    entries = [Nack(item.id, item.token, reason, delay_us, "error" * 100) for item in leased]
    assert set(await still.nack(NS, entries)) == {Outcome.OK}
    clock.passes(delay_us)
    ended = {NackReason.CANCELLED: State.CANCELLED, NackReason.REJECTED: State.DEAD}
    if reason in ended:
        assert await state_of(still, "leased0") is ended[reason]
    else:
        assert len(await lease(still, 10, BEFORE)) == 10


async def test_items_can_be_cancelled(still: Engine, leased: list[Leased]) -> None:
    ids = ["ready0", "delayed0", "leased0", "once0"]
    assert await still.cancel(NS, ids) == [
        Cancelled.REMOVED,
        Cancelled.REMOVED,
        Cancelled.REQUESTED,
        Cancelled.REMOVED,
    ]


async def test_time_goes_on(still: Engine, clock: Clock, leased: list[Leased]) -> None:
    for _ in range(2):
        clock.passes(10 * SECOND_US)
        await still._advance(NS)
        await lease(still, 10, BEFORE)
    clock.passes(10 * SECOND_US)
    await still._advance(NS)
    assert {await state_of(still, item.id) for item in leased} == {State.DEAD}


async def test_items_that_nobody_saw_can_be_put_back(still: Engine, leased: list[Leased]) -> None:
    taken = [item for item in await lease(still) if not item.token]
    await still.restore(NS, taken)
    assert ids_of(await lease(still)) == [f"once{n}" for n in range(10)]


async def test_items_can_be_looked_at_and_waited_for(still: Engine, leased: list[Leased]) -> None:
    assert len(await still.peek(NS, Kind.TASK, (), 100)) == 20
    assert (await still.lookup(NS, ["leased0"]))[0].state is State.STARTED
    assert (await still.lease(NS, TASKS, 100, note_hunger=True)).drained


async def test_operators_can_make_room(still: Engine, leased: list[Leased]) -> None:
    await still.nack(NS, [Nack(item.id, item.token, NackReason.REJECTED) for item in leased])
    assert await still.queues.pause(NS, Kind.TASK, "q", paused=True)
    await still.queues.set_priority(NS, Kind.TASK, "before", 1, most=10)
    assert [step async for step in still.dead_letters.redrive(NS, Kind.TASK, "dead", ["leased0", "leased1"])] == [
        (2, 0)
    ]
    assert len(await lease(still)) == 2
    taken = await still.dead_letters.take(
        NS, Kind.TASK, "dead", 3, room=10_000, item_bytes=10_000, note_hunger=True, request_id="r"
    )
    assert len(taken.letters) == 3
    assert [step async for step in still.dead_letters.purge(NS, Kind.TASK, "dead")] == [(5, 0)]
    assert await still.queues.delete_items(NS, ["ready0"]) == [True]
    assert [step async for step in still.queues.clear(NS, Kind.TASK, "q")][-1] == (29, 0)
    assert await still.queues.forget(NS, Kind.TASK, "q")


async def test_items_go_in_again_when_there_is_room(still: Engine, raw: redis.Redis, leased: list[Leased]) -> None:
    raw.config_set("maxmemory", 0)
    await put(still, "full", spec=LEASED._replace(queue="after"))
    assert (await lease_one(still, LeaseQuery(Kind.TASK, ("after",)))).id == "full"


async def test_who_begins_to_ask_by_names_of_tasks_is_served(still: Engine, leased: list[Leased]) -> None:
    digest = skill_set(["", "other"])
    await still.workers.teach(NS, digest, ["", "other"])
    call = LeaseCall("", 0, skills=digest, sift=True)
    assert len((await still.lease(NS, TASKS, 1000, call=call)).items) == 20


async def test_another_broker_serves_a_namespace_that_is_newer_than_itself(
    make_engine: MakeEngine, still: Engine, raw: redis.Redis
) -> None:
    path = raw.get_connection_kwargs()["path"]
    other = await make_engine(url=f"unix://{path}", clock="clock_shifted", poll_interval_s=1e6)
    await put(still, "a")
    raw.config_set("maxmemory", 1)
    assert ids_of(await lease(other)) == ["a"]
