"""The kits from asyncio: what is enqueued with `AsyncDibs`, and run in the test's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

import dibs
from dibs.testing import Eager, OnBroker, Recorded, WithWorker, call

from .app import SOON_S, add, add_async, app, fail, journal, third_time

Kit = Eager | Recorded | OnBroker | WithWorker


@pytest.fixture
def dibs_instances() -> Sequence[dibs.Dibs]:
    return [app]


@pytest.fixture(params=["eager", "recorded", "broker", "worker"])
def kit(request: pytest.FixtureRequest) -> Kit:
    journal.clear()
    found: Kit = request.getfixturevalue(f"dibs_{request.param}")
    return found


@pytest.fixture
async def adibs(kit: Kit) -> AsyncIterator[dibs.AsyncDibs]:
    async with dibs.AsyncDibs(of=app) as instance:
        yield instance


async def test_results_come_back(kit: Kit, adibs: dibs.AsyncDibs) -> None:
    handles = [await task.on(adibs).execute(2, 3) for task in (add, add_async)]
    await kit.aio.run_all()
    assert [await handle.get(timeout=5) for handle in handles] == [5, 5]
    assert kit.calls == [call(add, 2, 3), call(add_async, 2, 3)]


async def test_a_failure_is_told(kit: Kit, adibs: dibs.AsyncDibs) -> None:
    handle = await fail.on(adibs).execute("no")
    await kit.aio.run_all()
    with pytest.raises(dibs.TaskFailed, match="ValueError: no"):
        await handle.get(timeout=5)


async def test_time_passes(kit: Kit, adibs: dibs.AsyncDibs) -> None:
    delayed = await add.on(adibs).options(delay=SOON_S).execute(1, 1)
    tried = await third_time.on(adibs).execute(2)
    await kit.aio.run_all()
    assert await delayed.state is dibs.State.SCHEDULED
    await kit.aio.advance(1.1 * SOON_S)
    await kit.aio.run_all()
    assert (await delayed.get(timeout=5), await tried.get(timeout=5)) == (2, 2)


async def test_a_batch(kit: Kit, adibs: dibs.AsyncDibs) -> None:
    async with adibs.batch():
        handles = [await add.on(adibs).execute(number, number) for number in range(20)]
    await kit.aio.run_all()
    assert await adibs.results(handle.taskid for handle in handles) == [2 * number for number in range(20)]


async def test_coroutines_enqueue_side_by_side(kit: Kit, adibs: dibs.AsyncDibs) -> None:
    async def one(number: int) -> int:
        handle = await add_async.on(adibs).execute(number, 1)
        await kit.aio.run_all()
        return await handle.get(timeout=5)

    assert await asyncio.gather(*(one(number) for number in range(10))) == list(range(1, 11))
