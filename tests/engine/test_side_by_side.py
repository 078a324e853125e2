"""Brokers of two neighbouring versions work on one Redis, each with what the other has written."""

from __future__ import annotations

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Kind, LeaseCall, NackReason
from dibs.broker.engine.workers import WorkerReport, skill_set

from .helpers import HOUR_US, KEPT, LEASED, NS, ONCE, PREFIX, SECOND_US, TASKS, Clock
from .side_by_side import EXPIRED, NOT_FOUND, OK, SUPERSEDED, Earlier, Pair, Today

DYING = KEPT._replace(attempts=1, dead_queue="dead")
SHORT = KEPT._replace(attempts=3, lease_us=SECOND_US)


@pytest.fixture
def today(still: Engine) -> Today:
    return Today(still)


@pytest.fixture
def earlier(raw: redis.Redis) -> Earlier:
    return Earlier(raw)


@pytest.fixture(params=["today after 0.1", "0.1 after today"])
def pair(request: pytest.FixtureRequest, today: Today, earlier: Earlier) -> Pair:
    """Two brokers: what the first begins, the second goes on with."""
    return (earlier, today) if request.param == "today after 0.1" else (today, earlier)


async def test_enqueued_by_one_leased_by_the_other_acknowledged_by_the_first(pair: Pair) -> None:
    one, other = pair
    assert await one.put(KEPT, "a", "b") == "cc"
    first, second = await other.lease()
    assert (first.id, first.attempt, second.id) == ("a", 1, "b")
    assert await one.lease() == []
    assert await one.ack(first, b"result") == OK
    assert await other.ack(first) == NOT_FOUND
    assert await other.ack(second) == OK
    assert [state for state, _ in await other.states("a", "b")] == ["S", "S"]


async def test_an_at_most_once_item_is_delivered_once(pair: Pair) -> None:
    one, other = pair
    await one.put(ONCE, "a")
    assert [got.id for got in await other.lease()] == ["a"]
    assert await one.lease() == await other.lease() == []
    assert await one.states("a") == [("U", "")]


async def test_a_started_at_most_once_item_is_finished_by_the_other(pair: Pair) -> None:
    one, other = pair
    await one.put(ONCE._replace(keep_us=HOUR_US), "a")
    (got,) = await one.lease()
    assert await other.refresh(got) == (OK, False)
    assert await other.ack(got, b"done") == OK
    assert await one.states("a") == [("S", "")]


async def test_failed_at_one_it_is_tried_again_at_the_other(pair: Pair) -> None:
    one, other = pair
    await one.put(KEPT, "a")
    (first,) = await one.lease()
    assert await other.nack(first, NackReason.FAILED, "boom") == OK
    (second,) = await other.lease()
    assert (second.attempt, second.error) == (2, "boom")
    assert second.token > first.token
    assert await one.ack(first) == SUPERSEDED
    assert await one.ack(second) == OK


async def test_released_at_one_no_attempt_is_used(pair: Pair) -> None:
    one, other = pair
    await one.put(KEPT, "a")
    (first,) = await one.lease()
    assert await other.nack(first, NackReason.RELEASED) == OK
    (second,) = await one.lease()
    assert second.attempt == 1


async def test_a_lease_of_one_is_lengthened_by_the_other(pair: Pair, clock: Clock) -> None:
    one, other = pair
    await one.put(SHORT, "a")
    (got,) = await one.lease()
    assert await other.refresh(got) == (OK, False)
    clock.passes(2 * SECOND_US)
    await one.advance()
    await other.advance()
    assert await one.lease() == []
    assert await other.ack(got) == OK


async def test_a_lease_of_one_that_runs_out_is_ended_by_the_other(pair: Pair, clock: Clock) -> None:
    one, other = pair
    await one.put(SHORT, "a")
    for attempt in (1, 2, 3):
        (got,) = await one.lease()
        assert got.attempt == attempt
        clock.passes(2 * SECOND_US)
        await other.advance()
        assert await one.ack(got) in (EXPIRED, NOT_FOUND)
    assert await one.states("a") == await other.states("a") == [("F", "the lease ran out")]


async def test_what_one_delayed_the_other_makes_ready(pair: Pair, clock: Clock) -> None:
    one, other = pair
    await one.put(KEPT, "a", due=f"+{SECOND_US}")
    assert await other.lease() == []
    assert [state for state, _ in await other.states("a")] == ["D"]
    clock.passes(SECOND_US)
    assert [got.id for got in await other.lease()] == ["a"]


async def test_what_waits_is_cancelled_by_the_other(pair: Pair) -> None:
    one, other = pair
    await one.put(KEPT, "a")
    assert await other.cancel("a") == [1]
    assert await one.states("a") == [("C", "")]
    assert await one.lease() == []


async def test_what_runs_is_cancelled_by_the_other(pair: Pair) -> None:
    one, other = pair
    await one.put(KEPT, "a")
    (got,) = await one.lease()
    assert await other.cancel("a") == [2]
    assert await one.refresh(got) == (OK, True)
    assert await one.nack(got, NackReason.CANCELLED) == OK
    assert await other.states("a") == [("C", "")]


async def test_what_died_at_one_is_sent_back_by_the_other(pair: Pair) -> None:
    one, other = pair
    await one.put(DYING, "a", "b")
    for got in await one.lease():
        assert await one.nack(got, NackReason.FAILED, "boom") == OK
    assert await other.states("a") == [("X", "boom")]
    assert await other.redrive("dead") == 2
    again = await one.lease()
    assert [(got.id, got.attempt, got.error) for got in again] == [("a", 1, ""), ("b", 1, "")]


