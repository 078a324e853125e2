"""What stops work without any error, and what the log of a worker says of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest

from dibs import AsyncDibs, Dibs

from ..support.broker_thread import BrokerThread
from ..support.waiting import until
from ..support.workers import working

LONG_S = 20.0
NO_SLOT = "no slot is left for"


@pytest.fixture
async def adibs(broker: BrokerThread) -> AsyncIterator[AsyncDibs]:
    async with AsyncDibs(broker.target) as adibs:
        yield adibs


async def until_said(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    def said() -> list[str]:
        return [one.getMessage() for one in caplog.records if text in one.getMessage()]

    await asyncio.to_thread(until, said, text, LONG_S)
    return said()


async def test_a_task_that_waits_for_one_that_has_no_slot_is_named(
    broker: BrokerThread, app: Dibs, adibs: AsyncDibs, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="child", save_results=60)
    def child() -> int:
        return 1

    @app.task(name="parent", save_results=60)
    def parent() -> int:
        return child.execute().get(LONG_S)

    tasks = {"child": child, "parent": parent}
    with caplog.at_level(logging.WARNING, "dibs.worker"):
        async with working(broker.target, tasks, threads=2):
            two = [await parent.on(adibs).execute(), await parent.on(adibs).execute()]
            (said,) = await until_said(caplog, NO_SLOT)
            assert "task=parent" in said
            assert "called=child" in said
            assert "--threads" in said
            # It is a warning: another worker may have a slot.
            async with working(broker.target, {"child": child}):
                assert [await one.get(LONG_S) for one in two] == [1, 1]


async def test_nothing_is_said_while_a_slot_is_left(
    broker: BrokerThread, app: Dibs, adibs: AsyncDibs, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="child", save_results=60)
    def child() -> int:
        return 1

    @app.task(name="parent", save_results=60)
    def parent() -> int:
        return child.execute(delay=0.6).get(LONG_S)

    @adibs.task(name="later", save_results=60)
    async def later() -> int:
        # A client belongs to one event loop, and this is the worker's.
        async with AsyncDibs(broker.target) as own:
            one = await child.on(own).execute()
            return await one.get(LONG_S)

    with caplog.at_level(logging.WARNING, "dibs.worker"):
        async with working(broker.target, {one.name: one for one in (child, parent, later)}, threads=2):
            one, two = await parent.on(adibs).execute(), await later.execute()
            assert [await one.get(LONG_S), await two.get(LONG_S)] == [1, 1]
    assert NO_SLOT not in caplog.text


@pytest.mark.parametrize("slots", [1, 2])
async def test_what_an_async_task_sets_in_its_context_does_not_reach_the_next_one(
    broker: BrokerThread, adibs: AsyncDibs, slots: int
) -> None:
    label: ContextVar[str] = ContextVar("label", default="none")

    @adibs.task(name="labels", save_results=60)
    async def labels(name: str) -> str:
        before = label.get()
        label.set(name)
        return before

    async with working(broker.target, {"labels": labels}, async_tasks=slots):
        async with adibs.batch():
            handles = [await labels.execute(str(number)) for number in range(20)]
        assert {await handle.get(LONG_S) for handle in handles} == {"none"}
