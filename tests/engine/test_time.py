"""What time makes due, on the real clock."""

from __future__ import annotations

import asyncio
import time

import redis

from dibs.broker.engine.engine import MAX_BATCH, Engine
from dibs.broker.engine.types import Kind, Outcome, Refresh, State, Until, decode_record

from .conftest import MakeEngine
from .helpers import (
    HOUR_US,
    KEPT,
    LEASED,
    NS,
    PREFIX,
    SECOND_US,
    TASKS,
    Clock,
    ack,
    ids_of,
    lease,
    lease_one,
    nack,
    new,
    put,
    scores,
    state_of,
    until,
)

#: Far more than it takes, on a machine that is busy with something else.
GENEROUS_US = 2 * SECOND_US


async def wait_for_one(engine: Engine, ready: asyncio.Event) -> tuple[str, int, int]:
    """Leases the next item as a consumer does; answers its id, when it was due and when it was leased."""
    async with asyncio.timeout(10):
        while True:
            ready.clear()
            reply = await engine.lease(NS, TASKS, 1, note_hunger=True)
            if reply.items:
                return reply.items[0].id, decode_record(reply.items[0].record).due_us, reply.now_us
            await ready.wait()


async def test_due_items_come_out_on_time_and_never_before(make_engine: MakeEngine) -> None:
    # So slow a poll that only the knowledge of what is due can be in time.
    engine = await make_engine(poll_interval_s=60)
    ready = asyncio.Event()
    with engine.hints.on_ready(NS, Kind.TASK, (), ready.set):
        await until(engine.hints.subscribed)
        # The timer is set for a time far ahead, and must be set for an earlier one. The others come in one call: five
        # could take longer than what lies between them.
        await put(engine, "far", due=f"+{HOUR_US}")
        await engine.enqueue(NS, "", [new(f"i{n}", due=f"+{(5 - n) * 20_000}") for n in range(5)])
        for n in reversed(range(5)):
            id, due_us, leased_us = await wait_for_one(engine, ready)
            assert id == f"i{n}"
            assert due_us <= leased_us <= due_us + GENEROUS_US


async def test_the_first_item_ever_is_on_time(make_engine: MakeEngine) -> None:
    engine = await make_engine(poll_interval_s=60)
    ready = asyncio.Event()
    with engine.hints.on_ready(NS, Kind.TASK, (), ready.set):
        await until(engine.hints.subscribed)
        reply, _ = await asyncio.gather(wait_for_one(engine, ready), put(engine, "a", due="+10000"))
    _, due_us, leased_us = reply
    assert due_us <= leased_us <= due_us + GENEROUS_US


async def test_another_engine_brings_out_what_its_engine_left_behind(make_engine: MakeEngine) -> None:
    gone = await make_engine()
    await put(gone, "a", due="+50000")
    await gone.close()
    heir = await make_engine(poll_interval_s=0.05)
    ready = asyncio.Event()
    with heir.hints.on_ready(NS, Kind.TASK, (), ready.set):
        assert (await wait_for_one(heir, ready))[0] == "a"


async def test_a_lease_that_runs_out_is_noticed_by_every_engine_and_ends_once(
    make_engine: MakeEngine, raw: redis.Redis
) -> None:
    engines = [await make_engine(poll_interval_s=0.05) for _ in range(3)]
    ids = [f"i{n}" for n in range(100)]
    await put(engines[0], *ids, spec=KEPT._replace(attempts=1, lease_us=50_000, dead_queue="dead"))
    assert len(await lease(engines[1])) == 100
    statuses = await engines[2].lookup(NS, ids, until=Until.DONE, timeout_s=10)
    assert {status.state for status in statuses} == {State.DEAD}
    assert raw.zcard(PREFIX + "dead:t:dead") == 100
    assert raw.hget(PREFIX + "deaths:t", "q") == b"100"


async def test_a_retry_comes_on_time(make_engine: MakeEngine) -> None:
    engine = await make_engine(poll_interval_s=60)
    await put(engine, "a")
    ready = asyncio.Event()
    with engine.hints.on_ready(NS, Kind.TASK, (), ready.set):
        await until(engine.hints.subscribed)
        begun = time.monotonic()
        await nack(engine, await lease_one(engine), delay_us=50_000)
        assert (await wait_for_one(engine, ready))[0] == "a"
    assert 0.05 <= time.monotonic() - begun <= GENEROUS_US / 1e6


async def test_a_retry_comes_on_time_although_nobody_asks(make_engine: MakeEngine) -> None:
    engine = await make_engine(poll_interval_s=60)
    await put(engine, "a")
    (item,) = (await engine.lease(NS, TASKS, 2, note_hunger=True)).items
    ready = asyncio.Event()
    with engine.hints.on_ready(NS, Kind.TASK, (), ready.set):
        await until(engine.hints.subscribed)
        ready.clear()
        await nack(engine, item, delay_us=50_000)
        await until(ready, GENEROUS_US / 1e6)


