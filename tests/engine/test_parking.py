"""Items of tasks that whoever asks does not know are parked; those who know the task find them first."""

from __future__ import annotations

import asyncio

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.queues import Section
from dibs.broker.engine.types import Kind, LeaseCall, LeaseQuery, LeaseReply, State
from dibs.broker.engine.workers import WorkerReport, skill_set

from .conftest import MakeEngine
from .helpers import LEASED, NS, PREFIX, TASKS, ids_of, lease, lease_one, nack, new, state_of, until


def body(task: str) -> bytes:
    return b"\x0a" + bytes([len(task)]) + task.encode() + b"rest"


def teach(raw: redis.Redis, *tasks: str) -> str:
    digest = skill_set(tasks)
    raw.sadd(PREFIX + "skills:" + digest, *tasks)
    return digest


async def put_task(engine: Engine, task: str, *ids: str, queue: str = "q") -> None:
    spec = LEASED._replace(queue=queue)
    await engine.enqueue(NS, "", [new(id, spec, body=body(task)) for id in ids])


async def sift(engine: Engine, digest: str, wanted: int = 1000, *queues: str) -> list[str]:
    """Leases as a consumer of these skills who has met an item that it does not know."""
    query = TASKS if not queues else LeaseQuery(Kind.TASK, queues)
    return ids_of((await engine.lease(NS, query, wanted, call=LeaseCall("", 0, skills=digest, sift=True))).items)


async def test_items_of_unknown_tasks_are_parked_once_and_come_first_for_those_who_know_them(
    engine: Engine, raw: redis.Redis
) -> None:
    known, other = teach(raw, "known"), teach(raw, "unknown")
    await put_task(engine, "unknown", *(f"u{n}" for n in range(300)))
    await put_task(engine, "known", "k")
    assert await sift(engine, known) == ["k"]
    (counts,) = await engine.queues.describe(NS, Kind.TASK, ["q"])
    assert counts is not None
    assert counts.ready == 300
    assert raw.llen(PREFIX + "queue:t:q") == 0
    await put_task(engine, "unknown", "later")
    assert await sift(engine, other, 300) == [f"u{n}" for n in range(300)]
    assert await sift(engine, other) == ["later"]
    assert raw.keys(PREFIX + "parked*") == []
    assert raw.keys(PREFIX + "parkorder") == []


async def test_who_takes_any_task_sees_no_difference(engine: Engine, raw: redis.Redis) -> None:
    known = teach(raw, "known")
    await put_task(engine, "a", "a0", "a1")
    await put_task(engine, "b", "b0")
    await put_task(engine, "a", "a2")
    await put_task(engine, "b", "b1", "b2")
    assert await sift(engine, known) == []
    assert ids_of(await lease(engine, 4)) == ["a0", "a1", "b0", "a2"]
    assert ids_of(await lease(engine)) == ["b1", "b2"]


@pytest.mark.parametrize(("tasks", "each"), [(40, 400), (600, 20), (1, 3000)])
async def test_however_many_tasks_are_parked_all_come_out_in_order(
    engine: Engine, raw: redis.Redis, tasks: int, each: int
) -> None:
    known = teach(raw, "known")
    expected = [f"{n}-{task}" for n in range(each) for task in range(tasks)]
    for at in range(0, len(expected), 1000):
        ids = expected[at : at + 1000]
        await engine.enqueue(NS, "", [new(id, LEASED, body=body("t" + id.partition("-")[2])) for id in ids])
    while raw.llen(PREFIX + "queue:t:q"):
        assert await sift(engine, known) == []
    found: list[str] = []
    while some := ids_of(await lease(engine, 1000)):
        found += some
    assert found == expected
    assert raw.keys(PREFIX + "parked*") == []


