"""A lease call has a name: its answer can be asked for again."""

from __future__ import annotations

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import Unavailable
from dibs.broker.engine.types import LeaseCall, NackReason

from .helpers import HOUR_US, LEASED, NS, ONCE, PREFIX, SECOND_US, Clock, ack, ids_of, lease, nack, put, tracked


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
    await engine.arrived(NS, [("me", 0)])
    assert raw.exists(PREFIX + "answer:me")
    await engine.arrived(NS, [("me", 1)])
    assert raw.keys(PREFIX + "*:me") == [(PREFIX + "answer:me").encode()]
    assert raw.strlen(PREFIX + "answer:me") == 16


async def test_a_named_restore_is_done_once(engine: Engine) -> None:
    await put(engine, "a", spec=ONCE)
    items = await lease(engine)
    await engine.restore(NS, items, name="x")
    assert ids_of(await lease(engine)) == ["a"]
    await engine.restore(NS, items, name="x")
    assert await lease(engine) == []


async def test_items_of_two_specs_in_one_queue_come_once_each_when_asked_again(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=LEASED)
    await put(still, "b", spec=LEASED._replace(attempts=7))
    first = await tracked(still, 2, LeaseCall("me", 1))
    assert sorted(await tracked(still, 2, LeaseCall("me", 1))) == sorted(first)


async def test_an_item_that_left_another_share_comes_once_when_asked_again(still: Engine, clock: Clock) -> None:
    await still.hints.subscribed.wait()
    await still.peers.look()
    await put(still, *(f"i{n}" for n in range(50)))
    first, *_ = await tracked(still, 50, LeaseCall("you", 1))
    await nack(still, first, NackReason.RELEASED)
    # Its new lease ends when that of its earlier share does.
    (again,) = await tracked(still, 1, LeaseCall("me", 1))
    assert again.id == first.id
    assert await tracked(still, 1, LeaseCall("me", 1)) == [again]


async def test_a_copy_of_a_call_that_found_nothing_takes_nothing(engine: Engine) -> None:
    assert await tracked(engine, 10, LeaseCall("me", 1)) == []
    await put(engine, "a", spec=ONCE)
    assert await tracked(engine, 10, LeaseCall("me", 1)) == []
    assert ids_of(await tracked(engine, 10, LeaseCall("me", 2))) == ["a"]


async def test_a_copy_of_a_call_whose_answer_has_arrived_takes_nothing(engine: Engine) -> None:
    await put(engine, "a", "b", spec=ONCE)
    await tracked(engine, 1, LeaseCall("me", 1))
    await engine.arrived(NS, [("me", 1)])
    assert await tracked(engine, 1, LeaseCall("me", 1)) == []


async def test_a_call_for_nothing_gets_the_answer_that_is_kept(engine: Engine) -> None:
    await put(engine, "a", "b", spec=ONCE)
    await tracked(engine, 1, LeaseCall("me", 1))
    assert ids_of(await tracked(engine, 0, LeaseCall("me", 1))) == ["a"]
    assert await tracked(engine, 0, LeaseCall("me", 2)) == []


async def test_shares_have_tokens_of_their_own_also_when_asked_again(engine: Engine) -> None:
    await put(engine, *(f"i{n}" for n in range(9)))
    first = await tracked(engine, 9, LeaseCall("me", 1, shares=(2, 3, 4)))
    tokens = [item.token for item in first]
    assert [tokens.count(token) for token in sorted(set(tokens))] == [2, 3, 4]
    assert tokens == sorted(tokens)
    assert sorted(await tracked(engine, 9, LeaseCall("me", 1, shares=(2, 3, 4)))) == sorted(first)


async def test_a_repeated_answer_leaves_out_what_somebody_else_has_by_now(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=LEASED._replace(lease_us=SECOND_US))
    await tracked(still, 1, LeaseCall("me", 1))
    clock.passes(2 * SECOND_US)
    (other,) = await tracked(still, 1, LeaseCall("you", 1))
    assert other.id == "a"
    assert await tracked(still, 1, LeaseCall("me", 1)) == []


async def test_a_call_in_time_is_carried_out(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=ONCE)
    call = LeaseCall("me", 1, not_after_us=clock.now_us)
    assert ids_of(await tracked(still, 1, call)) == ["a"]


async def test_what_is_kept_of_an_answer_ends_by_itself(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=ONCE)
    await tracked(engine, 1, LeaseCall("me", 1, keep_ms=100_000))
    for key in ("answer:me", "copies:me"):
        assert 0 < raw.pttl(PREFIX + key) <= 100_000
    await tracked(engine, 1, LeaseCall("me", 2))
    assert not raw.exists(PREFIX + "copies:me")


async def test_an_answer_holds_last_errors_and_attempts(engine: Engine) -> None:
    await put(engine, "a", "b", spec=LEASED)
    (a, _) = await lease(engine)
    await nack(engine, a, error="broke \x00 näh")
    (first,) = await tracked(engine, 1, LeaseCall("me", 1))
    (again,) = await tracked(engine, 1, LeaseCall("me", 1))
    assert again == first
    assert (again.attempt, again.last_error) == (2, "broke \x00 näh")
