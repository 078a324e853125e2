"""Asking what is known of items."""

from __future__ import annotations

import pytest

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Ack, Kind, LeaseQuery, NackReason, State

from .helpers import HOUR_US, KEPT, LEASED, NS, ROOM, SECOND_US, Clock, ack, lease, lease_one, nack, new, put

BIG = b"x" * 262_144


async def test_an_item_is_told_of_from_its_beginning_to_its_end(still: Engine, clock: Clock) -> None:
    states = []

    async def look() -> None:
        (status,) = await still.lookup(NS, ["a"])
        states.append((status.state, status.deliveries, status.error))

    await look()
    await put(still, "a", spec=KEPT._replace(attempts=3, lease_us=10 * SECOND_US), due=f"+{SECOND_US}")
    await look()
    clock.passes(SECOND_US)
    await look()
    await still._advance(NS)
    await look()
    await nack(still, await lease_one(still), delay_us=SECOND_US, error="first")
    await look()
    clock.passes(SECOND_US)
    item = await lease_one(still)
    await look()
    clock.passes(10 * SECOND_US)
    await still._advance(NS)
    await look()
    item = await lease_one(still)
    await ack(still, item, b"result")
    await look()
    assert states == [
        (State.UNKNOWN, 0, ""),
        (State.SCHEDULED, 0, ""),
        (State.LATE, 0, ""),
        (State.WAITING, 0, ""),
        (State.SCHEDULED, 1, "first"),
        (State.STARTED, 2, "first"),
        (State.WAITING, 2, "first"),
        (State.SUCCEEDED, 3, ""),
    ]


@pytest.mark.parametrize("bodies", [False, True])
async def test_what_was_enqueued_is_told_and_its_body_when_asked_for(still: Engine, clock: Clock, bodies: bool) -> None:
    spec = LEASED._replace(kind=Kind.DATA, dead_queue="dead")
    await still.enqueue(NS, "", [new("a", spec, due=f"+{SECOND_US}", body=b"\0\nbody")])
    (status,) = await still.lookup(NS, ["a"], bodies=bodies)
    assert status.record is not None
    assert (status.kind, status.queue, status.record.spec) == (Kind.DATA, "q", spec)
    assert (status.record.enqueued_us, status.record.due_us) == (clock.now_us, clock.now_us + SECOND_US)
    assert status.record.body == (b"\0\nbody" if bodies else b"")


async def test_ids_may_be_asked_for_in_any_order_and_twice(engine: Engine) -> None:
    await put(engine, "a", "b")
    found = await engine.lookup(NS, ["b", "unknown", "a", "b"])
    assert [status.id for status in found] == ["b", "unknown", "a", "b"]
    assert [status.state for status in found] == [State.WAITING, State.UNKNOWN, State.WAITING, State.WAITING]


async def test_more_results_than_fit_are_left_out_and_say_so(engine: Engine) -> None:
    ids = [f"i{n}" for n in range(40)]
    await put(engine, *ids, spec=KEPT)
    for item in await lease(engine):
        await engine.ack(NS, [Ack(item.id, item.token, BIG)])
    found = await engine.lookup(NS, ids)
    assert {status.state for status in found} == {State.SUCCEEDED}
    assert {(status.queue, status.kind, status.deliveries) for status in found} == {("q", Kind.TASK, 1)}
    whole = [status for status in found if not status.truncated]
    assert {status.result for status in whole} == {BIG}
    assert len(whole) == ROOM // (len(BIG) + 1)
    assert {status.result for status in found if status.truncated} == {None}
    # One at a time there is room.
    assert (await engine.lookup(NS, ids[-1:]))[0].result == BIG


async def test_results_are_left_out_of_items_with_the_longest_names_as_well(engine: Engine) -> None:
    queue = "q" * 1024
    ids = [f"i{n}" for n in range(20)]
    await put(engine, *ids, spec=KEPT._replace(queue=queue))
    for item in await lease(engine, query=LeaseQuery(Kind.TASK, (), None)):
        await engine.ack(NS, [Ack(item.id, item.token, BIG)])
    found = await engine.lookup(NS, ids)
    assert {(status.state, status.queue) for status in found} == {(State.SUCCEEDED, queue)}
    assert len([status for status in found if status.truncated]) == 20 - ROOM // (len(BIG) + 1)


async def test_more_bodies_than_fit_are_left_out_and_say_so(engine: Engine) -> None:
    for n in range(20):
        await engine.enqueue(NS, "", [new(f"i{n}", body=BIG)])
    await put(engine, "small")
    ids = [f"i{n}" for n in range(20)]
    found = await engine.lookup(NS, ids, bodies=True)
    bodies = [status.record.body for status in found if status.record]
    assert bodies == [BIG] * 11 + [b""] * 9
    assert [status.truncated for status in found] == [False] * 11 + [True] * 9
    assert not any(status.truncated for status in await engine.lookup(NS, ids))


async def test_more_errors_than_fit_are_left_out_and_say_so(engine: Engine) -> None:
    await put(engine, *(f"i{n}" for n in range(1000)), spec=LEASED._replace(dead_queue="dead"))
    items = await lease(engine)
    for item in items:
        await nack(engine, item, NackReason.REJECTED, error="e" * 8192)
    found = await engine.lookup(NS, [item.id for item in items])
    assert {status.state for status in found} == {State.DEAD}
    assert sum(len(status.error) for status in found) <= ROOM
    assert [bool(status.error) for status in found] == [not status.truncated for status in found]


async def test_what_has_nothing_to_leave_out_is_never_called_truncated(engine: Engine) -> None:
    await put(engine, *(f"big{n}" for n in range(20)), spec=KEPT)
    for item in await lease(engine):
        await engine.ack(NS, [Ack(item.id, item.token, BIG)])
    await put(engine, "waiting", "cancelled", spec=KEPT, due=f"+{HOUR_US}")
    await engine.cancel(NS, ["cancelled"])
    found = await engine.lookup(NS, [*(f"big{n}" for n in range(20)), "waiting", "cancelled", "unknown"])
    assert [status.truncated for status in found[-4:]] == [True, False, False, False]


async def test_one_that_is_too_large_for_all_is_told_when_it_comes_first(engine: Engine) -> None:
    body = b"x" * (ROOM + 1)
    await engine.enqueue(NS, "", [new("huge", body=body)])
    await put(engine, "b")
    found = await engine.lookup(NS, ["huge", "b"], bodies=True)
    assert [status.truncated for status in found] == [False, True]
