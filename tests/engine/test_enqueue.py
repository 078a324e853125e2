"""Putting items into queues."""

from __future__ import annotations

import asyncio

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import (
    Conflict,
    Enqueued,
    Kind,
    LeaseCall,
    LeaseQuery,
    NackReason,
    NewItem,
    Outcome,
    Spec,
    State,
    decode_record,
)

from .conftest import MakeEngine
from .helpers import (
    HOUR_US,
    KEPT,
    LEASED,
    NS,
    ONCE,
    PREFIX,
    SECOND_US,
    Clock,
    ack,
    ids_of,
    lease,
    lease_one,
    nack,
    new,
    put,
    state_of,
)

#: Ways to make an id known, by the state that the item is in then.
KNOWN = (State.WAITING, State.SCHEDULED, State.STARTED, State.DEAD, State.SUCCEEDED, State.FAILED, State.CANCELLED)


async def bring_into(engine: Engine, state: State) -> None:
    """An item "a" in a state."""
    spec = KEPT._replace(dead_queue="dead" if state is State.DEAD else None)
    await put(engine, "a", spec=spec, due=f"+{HOUR_US}" if state is State.SCHEDULED else "")
    if state in (State.STARTED, State.DEAD, State.SUCCEEDED, State.FAILED):
        item = await lease_one(engine)
        if state is State.SUCCEEDED:
            await ack(engine, item, b"result")
        elif state is not State.STARTED:
            await nack(engine, item, NackReason.REJECTED)
    elif state is State.CANCELLED:
        await engine.cancel(NS, ["a"])
    assert await state_of(engine, "a") is state


@pytest.mark.parametrize("state", KNOWN)
async def test_a_known_id_is_kept_unless_told_otherwise(engine: Engine, state: State) -> None:
    await bring_into(engine, state)
    assert await engine.enqueue(NS, "", [new("a", body=b"second")]) == [Enqueued.EXISTS]
    assert await state_of(engine, "a") is state


@pytest.mark.parametrize("state", KNOWN)
async def test_a_known_id_may_be_told_to_fail(engine: Engine, state: State) -> None:
    await bring_into(engine, state)
    assert await engine.enqueue(NS, "", [new("a", conflict=Conflict.FAIL, body=b"second")]) == [Enqueued.CONFLICT]
    assert await state_of(engine, "a") is state


@pytest.mark.parametrize("state", KNOWN)
async def test_a_known_id_may_be_replaced_whatever_became_of_it(engine: Engine, raw: redis.Redis, state: State) -> None:
    await bring_into(engine, state)
    second = new("a", LEASED._replace(queue="other"), conflict=Conflict.REPLACE, body=b"second")
    assert await engine.enqueue(NS, "", [second]) == [Enqueued.REPLACED]
    (item,) = await lease(engine)
    assert (item.id, item.attempt, decode_record(item.record).body) == ("a", 1, b"second")
    assert await ack(engine, item) is Outcome.OK
    assert await state_of(engine, "a") is State.UNKNOWN
    for left in ("delayed:t:q", "leased:t:q", "dead:t:dead"):
        assert not raw.exists(PREFIX + left)
    assert raw.hget(PREFIX + "deaths:t", "q") in (None, b"0")


async def test_a_lease_on_a_replaced_item_is_superseded(engine: Engine) -> None:
    await put(engine, "a")
    old = await lease_one(engine)
    await engine.enqueue(NS, "", [new("a", conflict=Conflict.REPLACE)])
    assert await ack(engine, old) is Outcome.LEASE_SUPERSEDED
    current = await lease_one(engine)
    assert current.token > old.token
    assert await nack(engine, old) is Outcome.LEASE_SUPERSEDED
    assert await ack(engine, current) is Outcome.OK


async def test_an_id_that_is_forgotten_is_free_again(engine: Engine) -> None:
    await put(engine, "a")
    await ack(engine, await lease_one(engine))
    assert await engine.enqueue(NS, "", [new("a")]) == [Enqueued.CREATED]


