"""Taking items out of queues."""

from __future__ import annotations

from itertools import pairwise

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import (
    Cancelled,
    Kind,
    LeaseQuery,
    Nack,
    NackReason,
    Outcome,
    Spec,
    State,
    decode_record,
    weight,
)

from .helpers import (
    HOUR_US,
    KEPT,
    LEASED,
    NS,
    ONCE,
    PREFIX,
    ROOM,
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
    state_of,
)


async def test_queues_are_served_by_priority_then_without_then_by_name(engine: Engine, raw: redis.Redis) -> None:
    raw.hset(PREFIX + "priority:t", mapping={"low": 9, "high": -1, "middle": 2})
    for queue in ("b", "low", "middle", "a", "high"):
        await put(engine, f"{queue}1", f"{queue}2", spec=LEASED._replace(queue=queue))
    found = ids_of(await lease(engine, 7)) + ids_of(await lease(engine, 3))
    assert found == ["high1", "high2", "middle1", "middle2", "low1", "low2", "a1", "a2", "b1", "b2"]


async def test_a_list_of_queues_is_served_in_its_order(engine: Engine, raw: redis.Redis) -> None:
    raw.hset(PREFIX + "priority:t", "a", "1")
    for queue in ("a", "b", "c", "unasked"):
        await put(engine, f"{queue}1", spec=LEASED._replace(queue=queue))
    query = LeaseQuery(Kind.TASK, ("c", "never", "a", "c", "b"))
    assert ids_of(await lease(engine, 10, query)) == ["c1", "a1", "b1"]


async def test_no_more_is_taken_than_wanted(engine: Engine) -> None:
    await put(engine, *"abc")
    first = await engine.lease(NS, TASKS, 2)
    assert (ids_of(first.items), first.drained) == (["a", "b"], False)
    second = await engine.lease(NS, TASKS, 2)
    assert (ids_of(second.items), second.drained) == (["c"], True)


async def test_a_leased_item_is_nobody_elses(engine: Engine) -> None:
    await put(engine, "a")
    item = await lease_one(engine)
    assert (item.attempt, item.attempts, item.lease_us, item.last_error) == (1, 1000, HOUR_US, "")
    assert await lease(engine) == []
    assert await state_of(engine, "a") is State.STARTED


async def test_tokens_grow_across_calls_namespaces_queues_and_time(still: Engine, clock: Clock) -> None:
    tokens: list[int] = []
    for n in range(5):
        await put(still, f"a{n}", f"b{n}")
        tokens += {item.token for item in await lease(still)}
        clock.passes(n)
    assert len(tokens) == 5
    assert all(a < b for a, b in pairwise(tokens))


async def test_tokens_grow_after_redis_lost_its_last_writes(still: Engine, raw: redis.Redis, clock: Clock) -> None:
    await put(still, "a", "b")
    first = await lease_one(still)
    raw.delete(PREFIX + "token")
    clock.passes(1)
    assert (await lease_one(still)).token > first.token


async def test_an_at_most_once_item_leaves_nothing_behind(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=ONCE)
    item = await lease_one(engine)
    assert (item.token, item.attempt, item.lease_us) == (0, 1, 0)
    assert await state_of(engine, "a") is State.UNKNOWN
    for key in ("item", "run", "queue:t:q", "leased:t:q"):
        assert not raw.exists(PREFIX + key)


@pytest.mark.parametrize("spec", [ONCE._replace(keep_us=HOUR_US), ONCE._replace(dead_queue="dead")])
async def test_an_at_most_once_item_whose_end_matters_is_followed_to_its_end(
    still: Engine, clock: Clock, spec: Spec
) -> None:
    await put(still, "a", spec=spec)
    item = await lease_one(still)
    assert (item.token > 0, item.lease_us) == (True, 0)
    clock.passes(HOUR_US)
    assert await state_of(still, "a") is State.STARTED
    assert await lease(still) == []
    assert await ack(still, item) is Outcome.OK


async def test_an_at_most_once_item_that_fails_is_never_delivered_again(engine: Engine) -> None:
    await put(engine, "a", spec=ONCE._replace(attempts=5, dead_queue="dead", keep_us=HOUR_US))
    assert await nack(engine, await lease_one(engine), error="broken") is Outcome.OK
    assert await lease(engine) == []
    (status,) = await engine.lookup(NS, ["a"])
    assert (status.state, status.error) == (State.DEAD, "broken")


async def test_an_at_most_once_item_that_is_released_is_never_delivered_again(engine: Engine) -> None:
    await put(engine, "a", spec=ONCE._replace(attempts=5, keep_us=HOUR_US))
    assert await nack(engine, await lease_one(engine), NackReason.RELEASED) is Outcome.OK
    assert await lease(engine) == []
    assert await state_of(engine, "a") is State.FAILED


