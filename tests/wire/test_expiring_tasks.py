"""Calls that may wait only so long, as their callers, workers and operators see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

import dibs
from dibs import AsyncDibs, State, TaskExpired

from ..support.broker_thread import BrokerThread
from ..support.workers import working

LONGEST_S = 20.0


@pytest.fixture
async def adibs(broker: BrokerThread) -> AsyncIterator[AsyncDibs]:
    async with AsyncDibs(broker.target) as adibs:
        yield adibs


async def test_who_waits_for_a_call_hears_that_it_has_expired(adibs: AsyncDibs) -> None:
    task = adibs.task(name="brief", expires=0.1, save_results=60)(print)
    handle = await task.execute()
    with pytest.raises(TaskExpired, match=r"task brief \w+ expired: not begun within 0.1 s of its due time"):
        await handle.get(LONGEST_S)
    assert await handle.state is State.EXPIRED
    assert await handle.status == "done"


async def test_a_call_may_have_a_time_of_its_own(broker: BrokerThread, adibs: AsyncDibs) -> None:
    task = adibs.task(name="brief", expires=3600, save_results=60)(lambda: "run")
    short, long = await task.options(expires=timedelta(milliseconds=100)).execute(), await task.execute()
    with pytest.raises(TaskExpired):
        await short.get(LONGEST_S)
    async with working(broker.target, {"brief": task}):
        assert await long.get(LONGEST_S) == "run"


async def test_a_task_that_fails_is_not_tried_again_after_its_time(broker: BrokerThread, adibs: AsyncDibs) -> None:
    runs = []

    def fail() -> None:
        runs.append(1)
        raise LookupError("as told")

    task = adibs.task(name="fail", lease=30, retry_delay=3600, expires=1, save_results=60)(fail)
    async with working(broker.target, {"fail": task}):
        handle = await task.execute()
        with pytest.raises(TaskExpired):
            await handle.get(LONGEST_S)
    assert runs == [1]


async def test_it_is_a_dead_letter_if_the_task_asks_for_one(adibs: AsyncDibs, app: dibs.Dibs) -> None:
    task = adibs.task(name="brief", expires=0.1, lease=30, use_dead=True)(print)
    handle = await task.execute()
    assert await handle.wait(LONGEST_S, until="done")
    assert await handle.state is State.DEAD
    letters = await asyncio.to_thread(lambda: list(app.admin.dead_letters()))
    assert [(one.id, one.last_error) for one in letters] == [
        (handle.taskid, "expired: not begun within 0.1 s of its due time")
    ]


async def test_who_calls_by_name_has_the_policy_of_the_task(adibs: AsyncDibs, app: dibs.Dibs) -> None:
    await asyncio.to_thread(app.admin.register_task, "far.job", lease=30, time_limit=60, expires=0.1, save_results=60)
    (known,) = await asyncio.to_thread(lambda: list(app.admin.tasks()))
    policy = known.policy
    assert (policy.lease, policy.attempts, policy.time_limit, policy.expires) == (30, 3, 60, 0.1)
    handle = await adibs.call_task("far.job", None)
    with pytest.raises(TaskExpired):
        await handle.get(LONGEST_S)
    # A schedule of it has them as well.
    await asyncio.to_thread(app.admin.put_schedule, "far.nightly", dibs.Every(timedelta(hours=1)), task="far.job")
    (schedule,) = await asyncio.to_thread(lambda: list(app.admin.schedules()))
    assert (schedule.policy.lease, schedule.policy.time_limit, schedule.policy.expires) == (30, 60, 0.1)
