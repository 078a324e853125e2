"""What operators do to queues, script by script."""

from __future__ import annotations

import asyncio
import math

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.queues import STEP, ItemPage, QueueCounts, Section
from dibs.broker.engine.types import Kind, LeaseQuery, Outcome, Refresh, State, Until

from .conftest import MakeEngine
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
    until,
    until_watched,
)

ALL_OF_IT = 2**53


async def counts(engine: Engine, queue: str = "q") -> QueueCounts | None:
    (found,) = await engine.queues.describe(NS, Kind.TASK, [queue])
    return found


async def page(engine: Engine, section: Section = Section.READY, queue: str = "q", *, position: int = 0) -> ItemPage:
    return await engine.queues.items(
        NS, Kind.TASK, queue, section, 1000, position=position, body_bytes=ALL_OF_IT, room=ROOM, item_bytes=ROOM
    )


async def ready_ids(engine: Engine) -> list[str]:
    return [item.id for item in (await page(engine)).items]


async def clear(engine: Engine, queue: str = "q") -> list[tuple[int, int]]:
    return [(step.removed, step.left) async for step in engine.queues.clear(NS, Kind.TASK, queue)]


async def test_items_are_counted_as_done_when_they_end_well(engine: Engine) -> None:
    await put(engine, "once", "again", spec=ONCE)
    await put(engine, "a", "b", "c")
    await lease(engine, 2)
    for item in (await lease(engine))[:2]:
        await ack(engine, item)
    found = await counts(engine)
    assert found is not None
    assert (found.seen, found.done, found.leased) == (5, 4, 1)


async def test_an_at_most_once_item_that_is_put_back_was_not_done(engine: Engine) -> None:
    await put(engine, "a", spec=ONCE)
    await engine.restore(NS, await lease(engine))
    found = await counts(engine)
    assert found is not None
    assert (found.seen, found.done, found.ready) == (1, 0, 1)


async def test_an_at_most_once_item_can_be_put_back_for_later(still: Engine, clock: Clock) -> None:
    await put(still, "a", spec=ONCE)
    await still.restore(NS, await lease(still), delay_us=SECOND_US)
    assert await state_of(still, "a") is State.SCHEDULED
    clock.passes(SECOND_US - 1)
    assert await lease(still) == []
    clock.passes(1)
    assert ids_of(await lease(still)) == ["a"]


async def test_the_oldest_ready_item_is_told_past_stale_entries(still: Engine, clock: Clock) -> None:
    await put(still, "a")
    clock.passes(SECOND_US)
    await put(still, "b")
    began = clock.now_us
    await still.cancel(NS, ["a"])
    found = await counts(still)
    assert found is not None
    assert (found.ready, found.oldest_ready_us) == (1, began)


async def test_names_are_in_the_order_in_which_queues_are_served(engine: Engine) -> None:
    for name in ("b", "a", "c"):
        await put(engine, name, spec=LEASED._replace(queue=name))
    await engine.queues.set_priority(NS, Kind.TASK, "c", 0.5, most=10)
    await engine.queues.set_priority(NS, Kind.TASK, "new", -1e12, most=10)
    assert await engine.queues.names(NS, Kind.TASK) == [
        (-1e12, "new"),
        (0.5, "c"),
        (math.inf, "a"),
        (math.inf, "b"),
    ]
    assert await engine.queues.names(NS, Kind.DATA) == []
    assert ids_of(await lease(engine)) == ["c", "a", "b"]


async def test_a_paused_queue_is_passed_over_by_every_lease(engine: Engine, other: Engine) -> None:
    await put(engine, "a")
    await put(engine, "b", spec=LEASED._replace(queue="other"))
    assert await engine.queues.pause(NS, Kind.TASK, "q", paused=True) is True
    assert await engine.queues.pause(NS, Kind.TASK, "q", paused=True) is False
    await put(other, "c")
    assert ids_of(await lease(other)) == ["b"]
    assert await lease(other, query=LeaseQuery(Kind.TASK, ("q", "other"))) == []
    assert await engine.queues.pause(NS, Kind.TASK, "q", paused=False) is True
    assert ids_of(await lease(other)) == ["a", "c"]
    assert await engine.queues.pause(NS, Kind.TASK, "none", paused=True) is None