async def test_what_one_has_written_is_replaced_and_deleted_by_the_other(pair: Pair) -> None:
    one, other = pair
    await one.put(KEPT, "a", "b", "c", "d")
    leased, _ = await one.lease(2)
    assert await other.put(KEPT, "a", "c", conflict="r") == "rr"
    assert await other.delete("b", "d") == [True, True]
    assert await one.ack(leased) == SUPERSEDED
    assert sorted(got.id for got in await one.lease()) == ["a", "c"]


async def test_a_request_is_known_to_the_other(pair: Pair) -> None:
    one, other = pair
    assert await one.put(ONCE, "a", request="r-1") == "c"
    await one.lease()
    assert await other.put(ONCE, "a", request="r-1") == "c"
    assert await other.lease() == []


async def test_a_schedule_of_one_is_fired_and_planned_by_the_other(pair: Pair, today: Today, clock: Clock) -> None:
    one, other = pair
    skills = skill_set(["task"])
    await today.engine.workers.report(NS, [WorkerReport("w 1", skills, b"")], tasks={skills: ["task"]})
    await one.put_schedule(LEASED, "s", clock.now_us)
    assert await other.look() == ({"s"}, [])
    (got,) = await one.lease()
    _, (run,) = await one.look("s")
    await other.plan(run, clock.now_us + SECOND_US)
    assert await other.ack(got) == OK
    clock.passes(SECOND_US)
    assert await one.look() == ({"s"}, [])


async def test_what_an_earlier_broker_ends_of_todays_leases_counts_as_received(
    today: Today, earlier: Earlier, clock: Clock
) -> None:
    await today.put(SHORT, "a")
    (item,) = (await today.engine.lease(NS, TASKS, 1, call=LeaseCall("me", 1))).items
    assert item.attempt == 1
    clock.passes(2 * SECOND_US)
    await earlier.advance()
    (got,) = await today.lease()
    assert got.attempt == 2
    assert await earlier.ack(got) == OK


# Words that a later version adds


def put_by_later(raw: redis.Redis, id: str, spec: str) -> None:
    """An item with words in its spec that today's version does not know."""
    raw.hset(PREFIX + "item", id, f"1 1 {spec} v=1 shiny=yes\nbody")
    raw.hset(PREFIX + "seen:t", "q", 1)
    raw.rpush(PREFIX + "queue:t:q", id)
    raw.zadd(PREFIX + "ready:t", {"q": 1e15})


async def test_words_of_a_later_version_are_kept_and_do_no_harm(today: Today, clock: Clock, raw: redis.Redis) -> None:
    put_by_later(raw, "a", DYING._replace(attempts=2).encode())
    (first,) = await today.lease()
    assert await today.refresh(first) == (OK, False)
    assert await today.nack(first, NackReason.FAILED, "boom") == OK
    (second,) = await today.lease()
    assert (second.attempt, second.error) == (2, "boom")
    clock.passes(2 * HOUR_US)
    await today.advance()
    assert await today.states("a") == [("X", "boom")]
    assert await today.redrive("dead") == 1
    (third,) = await today.lease()
    run = raw.hget(PREFIX + "run", "a")
    assert isinstance(run, bytes)
    assert run.endswith(b" v=1 shiny=yes")
    assert await today.cancel("a") == [2]
    assert await today.nack(third, NackReason.CANCELLED) == OK
    assert await today.states("a") == [("C", "")]


async def test_an_option_of_today_is_not_for_brokers_of_0_1(today: Today, earlier: Earlier) -> None:
    """What `docs/deployment.md` warns of, with the number that it tells and the remedy."""
    ids = [f"{number:03}" for number in range(100)]
    await today.put(KEPT._replace(max_crashes=5), ids[0])
    await today.put(KEPT, *ids[1:])
    with pytest.raises(redis.ResponseError):
        await earlier.lease()
    assert [got.id for got in await today.lease()] == ids[64:]
    lost = ids[:64]
    assert await today.states(*lost) == [("W", "")] * 64
    assert await today.put(KEPT, *lost, conflict="r") == "r" * 64
    assert [got.id for got in await earlier.lease()] == lost


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_what_was_set_aside_and_removed_by_0_1_is_cleared_away(
    today: Today, earlier: Earlier, raw: redis.Redis, how: str
) -> None:
    await today.put(KEPT, "a")
    raw.delete(PREFIX + "queue:t:q")
    raw.zadd(PREFIX + "aside:t:q", {"a": 1})
    raw.hset(PREFIX + "whyaside", "a", "t q it is larger than a message may be")
    assert await earlier.states("a") == [("W", "")]
    assert await (earlier.cancel("a") if how == "cancel" else earlier.delete("a")) == [1]
    assert [state for state, _ in await today.states("a")] == ["C" if how == "cancel" else "U"]
    await today.engine.queues.redrive_aside(NS, Kind.TASK, "q", (), most=10)
    assert not raw.exists(PREFIX + "whyaside", PREFIX + "aside:t:q")


async def test_what_says_nothing_new_is_written_as_0_1_writes_it(today: Today, earlier: Earlier) -> None:
    assert KEPT.max_crashes == 3
    await today.put(KEPT, "a")
    assert [got.id for got in await earlier.lease()] == ["a"]
