"""How much a namespace may hold: exact at the edge, whichever broker is asked, whatever comes and goes meanwhile."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import redis

from dibs.broker.engine import keys
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import QuotaExceeded
from dibs.broker.engine.peers import FORMAT
from dibs.broker.engine.quotas import Quotas, QuotaTable
from dibs.broker.engine.schedules import NewSchedule
from dibs.broker.engine.types import Ack, Conflict, Enqueued, Kind, LeaseQuery, Nack, NackReason, decode_record
from dibs.broker.engine.workers import ANY_TASK, WorkerReport

from ..support.waiting import until
from .conftest import MakeEngine
from .helpers import LEASED, NS, ONCE, PREFIX, ack, ids_of, lease, lease_one, nack, new, put

DATA = LEASED._replace(kind=Kind.DATA)
DYING = LEASED._replace(attempts=1, dead_queue="dead")


@pytest.fixture
def table() -> QuotaTable:
    """Of `engine` and `other`; a test sets what it is about."""
    return QuotaTable()


@pytest.fixture
async def engine(make_engine: MakeEngine, table: QuotaTable) -> Engine:
    return await looked(await make_engine(quotas=table))


@pytest.fixture
async def other(make_engine: MakeEngine, table: QuotaTable) -> Engine:
    return await looked(await make_engine(quotas=table))


async def looked(engine: Engine) -> Engine:
    """Knows that no broker of an earlier version is there."""
    await engine.hints.subscribed.wait()
    await engine.peers.look()
    assert engine.peers.current
    return engine


async def refused(engine: Engine, *ids: str, spec: Any = LEASED, **terms: Any) -> tuple[str, int, int]:
    """The refusal of items: of what, limit and use."""
    with pytest.raises(QuotaExceeded) as caught:
        await engine.enqueue(NS, "", [new(id, spec, **terms) for id in ids])
    return caught.value.quota, caught.value.limit, caught.value.used


def numbers_of_listeners(raw: redis.Redis) -> tuple[int, int]:
    """How many listen to hints, and how many of them know today's format."""
    found: list[Any] = raw.pubsub_numsub(keys.hints_channel("dibs"), keys.format_channel("dibs", FORMAT))
    return found[0][1], found[1][1]


def held(raw: redis.Redis) -> int:
    """Bytes of all records."""
    return sum(len(record) for record in raw.hvals(PREFIX + "item"))


async def test_the_last_item_that_there_is_room_for_is_taken_and_the_next_is_not(
    engine: Engine, other: Engine, table: QuotaTable
) -> None:
    table.every = Quotas(items=3)
    await put(engine, "a", "b")
    await put(other, "c")

    assert await refused(engine, "d") == await refused(other, "d") == ("items", 3, 3)
    assert ids_of(await lease(engine)) == ["a", "b", "c"]


async def test_a_request_without_room_for_all_of_it_puts_nothing_in(engine: Engine, table: QuotaTable) -> None:
    table.every = Quotas(items=3)
    await put(engine, "a", "b")

    assert await refused(engine, "c", "d") == ("items", 3, 2)

    assert ids_of(await lease(engine)) == ["a", "b"]
    await put(engine, "c")


async def test_a_refusal_is_not_remembered_under_its_request_id(engine: Engine, table: QuotaTable) -> None:
    table.every = Quotas(items=1)
    await put(engine, "a")
    with pytest.raises(QuotaExceeded):
        await engine.enqueue(NS, "request", [new("b")])
    await ack(engine, await lease_one(engine))

    assert await engine.enqueue(NS, "request", [new("b")]) == [Enqueued.CREATED]


async def test_a_repeated_request_is_answered_though_it_filled_the_quota_itself(
    engine: Engine, other: Engine, table: QuotaTable
) -> None:
    table.every = Quotas(items=2, bytes=10_000, queues=1)
    items = [new("a"), new("b")]
    first = await engine.enqueue(NS, "request", items)

    assert await other.enqueue(NS, "request", items) == first
    assert await other.enqueue(NS, "", items) == [Enqueued.EXISTS] * 2
    assert await refused(other, "c") == ("items", 2, 2)


async def test_of_requests_that_share_a_call_those_are_refused_that_have_no_room(
    engine: Engine, table: QuotaTable
) -> None:
    table.every = Quotas(items=5)
    await put(engine, "first")

    found = await asyncio.gather(
        engine.enqueue(NS, "", [new("a"), new("b"), new("c")]),
        engine.enqueue(NS, "", [new("d"), new("e")]),
        engine.enqueue(NS, "", [new("f")]),
        return_exceptions=True,
    )

    assert [type(one) for one in found] == [list, QuotaExceeded, list]
    assert ids_of(await lease(engine)) == ["first", "a", "b", "c", "f"]