async def test_a_batch_of_a_thousand_goes_to_its_queues_in_order(engine: Engine) -> None:
    batch = [new(f"i{n}", LEASED._replace(queue=f"q{n % 3}")) for n in range(1000)]
    assert await engine.enqueue(NS, "", batch) == [Enqueued.CREATED] * 1000
    for queue in range(3):
        items = await lease(engine, 1000, LeaseQuery(Kind.TASK, (f"q{queue}",)))
        assert ids_of(items) == [f"i{n}" for n in range(1000) if n % 3 == queue]


async def test_task_and_data_queues_of_one_name_share_nothing(engine: Engine) -> None:
    await put(engine, "task")
    await put(engine, "data", spec=LEASED._replace(kind=Kind.DATA))
    assert ids_of(await lease(engine, 10, LeaseQuery(Kind.DATA, ("q",)))) == ["data"]
    assert ids_of(await lease(engine, 10, LeaseQuery(Kind.TASK, ("q",)))) == ["task"]


async def test_namespaces_share_nothing(engine: Engine) -> None:
    await put(engine, "a")
    assert await engine.enqueue("elsewhere", "", [new("a")]) == [Enqueued.CREATED]
    assert (await engine.lookup("nowhere", ["a"]))[0].state is State.UNKNOWN


async def test_what_is_put_in_is_counted(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", "b", "a")
    await put(engine, "c", spec=LEASED._replace(queue="other"))
    assert raw.hgetall(PREFIX + "seen:t") == {b"q": b"2", b"other": b"1"}


async def test_an_item_is_scheduled_until_it_is_due(still: Engine, clock: Clock) -> None:
    await put(still, "a", due=f"+{SECOND_US}")
    clock.passes(SECOND_US - 1)
    assert await lease(still) == []
    assert await state_of(still, "a") is State.SCHEDULED
    clock.passes(1)
    assert await state_of(still, "a") is State.LATE
    (item,) = await lease(still)
    record = decode_record(item.record)
    assert (record.enqueued_us, record.due_us) == (clock.now_us - SECOND_US, clock.now_us)


async def test_an_item_may_be_due_at_a_time(still: Engine, clock: Clock) -> None:
    await put(still, "a", due=f"@{clock.now_us + SECOND_US}")
    assert await lease(still) == []
    clock.passes(SECOND_US)
    assert ids_of(await lease(still)) == ["a"]


async def test_a_past_time_means_now(still: Engine, clock: Clock) -> None:
    await put(still, "a", due=f"@{clock.now_us - HOUR_US}")
    (item,) = await lease(still)
    assert decode_record(item.record).due_us == clock.now_us


async def test_items_that_are_due_together_keep_the_order_of_their_batch(still: Engine, clock: Clock) -> None:
    # Names whose own order is another.
    ids = [f"i{n * 7919 % 1000}" for n in range(1000)]
    await put(still, *ids, due=f"+{SECOND_US}")
    clock.passes(SECOND_US + 1000)
    assert ids_of(await lease(still)) == ids


async def test_a_repeated_request_answers_the_same_on_another_engine(engine: Engine, other: Engine) -> None:
    first = await engine.enqueue(NS, "request", [new("a"), new("a"), new("b")])
    assert first == [Enqueued.CREATED, Enqueued.EXISTS, Enqueued.CREATED]
    assert await other.enqueue(NS, "request", [new("a"), new("a"), new("b")]) == first
    assert ids_of(await lease(engine)) == ["a", "b"]


async def test_a_request_repeated_at_the_same_moment_puts_its_items_in_once(engine: Engine, other: Engine) -> None:
    for n in range(100):
        replies = await asyncio.gather(
            *(one.enqueue(NS, f"r{n}", [new(f"i{n}", conflict=Conflict.REPLACE)]) for one in (engine, other, engine))
        )
        assert replies == [[Enqueued.CREATED]] * 3
    assert len(await lease(engine)) == 100


async def test_different_requests_do_not_hide_each_other(engine: Engine) -> None:
    assert await engine.enqueue(NS, "r1", [new("a")]) == [Enqueued.CREATED]
    assert await engine.enqueue(NS, "r2", [new("a")]) == [Enqueued.EXISTS]


async def test_a_request_is_remembered_for_its_window(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(request_window_ms=60_000)
    await engine.enqueue(NS, "request", [new("a")])
    assert 50_000 < raw.pttl(PREFIX + "request:request") <= 60_000


async def test_an_id_given_twice_in_one_call_may_change_its_queue_and_its_time(still: Engine, clock: Clock) -> None:
    elsewhere = LEASED._replace(queue="other")
    batch = [
        new("a"),
        new("a", elsewhere, conflict=Conflict.REPLACE),
        new("b"),
        new("b", due=f"+{SECOND_US}", conflict=Conflict.REPLACE),
        new("c", due=f"+{SECOND_US}"),
        new("c", conflict=Conflict.REPLACE),
    ]
    await still.enqueue(NS, "", batch)
    assert ids_of(await lease(still, 10, LeaseQuery(Kind.TASK, ("q",)))) == ["c"]
    assert ids_of(await lease(still, 10, LeaseQuery(Kind.TASK, ("other",)))) == ["a"]
    clock.passes(2 * SECOND_US)
    assert ids_of(await lease(still)) == ["b"]


async def test_nothing_but_counters_is_left_when_all_is_done(still: Engine, raw: redis.Redis, clock: Clock) -> None:
    retried = LEASED._replace(queue="retried", attempts=2)
    await put(still, *(f"leased{n}" for n in range(10)))
    await put(still, *(f"once{n}" for n in range(10)), spec=ONCE)
    await put(still, *(f"retried{n}" for n in range(10)), spec=retried, due=f"+{SECOND_US}")
    await put(still, "cancelled")
    await still.cancel(NS, ["cancelled"])
    for _ in range(2):
        clock.passes(SECOND_US * 2)
        for item in await lease(still):
            if item.token:
                await (nack(still, item, error="broken") if item.id.startswith("retried") else ack(still, item))
    assert await lease(still) == []
    clock.passes(2 * HOUR_US)
    await still._advance(NS)
    assert set(raw.keys(PREFIX + "*")) == {(PREFIX + key).encode() for key in ("frozen", "seen:t", "done:t", "token")}


async def test_large_bodies_with_any_bytes_come_out_unchanged(engine: Engine) -> None:
    bodies = [b"", b"\0", b"\n\n", b"\r\n", bytes(range(256)) * 1024, b"[]", b"\xff" * 262_144]
    await engine.enqueue(NS, "", [new(str(n), body=body) for n, body in enumerate(bodies)])
    assert [decode_record(item.record).body for item in await lease(engine)] == bodies


async def test_a_spec_with_everything_comes_out_unchanged(engine: Engine) -> None:
    spec = Spec(Kind.DATA, "a/b@c.d-e_f", 1_000_000, 30 * 86_400 * SECOND_US, None, "-", HOUR_US)
    await put(engine, "a", spec=spec)
    assert decode_record((await lease_one(engine, LeaseQuery(Kind.DATA))).record).spec == spec


# The next attempt in the place of a running one.


def next_attempt(id: str, token: int) -> NewItem:
    return new(id, conflict=f"{Conflict.REPLACE}{token}", body=b"again")


async def test_whoever_runs_an_item_may_put_its_next_attempt_in_its_place(engine: Engine) -> None:
    await put(engine, "a")
    running = await lease_one(engine)
    assert await engine.enqueue(NS, "", [next_attempt("a", running.token)]) == [Enqueued.REPLACED]
    again = await lease_one(engine)
    assert (again.attempt, again.record.partition(b"\n")[2], again.token > running.token) == (1, b"again", True)
    assert await ack(engine, running) is Outcome.LEASE_SUPERSEDED


async def test_a_cancelled_item_takes_no_next_attempt(engine: Engine) -> None:
    await put(engine, "a")
    running = await lease_one(engine)
    await engine.cancel(NS, ["a"])
    assert await engine.enqueue(NS, "", [next_attempt("a", running.token)]) == [Enqueued.CONFLICT]
    assert await nack(engine, running, NackReason.CANCELLED) is Outcome.OK


async def test_who_has_lost_its_lease_puts_nothing_in_the_place_of_the_item(engine: Engine) -> None:
    await put(engine, "a")
    lost = await lease_one(engine)
    await nack(engine, lost)
    held = await lease_one(engine)
    assert await engine.enqueue(NS, "", [next_attempt("a", lost.token)]) == [Enqueued.CONFLICT]
    assert await ack(engine, held) is Outcome.OK


async def test_an_item_that_is_not_there_has_no_next_attempt(engine: Engine) -> None:
    assert await engine.enqueue(NS, "", [next_attempt("a", 1)]) == [Enqueued.CONFLICT]
    assert await state_of(engine, "a") is State.UNKNOWN


UNLESS_RUNNING = Conflict.REPLACE_UNLESS_RUNNING


@pytest.mark.parametrize("state", KNOWN)
async def test_what_nobody_has_is_replaced_and_what_somebody_has_is_left(engine: Engine, state: State) -> None:
    await bring_into(engine, state)
    outcome = await engine.enqueue(NS, "", [new("a", KEPT, conflict=UNLESS_RUNNING, body=b"second")])
    if state is State.STARTED:
        assert outcome == [Enqueued.RUNNING]
        assert await lease(engine) == []
    else:
        assert outcome == [Enqueued.REPLACED]
        item = await lease_one(engine)
        assert (item.id, item.attempt, decode_record(item.record).body) == ("a", 1, b"second")
        assert await lease(engine) == []
    (found,) = await engine.lookup(NS, ["a"], bodies=True)
    assert found.record is not None
    assert found.record.body == (b"body" if state is State.STARTED else b"second")


async def test_of_an_id_that_is_new_nothing_is_replaced(engine: Engine) -> None:
    assert await engine.enqueue(NS, "", [new("a", conflict=UNLESS_RUNNING)]) == [Enqueued.CREATED]


async def test_of_one_call_the_last_of_an_id_stays(engine: Engine) -> None:
    items = [new("a", conflict=UNLESS_RUNNING, body=body) for body in (b"first", b"second")]
    assert await engine.enqueue(NS, "", items) == [Enqueued.CREATED, Enqueued.REPLACED]
    assert [decode_record(item.record).body for item in await lease(engine)] == [b"second"]


async def test_what_a_worker_holds_may_run_and_is_left(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    await put(engine, "once", spec=KEPT._replace(lease_us=0))
    await engine.lease(NS, LeaseQuery(Kind.TASK), 10, call=LeaseCall("me", 1, says_begun=True))
    assert await state_of(engine, "a") is State.WAITING
    items = [new(id, conflict=UNLESS_RUNNING) for id in ("a", "once")]
    assert await engine.enqueue(NS, "", items) == [Enqueued.RUNNING, Enqueued.RUNNING]


async def test_a_repeated_request_hears_again_that_it_runs(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    item = await lease_one(engine)
    again = [new("a", conflict=UNLESS_RUNNING)]
    assert await engine.enqueue(NS, "r", again) == [Enqueued.RUNNING]
    await ack(engine, item)
    assert await engine.enqueue(NS, "r", again) == [Enqueued.RUNNING]
    assert await lease(engine) == []


async def test_a_lease_that_has_run_out_runs_no_more(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=KEPT._replace(lease_us=SECOND_US))
    item = await lease_one(still)
    clock.passes(2 * SECOND_US)
    assert await still.enqueue(NS, "", [new("a", KEPT, conflict=UNLESS_RUNNING)]) == [Enqueued.REPLACED]
    assert await ack(still, item) is not Outcome.OK
    assert (await lease_one(still)).attempt == 1
    assert await lease(still) == []


async def test_what_cannot_be_read_may_run_and_is_left(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a")
    raw.hset(PREFIX + "run", "a", "nonsense")
    assert await engine.enqueue(NS, "", [new("a", conflict=UNLESS_RUNNING)]) == [Enqueued.CONFLICT]
