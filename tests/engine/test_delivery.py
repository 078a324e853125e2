from __future__ import annotations

import asyncio
from itertools import pairwise

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import (
    Ack,
    Cancelled,
    Enqueued,
    Kind,
    LeaseQuery,
    Nack,
    NackReason,
    NewItem,
    Outcome,
    Spec,
    State,
    Until,
    decode_record,
)

TASKS = LeaseQuery(Kind.TASK)
TWICE = Spec(Kind.TASK, "q", attempts=2, lease_us=30_000_000, dead_queue="dead", keep_us=60_000_000).encode()
ONCE = Spec(Kind.TASK, "q").encode()


def new(id: str, spec: str = TWICE, *, due: str = "", conflict: str = "k", body: bytes = b"body") -> NewItem:
    return NewItem(id, spec, due, conflict, body)


async def test_items_come_out_first_in_first_out_with_growing_tokens(engine: Engine) -> None:
    await engine.enqueue("ns", "", [new(f"i{n}") for n in range(1000)])
    batches = [(await engine.lease("ns", TASKS, 250)).items for _ in range(4)]
    assert [item.id for batch in batches for item in batch] == [f"i{n}" for n in range(1000)]
    tokens = [{item.token for item in batch} for batch in batches]
    assert all(max(earlier) < min(later) for earlier, later in pairwise(tokens))


async def test_bodies_come_out_byte_for_byte(engine: Engine) -> None:
    bodies = [b"", b"\0\n\0", bytes(range(256)) * 1024]
    await engine.enqueue("ns", "", [new(str(n), body=body) for n, body in enumerate(bodies)])
    items = (await engine.lease("ns", TASKS, 10)).items
    assert [decode_record(item.record).body for item in items] == bodies


async def test_a_repeated_request_answers_the_same_and_does_nothing(engine: Engine) -> None:
    first = await engine.enqueue("ns", "request", [new("a", ONCE)])
    await engine.lease("ns", TASKS, 1)
    again = await engine.enqueue("ns", "request", [new("a", ONCE)])
    assert first == again == [Enqueued.CREATED]
    assert (await engine.lease("ns", TASKS, 1)).items == []


async def test_an_id_given_twice_in_one_call_is_delivered_once(engine: Engine) -> None:
    outcomes = await engine.enqueue("ns", "", [new("a", ONCE), new("a", ONCE, conflict="r", body=b"second")])
    items = (await engine.lease("ns", TASKS, 10)).items
    assert outcomes == [Enqueued.CREATED, Enqueued.REPLACED]
    assert [decode_record(item.record).body for item in items] == [b"second"]


async def test_failed_attempts_end_in_the_dead_letter_queue(engine: Engine) -> None:
    await engine.enqueue("ns", "", [new("a")])
    for attempt in (1, 2):
        (item,) = (await engine.lease("ns", TASKS, 1)).items
        assert item.attempt == attempt
        assert await engine.nack("ns", [Nack("a", item.token, NackReason.FAILED, 0, f"error {attempt}")]) == [
            Outcome.OK
        ]
    (status,) = await engine.lookup("ns", ["a"])
    assert (status.state, status.error) == (State.DEAD, "error 2")
    assert (await engine.lease("ns", TASKS, 1)).items == []


async def test_a_released_item_goes_to_the_head_and_keeps_its_attempts(engine: Engine) -> None:
    await engine.enqueue("ns", "", [new("a"), new("b")])
    (item,) = (await engine.lease("ns", TASKS, 1)).items
    await engine.nack("ns", [Nack(item.id, item.token, NackReason.RELEASED)])
    again = (await engine.lease("ns", TASKS, 2)).items
    assert [(one.id, one.attempt) for one in again] == [("a", 1), ("b", 1)]
    assert again[0].token > item.token


async def test_an_old_token_changes_nothing(engine: Engine) -> None:
    await engine.enqueue("ns", "", [new("a")])
    (old,) = (await engine.lease("ns", TASKS, 1)).items
    await engine.nack("ns", [Nack("a", old.token, NackReason.FAILED, 0)])
    (current,) = (await engine.lease("ns", TASKS, 1)).items
    assert await engine.ack("ns", [Ack("a", old.token)]) == [Outcome.LEASE_SUPERSEDED]
    assert await engine.ack("ns", [Ack("a", current.token, b"result")]) == [Outcome.OK]
    assert await engine.ack("ns", [Ack("a", current.token)]) == [Outcome.NOT_FOUND]
    assert (await engine.lookup("ns", ["a"]))[0].result == b"result"


async def test_a_lease_that_ran_out_is_delivered_again_with_a_larger_token(engine: Engine) -> None:
    spec = Spec(Kind.TASK, "q", attempts=2, lease_us=20_000).encode()
    await engine.enqueue("ns", "", [new("a", spec)])
    (first,) = (await engine.lease("ns", TASKS, 1)).items
    ready = asyncio.Event()
    with engine.hints.on_ready("ns", Kind.TASK, (), ready.set):
        async with asyncio.timeout(10):
            await ready.wait()
    assert await engine.ack("ns", [Ack("a", first.token)]) == [Outcome.LEASE_EXPIRED]
    (second,) = (await engine.lease("ns", TASKS, 1)).items
    assert (second.attempt, second.token > first.token) == (2, True)


async def test_cancelled_items_are_skipped(engine: Engine) -> None:
    await engine.enqueue("ns", "", [new(f"i{n}", ONCE) for n in range(500)])
    assert set(await engine.cancel("ns", [f"i{n}" for n in range(499)])) == {Cancelled.REMOVED}
    assert [item.id for item in (await engine.lease("ns", TASKS, 1)).items] == ["i499"]


async def test_a_lookup_waits_until_an_item_is_done(engine: Engine) -> None:
    await engine.enqueue("ns", "", [new("a")])
    waiting = asyncio.create_task(engine.lookup("ns", ["a"], until=Until.DONE, timeout_s=20))
    (item,) = (await engine.lease("ns", TASKS, 1)).items
    await engine.ack("ns", [Ack("a", item.token, b"42")])
    async with asyncio.timeout(10):
        (status,) = await waiting
    assert (status.state, status.result) == (State.SUCCEEDED, b"42")