async def test_an_at_most_once_item_that_nobody_saw_may_be_delivered(engine: Engine) -> None:
    await put(engine, "a", "b", spec=ONCE._replace(keep_us=HOUR_US))
    first = await lease_one(engine)
    assert await nack(engine, first, NackReason.UNSEEN) is Outcome.OK
    again = await lease(engine)
    assert [(item.id, item.attempt) for item in again] == [("a", 1), ("b", 1)]
    assert again[0].token > first.token


async def test_untracked_items_that_nobody_saw_are_put_back_at_the_head(engine: Engine) -> None:
    await put(engine, *"abcd", spec=ONCE)
    taken = await lease(engine, 3)
    await engine.restore(NS, taken)
    assert ids_of(await lease(engine)) == ["a", "b", "c", "d"]


async def test_an_untracked_item_is_not_put_back_over_another_of_its_id(engine: Engine) -> None:
    await put(engine, "a", spec=ONCE)
    taken = await lease(engine)
    await engine.enqueue(NS, "", [new("a", body=b"second")])
    await engine.restore(NS, taken)
    (item,) = await lease(engine)
    assert decode_record(item.record).body == b"second"


async def test_an_untracked_item_is_not_put_back_beside_the_end_of_another_of_its_id(engine: Engine) -> None:
    await put(engine, "a", spec=ONCE)
    taken = await lease(engine)
    await put(engine, "a", spec=KEPT)
    await ack(engine, await lease_one(engine))
    await engine.restore(NS, taken)
    assert await lease(engine) == []
    assert await state_of(engine, "a") is State.SUCCEEDED


async def test_an_item_put_back_keeps_the_attempts_it_used_before(engine: Engine) -> None:
    await put(engine, "a", spec=LEASED._replace(attempts=2))
    await nack(engine, await lease_one(engine), error="broken")
    taken = await lease(engine, 1, LeaseQuery(Kind.TASK, lease_us=0))
    assert (taken[0].token, taken[0].attempt) == (0, 2)
    await engine.restore(NS, taken)
    last = await lease_one(engine)
    assert (last.attempt, last.last_error) == (2, "broken")
    await nack(engine, last)
    assert await lease(engine) == []


