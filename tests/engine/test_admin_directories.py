"""Locks and registered tasks."""

from __future__ import annotations

import redis

from dibs.broker.engine.engine import Engine

from .conftest import MakeEngine
from .helpers import NS, PREFIX, SECOND_US, Clock


async def test_a_lock_is_held_by_one_owner_until_its_end(still: Engine, clock: Clock) -> None:
    held = await still.locks.acquire(NS, "a", "me", SECOND_US)
    assert held == ("a", "me", clock.now_us + SECOND_US)
    assert await still.locks.acquire(NS, "a", "you", SECOND_US) == held
    clock.passes(SECOND_US - 1)
    assert (await still.locks.acquire(NS, "a", "you", SECOND_US)).owner == "me"
    clock.passes(1)
    assert (await still.locks.acquire(NS, "a", "you", SECOND_US)).owner == "you"
    assert await still.locks.refresh(NS, "a", "me") is None
    assert not await still.locks.release(NS, "a", "me")


async def test_a_lock_that_cannot_be_read_is_held_until_its_end(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await still.locks.acquire(NS, "a", "me", SECOND_US)
    raw.hset(PREFIX + "lock", "a", "unreadable")
    assert (await still.locks.acquire(NS, "a", "you", SECOND_US)).owner == ""
    assert await still.locks.refresh(NS, "a", "me") is None
    assert not await still.locks.release(NS, "a", "me")
    clock.passes(SECOND_US)
    assert (await still.locks.acquire(NS, "a", "you", SECOND_US)).owner == "you"


async def test_a_refresh_starts_the_time_anew(still: Engine, clock: Clock) -> None:
    await still.locks.acquire(NS, "a", "me", 2 * SECOND_US)
    clock.passes(SECOND_US)
    assert await still.locks.refresh(NS, "a", "me") == clock.now_us + 2 * SECOND_US
    assert await still.locks.refresh(NS, "a", "me", 5 * SECOND_US) == clock.now_us + 5 * SECOND_US
    assert await still.locks.refresh(NS, "a", "me") == clock.now_us + 5 * SECOND_US
    clock.passes(5 * SECOND_US)
    assert await still.locks.refresh(NS, "a", "me") is None


async def test_a_released_lock_leaves_nothing_behind(still: Engine, raw: redis.Redis) -> None:
    await still.locks.acquire(NS, "a", "me", SECOND_US)
    assert await still.locks.release(NS, "a", "me")
    assert not await still.locks.release(NS, "a", "me")
    assert raw.keys(PREFIX + "lock*") == []


async def test_locks_that_ran_out_are_not_listed_and_are_removed_in_passing(
    still: Engine, clock: Clock, raw: redis.Redis
) -> None:
    for n in range(250):
        await still.locks.acquire(NS, f"{n}", "me", SECOND_US)
    await still.locks.acquire(NS, "long", "me", 60 * SECOND_US)
    clock.passes(SECOND_US)
    assert [lock.name for lock in (await still.locks.page(NS, 1000))[0]] == ["long"]
    for n in range(3):
        await still.locks.acquire(NS, f"new{n}", "me", SECOND_US)
    assert raw.hlen(PREFIX + "lock") == 4


async def test_locks_are_listed_by_name_in_pages(still: Engine) -> None:
    for name in ("b", "a", "ü", "a b"):
        await still.locks.acquire(NS, name, "me", SECOND_US)
    first, after = await still.locks.page(NS, 3)
    rest, end = await still.locks.page(NS, 3, after)
    assert [lock.name for lock in first + rest] == ["a", "a b", "b", "ü"]
    assert (after, end) == ("b", "")


async def test_registered_tasks_are_known_for_a_time(make_engine: MakeEngine, clock: Clock) -> None:
    engine = await make_engine(clock="clock_shifted", task_retention_us=10 * SECOND_US)
    await engine.tasks.register(NS, [("b", b"1"), ("a", b"\x00 2\n")])
    began = clock.now_us
    clock.passes(5 * SECOND_US)
    await engine.tasks.register(NS, [("b", b"3")])
    assert await engine.tasks.get(NS, ["b", "none", "a"]) == [("b", clock.now_us, b"3"), ("a", began, b"\x00 2\n")]
    assert [task.name for task in (await engine.tasks.page(NS, 10))[0]] == ["a", "b"]
    clock.passes(5 * SECOND_US)
    assert [task.name for task in (await engine.tasks.page(NS, 10))[0]] == ["b"]
    assert await engine.tasks.get(NS, ["a"]) == []
