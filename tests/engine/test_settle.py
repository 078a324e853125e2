"""Ack, nack, refresh and cancel."""

from __future__ import annotations

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import (
    Ack,
    Cancelled,
    Enqueued,
    Nack,
    NackReason,
    Outcome,
    Refresh,
    Refreshed,
    Retry,
    State,
)

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
    scores,
    state_of,
)

OK = Refreshed(Outcome.OK, False)


async def due_in_us(engine: Engine, raw: redis.Redis, clock: Clock, id: str) -> float | None:
    """How long a delayed item has to wait."""
    score = raw.zscore(PREFIX + "delayed:t:q", id)
    return None if score is None else float(score) - clock.now_us


# Ack.


@pytest.mark.parametrize("result", [None, b"", b"\0\n\xff", b"x" * 262_144])
async def test_an_ack_may_keep_a_result(engine: Engine, result: bytes | None) -> None:
    await put(engine, "a", spec=KEPT)
    assert await ack(engine, await lease_one(engine), result) is Outcome.OK
    (status,) = await engine.lookup(NS, ["a"])
    assert (status.state, status.result, status.deliveries, status.queue) == (State.SUCCEEDED, result, 1, "q")


async def test_a_result_is_kept_as_long_as_asked(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=LEASED._replace(keep_us=60 * SECOND_US))
    await ack(engine, await lease_one(engine), b"result")
    assert 50_000 < raw.pttl(PREFIX + "end:a") <= 60_000


@pytest.mark.parametrize("minutes", [(1, 60), (60, 1)])
async def test_that_ends_are_kept_is_known_as_long_as_any_is(
    engine: Engine, raw: redis.Redis, minutes: tuple[int, int]
) -> None:
    for id, kept in zip("ab", minutes, strict=True):
        await put(engine, id, spec=LEASED._replace(keep_us=kept * 60 * SECOND_US))
        await ack(engine, await lease_one(engine))
    assert raw.pttl(PREFIX + "ends") >= max(raw.pttl(PREFIX + "end:a"), raw.pttl(PREFIX + "end:b"))
    assert await engine.enqueue(NS, "", [new("a"), new("b")]) == [Enqueued.EXISTS, Enqueued.EXISTS]


async def test_a_result_of_an_item_of_which_nothing_is_kept_is_dropped(engine: Engine) -> None:
    await put(engine, "a")
    assert await ack(engine, await lease_one(engine), b"result") is Outcome.OK
    assert await state_of(engine, "a") is State.UNKNOWN


