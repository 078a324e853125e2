"""An attempt counts once somebody has received the delivery; crashes count apart."""

from __future__ import annotations

import pytest
import redis

from dibs.broker.engine import receipts
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Ack, LeaseCall, Nack, NackReason, Outcome, Refresh, State

from .helpers import (
    HOUR_US,
    KEPT,
    LEASED,
    NS,
    ONCE,
    PREFIX,
    SECOND_US,
    TASKS,
    Clock,
    ack,
    ids_of,
    lease,
    lease_one,
    nack,
    put,
    state_of,
    tracked,
)

#: One attempt, leased for a second, its end kept.
FEW = KEPT._replace(attempts=1, lease_us=SECOND_US)


async def test_a_lease_without_a_receipt_gives_its_attempt_back_twenty_times(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=FEW)
    for number in range(20):
        (item,) = await tracked(still, 1, LeaseCall("me", number + 1))
        assert item.attempt == 1
        clock.passes(2 * SECOND_US)
    assert await tracked(still, 1, LeaseCall("me", 21)) == []
    (status,) = await still.lookup(NS, ["a"])
    assert (status.state, status.error) == (State.FAILED, "was never received")


async def test_a_receipt_makes_the_attempt_count(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await put(still, "a", "b", spec=FEW)
    first, second = await tracked(still, 2, LeaseCall("me", 1, shares=(1, 1)))
    assert first.token < second.token
    await still.arrived(NS, receipts=[first.token])
    clock.passes(2 * SECOND_US)
    assert ids_of(await tracked(still, 2, LeaseCall("me", 2))) == ["b"]
    assert await state_of(still, "a") is State.FAILED
    await still._call("advance", NS, (1000,))
    assert raw.zcard(PREFIX + "unreceived") == 1
    clock.passes(2 * SECOND_US)
    await still._call("advance", NS, (1000,))
    clock.passes(1)
    await still._call("advance", NS, (1000,))
    assert raw.zcard(PREFIX + "unreceived") == 0


async def test_what_was_not_received_goes_back_unless_redis_knows_better(engine: Engine) -> None:
    await put(engine, "a", "b", spec=FEW)
    one, two = await tracked(engine, 2, LeaseCall("me", 1, shares=(1, 1)))
    await engine.arrived(NS, receipts=[one.token])
    entries = [Nack(item.id, item.token, NackReason.UNRECEIVED, 0) for item in (one, two)]
    assert await engine.nack(NS, entries) == [Outcome.OK, Outcome.OK]
    assert [(item.id, item.attempt) for item in await lease(engine)] == [("b", 1)]


async def test_three_crashes_are_enough(engine: Engine) -> None:
    await put(engine, "a", spec=LEASED._replace(dead_queue="dead"))
    for _ in range(3):
        (item,) = await lease(engine)
        await nack(engine, item, NackReason.CRASHED, 0, "worker process crashed (SIGSEGV)")
    assert await state_of(engine, "a") is State.DEAD


async def test_what_was_never_received_is_dead_if_it_asked_to(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await put(still, "a", spec=FEW._replace(dead_queue="dead"))
    for number in range(20):
        await tracked(still, 1, LeaseCall("me", number + 1))
        clock.passes(2 * SECOND_US)
    await still._call("advance", NS, (1000,))
    (status,) = await still.lookup(NS, ["a"])
    assert (status.state, status.error) == (State.DEAD, "was never received")
    assert not raw.exists(PREFIX + "trouble")


async def test_unreceived_items_come_back_before_those_that_wait(still: Engine, clock: Clock) -> None:
    await put(still, "a", "b", "c", spec=FEW)
    await tracked(still, 2, LeaseCall("me", 1))
    clock.passes(2 * SECOND_US)
    assert ids_of(await lease(still)) == ["a", "b", "c"]


async def test_whoever_refreshes_a_lease_has_received_it(still: Engine, clock: Clock) -> None:
    await put(still, "a", "b", spec=FEW)
    a, _ = await tracked(still, 2, LeaseCall("me", 1))
    await still.refresh(NS, [Refresh(a.id, a.token)])
    assert await still.nack(NS, [Nack(a.id, a.token, NackReason.UNRECEIVED, 0)]) == [Outcome.OK]
    assert await state_of(still, "a") is State.STARTED
    clock.passes(2 * SECOND_US)
    assert ids_of(await lease(still)) == ["b"]
    assert await state_of(still, "a") is State.FAILED


async def test_the_next_delivery_of_a_refreshed_item_needs_a_receipt_of_its_own(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=FEW._replace(attempts=2))
    (first,) = await tracked(still, 1, LeaseCall("me", 1))
    await still.refresh(NS, [Refresh("a", first.token)])
    for number in (2, 3):
        clock.passes(2 * SECOND_US)
        (item,) = await tracked(still, 1, LeaseCall("me", number))
        assert item.attempt == 2


async def test_a_cancelled_item_that_nobody_received_ends_cancelled(engine: Engine) -> None:
    await put(engine, "a", spec=FEW)
    (item,) = await tracked(engine, 1, LeaseCall("me", 1))
    await engine.cancel(NS, ["a"])
    await engine.nack(NS, [Nack("a", item.token, NackReason.UNRECEIVED, 0)])
    assert await state_of(engine, "a") is State.CANCELLED


async def test_an_item_that_ends_well_leaves_nothing_of_its_trouble(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=LEASED)
    (item,) = await tracked(engine, 1, LeaseCall("me", 1))
    await engine.nack(NS, [Nack("a", item.token, NackReason.UNRECEIVED, 0)])
    (item,) = await tracked(engine, 1, LeaseCall("me", 2))
    await engine.refresh(NS, [Refresh("a", item.token)])
    assert raw.hlen(PREFIX + "trouble") == 2
    await ack(engine, item)
    assert not raw.exists(PREFIX + "trouble")


async def test_what_others_left_in_trouble_is_swept(engine: Engine, raw: redis.Redis) -> None:
    raw.hset(PREFIX + "trouble", mapping={"gone": 1, "gone r": 5})
    await engine._call("advance", NS, (1000,))
    assert not raw.exists(PREFIX + "trouble")


@pytest.mark.parametrize("limit", [1, 5])
async def test_a_poison_item_may_kill_as_many_processes_as_it_asked_for(engine: Engine, limit: int) -> None:
    await put(engine, "a", spec=KEPT._replace(max_crashes=limit))
    for _ in range(limit):
        assert await state_of(engine, "a") is not State.FAILED
        item = await lease_one(engine)
        await nack(engine, item, NackReason.CRASHED, 0, "worker process crashed (SIGSEGV)")
    (status,) = await engine.lookup(NS, ["a"])
    assert (status.state, status.error) == (State.FAILED, "worker process crashed (SIGSEGV)")


async def test_a_crash_is_a_failed_attempt(engine: Engine) -> None:
    await put(engine, "a", spec=FEW)
    await nack(engine, await lease_one(engine), NackReason.CRASHED, 0, "worker process crashed (exit code 3)")
    assert await state_of(engine, "a") is State.FAILED


async def test_crashes_and_lost_deliveries_are_counted_apart(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT._replace(max_crashes=2))
    for number in range(1, 6):
        (item,) = await tracked(engine, 1, LeaseCall("me", number))
        await engine.nack(NS, [Nack("a", item.token, NackReason.UNRECEIVED, 0)])
    await nack(engine, await lease_one(engine), NackReason.CRASHED, 0, "crashed")
    assert await state_of(engine, "a") is State.WAITING
    await nack(engine, await lease_one(engine), NackReason.CRASHED, 0, "crashed")
    assert await state_of(engine, "a") is State.FAILED


async def test_what_a_dead_process_had_not_begun_costs_nothing_at_most_once_either(engine: Engine) -> None:
    await put(engine, "once", spec=ONCE._replace(keep_us=HOUR_US))
    await put(engine, "twice", spec=FEW)
    for item in await lease(engine):
        assert await nack(engine, item, NackReason.NOT_BEGUN, 0) is Outcome.OK
    assert sorted((item.id, item.attempt) for item in await lease(engine)) == [("once", 1), ("twice", 1)]


async def test_an_at_most_once_item_that_was_begun_fails_with_its_process(engine: Engine) -> None:
    await put(engine, "a", spec=ONCE._replace(keep_us=HOUR_US))
    await nack(engine, await lease_one(engine), NackReason.CRASHED, 0, "crashed")
    assert await state_of(engine, "a") is State.FAILED


async def test_receipts_ride_on_every_call_that_settles(
    engine: Engine, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None goes by itself meanwhile.
    monkeypatch.setattr(receipts, "_RECEIPT_WAITS_S", 60.0)
    await put(engine, "a", "b", "c", "d", spec=LEASED)
    items = await tracked(engine, 4, LeaseCall("me", 1, shares=(1, 1, 1, 1)))
    tokens = [item.token for item in items]
    assert raw.zcard(PREFIX + "unreceived") == 4
    engine.receipts.received(NS, tokens[:1])
    await engine.ack(NS, [Ack("a", tokens[0])])
    assert raw.zcard(PREFIX + "unreceived") == 3
    engine.receipts.received(NS, tokens[1:2])
    await nack(engine, items[1], NackReason.RELEASED, 0)
    assert raw.zcard(PREFIX + "unreceived") == 2
    engine.receipts.received(NS, tokens[2:3])
    await engine.refresh(NS, [Refresh("c", tokens[2])])
    assert raw.zcard(PREFIX + "unreceived") == 1
    await engine.lease(NS, TASKS, 1, call=LeaseCall("me", 2, receipts=[tokens[3]]))
    assert raw.zscore(PREFIX + "unreceived", tokens[3]) is None


async def test_the_crashes_of_an_item_end_with_it_whatever_ends_beside_it(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "x", "a", spec=FEW)
    fails, crashes = await lease(engine)
    await engine.nack(
        NS,
        [
            Nack(fails.id, fails.token, NackReason.FAILED, 0, "no"),
            Nack(crashes.id, crashes.token, NackReason.CRASHED, 0, "crashed"),
        ],
    )
    assert await state_of(engine, "a") is State.FAILED
    assert not raw.exists(PREFIX + "trouble")
