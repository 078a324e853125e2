"""What operators and producers can do with items that were set aside."""

from __future__ import annotations

import pytest
import redis

from dibs.broker.engine.dead_letters import Progress
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.queues import NoSuchItem, RedrivenAside, Section
from dibs.broker.engine.types import Cancelled, Conflict, Enqueued, ItemStatus, Kind, NackReason, State, StoredItem

from .helpers import LEASED, NS, PREFIX, SECOND_US, ids_of, lease, lease_one, nack, new, put, state_of

DYING = LEASED._replace(attempts=1, dead_queue="dead")
WHY = "it is larger than a message may be"
NEXT = b"1 1 t q 1 0 - - - - : 0 v=2\nbody of the next version"


def set_aside(raw: redis.Redis, *ids: str, queue: str = "q") -> None:
    """As a script does with what it cannot hand out, having taken it out of its list."""
    for number, id in enumerate(ids):
        raw.zadd(PREFIX + "aside:t:" + queue, {id: 1_000 + number})
        raw.hset(PREFIX + "whyaside", id, f"t {queue} {WHY}")
        raw.lrem(PREFIX + "queue:t:" + queue, 0, id)


@pytest.fixture
async def aside(engine: Engine, raw: redis.Redis) -> Engine:
    """An engine with `a` and `b` set aside, the record of `b` unreadable, and `c` ready."""
    await put(engine, "a", "b", "c")
    set_aside(raw, "a", "b")
    raw.hset(PREFIX + "item", "b", NEXT)
    return engine


async def status_of(engine: Engine, id: str) -> ItemStatus:
    (status,) = await engine.lookup(NS, [id], bodies=True)
    return status


async def listed(engine: Engine, queue: str = "q") -> list[StoredItem]:
    page = await engine.queues.items(
        NS, Kind.TASK, queue, Section.SET_ASIDE, 1000, body_bytes=2**53, room=3 * 2**20, item_bytes=4 * 2**20
    )
    return page.items


async def counted(engine: Engine, queue: str = "q") -> tuple[int, int]:
    """Ready, and set aside."""
    (found,) = await engine.queues.describe(NS, Kind.TASK, [queue])
    assert found is not None
    return found.ready, found.set_aside


def nothing_is_left(raw: redis.Redis) -> bool:
    return not raw.keys(PREFIX + "aside:*") and not raw.exists(PREFIX + "whyaside")


async def test_they_are_counted_apart(aside: Engine) -> None:
    assert await counted(aside) == (1, 2)


async def test_they_are_listed_with_the_reason(aside: Engine) -> None:
    first, second = await listed(aside)
    assert (first.id, first.state, first.error, first.time_us, first.queue) == ("a", State.DEAD, WHY, 1_000, "q")
    assert first.record is not None
    assert first.record.body == b"body"
    assert (second.id, second.record, second.error, second.queue, second.kind) == ("b", None, WHY, "q", Kind.TASK)


async def test_they_are_told_as_dead(aside: Engine) -> None:
    readable, unreadable = await status_of(aside, "a"), await status_of(aside, "b")
    assert (readable.state, readable.error) == (State.DEAD, "set aside: " + WHY)
    assert readable.record is not None
    assert (unreadable.state, unreadable.error) == (State.DEAD, "set aside: " + WHY)
    assert unreadable.record is None


async def test_a_stale_entry_does_not_lead_to_them(aside: Engine, raw: redis.Redis) -> None:
    raw.rpush(PREFIX + "queue:t:q", "a")
    assert [id for id, _ in await aside.peek(NS, Kind.TASK, [], 10)] == ["c"]


async def test_cancelling_changes_nothing(aside: Engine) -> None:
    assert await aside.cancel(NS, ["a", "b", "c"]) == [Cancelled.NOT_FOUND, Cancelled.NOT_FOUND, Cancelled.REMOVED]
    assert await counted(aside) == (0, 2)


async def test_they_can_be_deleted(aside: Engine, raw: redis.Redis) -> None:
    assert await aside.queues.delete_items(NS, ["a", "b", "x"]) == [True, True, False]
    assert nothing_is_left(raw)
    assert await counted(aside) == (1, 0)
    assert await state_of(aside, "a") is State.UNKNOWN


async def test_clearing_their_queue_leaves_them_and_they_keep_it_there(aside: Engine) -> None:
    steps = [step async for step in aside.queues.clear(NS, Kind.TASK, "q")]
    assert steps[-1].removed == 1
    assert not await aside.queues.forget(NS, Kind.TASK, "q")
    assert await counted(aside) == (0, 2)
    await aside.queues.delete_items(NS, ["a", "b"])
    assert await aside.queues.forget(NS, Kind.TASK, "q")


@pytest.mark.parametrize("id", ["a", "b"])
async def test_their_ids_are_known(aside: Engine, raw: redis.Redis, id: str) -> None:
    outcomes = {
        conflict: (await aside.enqueue(NS, "", [new(id, conflict=conflict.value, body=b"new")]))[0]
        for conflict in (Conflict.KEEP, Conflict.FAIL)
    }
    assert outcomes == {Conflict.KEEP: Enqueued.EXISTS, Conflict.FAIL: Enqueued.CONFLICT}
    assert await counted(aside) == (1, 2)


@pytest.mark.parametrize("id", ["a", "b"])
async def test_a_replacement_takes_their_place(aside: Engine, id: str) -> None:
    item = new(id, conflict=Conflict.REPLACE.value, body=b"new")
    assert await aside.enqueue(NS, "", [item]) == [Enqueued.REPLACED]
    assert await counted(aside) == (2, 1)
    assert ids_of(await lease(aside)) == ["c", id]


