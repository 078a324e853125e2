"""Runs that take longer than their time limit, and end by being told so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dibs import CURRENT_TASK, AsyncDibs, Dibs, TaskFailed, TimeLimitExceeded

from ..support.broker_thread import BrokerThread
from ..support.workers import working

LONGEST_S = 20.0
#: Each run of such a task has an end of its own: the next comes in an hour.
ONE_RUN: dict[str, Any] = {"lease": 30, "attempts": 1, "save_results": 60}


@pytest.fixture
async def adibs(broker: BrokerThread) -> AsyncIterator[AsyncDibs]:
    async with AsyncDibs(broker.target) as adibs:
        yield adibs


def busy(seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.005)
    return "done"


async def napping(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@pytest.mark.parametrize("function", [busy, napping], ids=["plain", "async"])
@pytest.mark.parametrize("delivery", [{"lease": 30}, {"vis_timeout": 30}, {}], ids=["lease", "vis_timeout", "once"])
async def test_a_run_that_takes_too_long_has_failed(
    broker: BrokerThread, adibs: AsyncDibs, function: Any, delivery: dict[str, Any]
) -> None:
    task = adibs.task(name="long", time_limit=0.2, attempts=1, save_results=60, **delivery)(function)
    async with working(broker.target, {"long": task}):
        handle = await task.execute(LONGEST_S)
        with pytest.raises(TaskFailed) as failed:
            await handle.get(LONGEST_S)
        assert "TimeLimitExceeded: the run took longer than its time limit of 0.2 s" in failed.value.traceback
        # Where it stood, in the user's own code.
        assert f"in {function.__name__}" in failed.value.traceback
        assert "worker/process" not in failed.value.traceback
        # Its slot is free, and what runs there next is not struck.
        assert await (await task.options(time_limit=60).execute(0.3)).get(LONGEST_S) == "done"


@pytest.mark.parametrize("function", [busy, napping], ids=["plain", "async"])
async def test_it_is_a_failure_like_any_other_and_is_tried_again(
    broker: BrokerThread, adibs: AsyncDibs, function: Any
) -> None:
    seen: list[tuple[int, float | None]] = []

    def plain() -> str:
        task = CURRENT_TASK.task
        assert task is not None
        seen.append((task.attempt, task.time_limit))
        return busy(LONGEST_S) if task.attempt < 3 else "third time"

    async def coroutine() -> str:
        task = CURRENT_TASK.task
        assert task is not None
        seen.append((task.attempt, task.time_limit))
        return await napping(LONGEST_S) if task.attempt < 3 else "third time"

    body: Any = coroutine if function is napping else plain
    task = adibs.task(name="again", lease=30, retry_delay=0, time_limit=0.1, save_results=60)(body)
    async with working(broker.target, {"again": task}):
        assert await (await task.execute()).get(LONGEST_S) == "third time"
    assert seen == [(1, 0.1), (2, 0.1), (3, 0.1)]


async def test_a_function_may_tidy_up_and_what_it_returns_counts(broker: BrokerThread, adibs: AsyncDibs) -> None:
    def plain() -> str:
        try:
            return busy(LONGEST_S)
        except TimeLimitExceeded:
            return "tidied up"

    async def coroutine() -> str:
        try:
            return await napping(LONGEST_S)
        except asyncio.CancelledError:
            return "tidied up"

    tasks = [adibs.task(name=f"tidy{n}", time_limit=0.1, **ONE_RUN)(one) for n, one in enumerate((plain, coroutine))]
    async with working(broker.target, {task.name: task for task in tasks}):
        for task in tasks:
            assert await (await task.execute()).get(LONGEST_S) == "tidied up"


async def test_a_loop_that_tries_again_after_any_exception_is_left(broker: BrokerThread, adibs: AsyncDibs) -> None:
    def stubborn() -> None:
        while True:
            try:
                busy(0.05)
            except Exception:  # noqa: BLE001 - as users write it
                continue

    task = adibs.task(name="stubborn", time_limit=0.2, **ONE_RUN)(stubborn)
    async with working(broker.target, {"stubborn": task}):
        with pytest.raises(TaskFailed, match="TimeLimitExceeded"):
            await (await task.execute()).get(LONGEST_S)


async def test_a_call_may_have_another_limit_which_its_retries_keep(broker: BrokerThread, app: Dibs) -> None:
    limits: list[float | None] = []

    def told(again: bool) -> None:
        task = CURRENT_TASK.task
        assert task is not None
        limits.append(task.time_limit)
        if again:
            tell.retry(False)

    tell = app.task(name="told", time_limit=30, attempts=2, retry_delay=0, save_results=60)(told)
    async with working(broker.target, {"told": tell}):
        for call, again in ((tell.options(time_limit=7.5), True), (tell, False)):
            assert await asyncio.to_thread(call.execute(again).wait, LONGEST_S, "done")
    assert limits == [7.5, 7.5, 30]
