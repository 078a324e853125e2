"""What a worker has and has not begun waits, until the worker says that it has begun."""

from __future__ import annotations

import asyncio

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.queues import Section
from dibs.broker.engine.types import Begun, Cancelled, Kind, LeaseCall, NackReason, Outcome, Refresh, Spec, State, Until

from .helpers import (
    KEPT,
    NS,
    PREFIX,
    ROOM,
    SECOND_US,
    Clock,
    ack,
    lease,
    lease_one,
    nack,
    put,
    state_of,
    tracked,
    until_watched,
)
from .side_by_side import OK, Earlier, Got

ONCE_KEPT = KEPT._replace(lease_us=0)


def saying(number: int = 1) -> LeaseCall:
    """A lease for one who says when items begin."""
    return LeaseCall("me", number, says_begun=True)


async def begin(engine: Engine, *entries: tuple[str, int]) -> None:
    await engine.begun(NS, [Begun(id, token) for id, token in entries])


@pytest.mark.parametrize("spec", [KEPT, ONCE_KEPT], ids=["at least once", "at most once"])
async def test_it_has_started_when_its_worker_says_so(engine: Engine, spec: Spec) -> None:
    await put(engine, "a", spec=spec)
    (item,) = await tracked(engine, 1, saying())
    assert await state_of(engine, "a") is State.WAITING
    await begin(engine, ("a", item.token))
    assert await state_of(engine, "a") is State.STARTED
    assert await ack(engine, item) is Outcome.OK