async def test_parked_entries_that_lead_nowhere_are_passed_some_at_a_time(engine: Engine, raw: redis.Redis) -> None:
    known = teach(raw, "known")
    await put_task(engine, "unknown", "u")
    assert await sift(engine, known) == []
    # As an older broker leaves them, which does not know that items are parked.
    raw.zadd(PREFIX + "parked:t:q:unknown", {f"gone{n}": n for n in range(5000)})
    await engine.lease(NS, TASKS, 1000)
    assert raw.zcard(PREFIX + "parked:t:q:unknown") == 3001
    found: list[str] = []
    async with asyncio.timeout(10):
        while not found:
            found = ids_of(await lease(engine))
    assert found == ["u"]
    assert raw.keys(PREFIX + "parked*") == []


@pytest.mark.parametrize("bad", [b"\n", b"\n\x80", b"\n\x80\x80", b""])
async def test_a_body_that_ends_before_its_task_holds_nothing_up(engine: Engine, raw: redis.Redis, bad: bytes) -> None:
    known = teach(raw, "known")
    await engine.enqueue(NS, "", [new("bad", LEASED, body=bad)])
    await put_task(engine, "known", "k")
    assert await sift(engine, known) == ["k"]
    assert await sift(engine, known) == []
    assert await state_of(engine, "bad") is State.WAITING
    await engine.cancel(NS, ["bad"])
    assert raw.keys(PREFIX + "parked*") == []


async def test_one_lease_parks_as_many_as_it_passes(engine: Engine, raw: redis.Redis) -> None:
    known = teach(raw, "known")
    for first in range(0, 5000, 1000):
        await put_task(engine, "unknown", *(f"u{n}" for n in range(first, first + 1000)))
    await put_task(engine, "known", "k")
    replies: list[LeaseReply] = []
    while not replies or not replies[-1].items:
        replies.append(await engine.lease(NS, TASKS, 1, call=LeaseCall("", 0, skills=known, sift=True)))
    assert ids_of(replies[-1].items) == ["k"]
    assert sum(reply.parked for reply in replies) == 5000
    assert len(replies) <= 4


async def test_queues_are_served_by_priority_parked_or_not(engine: Engine, raw: redis.Redis) -> None:
    known = teach(raw, "known")
    for queue in ("x", "y", "z"):
        await put_task(engine, "unknown", f"u{queue}", queue=queue)
        await put_task(engine, "known", f"k{queue}", queue=queue)
    await sift(engine, known, 1)
    await sift(engine, known, 1)
    await sift(engine, known, 1)
    for queue in ("x", "y", "z"):
        await put_task(engine, "known", f"k{queue}2", queue=queue)
    await engine.queues.set_priority(NS, Kind.TASK, "y", 1, most=10)
    assert ids_of(await lease(engine)) == ["uy", "ky2", "ux", "kx2", "uz", "kz2"]


async def test_named_queues_are_served_in_their_order(engine: Engine, raw: redis.Redis) -> None:
    known, other = teach(raw, "known"), teach(raw, "unknown")
    for queue in ("x", "y", "z"):
        await put_task(engine, "unknown", f"u{queue}", queue=queue)
    await sift(engine, known)
    assert await sift(engine, other, 1000, "z", "x") == ["uz", "ux"]
    assert await sift(engine, other) == ["uy"]


async def test_a_paused_queue_delivers_nothing_that_is_parked_in_it(engine: Engine, raw: redis.Redis) -> None:
    known, other = teach(raw, "known"), teach(raw, "unknown")
    await put_task(engine, "unknown", "u")
    await sift(engine, known)
    await engine.queues.pause(NS, Kind.TASK, "q", paused=True)
    assert await sift(engine, other) == []
    assert await sift(engine, other, 1000, "q") == []
    await engine.queues.pause(NS, Kind.TASK, "q", paused=False)
    assert await sift(engine, other) == ["u"]


