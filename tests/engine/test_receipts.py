from __future__ import annotations

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import Unavailable
from dibs.broker.engine.types import Kind, LeaseCall, Leased, Nack, NackReason, Outcome, State
from dibs.broker.engine.workers import skill_set

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
    nack,
    new,
    put,
    state_of,
)

FEW = KEPT._replace(attempts=1, lease_us=SECOND_US)


async def tracked(engine: Engine, wanted: int, call: LeaseCall) -> list[Leased]:
    return (await engine.lease(NS, TASKS, wanted, call=call)).items


async def test_a_lost_answer_is_given_again(engine: Engine) -> None:
    await put(engine, "a", "b", spec=ONCE)
    await put(engine, "c", "d", spec=LEASED)
    await put(engine, "e", spec=ONCE._replace(keep_us=HOUR_US))
    first = await tracked(engine, 10, LeaseCall("me", 1))
    again = await tracked(engine, 10, LeaseCall("me", 1))
    assert ids_of(first) == ["a", "b", "c", "d", "e"]
    assert sorted(again) == sorted(first)
    assert await lease(engine) == []
    await put(engine, "f", spec=ONCE)
    assert ids_of(await tracked(engine, 10, LeaseCall("me", 2))) == ["f"]


async def test_a_repeated_answer_leaves_out_what_ended_since(engine: Engine) -> None:
    await put(engine, "a", "b", "c")
    first = await tracked(engine, 10, LeaseCall("me", 1))
    await ack(engine, first[0])
    await nack(engine, first[1], NackReason.RELEASED)
    assert ids_of(await tracked(engine, 10, LeaseCall("me", 1))) == ["c"]


async def test_a_call_that_was_overtaken_takes_nothing(engine: Engine) -> None:
    await tracked(engine, 10, LeaseCall("me", 2))
    await put(engine, "a", spec=ONCE)
    for call in (LeaseCall("me", 1), LeaseCall("me", 3, not_after_us=1)):
        with pytest.raises(Unavailable):
            await tracked(engine, 10, call)
    assert ids_of(await lease(engine)) == ["a"]


async def test_an_answer_that_arrived_is_forgotten(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=ONCE)
    await tracked(engine, 10, LeaseCall("me", 1))
    await engine.arrived(NS, [("me", 2)])
    assert raw.exists(PREFIX + "answer:me")
    await engine.arrived(NS, [("me", 1)])
    assert raw.keys(PREFIX + "*:me") == [(PREFIX + "answer:me").encode()]
    assert raw.strlen(PREFIX + "answer:me") == 16


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


async def test_a_named_restore_is_done_once(engine: Engine) -> None:
    await put(engine, "a", spec=ONCE)
    items = await lease(engine)
    await engine.restore(NS, items, name="x")
    assert ids_of(await lease(engine)) == ["a"]
    await engine.restore(NS, items, name="x")
    assert await lease(engine) == []


def body(task: str) -> bytes:
    return b"\x0a" + bytes([len(task)]) + task.encode() + b"rest"


async def test_items_of_unknown_tasks_are_parked_and_come_first_for_those_who_know_them(
    engine: Engine, raw: redis.Redis
) -> None:
    digest = skill_set(["known"])
    raw.sadd(PREFIX + "skills:" + digest, "known")
    other = skill_set(["unknown"])
    raw.sadd(PREFIX + "skills:" + other, "unknown")
    await engine.enqueue(NS, "", [new(f"u{n}", body=body("unknown")) for n in range(300)])
    await engine.enqueue(NS, "", [new("k", body=body("known"))])
    got = await tracked(engine, 10, LeaseCall("me", 1, skills=digest, sift=True))
    assert ids_of(got) == ["k"]
    (description,) = await engine.queues.describe(NS, Kind.TASK, ["q"])
    assert description is not None
    assert description.ready == 300
    assert await tracked(engine, 10, LeaseCall("me", 2, skills=digest, sift=True)) == []
    await engine.enqueue(NS, "", [new("later", body=body("unknown"))])
    got = await tracked(engine, 300, LeaseCall("you", 1, skills=other))
    assert ids_of(got) == [f"u{n}" for n in range(300)]
    assert ids_of(await lease(engine)) == ["later"]
    assert raw.keys(PREFIX + "parked*") == []


async def test_items_of_two_specs_in_one_queue_come_once_each_when_asked_again(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=LEASED)
    await put(still, "b", spec=LEASED._replace(attempts=7))
    first = await tracked(still, 2, LeaseCall("me", 1))
    assert sorted(await tracked(still, 2, LeaseCall("me", 1))) == sorted(first)