async def test_a_refused_request_leaves_what_shares_its_call_as_it_is(
    engine: Engine, table: QuotaTable, raw: redis.Redis
) -> None:
    table.every = Quotas(items=4, queues=1)
    await put(engine, "before")
    far = "+3600000000"
    elsewhere = LEASED._replace(queue="elsewhere")

    found = await asyncio.gather(
        engine.enqueue(NS, "one", [new("later", due=far), new("now")]),
        # Would bring one forward, replace others, and wants a queue and two items more than there may be.
        engine.enqueue(
            NS,
            "two",
            [
                new("later", conflict=Conflict.REPLACE, body=b"two"),
                new("now", conflict=Conflict.REPLACE, due=far, body=b"two"),
                new("before", elsewhere, conflict=Conflict.REPLACE, body=b"two"),
                new("c"),
                new("d", due=far),
            ],
        ),
        engine.enqueue(NS, "three", [new("e", due=far)]),
        return_exceptions=True,
    )

    assert [type(one) for one in found] == [list, QuotaExceeded, list]
    records: dict[Any, Any] = raw.hgetall(PREFIX + "item")
    assert {id: record.rpartition(b"\n")[2] for id, record in records.items()} == dict.fromkeys(
        (b"before", b"later", b"now", b"e"), b"body"
    )
    assert raw.zrange(PREFIX + "delayed:t:q", 0, -1) == [b"later", b"e"]
    assert raw.lrange(PREFIX + "queue:t:q", 0, -1) == [b"before", b"now"]
    assert raw.hgetall(PREFIX + "seen:t") == {b"q": b"4"}
    assert not raw.hgetall(PREFIX + "stale:t")
    assert not raw.exists(PREFIX + "request:two")
    assert ids_of(await lease(engine)) == ["before", "now"]


async def test_two_brokers_at_once_do_not_put_in_more_than_there_is_room_for(
    engine: Engine, other: Engine, table: QuotaTable, raw: redis.Redis
) -> None:
    table.every = Quotas(items=100, bytes=100 * 100)
    await asyncio.gather(
        *(via.enqueue(NS, "", [new(f"{n}-{at}")]) for n in range(100) for at, via in enumerate((engine, other))),
        return_exceptions=True,
    )

    assert raw.hlen(PREFIX + "item") == 100


async def test_a_replacement_takes_no_item_and_the_bytes_that_it_is_longer(
    engine: Engine, table: QuotaTable, raw: redis.Redis
) -> None:
    await put(engine, "a")
    size = held(raw)
    table.every = Quotas(items=1, bytes=size + 10)

    await engine.enqueue(NS, "", [new("a", conflict=Conflict.REPLACE, body=b"body" + b"x" * 10)])

    longer = {"conflict": Conflict.REPLACE, "body": b"body" + b"x" * 11}
    assert await refused(engine, "a", **longer) == ("bytes", size + 10, size + 10)
    assert held(raw) == size + 10


async def test_what_an_item_leaves_may_be_used_again_however_it_ends(
    engine: Engine, table: QuotaTable, raw: redis.Redis
) -> None:
    """Every way out gives back exactly what the way in took."""
    await put(engine, "x" * 8)
    table.every = Quotas(items=1, bytes=held(raw) + 60)

    async def full() -> None:
        assert (await refused(engine, "another"))[0] == "items"
        assert int(raw.hget(PREFIX + "bytes", "total") or -1) == held(raw)

    async def cleared() -> None:
        async for _ in engine.queues.clear(NS, Kind.TASK, "q"):
            pass

    async def dead() -> None:
        await nack(engine, await lease_one(engine))
        await full()

    async def purged() -> None:
        await dead()
        async for _ in engine.dead_letters.purge(NS, Kind.TASK, "dead", ()):
            pass

    async def taken() -> None:
        await dead()
        await engine.dead_letters.take(NS, Kind.TASK, "dead", 10, room=100_000, item_bytes=100_000)

    async def redriven() -> None:
        await dead()
        async for _ in engine.dead_letters.redrive(NS, Kind.TASK, "dead", ()):
            pass
        await full()
        await ack(engine, await lease_one(engine))

    async def restored() -> None:
        (item,) = await lease(engine, 1, LeaseQuery(Kind.TASK, (), 0))
        if not item.token:
            await engine.restore(NS, [item])
            await full()
            await lease(engine)

    async def deleted() -> None:
        await engine.queues.delete_items(NS, ["item"])

    async def failed() -> None:
        item = await lease_one(engine)
        await engine.nack(NS, [Nack(item.id, item.token, NackReason.REJECTED, None, "no")])

    async def finished() -> None:
        await ack(engine, await lease_one(engine), b"result")

    async def cancelled() -> None:
        await engine.cancel(NS, ["item"])

    await finished()
    ways = [
        (LEASED, finished), (LEASED, cancelled), (LEASED, deleted), (LEASED, cleared), (LEASED, failed),
        (DYING, purged), (DYING, taken), (DYING, redriven), (ONCE, restored),
    ]  # fmt: skip
    for spec, way in ways:
        await put(engine, "item", spec=spec)
        await full()
        await way()
        assert raw.hlen(PREFIX + "item") == 0, way
        assert raw.hget(PREFIX + "bytes", "total") == b"0", way