async def test_a_consumer_may_take_a_leased_item_at_most_once(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a")
    await nack(engine, await lease_one(engine), error="broken")
    (item,) = await lease(engine, 1, LeaseQuery(Kind.TASK, lease_us=0))
    assert (item.token, item.lease_us, item.attempt, item.last_error) == (0, 0, 2, "broken")
    for key in ("item", "run", "error", "leased:t:q"):
        assert not raw.exists(PREFIX + key)


async def test_a_consumer_may_lease_an_at_most_once_item(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=ONCE._replace(attempts=2))
    query = LeaseQuery(Kind.TASK, lease_us=SECOND_US)
    first = await lease_one(still, query)
    clock.passes(SECOND_US)
    second = await lease_one(still, query)
    assert (second.attempt, second.token > first.token) == (2, True)
    clock.passes(SECOND_US)
    assert await lease(still) == []


async def test_a_consumer_may_grant_more_attempts(engine: Engine) -> None:
    await put(engine, "a", spec=LEASED._replace(attempts=1))
    query = LeaseQuery(Kind.TASK, attempts=3)
    for attempt in (1, 2, 3):
        item = await lease_one(engine, query)
        assert (item.attempt, item.attempts) == (attempt, 3)
        await nack(engine, item)
    assert await lease(engine, 1, query) == []


async def test_an_item_with_no_attempts_left_for_its_consumer_dies(engine: Engine) -> None:
    await put(engine, "a", spec=LEASED._replace(dead_queue="dead"))
    await nack(engine, await lease_one(engine), error="broken")
    assert await lease(engine, 1, LeaseQuery(Kind.TASK, attempts=1)) == []
    (status,) = await engine.lookup(NS, ["a"])
    assert (status.state, status.deliveries, status.error) == (State.DEAD, 1, "broken")


async def test_the_next_attempt_is_told_what_went_wrong(engine: Engine) -> None:
    await put(engine, "a")
    await nack(engine, await lease_one(engine), error="Ärger\0\n")
    assert (await lease_one(engine)).last_error == "Ärger\0\n"


async def test_large_items_come_out_over_several_calls_none_of_them_too_large(engine: Engine) -> None:
    body = b"x" * 262_144
    for n in range(40):
        await engine.enqueue(NS, "", [new(f"i{n}", body=body)])
    found: list[str] = []
    calls = 0
    while len(found) < 40:
        reply = await engine.lease(NS, TASKS, 1000)
        calls += 1
        assert not reply.drained or len(found) + len(reply.items) == 40
        assert sum(weight(item.id, item.record, item.last_error) for item in reply.items) <= ROOM
        found += ids_of(reply.items)
    assert found == [f"i{n}" for n in range(40)]
    assert calls == 4


async def test_error_texts_count_as_bytes_that_come_out(engine: Engine) -> None:
    ids = [f"i{n:03}" for n in range(800)]
    await put(engine, *ids)
    error = "x" * 8_192
    await engine.nack(NS, [Nack(one.id, one.token, NackReason.FAILED, 0, error) for one in await lease(engine)])
    found: list[str] = []
    while len(found) < 800:
        reply = await engine.lease(NS, TASKS, 1000)
        assert sum(weight(item.id, item.record, item.last_error) for item in reply.items) <= ROOM
        found += ids_of(reply.items)
    assert sorted(found) == ids


async def test_an_item_over_the_limit_of_bytes_comes_out_alone(engine: Engine) -> None:
    await engine.enqueue(NS, "", [new("small"), new("huge", body=b"x" * (ROOM + 1)), new("last")])
    assert ids_of(await lease(engine)) == ["small"]
    assert ids_of(await lease(engine)) == ["huge"]
    assert ids_of(await lease(engine)) == ["last"]


async def test_ten_thousand_cancelled_items_are_skipped_in_bounded_calls(engine: Engine) -> None:
    for at in range(0, 10_000, 1000):
        ids = [f"i{n}" for n in range(at, at + 1000)]
        await put(engine, *ids)
        assert await engine.cancel(NS, ids) == [Cancelled.REMOVED] * 1000
    await put(engine, "live")
    for _ in range(6):
        reply = await engine.lease(NS, TASKS, 100)
        if reply.items:
            break
        # Otherwise a consumer would go to sleep.
        assert not reply.drained
    assert ids_of(reply.items) == ["live"]
    assert (await engine.lease(NS, TASKS, 100)).drained


async def test_an_id_cancelled_and_used_again_is_delivered_once(engine: Engine) -> None:
    for _ in range(3):
        await put(engine, "a")
        await engine.cancel(NS, ["a"])
    await put(engine, "a")
    assert ids_of(await lease(engine)) == ["a"]
    assert await lease(engine) == []


async def test_an_id_cancelled_and_used_again_is_not_delivered_while_it_is_leased(engine: Engine) -> None:
    await put(engine, "a")
    await engine.cancel(NS, ["a"])
    await put(engine, "a")
    item = await lease_one(engine)
    # The list holds the id a second time.
    assert await lease(engine) == []
    assert await ack(engine, item) is Outcome.OK


async def test_an_id_cancelled_and_scheduled_again_waits_until_it_is_due(still: Engine, clock: Clock) -> None:
    await put(still, "a", "b")
    await still.cancel(NS, ["a"])
    await put(still, "a", due=f"+{SECOND_US}")
    assert ids_of(await lease(still)) == ["b"]
    clock.passes(SECOND_US)
    assert ids_of(await lease(still)) == ["a"]


async def test_a_look_takes_nothing(engine: Engine) -> None:
    await put(engine, *"abc")
    looks = [await engine.peek(NS, Kind.TASK, (), 2) for _ in range(2)]
    assert looks[0] == looks[1]
    assert [id for id, _ in looks[0]] == ["a", "b"]
    assert looks[0][0][1].body == b"body"
    assert ids_of(await lease(engine)) == ["a", "b", "c"]


async def test_a_look_shows_what_would_be_leased_in_that_order(engine: Engine, raw: redis.Redis) -> None:
    raw.hset(PREFIX + "priority:t", "b", "1")
    for queue in ("a", "b"):
        await put(engine, *(f"{queue}{n}" for n in range(100)), spec=LEASED._replace(queue=queue))
    await engine.cancel(NS, [f"b{n}" for n in range(0, 100, 2)])
    await put(engine, "late", due=f"+{HOUR_US}")
    seen = [id for id, _ in await engine.peek(NS, Kind.TASK, (), 120)]
    assert seen == ids_of(await lease(engine, 120))


async def test_a_look_at_one_item_passes_queues_that_hold_cancelled_ones(engine: Engine) -> None:
    await put(engine, "a", spec=LEASED._replace(queue="first"))
    await put(engine, "b", spec=LEASED._replace(queue="second"))
    await engine.cancel(NS, ["a"])
    assert [id for id, _ in await engine.peek(NS, Kind.TASK, (), 1)] == ["b"]


async def test_a_look_at_named_queues_keeps_their_order(engine: Engine) -> None:
    for queue in ("a", "b"):
        await put(engine, f"{queue}1", spec=LEASED._replace(queue=queue))
    assert [id for id, _ in await engine.peek(NS, Kind.TASK, ("b", "a", "b"), 9)] == ["b1", "a1"]
