"""What cannot be read or carried is set aside by itself; the rest goes on."""

from __future__ import annotations

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Kind, Outcome, Refresh

from .conftest import MakeEngine
from .helpers import LEASED, NS, PREFIX, SECOND_US, TASKS, Clock, ack, ids_of, lease, nack, new, put

SHORT = LEASED._replace(lease_us=SECOND_US)


async def hundred(engine: Engine) -> list[str]:
    ids = [f"i{n}" for n in range(100)]
    await put(engine, *ids, spec=SHORT)
    return ids


def damage(raw: redis.Redis, what: str, id: str) -> None:
    raw.hset(PREFIX + what, id, "v2 something that nobody here can read")


def aside(raw: redis.Redis) -> list[bytes]:
    found: list[bytes] = raw.zrange(PREFIX + "aside:t:q", 0, -1)  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("what", ["item", "run"])
async def test_an_item_that_cannot_be_read_holds_up_no_lease(engine: Engine, raw: redis.Redis, what: str) -> None:
    ids = await hundred(engine)
    damage(raw, what, "i50")
    assert ids_of(await lease(engine)) == [id for id in ids if id != "i50"]
    assert aside(raw) == [b"i50"]
    assert raw.hexists(PREFIX + "item", "i50")


async def test_a_record_with_a_newer_version_is_not_guessed_at(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=SHORT)
    record: bytes = raw.hget(PREFIX + "item", "a")  # type: ignore[assignment]
    raw.hset(PREFIX + "item", "a", record.replace(b"\n", b" v=2\n", 1))
    assert await lease(engine) == []
    assert aside(raw) == [b"a"]


async def test_unknown_words_are_kept_and_ignored(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await put(still, "a", spec=SHORT)
    record: bytes = raw.hget(PREFIX + "item", "a")  # type: ignore[assignment]
    raw.hset(PREFIX + "item", "a", record.replace(b"\n", b" tomorrow=1 crashes=7\n", 1))
    (item,) = await lease(still)
    assert item.attempts == SHORT.attempts
    clock.passes(2 * SECOND_US)
    (item,) = await lease(still)
    run: bytes = raw.hget(PREFIX + "run", "a")  # type: ignore[assignment]
    assert b" tomorrow=1" in run
    assert await ack(still, item) is Outcome.OK


@pytest.mark.parametrize("damaged", ["unreadable", "missing"])
async def test_a_run_that_cannot_be_read_holds_up_no_expiry(
    still: Engine, clock: Clock, raw: redis.Redis, damaged: str
) -> None:
    ids = await hundred(still)
    if damaged == "missing":
        # Not in a share, where an id without a run has ended.
        for _ in range(10):
            await lease(still, 10)
        raw.hdel(PREFIX + "run", "i50")
    else:
        await lease(still)
        damage(raw, "run", "i50")
    clock.passes(2 * SECOND_US)
    assert sorted(ids_of(await lease(still))) == sorted(id for id in ids if id != "i50")
    assert aside(raw) == [b"i50"]


async def test_an_item_that_is_gone_leaves_only_its_lease(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await put(still, "a", spec=SHORT)
    await lease(still)
    raw.hdel(PREFIX + "run", "a")
    raw.hdel(PREFIX + "item", "a")
    clock.passes(2 * SECOND_US)
    assert await lease(still) == []
    assert aside(raw) == []


async def test_a_run_that_cannot_be_read_holds_up_no_settlement(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, *"abcdef", spec=SHORT)
    items = await lease(engine)
    for id in "ace":
        damage(raw, "run", id)
    one = [Outcome.NOT_FOUND, Outcome.OK]
    assert [await ack(engine, item) for item in items[:2]] == one
    assert [await nack(engine, item) for item in items[2:4]] == one
    refreshed = await engine.refresh(NS, [Refresh(item.id, item.token) for item in items[4:]])
    assert [each.outcome for each in refreshed] == one


async def test_an_item_that_fits_no_message_is_set_aside(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(reply_bytes=10_000, item_bytes=10_000)
    await engine.enqueue(NS, "", [new("small"), new("huge", body=b"x" * 10_000), new("last")])
    assert ids_of(await lease(engine)) == ["small", "last"]
    why: bytes = raw.hget(PREFIX + "whyaside", "huge")  # type: ignore[assignment]
    assert why.startswith(b"t q it is larger")
    assert raw.hexists(PREFIX + "item", "huge")


async def test_errors_count_against_the_room_of_a_reply(make_engine: MakeEngine) -> None:
    engine = await make_engine(reply_bytes=50_000)
    ids = [f"i{n}" for n in range(20)]
    await put(engine, *ids)
    for item in await lease(engine):
        await nack(engine, item, error="e" * 8000)
    reply = await engine.lease(NS, TASKS, 20)
    assert ids_of(reply.items) == ids[:6]
    assert not reply.drained


async def test_a_lease_does_not_read_what_does_not_fit(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine(reply_bytes=400_000)
    await engine.enqueue(NS, "", [new(f"i{n}", body=b"x" * 100_000) for n in range(100)])
    for number in range(5):
        assert ids_of(await lease(engine)) == [f"i{3 * number + n}" for n in range(3)]
    raw.config_resetstat()
    await lease(engine)
    # One slice of runs and one of records: not one after the other until a thousand are there.
    assert raw.info("commandstats")["cmdstat_hmget"]["calls"] <= 2


async def test_what_was_set_aside_can_be_sent_back(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", "b", "c")
    records = {id: raw.hget(PREFIX + "item", id) for id in "ab"}
    for id in records:
        damage(raw, "item", id)
    assert ids_of(await lease(engine)) == ["c"]
    raw.hset(PREFIX + "item", mapping=records)  # type: ignore[arg-type]
    done = await engine.queues.redrive_aside(NS, Kind.TASK, "q", ["b"], most=1000)
    assert done == (1, 1)
    assert ids_of(await lease(engine)) == ["b"]
    assert await engine.queues.redrive_aside(NS, Kind.TASK, "q", ["b"], most=1000) == ("b",)
    assert await engine.queues.redrive_aside(NS, Kind.TASK, "q", [], most=1000) == (1, 0)
    assert ids_of(await lease(engine)) == ["a"]
    assert not raw.exists(PREFIX + "whyaside")


async def test_due_times_of_a_later_version_stand_in_nobodys_way(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await put(still, "a", spec=SHORT)
    await lease(still)
    raw.zadd(PREFIX + "due", {"ends:of:tomorrow": 1})
    clock.passes(2 * SECOND_US)
    assert ids_of(await lease(still)) == ["a"]
    assert raw.zscore(PREFIX + "due", "ends:of:tomorrow") == clock.now_us + SECOND_US