async def test_a_lease_runs_out_on_time_although_nobody_asks(make_engine: MakeEngine) -> None:
    engine = await make_engine(poll_interval_s=60)
    await put(engine, "a", spec=LEASED._replace(lease_us=50_000))
    ready = asyncio.Event()
    with engine.hints.on_ready(NS, Kind.TASK, (), ready.set):
        await until(engine.hints.subscribed)
        ready.clear()
        assert len((await engine.lease(NS, TASKS, 2, note_hunger=True)).items) == 1
        await until(ready, GENEROUS_US / 1e6)


async def test_a_lease_does_times_work_itself(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=LEASED._replace(lease_us=SECOND_US))
    await put(still, "b", due=f"+{SECOND_US}")
    await lease_one(still)
    clock.passes(SECOND_US)
    assert sorted(ids_of(await lease(still))) == ["a", "b"]


async def test_much_that_is_due_at_once_is_moved_over_several_calls(
    still: Engine, raw: redis.Redis, clock: Clock
) -> None:
    for at in range(0, 3000, MAX_BATCH):
        await put(still, *(f"i{n}" for n in range(at, at + MAX_BATCH)), due=f"+{SECOND_US}")
        clock.passes(MAX_BATCH)
    clock.passes(2 * SECOND_US)
    for done in (1000, 2000, 3000):
        next_us, now_us = await still._advance(NS)
        assert raw.llen(PREFIX + "queue:t:q") == done
        # Whoever looks at this comes back at once while there is more to do.
        assert (next_us == -1) if done == 3000 else (0 < next_us <= now_us)
    found = [id for _ in range(3) for id in ids_of(await lease(still))]
    assert found == [f"i{n}" for n in range(3000)]


async def test_an_early_entry_in_the_index_of_due_times_is_corrected(
    still: Engine, raw: redis.Redis, clock: Clock
) -> None:
    await put(still, "early", due=f"+{SECOND_US}")
    await put(still, "late", due=f"+{5 * SECOND_US}")
    await still.cancel(NS, ["early"])
    assert scores(raw, "due") == [clock.now_us + SECOND_US]
    late_us = clock.now_us + 5 * SECOND_US
    clock.passes(SECOND_US)
    assert (await still._advance(NS))[0] == late_us
    assert scores(raw, "due") == [late_us]


async def test_ten_thousand_queues_with_leases_do_not_slow_one_down(still: Engine, clock: Clock) -> None:
    for at in range(0, 10_000, 1000):
        batch = [f"i{n}" for n in range(at, at + 1000)]
        await asyncio.gather(*(put(still, id, spec=LEASED._replace(queue=id)) for id in batch))
        await lease(still)
    clock.passes(SECOND_US)
    begun = time.perf_counter()
    await put(still, "one")
    assert await ack(still, await lease_one(still)) is Outcome.OK
    assert time.perf_counter() - begun < 0.5
    assert await state_of(still, "i0") is State.STARTED


async def test_a_clock_that_is_set_back_makes_only_those_wait_who_had_a_time(still: Engine, clock: Clock) -> None:
    lease_us, back_us = 10 * SECOND_US, 300 * SECOND_US
    spec = LEASED._replace(attempts=5, lease_us=lease_us)
    await put(still, "held", "orphan", spec=spec)
    held, orphan = await lease(still, 2)
    await put(still, "delayed", due=f"+{SECOND_US}")
    clock.passes(-back_us)

    # A living consumer refreshes and finishes what it has; and what is new comes at once.
    (refreshed,) = await still.refresh(NS, [Refresh(held.id, held.token)])
    assert refreshed.outcome is Outcome.OK
    assert await ack(still, held) is Outcome.OK
    await put(still, "new", spec=spec)
    (new,) = await lease(still, 10)
    assert new.id == "new"
    # Its lease goes by the new clock.
    clock.passes(lease_us)
    assert ids_of(await lease(still, 10)) == ["new"]

    # The rest has as long to wait as the clock was set back.
    clock.passes(back_us - lease_us - 1)
    assert ids_of(await lease(still, 10)) == ["new"]
    clock.passes(lease_us + 1)
    assert sorted(ids_of(await lease(still, 10))) == ["delayed", "new", orphan.id]


async def test_a_clock_that_is_set_forward_ends_leases_and_delays(still: Engine, clock: Clock) -> None:
    await put(still, "held", spec=LEASED._replace(attempts=5))
    (held,) = await lease(still, 1)
    await put(still, "delayed", due=f"+{SECOND_US}")
    clock.passes(LEASED.lease_us + 300 * SECOND_US)
    assert sorted(ids_of(await lease(still, 10))) == ["delayed", "held"]
    assert await ack(still, held) is Outcome.LEASE_SUPERSEDED