async def test_resuming_a_queue_wakes_those_who_wait_for_what_is_parked_in_it(
    make_engine: MakeEngine, raw: redis.Redis
) -> None:
    engine = await make_engine(poll_interval_s=1e6)
    known, other = teach(raw, "known"), teach(raw, "unknown")
    await put_task(engine, "unknown", "u")
    await sift(engine, known)
    await engine.queues.pause(NS, Kind.TASK, "q", paused=True)
    await until(engine.hints.subscribed)
    ready = asyncio.Event()
    with engine.hints.on_ready(NS, Kind.TASK, (), ready.set):
        call = LeaseCall("", 0, skills=other)
        assert not (await engine.lease(NS, TASKS, 1, note_hunger=True, call=call)).items
        await engine.queues.pause(NS, Kind.TASK, "q", paused=False)
        await until(ready)


async def test_who_missed_the_hint_finds_what_is_parked_at_the_next_look(
    make_engine: MakeEngine, raw: redis.Redis
) -> None:
    engine = await make_engine(poll_interval_s=0.05)
    await put_task(engine, "unknown", "u", queue="open")
    await put_task(engine, "unknown", "v", queue="shut")
    await sift(engine, teach(raw, "known"))
    await engine.queues.pause(NS, Kind.TASK, "shut", paused=True)
    opened, shut = asyncio.Event(), asyncio.Event()
    with (
        engine.hints.on_ready(NS, Kind.TASK, ("shut",), shut.set),
        engine.hints.on_ready(NS, Kind.TASK, ("open",), opened.set),
    ):
        await until(opened)
    assert not shut.is_set()


async def test_parked_items_can_be_cancelled_deleted_and_replaced(engine: Engine, raw: redis.Redis) -> None:
    known = teach(raw, "known")
    await put_task(engine, "unknown", "a", "b", "c", "d")
    await sift(engine, known)
    await engine.cancel(NS, ["a"])
    await engine.queues.delete_items(NS, ["b"])
    await engine.enqueue(NS, "", [new("c", body=body("known"), conflict="r")])
    assert raw.zrange(PREFIX + "parked:t:q:unknown", 0, -1) == [b"d"]
    assert not raw.exists(PREFIX + "stale:t")
    assert ids_of(await lease(engine)) == ["d", "c"]
    assert raw.keys(PREFIX + "parked*") == []


async def test_an_entry_that_a_replaced_item_left_behind_is_passed_once(engine: Engine, raw: redis.Redis) -> None:
    known = teach(raw, "known")
    await put_task(engine, "unknown", "u")
    await put_task(engine, "known", "k0")
    # Its first entry leads nowhere, but is what it is parked by.
    await engine.enqueue(NS, "", [new("u", LEASED, conflict="r", body=body("unknown"))])
    await put_task(engine, "known", "k1", "k2")
    for expected in ("k0", "k1"):
        assert await sift(engine, known, 1) == [expected]
    (counts,) = await engine.queues.describe(NS, Kind.TASK, ["q"])
    assert counts is not None
    assert (counts.ready, counts.leased) == (2, 2)
    assert ids_of(await lease(engine)) == ["u", "k2"]


async def test_a_parked_item_is_waiting(engine: Engine, raw: redis.Redis) -> None:
    await put_task(engine, "unknown", "u")
    await sift(engine, teach(raw, "known"))
    assert await state_of(engine, "u") is State.WAITING


async def test_without_the_names_of_a_skill_set_nothing_is_parked(engine: Engine, raw: redis.Redis) -> None:
    await put_task(engine, "unknown", "u")
    assert await sift(engine, skill_set(["nobody", "taught"])) == ["u"]


async def test_a_thousand_pairs_of_queue_and_task_can_be_parked(engine: Engine, raw: redis.Redis) -> None:
    known = teach(raw, "known")
    items = [new(f"u{n}", body=body(f"t{n}")) for n in range(1001)]
    for at in (0, 1000):
        await engine.enqueue(NS, "", items[at : at + 1000])
    assert await sift(engine, known) == ["u1000"]
    assert raw.get(PREFIX + "parkedpairs:t") == b"1000"
    assert await sift(engine, known) == []
    assert len(await lease(engine)) == 1000
    assert raw.keys(PREFIX + "parked*") == []


