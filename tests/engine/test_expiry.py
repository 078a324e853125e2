"""Items that may wait only so long: nobody gets them later, whatever happened to them before."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Kind, LeaseCall, NackReason, State, Until

from .helpers import (
    HOUR_US,
    KEPT,
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
    scores,
    state_of,
    tracked,
)

MINUTE_US = 60 * SECOND_US
#: Waits for a minute at most.
BRIEF = KEPT._replace(expires_us=MINUTE_US)
WHY = "expired: not begun within 60 s of its due time"


async def error_of(engine: Engine, id: str) -> str:
    (status,) = await engine.lookup(NS, [id])
    return status.error


def noted(raw: redis.Redis) -> list[int]:
    return scores(raw, "expiring:t:q")


async def test_what_has_waited_too_long_is_not_delivered(still: Engine, clock: Clock) -> None:
    await put(still, "a", "b", spec=BRIEF)
    clock.passes(MINUTE_US - 1)
    assert ids_of(await lease(still, 1)) == ["a"]
    clock.passes(1)
    assert await lease(still) == []
    assert await state_of(still, "b") is State.EXPIRED
    assert await error_of(still, "b") == WHY


async def test_it_ends_at_its_time_though_nobody_asks_for_work(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await put(still, "a", spec=BRIEF)
    clock.passes(MINUTE_US)
    await still._advance(NS)
    assert await state_of(still, "a") is State.EXPIRED
    assert not raw.hexists(PREFIX + "item", "a")
    assert noted(raw) == []
    # Its entry in the list leads nowhere, and is passed.
    await put(still, "b", spec=KEPT)
    assert ids_of(await lease(still)) == ["b"]


async def test_a_broker_ends_it_by_itself_and_tells_who_waits(engine: Engine) -> None:
    await put(engine, "a", spec=BRIEF._replace(expires_us=50_000))
    (status,) = await engine.lookup(NS, ["a"], until=Until.DONE, timeout_s=20)
    assert status.state is State.EXPIRED


async def test_waiting_begins_when_it_is_due(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=BRIEF, due=f"+{HOUR_US}")
    clock.passes(HOUR_US + MINUTE_US - 1)
    assert ids_of(await lease(still)) == ["a"]


async def test_what_is_dead_of_waiting_is_a_dead_letter_if_it_asks_for_one_and_waits_anew_when_sent_back(
    still: Engine, clock: Clock, raw: redis.Redis
) -> None:
    await put(still, "a", spec=BRIEF._replace(dead_queue="dead"))
    clock.passes(HOUR_US)
    await still._advance(NS)
    assert await state_of(still, "a") is State.DEAD
    assert await error_of(still, "a") == WHY
    async for _ in still.dead_letters.redrive(NS, Kind.TASK, "dead"):
        pass
    clock.passes(MINUTE_US - 1)
    item = await lease_one(still)
    assert (item.id, item.attempt) == ("a", 1)
    await nack(still, item)
    clock.passes(1)
    await still._advance(NS)
    assert await state_of(still, "a") is State.DEAD
    assert noted(raw) == []


@pytest.mark.parametrize("how", ["failed", "released", "lease over", "retry later"])
async def test_a_further_attempt_does_not_come_later_either(
    still: Engine, clock: Clock, raw: redis.Redis, how: str
) -> None:
    await put(still, "a", spec=BRIEF._replace(lease_us=10 * SECOND_US))
    item = await lease_one(still)
    # What somebody has does not wait.
    assert noted(raw) == []
    if how == "lease over":
        clock.passes(10 * SECOND_US)
        await still._advance(NS)
    else:
        reason = NackReason.RELEASED if how == "released" else NackReason.FAILED
        await nack(still, item, reason, HOUR_US if how == "retry later" else 0, "it raised")
    assert await state_of(still, "a") in (State.WAITING, State.SCHEDULED)
    clock.passes(MINUTE_US)
    await still._advance(NS)
    assert await state_of(still, "a") is State.EXPIRED
    assert await lease(still) == []
    assert noted(raw) == []


async def test_what_is_given_back_too_late_has_expired_at_once(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=BRIEF)
    item = await lease_one(still)
    clock.passes(2 * MINUTE_US)
    await nack(still, item)
    await still._advance(NS)
    assert await state_of(still, "a") is State.EXPIRED


async def test_what_runs_when_its_time_is_over_may_end(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=BRIEF)
    item = await lease_one(still)
    clock.passes(2 * MINUTE_US)
    await still._advance(NS)
    await ack(still, item, b"late, and good")
    assert await state_of(still, "a") is State.SUCCEEDED


@pytest.mark.parametrize("how", ["lease", "cancel", "delete", "replace", "clear"])
async def test_of_what_does_not_wait_any_more_no_note_is_left(still: Engine, raw: redis.Redis, how: str) -> None:
    await put(still, "a", spec=BRIEF)
    assert len(noted(raw)) == 1
    if how == "lease":
        await lease(still)
    elif how == "cancel":
        await still.cancel(NS, ["a"])
    elif how == "delete":
        await still.queues.delete_items(NS, ["a"])
    elif how == "replace":
        await still.enqueue(NS, "", [new("a", KEPT, conflict="r")])
    else:
        async for _ in still.queues.clear(NS, Kind.TASK, "q"):
            pass
    assert noted(raw) == []


async def test_a_replacement_has_a_time_of_its_own(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=BRIEF)
    clock.passes(MINUTE_US - 1)
    await still.enqueue(NS, "", [new("a", BRIEF, conflict="r")])
    clock.passes(MINUTE_US - 1)
    await still._advance(NS)
    assert ids_of(await lease(still)) == ["a"]


async def test_parked_calls_expire_too(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    body = b"\n\x05other"
    await still.enqueue(NS, "", [new("a", BRIEF, body=body)])
    call = LeaseCall("me", 1, skills="known", sift=True)
    await still.workers.teach(NS, "known", ["known"])
    assert await tracked(still, 1, call) == []
    assert raw.exists(PREFIX + "parked:t:q:other")
    clock.passes(MINUTE_US)
    await still._advance(NS)
    assert await state_of(still, "a") is State.EXPIRED
    assert not raw.exists(PREFIX + "parked:t:q:other")


async def test_what_is_delivered_at_most_once_expires_as_well(still: Engine, clock: Clock) -> None:
    await put(still, "a", "b", spec=ONCE._replace(expires_us=MINUTE_US))
    assert ids_of(await lease(still, 1)) == ["a"]
    clock.passes(MINUTE_US)
    assert await lease(still) == []
    # Nothing is kept of it.
    assert await state_of(still, "b") is State.UNKNOWN


async def test_many_at_once(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    ids = [f"{number:04}" for number in range(1000)]
    for _ in range(3):
        await put(still, *ids, spec=BRIEF)
        ids = [f"{int(id) + 1000:04}" for id in ids]
    assert len(await lease(still, 1000)) == 1000
    clock.passes(MINUTE_US)
    while any(score <= clock.now_us for score in scores(raw, "due")):
        await still._advance(NS)
    assert await lease(still) == []
    assert noted(raw) == []
    assert raw.hlen(PREFIX + "item") == 1000


async def test_an_earlier_broker_reads_a_failure(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await put(still, "a", spec=BRIEF)
    clock.passes(MINUTE_US)
    await still._advance(NS)
    ending: Any = raw.get(PREFIX + "end:a")
    assert ending.decode() == f"F 0 t q X{WHY}"
