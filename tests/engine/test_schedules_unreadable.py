"""Schedules that cannot be read hold up no other, and can be put anew or removed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.schedules import ScheduleState
from dibs.broker.engine.types import State

from .helpers import LEASED, NS, PREFIX, SECOND_US, Clock, lease, state_of
from .test_schedules import info, look, put, schedule, started, worker

NAMES = [f"s{number}" for number in range(10)]
BAD_SCHEDULE, BAD_PLAN = "s3", "s7"
GOOD = [name for name in NAMES if name not in (BAD_SCHEDULE, BAD_PLAN)]
MINUTE_US = 60 * SECOND_US


def of_next_version(text: bytes) -> bytes:
    spec, rest = text.split(b"\n", 1)
    return spec + b" v=2\n" + rest


@pytest.fixture(params=[of_next_version, lambda _: b"?", lambda _: b""], ids=["next version", "garbage", "empty"])
async def due(still: Engine, clock: Clock, raw: redis.Redis, request: pytest.FixtureRequest) -> Engine:
    """An engine with ten schedules that are due and a worker, where a schedule and a plan cannot be read."""
    spoil: Callable[[bytes], bytes] = request.param
    await worker(still)
    await put(still, *(schedule(name, clock.now_us) for name in NAMES))
    text = raw.hget(PREFIX + "schedule", BAD_SCHEDULE)
    assert isinstance(text, bytes)
    raw.hset(PREFIX + "schedule", BAD_SCHEDULE, spoil(text))
    raw.hset(PREFIX + "plan", BAD_PLAN, b"? of another version")
    return still


async def test_the_others_fire_and_they_are_looked_at_a_minute_later(
    due: Engine, clock: Clock, raw: redis.Redis
) -> None:
    assert sorted((await look(due)).pending.values()) == GOOD
    assert len(await lease(due)) == len(GOOD)
    for name in (BAD_SCHEDULE, BAD_PLAN):
        assert raw.zscore(PREFIX + "timetable", name) == clock.now_us + MINUTE_US


async def test_once_they_can_be_read_they_fire(due: Engine, clock: Clock, raw: redis.Redis) -> None:
    await look(due)
    head = f"{LEASED.encode()} a=1 b\nschedule:{BAD_SCHEDULE}\ntask\ng\n2 words of later versions\nd\n\nbody"
    raw.hset(PREFIX + "schedule", BAD_SCHEDULE, head)
    raw.hset(PREFIX + "plan", BAD_PLAN, f"W {clock.now_us} 0 0 0 of later versions")
    clock.passes(MINUTE_US)
    await worker(due)
    assert {BAD_SCHEDULE, BAD_PLAN} <= set((await look(due)).pending.values())
    plan = raw.hget(PREFIX + "plan", BAD_PLAN)
    assert isinstance(plan, bytes)
    assert plan.endswith(b" 1 of later versions")


async def test_they_are_listed_by_name(due: Engine) -> None:
    found, _ = await due.schedules.page(NS, 1000, 10**6)
    unreadable = [one.name for one in found if one.state is ScheduleState.UNREADABLE]
    assert ([one.name for one in found], unreadable) == (NAMES, [BAD_SCHEDULE, BAD_PLAN])


async def test_all_can_be_made_due_but_they(due: Engine, clock: Clock) -> None:
    await put(due, *(schedule(name, clock.now_us + MINUTE_US, definition=b"new") for name in GOOD))
    await due.schedules.fire_all(NS)
    assert sorted((await look(due)).pending.values()) == GOOD


async def test_putting_them_anew_makes_them_run(due: Engine, clock: Clock) -> None:
    await look(due)
    await put(due, *(schedule(name, clock.now_us) for name in NAMES))
    assert sorted((await look(due, *NAMES)).pending.values()) == NAMES


async def test_they_can_be_deleted(due: Engine, raw: redis.Redis) -> None:
    assert await due.schedules.delete(NS, [*NAMES, "s3"]) == [True] * 10 + [False]
    for key in ("schedule", "plan", "schedules", "timetable", "stranded"):
        assert not raw.exists(PREFIX + key)


async def test_a_group_that_is_replaced_loses_them(due: Engine, raw: redis.Redis) -> None:
    assert sorted(await put(due, replace=True)) == NAMES
    assert not raw.exists(PREFIX + "group:g", PREFIX + "schedule", PREFIX + "timetable")


async def test_plans_of_others_are_set(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    run = await started(still, clock)
    raw.hset(PREFIX + "plan", "bad", "?")
    await still.schedules.plan(NS, [(run._replace(name="bad"), 1), (run, clock.now_us + SECOND_US)])
    assert (await info(still)).due_us == clock.now_us + SECOND_US


async def test_a_run_that_is_set_aside_does_not_hold_up_the_next(still: Engine, clock: Clock, raw: redis.Redis) -> None:
    await worker(still)
    await put(still, schedule(due_us=clock.now_us))
    await look(still)
    run_id = (await info(still)).run_id
    raw.lrem(PREFIX + "queue:t:q", 0, run_id)
    raw.zadd(PREFIX + "aside:t:q", {run_id: clock.now_us})
    raw.hset(PREFIX + "whyaside", run_id, "t q it is larger than a message may be")
    (run,) = (await look(still, "s")).started
    assert run.name == "s"
    assert await still.schedules.delete(NS, ["s"]) == [True]
    assert await state_of(still, run_id) is State.DEAD