async def test_a_note_that_outlived_its_item_says_nothing_of_the_next_one(aside: Engine, raw: redis.Redis) -> None:
    raw.hdel(PREFIX + "item", "a", "b")
    assert await aside.enqueue(NS, "", [new("a")]) == [Enqueued.CREATED]
    assert await state_of(aside, "a") is State.WAITING
    assert await aside.queues.redrive_aside(NS, Kind.TASK, "q", (), most=10) == RedrivenAside(0, 0)
    assert nothing_is_left(raw)


async def test_redriven_they_are_as_new(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", "b")
    await nack(engine, await lease_one(engine), NackReason.FAILED, 0, "boom")
    set_aside(raw, "a", "b")
    assert await engine.queues.redrive_aside(NS, Kind.TASK, "q", (), most=1) == RedrivenAside(1, 1)
    (item,) = await lease(engine)
    assert (item.id, item.attempt, item.last_error) == ("a", 1, "")
    assert await engine.queues.redrive_aside(NS, Kind.TASK, "q", ["b", "b"], most=1) == RedrivenAside(1, 0)
    assert await state_of(engine, "b") is State.WAITING
    assert nothing_is_left(raw)


async def test_redriving_one_that_is_not_set_aside_does_nothing(aside: Engine) -> None:
    assert await aside.queues.redrive_aside(NS, Kind.TASK, "q", ["a", "c"], most=10) == NoSuchItem("c")
    assert await counted(aside) == (1, 2)


async def test_redriven_an_item_goes_to_the_queue_that_its_record_names(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=LEASED._replace(queue="other"))
    raw.delete(PREFIX + "queue:t:other")
    set_aside(raw, "a", queue="dead")
    assert await engine.queues.redrive_aside(NS, Kind.TASK, "dead", (), most=10) == RedrivenAside(1, 0)
    assert ids_of(await lease(engine)) == ["a"]


# Dead letters that cannot be read


async def died(engine: Engine, *ids: str) -> None:
    await put(engine, *ids, spec=DYING)
    for item in await lease(engine):
        await nack(engine, item, NackReason.FAILED, 0, "boom")


async def test_a_dead_letter_whose_run_cannot_be_read_is_set_aside_in_its_queue(
    engine: Engine, raw: redis.Redis
) -> None:
    await died(engine, "a", "b")
    raw.hset(PREFIX + "run", "a", "?")
    steps = [step async for step in engine.dead_letters.redrive(NS, Kind.TASK, "dead")]
    assert steps == [Progress(1, 0)]
    (item,) = await listed(engine)
    assert item.id == "a"
    assert "what is noted of its deliveries cannot be read" in item.error
    (found,) = await engine.queues.describe(NS, Kind.TASK, ["q"])
    assert found is not None
    assert (found.ready, found.dead, found.set_aside) == (1, 0, 1)
    await engine.queues.redrive_aside(NS, Kind.TASK, "q", (), most=10)
    assert ids_of(await lease(engine)) == ["b", "a"]


@pytest.mark.parametrize(("record", "queue"), [(NEXT, "q"), (b"?", "dead")])
async def test_one_of_which_nothing_can_be_read_is_set_aside_where_its_text_says_or_under_its_dead_letter_queue(
    engine: Engine, raw: redis.Redis, record: bytes, queue: str
) -> None:
    await died(engine, "a")
    raw.hset(PREFIX + "run", "a", "?")
    raw.hset(PREFIX + "item", "a", record)
    assert await engine.dead_letters.take(NS, Kind.TASK, "dead", 10, room=3 * 2**20, item_bytes=4 * 2**20) == (
        [],
        False,
    )
    assert [item.id for item in await listed(engine, queue)] == ["a"]
    assert raw.hget(PREFIX + "item", "a") == record


async def test_a_dead_letter_that_is_no_more_than_an_entry_is_dropped(engine: Engine, raw: redis.Redis) -> None:
    await died(engine, "a", "b")
    raw.hdel(PREFIX + "item", "a")
    raw.hdel(PREFIX + "run", "a")
    taken = await engine.dead_letters.take(NS, Kind.TASK, "dead", 10, room=3 * 2**20, item_bytes=4 * 2**20)
    assert [item.id for item in taken.letters] == ["b"]
    assert await engine.dead_letters.queues(NS, Kind.TASK) == []


# What cannot be read and nobody has come to yet


async def test_an_unreadable_item_is_told_as_far_as_it_stands_somewhere(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "leased")
    await lease(engine)
    await died(engine, "dead")
    await put(engine, "later", due=f"+{3600 * SECOND_US}")
    await put(engine, "ready", "lost")
    for id in ("leased", "dead", "later", "ready", "lost"):
        raw.hset(PREFIX + "run", id, "?")
    raw.hset(PREFIX + "item", "lost", NEXT)
    found = {id: await status_of(engine, id) for id in ("leased", "dead", "later", "ready", "lost")}
    assert {id: status.state for id, status in found.items()} == {
        "leased": State.STARTED,
        "dead": State.DEAD,
        "later": State.SCHEDULED,
        "ready": State.WAITING,
        "lost": State.WAITING,
    }
    assert (found["lost"].kind, found["lost"].record) == (None, None)


async def test_an_end_that_cannot_be_read_is_unknown(engine: Engine, raw: redis.Redis) -> None:
    raw.set(PREFIX + "end:a", "Z of another version")
    assert await state_of(engine, "a") is State.UNKNOWN