async def test_queues_are_limited_until_they_are_deleted(engine: Engine, other: Engine, table: QuotaTable) -> None:
    table.every = Quotas(queues=2)
    await put(engine, "a", spec=LEASED._replace(queue="one"))
    # Another of the same name, but for data.
    await put(engine, "b", spec=DATA._replace(queue="one"))

    assert await refused(other, "c", spec=LEASED._replace(queue="two")) == ("queues", 2, 2)
    await put(other, "c", spec=LEASED._replace(queue="one"))

    await engine.queues.delete_items(NS, ["b"])
    async for _ in engine.queues.clear(NS, Kind.DATA, "one"):
        pass
    assert await engine.queues.forget(NS, Kind.DATA, "one")
    await put(other, "d", spec=LEASED._replace(queue="two"))


async def test_a_namespace_has_its_own_quotas_and_may_change_them(engine: Engine, table: QuotaTable) -> None:
    table.every, table.own = Quotas(items=1), {"large": Quotas(items=3)}
    await engine.enqueue("small", "", [new("a")])
    await engine.enqueue("large", "", [new("a"), new("b"), new("c")])
    with pytest.raises(QuotaExceeded):
        await engine.enqueue("small", "", [new("b")])
    with pytest.raises(QuotaExceeded):
        await engine.enqueue("large", "", [new("d")])

    table.own = {"large": Quotas()}

    await engine.enqueue("large", "", [new("d")])


async def test_a_deleted_namespace_has_all_its_room_again(engine: Engine, table: QuotaTable, raw: redis.Redis) -> None:
    table.every = Quotas(items=2, bytes=1000, queues=1)
    await put(engine, "a", "b")
    async for _ in engine.removal.remove(NS):
        pass

    await put(engine, "a", "b", spec=LEASED._replace(queue="other"))

    assert await refused(engine, "c") == ("items", 2, 2)
    # The next call finds the count gone, and counts anew.
    await engine.quotas.count(NS)
    assert int(raw.hget(PREFIX + "bytes", "total") or 0) == held(raw)


async def test_locks_are_limited_while_they_are_held(engine: Engine, other: Engine, table: QuotaTable) -> None:
    table.every = Quotas(locks=2)
    await engine.locks.acquire(NS, "a", "me", 60_000_000)
    await engine.locks.acquire(NS, "b", "me", 60_000_000)

    with pytest.raises(QuotaExceeded) as caught:
        await other.locks.acquire(NS, "c", "me", 60_000_000)

    assert (caught.value.quota, caught.value.limit, caught.value.used) == ("locks", 2, 2)
    # Who holds one takes it again, and another is told who has it.
    assert (await other.locks.acquire(NS, "a", "me", 60_000_000)).owner == "me"
    assert (await other.locks.acquire(NS, "a", "you", 60_000_000)).owner == "me"
    await engine.locks.release(NS, "a", "me")
    await other.locks.acquire(NS, "c", "me", 60_000_000)


async def test_tasks_are_limited_and_registered_all_or_none(engine: Engine, other: Engine, table: QuotaTable) -> None:
    table.every = Quotas(tasks=3)
    await engine.tasks.register(NS, [("a", b""), ("b", b"")])

    with pytest.raises(QuotaExceeded) as caught:
        await other.tasks.register(NS, [("c", b""), ("d", b"")])

    assert (caught.value.quota, caught.value.limit, caught.value.used) == ("tasks", 3, 2)
    assert [task.name for task in (await engine.tasks.page(NS, 10))[0]] == ["a", "b"]
    await other.tasks.register(NS, [("a", b"again"), ("b", b"again"), ("c", b"")])


def schedule(name: str, due_us: int, body: bytes = b"body") -> NewSchedule:
    return NewSchedule(name, LEASED.encode(), "task", b"definition", body, due_us)


async def test_schedules_are_limited_and_put_all_or_none(engine: Engine, other: Engine, table: QuotaTable) -> None:
    table.every = Quotas(schedules=2)
    later = await engine.schedules.now_us(NS) + 10**12
    await engine.schedules.put(NS, "g", [schedule("a", later), schedule("b", later)])

    with pytest.raises(QuotaExceeded) as caught:
        await other.schedules.put(NS, "g", [schedule("b", later, b"other"), schedule("c", later)])

    assert (caught.value.quota, caught.value.limit, caught.value.used) == ("schedules", 2, 2)
    page, _ = await engine.schedules.page(NS, 10, 100_000)
    assert [(one.name, one.body) for one in page] == [("a", b"body"), ("b", b"body")]
    # What the same call removes makes room.
    removed = await other.schedules.put(NS, "g", [schedule("b", later), schedule("c", later)], replace_group=True)
    assert removed == ["a"]