async def test_with_one_who_does_not_say_it_has_started_when_it_is_handed_out(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    await tracked(engine, 1, LeaseCall("me", 1))
    assert await state_of(engine, "a") is State.STARTED


async def test_who_waits_for_its_start_is_woken(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=KEPT)
    (item,) = await tracked(engine, 1, saying())
    waits = asyncio.create_task(engine.lookup(NS, ["a"], until=Until.STARTED, timeout_s=60))
    await until_watched(raw, "a")
    await begin(engine, ("a", item.token))
    async with asyncio.timeout(4):
        (status,) = await waits
    assert status.state is State.STARTED


async def test_what_is_said_of_a_lease_that_is_over_changes_nothing(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=KEPT._replace(lease_us=SECOND_US))
    (old,) = await tracked(still, 1, saying(1))
    clock.passes(2 * SECOND_US)
    await begin(still, ("a", old.token))
    assert await state_of(still, "a") is State.WAITING
    (new,) = await tracked(still, 1, saying(2))
    await begin(still, ("a", old.token), ("none", 7))
    assert await state_of(still, "a") is State.WAITING
    await begin(still, ("a", new.token))
    assert await state_of(still, "a") is State.STARTED


async def test_said_twice_or_after_the_end_it_changes_nothing(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    (item,) = await tracked(engine, 1, saying())
    await begin(engine, ("a", item.token), ("a", item.token))
    await begin(engine, ("a", item.token))
    assert await state_of(engine, "a") is State.STARTED
    await ack(engine, item)
    await begin(engine, ("a", item.token))
    assert await state_of(engine, "a") is State.SUCCEEDED


async def test_the_next_delivery_has_not_begun_because_the_last_one_had(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    (item,) = await tracked(engine, 1, saying(1))
    await begin(engine, ("a", item.token))
    await nack(engine, item, NackReason.FAILED)
    await tracked(engine, 1, saying(2))
    assert await state_of(engine, "a") is State.WAITING


async def test_a_lease_that_is_lengthened_has_begun_no_sooner(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    (item,) = await tracked(engine, 1, saying())
    await engine.refresh(NS, [Refresh("a", item.token)])
    assert await state_of(engine, "a") is State.WAITING
    await begin(engine, ("a", item.token))
    await engine.refresh(NS, [Refresh("a", item.token)])
    assert await state_of(engine, "a") is State.STARTED


async def test_of_items_that_were_leased_together_some_begin(engine: Engine, raw: redis.Redis) -> None:
    ids = [f"{n}" for n in range(100)]
    await put(engine, *ids, spec=KEPT)
    items = await tracked(engine, 100, saying())
    await begin(engine, *((item.id, item.token) for item in items[:50]))
    statuses = await engine.lookup(NS, ids)
    assert [status.state for status in statuses] == [State.STARTED] * 50 + [State.WAITING] * 50
    assert [await ack(engine, item) for item in items[25:75]] == [Outcome.OK] * 50
    assert [await nack(engine, item, NackReason.RELEASED) for item in items[:25]] == [Outcome.OK] * 25
    (counts,) = await engine.queues.describe(NS, Kind.TASK, ["q"])
    assert counts is not None
    assert (counts.ready, counts.leased) == (25, 25)
    assert len(await lease(engine)) == 25


async def test_a_listing_of_what_is_leased_tells_what_has_begun(engine: Engine) -> None:
    await put(engine, "a", "b", spec=KEPT)
    first, _ = await tracked(engine, 2, saying())
    await begin(engine, ("a", first.token))
    page = await engine.queues.items(NS, Kind.TASK, "q", Section.LEASED, 10, body_bytes=0, room=ROOM, item_bytes=ROOM)
    assert [(item.id, item.state) for item in page.items] == [("a", State.STARTED), ("b", State.WAITING)]


async def test_what_was_cancelled_meanwhile_counts_as_started(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=KEPT)
    (item,) = await tracked(engine, 1, saying())
    waits = asyncio.create_task(engine.lookup(NS, ["a"], until=Until.STARTED, timeout_s=60))
    await until_watched(raw, "a")
    assert await engine.cancel(NS, ["a"]) == [Cancelled.REQUESTED]
    async with asyncio.timeout(4):
        (status,) = await waits
    assert (status.state, status.cancel_requested) == (State.STARTED, True)
    await begin(engine, ("a", item.token))
    assert await nack(engine, item, NackReason.CANCELLED) is Outcome.OK
    assert await state_of(engine, "a") is State.CANCELLED


async def test_what_was_cancelled_and_never_began_has_had_no_attempt(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    (item,) = await tracked(engine, 1, saying())
    await engine.cancel(NS, ["a"])
    assert await nack(engine, item, NackReason.RELEASED) is Outcome.OK
    (status,) = await engine.lookup(NS, ["a"])
    assert (status.state, status.deliveries) == (State.CANCELLED, 0)
    assert await engine.cancel(NS, ["a"]) == [Cancelled.REMOVED]


async def test_a_flush_waits_for_what_a_worker_has_not_begun(engine: Engine) -> None:
    await put(engine, "begun", "waits", spec=KEPT)
    begun, _ = await tracked(engine, 2, saying())
    await begin(engine, ("begun", begun.token))
    found = [id async for ids in engine.snapshots.tasks(NS, "q", delayed_too=False, leased_too=False) for id in ids]
    assert found == ["waits"]


async def test_saying_it_takes_receipts_along(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=KEPT)
    (item,) = await tracked(engine, 1, saying())
    engine.receipts.received(NS, [item.token])
    await begin(engine, ("a", item.token))
    assert raw.zcard(PREFIX + "unreceived") == 0


async def test_a_lease_that_ends_unbegun_comes_again(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=KEPT._replace(lease_us=SECOND_US))
    await tracked(still, 1, saying())
    clock.passes(2 * SECOND_US)
    item = await lease_one(still)
    assert item.id == "a"
    assert await state_of(still, "a") is State.STARTED


async def test_a_broker_of_an_earlier_version_goes_on_with_it(still: Engine, raw: redis.Redis) -> None:
    earlier = Earlier(raw)
    await put(still, "acked", "failed", "lengthened", "cancelled", spec=KEPT)
    got = {item.id: Got(item.id, item.token, 1, "") for item in await tracked(still, 4, saying())}
    assert {state for state, _ in await earlier.states(*got)} == {"L"}
    assert await earlier.ack(got["acked"]) == OK
    assert await earlier.nack(got["failed"], NackReason.FAILED) == OK
    assert await earlier.refresh(got["lengthened"]) == (OK, False)
    assert await earlier.cancel("cancelled") == [2]
    assert [status.state for status in await still.lookup(NS, list(got))] == [
        State.SUCCEEDED,
        State.WAITING,
        State.STARTED,
        State.STARTED,
    ]
    assert (await still.lookup(NS, ["cancelled"]))[0].cancel_requested
    await begin(still, *((one.id, one.token) for one in got.values()))
    assert await earlier.ack(got["lengthened"]) == OK