async def test_a_repeated_ack_changes_nothing(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    item = await lease_one(engine)
    entries = [Ack("a", item.token, b"first"), Ack("a", item.token, b"second")]
    assert await engine.ack(NS, entries) == [Outcome.OK, Outcome.NOT_FOUND]
    assert await engine.ack(NS, entries) == [Outcome.NOT_FOUND, Outcome.NOT_FOUND]
    assert (await engine.lookup(NS, ["a"]))[0].result == b"first"


async def test_each_entry_has_its_own_outcome(still: Engine, clock: Clock) -> None:
    await put(still, "expired", spec=LEASED._replace(lease_us=SECOND_US))
    expired = await lease_one(still)
    clock.passes(SECOND_US)
    await put(still, "waiting")
    await put(still, "leased", spec=LEASED._replace(queue="other"))
    items = {item.id: item for item in await lease(still)}
    await put(still, "new")
    assert expired.id in items
    entries = [
        Ack("leased", items["leased"].token),
        Ack("expired", expired.token),
        Ack("new", 1),
        Ack("unknown", 1),
        Ack("unknown", None),
        Ack("new", None),
    ]
    assert await still.ack(NS, entries) == [
        Outcome.OK,
        Outcome.LEASE_SUPERSEDED,
        Outcome.LEASE_SUPERSEDED,
        Outcome.NOT_FOUND,
        Outcome.NOT_FOUND,
        Outcome.NOT_FOUND,
    ]


async def test_an_ack_without_a_token_takes_whatever_lease_is_current(engine: Engine) -> None:
    await put(engine, "a")
    await lease_one(engine)
    assert await engine.ack(NS, [Ack("a", None)]) == [Outcome.OK]


@pytest.mark.parametrize("advanced", [False, True])
async def test_nothing_can_be_done_with_a_lease_that_ran_out(still: Engine, clock: Clock, advanced: bool) -> None:
    await put(still, "a", spec=LEASED._replace(lease_us=SECOND_US))
    item = await lease_one(still)
    clock.passes(SECOND_US)
    if advanced:
        await still._advance(NS)
    assert await ack(still, item) is Outcome.LEASE_EXPIRED
    assert await nack(still, item) is Outcome.LEASE_EXPIRED
    assert await still.refresh(NS, [Refresh("a", item.token)]) == [Refreshed(Outcome.LEASE_EXPIRED, False)]
    assert (await lease_one(still)).attempt == 2


async def test_a_lease_lasts_to_its_last_microsecond(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=LEASED._replace(lease_us=SECOND_US))
    item = await lease_one(still)
    clock.passes(SECOND_US - 1)
    assert await ack(still, item) is Outcome.OK


# Nack.


async def test_a_failed_item_goes_to_the_end_of_its_queue(engine: Engine) -> None:
    await put(engine, *"abc")
    await nack(engine, await lease_one(engine))
    assert [(item.id, item.attempt) for item in await lease(engine)] == [("b", 1), ("c", 1), ("a", 2)]


async def test_a_failed_item_waits_as_long_as_the_nack_says(still: Engine, clock: Clock) -> None:
    await put(still, "a")
    await nack(still, await lease_one(still), delay_us=SECOND_US)
    clock.passes(SECOND_US - 1)
    assert await lease(still) == []
    clock.passes(1)
    assert ids_of(await lease(still)) == ["a"]


async def test_without_a_policy_a_failed_item_comes_when_its_lease_would_have_run_out(
    still: Engine, raw: redis.Redis, clock: Clock
) -> None:
    await put(still, "a", spec=LEASED._replace(lease_us=10 * SECOND_US))
    item = await lease_one(still)
    clock.passes(4 * SECOND_US)
    await nack(still, item, delay_us=None)
    assert await due_in_us(still, raw, clock, "a") == 6 * SECOND_US


async def test_waits_grow_by_the_policy_up_to_its_bound(still: Engine, raw: redis.Redis, clock: Clock) -> None:
    await put(still, "a", spec=LEASED._replace(retry=Retry(SECOND_US, 2.5, 20 * SECOND_US, 0)))
    waits = []
    for _ in range(6):
        await nack(still, await lease_one(still), delay_us=None)
        waits.append(await due_in_us(still, raw, clock, "a"))
        clock.passes(30 * SECOND_US)
    assert waits == [1_000_000, 2_500_000, 6_250_000, 15_625_000, 20_000_000, 20_000_000]


async def test_a_wait_of_nothing_is_no_wait(still: Engine) -> None:
    await put(still, "a", spec=LEASED._replace(retry=Retry(0, 2, HOUR_US, 1)))
    await nack(still, await lease_one(still), delay_us=None)
    assert (await lease_one(still)).attempt == 2


async def test_a_wait_grown_beyond_all_numbers_stays_at_its_bound(
    still: Engine, raw: redis.Redis, clock: Clock
) -> None:
    await put(still, "a", spec=LEASED._replace(retry=Retry(SECOND_US, 100, HOUR_US, 0.0)))
    for _ in range(300):
        await nack(still, await lease_one(still))
    await nack(still, await lease_one(still), delay_us=None)
    assert await due_in_us(still, raw, clock, "a") == HOUR_US


async def test_jitter_spreads_waits_within_its_share(still: Engine, raw: redis.Redis, clock: Clock) -> None:
    ids = [f"i{n}" for n in range(300)]
    await put(still, *ids, spec=LEASED._replace(retry=Retry(10 * SECOND_US, 1, HOUR_US, 0.3)))
    entries = [Nack(item.id, item.token, NackReason.FAILED) for item in await lease(still)]
    await still.nack(NS, entries[:150])
    clock.passes(7)
    await still.nack(NS, entries[150:])
    waits = [score - clock.now_us for score in scores(raw, "delayed:t:q")]
    assert len(waits) == 300
    assert 7 * SECOND_US - 7 <= min(waits) < 8 * SECOND_US
    assert 12 * SECOND_US < max(waits) <= 13 * SECOND_US
    assert len(set(waits)) > 290
    assert abs(sum(waits) / 300 - 10 * SECOND_US) < SECOND_US


async def test_jitter_stays_under_the_bound(still: Engine, raw: redis.Redis, clock: Clock) -> None:
    await put(still, *(f"i{n}" for n in range(100)), spec=LEASED._replace(retry=Retry(SECOND_US, 1, SECOND_US, 1)))
    await still.nack(NS, [Nack(item.id, item.token, NackReason.FAILED) for item in await lease(still)])
    assert max(scores(raw, "delayed:t:q")) == clock.now_us + SECOND_US


async def test_released_items_go_back_to_the_head_in_their_order_and_use_no_attempt(engine: Engine) -> None:
    await put(engine, *"abcd")
    taken = await lease(engine, 3)
    await engine.nack(NS, [Nack(item.id, item.token, NackReason.RELEASED) for item in taken])
    assert [(item.id, item.attempt) for item in await lease(engine)] == [(id, 1) for id in "abcd"]


async def test_a_released_item_may_wait(still: Engine, clock: Clock) -> None:
    await put(still, "a")
    await nack(still, await lease_one(still), NackReason.RELEASED, SECOND_US)
    assert await lease(still) == []
    clock.passes(SECOND_US)
    assert (await lease_one(still)).attempt == 1


async def test_a_last_attempt_that_fails_goes_to_the_dead_letters_once(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=KEPT._replace(attempts=2, dead_queue="dead"))
    for n in (1, 2):
        item = await lease_one(engine)
        assert await nack(engine, item, error=f"error {n}") is Outcome.OK
    assert await nack(engine, item) is Outcome.LEASE_EXPIRED
    assert await ack(engine, item) is Outcome.LEASE_EXPIRED
    assert raw.zcard(PREFIX + "dead:t:dead") == 1
    assert raw.hgetall(PREFIX + "deaths:t") == {b"q": b"1"}
    assert raw.smembers(PREFIX + "deadqueues:t") == {b"dead"}
    (status,) = await engine.lookup(NS, ["a"])
    assert (status.state, status.error, status.deliveries) == (State.DEAD, "error 2", 2)
    assert await lease(engine) == []


async def test_a_last_attempt_that_fails_is_dropped_without_dead_letters(engine: Engine) -> None:
    await put(engine, "a", spec=LEASED._replace(attempts=1))
    assert await nack(engine, await lease_one(engine), error="broken") is Outcome.OK
    assert await state_of(engine, "a") is State.UNKNOWN


async def test_the_failure_of_a_dropped_item_is_kept_as_long_as_its_result_would_be(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT._replace(attempts=1))
    await nack(engine, await lease_one(engine), error="broken\0\n")
    (status,) = await engine.lookup(NS, ["a"])
    assert (status.state, status.error, status.result) == (State.FAILED, "broken\0\n", None)


async def test_a_rejected_item_dies_whatever_attempts_are_left(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT._replace(attempts=9, dead_queue="dead"))
    await nack(engine, await lease_one(engine), NackReason.REJECTED, error="never")
    (status,) = await engine.lookup(NS, ["a"])
    assert (status.state, status.error) == (State.DEAD, "never")


async def test_a_lease_that_ran_out_for_the_last_time_goes_to_the_dead_letters_once(
    still: Engine, raw: redis.Redis, clock: Clock
) -> None:
    await put(still, "a", spec=LEASED._replace(attempts=2, lease_us=SECOND_US, dead_queue="dead"))
    for _ in range(2):
        await lease_one(still)
        clock.passes(SECOND_US)
    for _ in range(3):
        await still._advance(NS)
    assert raw.zcard(PREFIX + "dead:t:dead") == 1
    assert raw.hgetall(PREFIX + "deaths:t") == {b"q": b"1"}
    (status,) = await still.lookup(NS, ["a"])
    assert (status.state, status.deliveries, status.error) == (State.DEAD, 2, "the lease ran out")


async def test_a_started_at_most_once_item_that_is_never_finished_dies(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=ONCE._replace(keep_us=HOUR_US))
    item = await lease_one(still)
    clock.passes(still.config.once_retention_us)
    assert await lease(still) == []
    (status,) = await still.lookup(NS, ["a"])
    assert (status.state, status.error) == (State.FAILED, "started, but never finished")
    assert await ack(still, item) is Outcome.NOT_FOUND


# Refresh.


async def test_a_refreshed_lease_lasts_as_long_again(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=LEASED._replace(lease_us=2 * SECOND_US))
    item = await lease_one(still)
    for _ in range(5):
        clock.passes(SECOND_US)
        assert await still.refresh(NS, [Refresh("a", item.token)]) == [OK]
    clock.passes(2 * SECOND_US - 1)
    assert await lease(still) == []
    clock.passes(1)
    assert ids_of(await lease(still)) == ["a"]


@pytest.mark.parametrize("lease_us", [SECOND_US, 2 * HOUR_US])
async def test_a_refresh_may_change_the_length(still: Engine, clock: Clock, lease_us: int) -> None:
    await put(still, "a")
    item = await lease_one(still)
    assert await still.refresh(NS, [Refresh("a", None, lease_us)]) == [OK]
    clock.passes(lease_us - 1)
    assert await still.refresh(NS, [Refresh("a", item.token)]) == [OK]
    clock.passes(lease_us)
    assert await still.refresh(NS, [Refresh("a", item.token)]) == [Refreshed(Outcome.LEASE_EXPIRED, False)]


async def test_a_lease_refreshed_twice_in_one_call_has_the_length_given_last(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=LEASED._replace(lease_us=SECOND_US))
    item = await lease_one(still)
    await still.refresh(NS, [Refresh("a", item.token, HOUR_US), Refresh("a", item.token)])
    clock.passes(HOUR_US - 1)
    assert await ack(still, item) is Outcome.OK


async def test_a_refresh_with_an_old_token_changes_nothing(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=LEASED._replace(lease_us=SECOND_US))
    old = await lease_one(still)
    clock.passes(SECOND_US)
    await lease_one(still)
    assert await still.refresh(NS, [Refresh("a", old.token, HOUR_US)]) == [Refreshed(Outcome.LEASE_SUPERSEDED, False)]
    clock.passes(SECOND_US)
    assert ids_of(await lease(still)) == ["a"]


# Cancel.


async def test_an_item_that_has_not_started_is_removed(still: Engine, clock: Clock) -> None:
    await put(still, "waiting")
    await put(still, "delayed", due=f"+{SECOND_US}")
    assert await still.cancel(NS, ["waiting", "delayed", "waiting"]) == [
        Cancelled.REMOVED,
        Cancelled.REMOVED,
        Cancelled.NOT_FOUND,
    ]
    clock.passes(SECOND_US)
    assert await lease(still) == []


async def test_an_item_that_waits_for_its_next_attempt_is_removed(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=KEPT)
    await nack(still, await lease_one(still), delay_us=SECOND_US, error="broken")
    assert await still.cancel(NS, ["a"]) == [Cancelled.REMOVED]
    clock.passes(SECOND_US)
    assert await lease(still) == []
    assert await state_of(still, "a") is State.CANCELLED


async def test_the_end_of_a_cancelled_item_is_kept_as_long_as_its_result_would_be(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    await engine.cancel(NS, ["a"])
    assert await state_of(engine, "a") is State.CANCELLED
    # Nothing has run, so there is no result to drop.
    assert await engine.cancel(NS, ["a", "a"]) == [Cancelled.REMOVED, Cancelled.REMOVED]
    assert await state_of(engine, "a") is State.CANCELLED


async def test_a_running_item_is_told_and_may_still_succeed(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    item = await lease_one(engine)
    assert await engine.cancel(NS, ["a"]) == [Cancelled.REQUESTED]
    assert await engine.refresh(NS, [Refresh("a", item.token)]) == [Refreshed(Outcome.OK, True)]
    assert (await engine.lookup(NS, ["a"]))[0].cancel_requested
    assert await ack(engine, item, b"result") is Outcome.OK
    assert await state_of(engine, "a") is State.SUCCEEDED


@pytest.mark.parametrize("reason", [one for one in NackReason if one is not NackReason.UNRECEIVED])
async def test_a_running_item_that_was_cancelled_is_not_delivered_again(engine: Engine, reason: NackReason) -> None:
    await put(engine, "a", spec=KEPT._replace(dead_queue="dead"))
    item = await lease_one(engine)
    await engine.cancel(NS, ["a"])
    assert await nack(engine, item, reason) is Outcome.OK
    assert await lease(engine) == []
    assert await state_of(engine, "a") is State.CANCELLED


async def test_a_running_item_that_was_cancelled_ends_with_its_lease(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=KEPT._replace(lease_us=SECOND_US))
    await lease_one(still)
    await still.cancel(NS, ["a"])
    clock.passes(SECOND_US)
    assert await lease(still) == []
    assert await state_of(still, "a") is State.CANCELLED


async def test_the_result_of_a_finished_item_is_dropped(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    await ack(engine, await lease_one(engine), b"result")
    assert await engine.cancel(NS, ["a", "a"]) == [Cancelled.RESULT_DROPPED, Cancelled.NOT_FOUND]
    assert await state_of(engine, "a") is State.UNKNOWN


async def test_a_dead_item_is_left_to_operators(engine: Engine) -> None:
    await put(engine, "a", spec=LEASED._replace(dead_queue="dead"))
    await nack(engine, await lease_one(engine), NackReason.REJECTED)
    assert await engine.cancel(NS, ["a", "unknown"]) == [Cancelled.NOT_FOUND, Cancelled.NOT_FOUND]
    assert await state_of(engine, "a") is State.DEAD


async def test_an_item_of_a_replaced_kind_is_found_where_it_stands(engine: Engine) -> None:
    await put(engine, "a")
    await engine.enqueue(NS, "", [new("a", LEASED._replace(queue="other"), conflict="r")])
    assert await engine.cancel(NS, ["a"]) == [Cancelled.REMOVED]
    assert await lease(engine) == []


async def test_batches_of_a_thousand_are_settled_in_one_call(engine: Engine) -> None:
    await put(engine, *(f"i{n}" for n in range(1000)), spec=KEPT)
    items = await lease(engine, 1000)
    assert await engine.refresh(NS, [Refresh(item.id, item.token, HOUR_US) for item in items]) == [OK] * 1000
    entries = [Nack(item.id, item.token, NackReason.FAILED, HOUR_US, "later") for item in items]
    assert await engine.nack(NS, entries) == [Outcome.OK] * 1000
    assert await engine.cancel(NS, [item.id for item in items]) == [Cancelled.REMOVED] * 1000
    await engine.cancel(NS, [item.id for item in items])
    await put(engine, *(f"i{n}" for n in range(1000)))
    items = await lease(engine, 1000)
    assert await engine.ack(NS, [Ack(item.id, item.token, b"r") for item in items]) == [Outcome.OK] * 1000