async def test_what_comes_back_to_a_paused_queue_waits_too(still: Engine, clock: Clock) -> None:
    await put(still, "failed", "expired", spec=LEASED._replace(lease_us=SECOND_US))
    await put(still, "delayed", due=f"+{SECOND_US}")
    failed, _ = await lease(still)
    await still.queues.pause(NS, Kind.TASK, "q", paused=True)
    await nack(still, failed)
    clock.passes(2 * SECOND_US)
    assert await lease(still) == []
    await still.queues.pause(NS, Kind.TASK, "q", paused=False)
    assert sorted(ids_of(await lease(still))) == ["delayed", "expired", "failed"]


async def test_resuming_wakes_those_who_wait(engine: Engine, other: Engine) -> None:
    await put(engine, "a")
    await engine.queues.pause(NS, Kind.TASK, "q", paused=True)
    woken = asyncio.Event()
    await until(other.hints.subscribed)
    with other.hints.on_ready(NS, Kind.TASK, (), woken.set):
        assert (await other.lease(NS, TASKS, 1, note_hunger=True)).drained
        await engine.queues.pause(NS, Kind.TASK, "q", paused=False)
        await until(woken, 1)


async def test_items_are_listed_as_they_will_be_leased(still: Engine, clock: Clock) -> None:
    await put(still, "stale", "b", "c")
    await still.cancel(NS, ["stale"])
    await put(still, "late", due=f"+{SECOND_US}")
    await put(still, "later", due=f"+{HOUR_US}")
    assert await ready_ids(still) == ["b", "c"]
    leased = await lease_one(still)
    (item,) = (await page(still, Section.LEASED)).items
    assert (item.id, item.state, item.deliveries, item.time_us) == (leased.id, State.STARTED, 1, clock.now_us + HOUR_US)
    clock.passes(SECOND_US)
    found = (await page(still, Section.DELAYED)).items
    assert [(item.id, item.state) for item in found] == [("late", State.LATE), ("later", State.SCHEDULED)]


async def test_long_lists_are_read_in_steps(engine: Engine) -> None:
    ids = [f"{n}" for n in range(2500)]
    for at in range(0, len(ids), 1000):
        await put(engine, *ids[at : at + 1000])
    await engine.cancel(NS, ids[:1000])
    await engine.cancel(NS, ids[1000:1500])
    found = await page(engine)
    assert [item.id for item in found.items] == ids[1500:]
    assert found.position is not None
    rest = await page(engine, position=found.position)
    assert (rest.items, rest.position) == ([], None)


async def test_bodies_can_be_cut_off_and_large_ones_end_a_page(engine: Engine) -> None:
    await engine.enqueue(NS, "", [new(f"{n}", body=b"x" * 1_000_000) for n in range(4)])
    found = await page(engine)
    assert (len(found.items), found.position) == (3, 3)
    cut = await engine.queues.items(
        NS, Kind.TASK, "q", Section.READY, 1000, position=0, body_bytes=10, room=ROOM, item_bytes=ROOM
    )
    assert [item.record and item.record.body for item in cut.items] == [b"x" * 10] * 4
    assert cut.position is None


async def test_a_queue_that_is_not_known_is_told(engine: Engine) -> None:
    assert not (await page(engine)).known
    assert await counts(engine) is None
    await engine.queues.set_priority(NS, Kind.TASK, "q", 1, most=10)
    assert (await page(engine)).known
    await engine.queues.set_priority(NS, Kind.TASK, "q", None, most=10)
    assert await counts(engine) is None


async def test_deleted_items_leave_nothing_behind(still: Engine, raw: redis.Redis) -> None:
    await put(still, "done", spec=KEPT)
    await ack(still, await lease_one(still), b"result")
    await put(still, "leased", "failed", "ready", spec=KEPT._replace(attempts=1, dead_queue="dead"))
    await put(still, "delayed", due=f"+{HOUR_US}")
    leased, failed = await lease(still, 2)
    await nack(still, failed, error="bad")
    ids = ["done", "leased", "failed", "ready", "delayed"]
    assert await still.queues.delete_items(NS, [*ids, "never", "done"]) == [True] * 5 + [False] * 2
    assert [await state_of(still, id) for id in ids] == [State.UNKNOWN] * 5
    assert await ack(still, leased) is Outcome.NOT_FOUND
    assert await lease(still) == []
    for key in ("item", "run", "error", "dead:t:dead", "deadqueues:t", "deaths:t", "leased:t:q", "delayed:t:q"):
        assert raw.exists(PREFIX + key) == 0, key


async def test_the_worker_of_a_deleted_item_is_told(engine: Engine, other: Engine) -> None:
    await put(engine, "a")
    await lease(engine)
    told = asyncio.Event()
    await until(other.hints.subscribed)
    with other.hints.on_cancelled(lambda namespace, id, token: told.set()):
        await engine.queues.delete_items(NS, ["a"])
        await until(told, 1)