async def test_a_run_that_there_is_no_room_for_stays_due_and_comes_when_there_is(
    engine: Engine, table: QuotaTable
) -> None:
    table.every = Quotas(items=1)
    await engine.workers.report(NS, [WorkerReport("w 1", ANY_TASK, b"")], tasks={ANY_TASK: []})
    await put(engine, "a")
    due = await engine.schedules.now_us(NS) - 1000
    await engine.schedules.put(NS, "g", [schedule("s", due)])

    assert not (await engine.schedules.look(NS, ["s"])).pending
    (stands,), _ = await engine.schedules.page(NS, 10, 100_000)
    assert (stands.state.value, stands.due_us, stands.runs) == ("W", due, 0)

    await ack(engine, await lease_one(engine))
    assert (await engine.schedules.look(NS, ["s"])).pending
    assert [decode_record(item.record).due_us for item in await lease(engine)] == [due]


async def test_bytes_that_were_there_before_are_counted_step_by_step_while_items_come_and_go(
    engine: Engine, other: Engine, table: QuotaTable, raw: redis.Redis
) -> None:
    chance = random.Random(7)
    # Large enough that Redis does not answer all of them at once.
    bodies = [b"x" * chance.randrange(100, 400) for _ in range(3000)]
    await asyncio.gather(
        *(
            engine.enqueue(NS, "", [new(f"{n}", body=bodies[n]) for n in range(at, at + 500)])
            for at in range(0, 3000, 500)
        )
    )
    steps = 0
    while not await engine._call("weigh", NS, (0, 4000)):
        steps += 1
        via = chance.choice((engine, other))
        id = f"{chance.randrange(4000)}"
        await via.enqueue(NS, "", [new(id, body=bodies[chance.randrange(3000)], conflict=Conflict.REPLACE)])
        for item in await lease(via, chance.randrange(1, 3)):
            await via.ack(NS, [Ack(item.id, item.token)])
        await via.queues.delete_items(NS, [f"{chance.randrange(4000)}" for _ in range(3)])

    assert steps > 50
    assert int(raw.hget(PREFIX + "bytes", "total") or 0) == held(raw)
    assert raw.exists(PREFIX + "weighed") == 0
    assert (await other.quotas.use(NS)).bytes == held(raw)


async def test_a_namespace_with_little_in_it_is_held_to_its_bytes_from_the_first_call(
    engine: Engine, table: QuotaTable, raw: redis.Redis
) -> None:
    await put(engine, *(f"{n}" for n in range(1000)))
    table.every = Quotas(bytes=held(raw) + 10)

    assert (await refused(engine, "more"))[0] == "bytes"


async def test_what_a_broker_of_an_earlier_version_did_is_counted_once_it_is_gone(
    engine: Engine, table: QuotaTable, raw: redis.Redis
) -> None:
    table.every = Quotas(bytes=1000)
    await put(engine, "a")
    before = held(raw)
    # It listens to hints, and knows nothing of this format; and it puts in and takes out without counting.
    older: Any = raw.pubsub()  # type: ignore[no-untyped-call]
    with older:
        older.subscribe(keys.hints_channel("dibs"))
        older.get_message(timeout=5)
        assert numbers_of_listeners(raw) == (2, 1)
        raw.hset(PREFIX + "item", "old", raw.hvals(PREFIX + "item")[0] + b"x" * 2000)  # type: ignore[operator]
        await engine.peers.look()

        # Nobody can say how much there is.
        await put(engine, "b")
    until(lambda: numbers_of_listeners(raw) == (1, 1), "the older one is gone")
    await engine.peers.look()

    assert await refused(engine, "c") == ("bytes", 1000, held(raw))
    assert held(raw) > before + 2000
    raw.hdel(PREFIX + "item", "old")


async def test_of_nothing_there_are_no_bytes_whatever_was_counted(
    engine: Engine, table: QuotaTable, raw: redis.Redis
) -> None:
    table.every = Quotas(bytes=1000)
    await put(engine, "a")
    await ack(engine, await lease_one(engine))
    raw.hset(PREFIX + "bytes", "total", 5000)

    await put(engine, "b")

    assert int(raw.hget(PREFIX + "bytes", "total") or 0) == held(raw)


async def test_nothing_is_counted_where_nobody_asks(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", "b")
    await ack(engine, await lease_one(engine))

    assert not raw.exists(PREFIX + "bytes")
    assert (await engine.quotas.use(NS))[:3] == (1, None, 1)
