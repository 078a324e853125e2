"""What operators and consumers do to dead letters, script by script."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import redis

from dibs.broker.engine.dead_letters import KEEP_MS, NoSuchLetter, Progress, Taken
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.queues import STEP
from dibs.broker.engine.types import ITEM_OVERHEAD, Kind, Nack, NackReason, Outcome, State, StoredItem

from .helpers import (
    LEASED,
    NS,
    PREFIX,
    ROOM,
    SECOND_US,
    Clock,
    ack,
    ids_of,
    lease,
    lease_one,
    nack,
    new,
    state_of,
    until,
)

MORTAL = LEASED._replace(attempts=2, dead_queue="dead")


async def bury(engine: Engine, *ids: str, body: bytes = b"body", queue: str = "q") -> None:
    """Has items die, in their order."""
    await engine.enqueue(NS, "", [new(id, MORTAL._replace(queue=queue), body=body) for id in ids])
    items = await lease(engine)
    while items:
        await engine.nack(NS, [Nack(one.id, one.token, NackReason.REJECTED, None, f"no {one.id}") for one in items])
        items = await lease(engine)


async def take(engine: Engine, wanted: int = 1000, *, room: int = ROOM) -> list[StoredItem]:
    return (await engine.dead_letters.take(NS, Kind.TASK, "dead", wanted, room=room, item_bytes=ROOM)).letters


async def redrive(engine: Engine, ids: Sequence[str] = ()) -> list[Progress | NoSuchLetter]:
    return [step async for step in engine.dead_letters.redrive(NS, Kind.TASK, "dead", ids)]


async def purge(engine: Engine, ids: Sequence[str] = ()) -> list[Progress | NoSuchLetter]:
    return [step async for step in engine.dead_letters.purge(NS, Kind.TASK, "dead", ids)]


def dead_ids(raw: redis.Redis) -> list[str]:
    ids: Any = raw.zrange(PREFIX + "dead:t:dead", 0, -1)
    return [id.decode() for id in ids]


def nothing_is_left(raw: redis.Redis, *names: str) -> None:
    for name in names or ("item", "run", "error", "dead:t:dead", "deadqueues:t", "deaths:t"):
        assert raw.exists(PREFIX + name) == 0, name


async def test_dead_letter_queues_are_those_with_something_in_them(still: Engine, clock: Clock) -> None:
    await bury(still, "a")
    died_us = clock.now_us
    clock.passes(SECOND_US)
    await bury(still, "b")
    assert await still.dead_letters.queues(NS, Kind.TASK) == [("dead", 2, died_us)]
    assert await still.dead_letters.queues(NS, Kind.DATA) == []
    await take(still)
    assert await still.dead_letters.queues(NS, Kind.TASK) == []


async def test_taken_dead_letters_are_gone(still: Engine, raw: redis.Redis, clock: Clock) -> None:
    await bury(still, "a", "b")
    (first,) = await take(still, 1)
    assert (first.id, first.state, first.deliveries, first.error) == ("a", State.DEAD, 1, "no a")
    assert first.record is not None
    assert (first.record.body, first.time_us) == (b"body", clock.now_us)
    assert [item.id for item in await take(still)] == ["b"]
    assert await take(still) == []
    nothing_is_left(raw)


async def test_large_dead_letters_come_one_by_one(still: Engine) -> None:
    await bury(still, "a", "b", "c", body=b"x" * 1000)
    assert [item.id for item in await take(still, room=3000)] == ["a", "b"]
    assert [item.id for item in await take(still, room=1)] == ["c"]


async def test_a_death_wakes_those_who_wait_for_it(engine: Engine, other: Engine) -> None:
    woken, not_woken = asyncio.Event(), asyncio.Event()
    await until(other.hints.subscribed)
    with (
        other.hints.on_dead(NS, Kind.TASK, "dead", woken.set),
        other.hints.on_ready(NS, Kind.TASK, ["dead"], not_woken.set),
    ):
        for wanted in (woken, not_woken):
            wanted.clear()
        taken = await other.dead_letters.take(NS, Kind.TASK, "dead", 1, room=1, item_bytes=ROOM, note_hunger=True)
        assert taken.letters == []
        await bury(engine, "a")
        await until(woken, 1)
        assert not not_woken.is_set()


async def test_redriven_items_are_new_at_the_ends_of_their_queues(still: Engine, raw: redis.Redis) -> None:
    await bury(still, "a", "b", "c")
    await bury(still, "d", queue="other")
    assert await redrive(still, ["d", "b"]) == [Progress(2, 0)]
    assert dead_ids(raw) == ["a", "c"]
    assert await redrive(still) == [Progress(2, 0)]
    nothing_is_left(raw, "run", "error", "dead:t:dead", "deadqueues:t", "deaths:t")
    items = await lease(still)
    assert ids_of(items) == ["d", "b", "a", "c"]
    assert [(item.attempt, item.attempts, item.last_error) for item in items] == [(1, 2, "")] * 4


async def test_a_token_from_before_a_redrive_is_superseded(still: Engine) -> None:
    await still.enqueue(NS, "", [new("a", MORTAL)])
    old = await lease_one(still)
    await nack(still, old, NackReason.REJECTED)
    await redrive(still)
    assert await ack(still, old) is Outcome.LEASE_SUPERSEDED
    fresh = await lease_one(still)
    assert await ack(still, old) is Outcome.LEASE_SUPERSEDED
    assert await ack(still, fresh) is Outcome.OK


async def test_redriving_brings_a_deleted_queue_back(still: Engine) -> None:
    await bury(still, "a")
    assert await still.queues.forget(NS, Kind.TASK, "q")
    await redrive(still)
    (counts,) = await still.queues.describe(NS, Kind.TASK, ["q"])
    assert counts is not None
    assert (counts.ready, counts.dead) == (1, 0)


async def test_redriving_what_dies_again_at_once_ends(engine: Engine) -> None:
    await bury(engine, *(f"{n}" for n in range(2 * STEP)))
    steps = 0
    async for _ in engine.dead_letters.redrive(NS, Kind.TASK, "dead"):
        steps += 1
        await bury(engine)
    assert steps == 2
    ((_, size, _),) = await engine.dead_letters.queues(NS, Kind.TASK)
    assert size == 2 * STEP


async def test_purged_dead_letters_are_gone(still: Engine, raw: redis.Redis) -> None:
    await bury(still, "a", "b", "c")
    assert await purge(still, ["b", "b"]) == [Progress(1, 0)]
    assert await state_of(still, "b") is State.UNKNOWN
    assert await purge(still) == [Progress(2, 0)]
    assert await purge(still) == [Progress(0, 0)]
    nothing_is_left(raw)


async def test_nothing_is_done_when_one_is_not_there(still: Engine, raw: redis.Redis) -> None:
    await bury(still, "a", "b")
    for steps in (await redrive(still, ["a", "none"]), await purge(still, ["a", "none"])):
        assert steps == [NoSuchLetter("none")]
    assert dead_ids(raw) == ["a", "b"]


async def taken(
    engine: Engine, wanted: int, request: str = "", received: str = "", *, room: int = ROOM, item_bytes: int = ROOM
) -> Taken:
    return await engine.dead_letters.take(
        NS, Kind.TASK, "dead", wanted, request_id=request, received=received, room=room, item_bytes=item_bytes
    )


async def test_a_request_with_an_id_gets_the_same_letters_until_it_says_that_they_arrived(
    still: Engine, other: Engine, raw: redis.Redis
) -> None:
    await bury(still, "a", "b", "c")
    first = await taken(still, 2, "r")
    assert [letter.id for letter in first.letters] == ["a", "b"]
    # On another broker too, and whatever it asks for.
    assert await taken(other, 1000, "r") == first
    assert [letter.error for letter in first.letters] == ["no a", "no b"]
    assert await taken(still, 0, received="r") == Taken([], False)
    assert await taken(other, 2, "r") == Taken([], True)
    assert dead_ids(raw) == ["c"]
    assert [letter.id for letter in (await taken(still, 2, "s")).letters] == ["c"]
    assert 0 < raw.pttl(PREFIX + "taken:s") <= KEEP_MS


async def test_an_answer_is_not_for_those_who_take_from_another_queue(still: Engine) -> None:
    await bury(still, "a", "b")
    first = await taken(still, 1, "r")

    async def elsewhere(request: str, received: str = "") -> Taken:
        return await still.dead_letters.take(
            NS, Kind.TASK, "other", 1, room=ROOM, item_bytes=ROOM, request_id=request, received=received
        )

    assert await elsewhere("r") == Taken([], True)
    # Nor can they say that it has arrived.
    await elsewhere("s", received="r")
    assert await taken(still, 1, "r") == first


async def test_an_answer_that_an_earlier_version_kept_is_given_again(still: Engine, raw: redis.Redis) -> None:
    await bury(still, "a")
    first = await taken(still, 1, "r")
    # That did not say from which queue.
    assert raw.rpop(PREFIX + "taken:r") == b"t:dead"
    assert await taken(still, 1, "r") == first
    await taken(still, 0, received="r")
    assert await taken(still, 1, "r") == Taken([], True)


async def test_without_an_id_nothing_is_kept(still: Engine, raw: redis.Redis) -> None:
    await bury(still, "a")
    await taken(still, 1)
    assert await taken(still, 0, received="never") == Taken([], False)
    assert raw.keys(PREFIX + "taken:*") == []


async def test_error_texts_and_ids_of_letters_count(still: Engine) -> None:
    await bury(still, *(f"{n:0100}" for n in range(20)), body=b"x" * 100)
    (letter,) = (await taken(still, 1)).letters
    size = 100 + 102 + 100 + ITEM_OVERHEAD
    assert len(letter.error) == 103
    found = await taken(still, 1000, room=10 * (size + 100))
    assert 8 <= len(found.letters) <= 10


async def test_letters_that_no_message_holds_are_set_aside_and_the_others_come(still: Engine, raw: redis.Redis) -> None:
    await bury(still, "a")
    await bury(still, "large", body=b"x" * 5000)
    await bury(still, "b", "damaged", "c")
    raw.hset(PREFIX + "run", "damaged", "?")
    found = await taken(still, 1000, room=4000, item_bytes=4000)
    assert [letter.id for letter in found.letters] == ["a", "b", "c"]
    assert dead_ids(raw) == []
    aside: Any = raw.zrange(PREFIX + "aside:t:q", 0, -1)
    assert sorted(aside) == [b"damaged", b"large"]
    (counts,) = await still.queues.describe(NS, Kind.TASK, ["q"])
    assert counts is not None
    assert counts.dead == 0
    assert raw.hexists(PREFIX + "item", "large")
