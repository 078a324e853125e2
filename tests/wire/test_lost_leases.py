"""What a task hears when its lease is over while it runs, and what becomes of such a run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dibs import CURRENT_TASK, AsyncDibs, State, TaskFailed

from ..support.broker_thread import BrokerThread
from ..support.workers import working

LONGEST_S = 20.0
#: Nothing is read of such a run, but whether there is something to read.
KEPT: dict[str, Any] = {"attempts": 1, "save_results": 60}


@pytest.fixture
async def adibs(broker: BrokerThread) -> AsyncIterator[AsyncDibs]:
    async with AsyncDibs(broker.target) as adibs:
        yield adibs


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


class Body:
    """A task that runs until it hears that its lease is over.

    Attributes:
        begun: how many calls have.
        ended: how each ended.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.ended: list[str] = []

    def plain(self) -> str:
        task = CURRENT_TASK.task
        assert task is not None
        self.begun += 1
        deadline = time.monotonic() + LONGEST_S
        while not task.lost and time.monotonic() < deadline:
            time.sleep(0.01)
        self.ended.append("lost" if task.lost else "never told")
        return "of no use"

    async def coroutine(self) -> str:
        task = CURRENT_TASK.task
        assert task is not None
        self.begun += 1
        try:
            await until(lambda: task.lost, "a word of the lost lease")
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            # More than one look of who cancels it: it is told once.
            await asyncio.sleep(0.6)
            self.ended.append("cancelled" if task.lost else "cancelled for another reason")
            raise
        self.ended.append("lost")
        return "of no use"

    def of(self, is_async: bool) -> Callable[[], Any]:
        return self.coroutine if is_async else self.plain


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_a_task_hears_when_its_vis_timeout_is_over_and_runs_on(
    broker: BrokerThread, adibs: AsyncDibs, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    body = Body()
    task = adibs.task(name="late", vis_timeout=1, **KEPT)(body.of(is_async))
    async with working(broker.target, {"late": task}):
        handle = await task.execute()
        with pytest.raises(TaskFailed, match="the lease ran out"):
            await handle.get(LONGEST_S)
        await until(lambda: body.ended == ["lost"], "the end of the run")
        await until(lambda: "is dropped" in caplog.text, "a word of the dropped result")
    warned, over = (line for line in caplog.messages if "vis_timeout" in line and f"id={handle.taskid}" in line)
    assert "nears the end of its vis_timeout" in warned
    assert "write lease= instead" in warned
    assert "task=late" in warned
    assert "runs beyond its vis_timeout" in over
    # To say it would be of no use: the broker changes nothing.
    assert "too late" not in caplog.text


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_a_task_hears_when_a_lease_that_was_renewed_is_lost(
    broker: BrokerThread, adibs: AsyncDibs, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    body = Body()
    task = adibs.task(name="long", lease=1, **KEPT)(body.of(is_async))
    other = adibs.task(name="other", **KEPT)(print)
    async with working(broker.target, {"long": task}):
        handle = await task.execute()
        await until(lambda: body.begun == 1, "the run")
        # Another call takes its place, as an operator may have it; its worker comes later.
        await other.options(taskid=handle.taskid, on_conflict="replace").execute()
        await until(lambda: bool(body.ended), "the end of the run")
        assert body.ended == ["cancelled" if is_async else "lost"]
        await until(lambda: "is dropped" in caplog.text, "a word of the dropped result")
    assert [line for line in caplog.messages if "has lost its lease" in line and f"id={handle.taskid}" in line]
    assert "too late" not in caplog.text
    assert await handle.state is State.WAITING


async def test_who_is_told_in_time_is_not_warned_of_again(
    broker: BrokerThread, adibs: AsyncDibs, caplog: pytest.LogCaptureFixture
) -> None:
    begun = []

    def work() -> int:
        task = CURRENT_TASK.task
        assert task is not None
        begun.append(task)
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            task.refresh()  # type: ignore[attr-defined]  # of a task in a worker
            time.sleep(0.1)
        return 1

    caplog.set_level(logging.WARNING)
    task = adibs.task(name="careful", vis_timeout=1, **KEPT)(work)
    async with working(broker.target, {"careful": task}):
        assert await (await task.execute()).get(LONGEST_S) == 1
    assert not begun[0].lost
    assert "vis_timeout" not in caplog.text