async def test_an_attempt_that_was_used_stays_used(engine: Engine, raw: redis.Redis) -> None:
    known = teach(raw, "known")
    await put_task(engine, "unknown", "u")
    await nack(engine, await lease_one(engine), error="no")
    assert await sift(engine, known) == []
    (item,) = await lease(engine)
    assert (item.attempt, item.last_error) == (2, "no")


async def test_parked_items_are_listed_peeked_and_counted_with_the_others(engine: Engine, raw: redis.Redis) -> None:
    known = teach(raw, "known")
    await put_task(engine, "b", "b0", "b1")
    await put_task(engine, "a", "a0")
    await sift(engine, known)
    await put_task(engine, "known", "k0")
    assert [id for id, _ in await engine.peek(NS, Kind.TASK, ["q"], 10)] == ["a0", "b0", "b1", "k0"]
    page = await engine.queues.items(
        NS, Kind.TASK, "q", Section.READY, 3, body_bytes=100, room=10_000, item_bytes=10_000
    )
    rest = await engine.queues.items(
        NS,
        Kind.TASK,
        "q",
        Section.READY,
        3,
        position=page.position or 0,
        body_bytes=100,
        room=10_000,
        item_bytes=10_000,
    )
    assert [item.id for item in (*page.items, *rest.items)] == ["a0", "b0", "b1", "k0"]
    assert {item.state for item in page.items} == {State.WAITING}
    (counts,) = await engine.queues.describe(NS, Kind.TASK, ["q"])
    assert counts is not None
    assert (counts.ready, counts.parked) == (4, [("b", 2, 0), ("a", 1, 0)])
    assert counts.oldest_ready_us is not None


async def test_a_queue_that_holds_nothing_but_parked_items_is_peeked_at_too(engine: Engine, raw: redis.Redis) -> None:
    await put_task(engine, "a", "a0")
    await sift(engine, teach(raw, "known"))
    assert [id for id, _ in await engine.peek(NS, Kind.TASK, [], 10)] == ["a0"]


async def test_who_knows_a_parked_task_is_counted(engine: Engine, raw: redis.Redis) -> None:
    await put_task(engine, "a", "a0")
    await sift(engine, teach(raw, "known"))
    await engine.workers.report(NS, [WorkerReport("w", skill_set(["a"]), b"")], (), {skill_set(["a"]): ["a"]})
    (counts,) = await engine.queues.describe(NS, Kind.TASK, ["q"])
    assert counts is not None
    assert counts.parked == [("a", 1, 1)]


async def test_clearing_a_queue_clears_what_is_parked(engine: Engine, raw: redis.Redis) -> None:
    await put_task(engine, "a", *(f"a{n}" for n in range(300)))
    await put_task(engine, "b", "b0")
    await sift(engine, teach(raw, "known"))
    await put_task(engine, "known", "k0")
    assert not await engine.queues.forget(NS, Kind.TASK, "q")
    steps = [step async for step in engine.queues.clear(NS, Kind.TASK, "q")]
    assert steps[-1] == (302, 0)
    assert raw.keys(PREFIX + "parked*") == []
    assert await engine.queues.forget(NS, Kind.TASK, "q")


async def test_a_flush_sees_what_is_parked(engine: Engine, raw: redis.Redis) -> None:
    ids = {f"a{n}" for n in range(1500)}
    for at in (0, 1000):
        await put_task(engine, "a", *sorted(ids)[at : at + 1000])
    while (await engine.lease(NS, TASKS, 1, call=LeaseCall("", 0, skills=teach(raw, "known"), sift=True))).parked:
        pass
    found = [some async for some in engine.snapshots.tasks(NS, "q", delayed_too=False, leased_too=False)]
    assert {id for some in found for id in some} == ids