async def test_clearing_works_in_steps_and_ends_what_it_removes(engine: Engine, raw: redis.Redis) -> None:
    for at in range(3):
        await put(engine, *(f"{at}-{n}" for n in range(800)), spec=KEPT)
    await put(engine, *(f"late-{n}" for n in range(STEP)), due=f"+{HOUR_US}")
    leased = await lease(engine, 10)
    await engine.cancel(NS, [f"0-{n}" for n in range(10, 800)])
    steps = await clear(engine)
    # The entries of cancelled items take up steps, too.
    assert steps[:6] == [(200, 1600), (200, 2190), (200, 1990), (200, 1790), (210, 1590), (410, 1390)]
    assert steps[-1] == (1800, 0)
    assert await state_of(engine, "1-100") is State.CANCELLED
    assert await state_of(engine, "late-1") is State.UNKNOWN
    assert [await ack(engine, item) for item in leased] == [Outcome.OK] * 10
    for key in ("item", "run", "queue:t:q", "stale:t", "ready:t", "delayed:t:q"):
        assert raw.exists(PREFIX + key) == 0, key


async def test_clearing_does_not_chase_what_arrives_meanwhile(engine: Engine) -> None:
    await put(engine, *(f"{n}" for n in range(STEP + STEP // 2)))
    steps = 0
    async for _ in engine.queues.clear(NS, Kind.TASK, "q"):
        steps += 1
        await put(engine, *(f"{steps}-{n}" for n in range(100)))
    found = await counts(engine)
    assert found is not None
    # The first step looks at the delayed ones; those that came after the second, the first at the list, are left.
    assert (steps, found.ready) == (3, 200)


async def test_clearing_wakes_those_who_wait_for_its_items(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(engine.lookup(NS, ["a"], until=Until.DONE, timeout_s=20))
        await until_watched(raw, "a")
        await clear(engine)
    assert waiting.result()[0].state is State.UNKNOWN


async def test_only_an_empty_queue_is_forgotten(engine: Engine, raw: redis.Redis) -> None:
    await engine.queues.set_priority(NS, Kind.TASK, "q", 1, most=10)
    await put(engine, "a")
    await engine.queues.pause(NS, Kind.TASK, "q", paused=True)
    assert not await engine.queues.forget(NS, Kind.TASK, "q")
    await engine.queues.pause(NS, Kind.TASK, "q", paused=False)
    item = await lease_one(engine)
    assert not await engine.queues.forget(NS, Kind.TASK, "q")
    await ack(engine, item)
    assert await engine.queues.forget(NS, Kind.TASK, "q")
    assert await counts(engine) is None
    for name in ("seen:t", "done:t", "priority:t", "paused:t", "ready:t", "stale:t"):
        assert raw.exists(PREFIX + name) == 0, name


@pytest.mark.parametrize("paused", [True, False])
async def test_clearing_a_paused_queue(engine: Engine, paused: bool) -> None:
    await put(engine, "a")
    if paused:
        await engine.queues.pause(NS, Kind.TASK, "q", paused=True)
    assert (await clear(engine))[-1] == (1, 0)
    found = await counts(engine)
    assert found is not None
    assert found.paused is paused


async def test_leases_that_stand_together_are_listed_one_by_one(make_engine: MakeEngine) -> None:
    engine = await make_engine(share_from=2)
    await until(engine.hints.subscribed)
    await engine.peers.look()
    ids = [f"i{n:02}" for n in range(50)]
    await put(engine, *ids)
    first = await lease(engine, 40)
    (lone,) = await lease(engine, 1)
    await lease(engine)
    for item in (first[3], first[39], lone):
        await ack(engine, item)
    await engine.refresh(NS, [Refresh(first[7].id, first[7].token, HOUR_US // 2)])
    await nack(engine, first[20])
    found_counts = await counts(engine)
    assert found_counts is not None
    assert found_counts.leased == 46
    found: list[str] = []
    position: int | None = 0
    while position is not None:
        page = await engine.queues.items(
            NS, Kind.TASK, "q", Section.LEASED, 7, position=position, body_bytes=100, room=10_000, item_bytes=10_000
        )
        found += [item.id for item in page.items]
        position = page.position
    assert found[0] == "i07"
    assert sorted(found) == [id for id in ids if id not in ("i03", "i39", lone.id, "i20")]
