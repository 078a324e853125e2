"""The asyncio face, against a real broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from dibs import (
    CURRENT_TASK,
    AsyncDibs,
    AsyncTask,
    Cancelled,
    Dibs,
    DibsError,
    InvalidArgument,
    RunningTask,
    State,
    TaskCancelled,
    TaskFailed,
    TaskNotFinished,
    UnknownTask,
)

from ..support.broker_thread import BrokerThread
from ..support.by_hand import fail, finish, take


@pytest.fixture
async def adibs(app: Dibs) -> AsyncIterator[AsyncDibs]:
    async with AsyncDibs(of=app) as adibs:
        yield adibs


@pytest.fixture
def add(adibs: AsyncDibs) -> AsyncTask[[int, int], int]:
    @adibs.task(name="add", save_results=60, vis_timeout=30)
    async def add(a: int, b: int) -> int:
        return a + b

    return add


async def test_a_task_is_followed_from_its_call_to_its_result(app: Dibs, add: AsyncTask[[int, int], int]) -> None:
    handle = await add.execute(1, 2)
    assert (await handle.status, await handle.state, await handle.result) == ("waiting", State.WAITING, None)
    assert await handle.args == ([1, 2], {})
    assert not await handle.wait(0)

    waiting = asyncio.create_task(handle.get(10))
    (delivery,) = await asyncio.to_thread(take, app)
    assert await handle.wait(5)
    await asyncio.to_thread(finish, app, delivery, 3)

    assert await waiting == await handle.result == 3
    assert await handle.wait(5, until="done")
    assert await handle.cancel() == -1


async def test_get_raises_as_the_blocking_one_does(app: Dibs, add: AsyncTask[[int, int], int]) -> None:
    failed = await add.execute(1, 2)
    (delivery,) = await asyncio.to_thread(take, app)
    await asyncio.to_thread(fail, app, delivery, "ValueError: no")
    with pytest.raises(TaskFailed, match="ValueError: no"):
        await failed.get(5)

    cancelled = await add.execute(1, 2, delay=60)
    with pytest.raises(TaskNotFinished):
        await cancelled.get(0)
    assert await cancelled.cancel() is Cancelled.NEVER_RUNS
    with pytest.raises(TaskCancelled):
        await cancelled.get(5)


async def test_options_and_keywords_of_a_call(add: AsyncTask[[int, int], int]) -> None:
    assert await (await add.options(delay=60).execute(1, 2)).status == "early"
    handle = await add.execute(1, 2, delay=60, taskid="mine", _queue="other")
    assert (handle.taskid, handle.queue) == ("mine", "other")
    assert await add.execute(1, 2, execute_inline_now=True) == 3
    with pytest.raises(InvalidArgument):
        await add.execute(1, 2, _queue="no:colons")


async def test_calls_by_name_and_results_of_many(adibs: AsyncDibs, add: AsyncTask[[int, int], int]) -> None:
    handle = await adibs.call_task("add", None, 1, 2)
    assert await adibs.handle(handle.taskid).args == ([1, 2], {})
    assert await adibs.result(handle.taskid) is None
    assert await adibs.results([handle.taskid, "other"]) == [None, None]
    assert adibs.get_task("add").name == "add"
    with pytest.raises(UnknownTask):
        await adibs.call_task("nowhere", None, _verify_call=True)


async def test_tasks_are_shared_with_the_blocking_instance(
    app: Dibs, adibs: AsyncDibs, add: AsyncTask[[int, int], int]
) -> None:
    @app.task(name="blocking")
    def blocking() -> None: ...

    assert app.registry is adibs.registry
    handle = await blocking.on(adibs).execute()
    assert await handle.status == "waiting"
    moved = await asyncio.to_thread(add.on(app).execute, 1, 2)
    assert await asyncio.to_thread(lambda: moved.status) == "waiting"
    assert (await asyncio.to_thread(app.get_task, "add")).name == "add"


async def test_a_retry_is_awaited(adibs: AsyncDibs) -> None:
    @adibs.task(name="again", attempts=2, retry_delay=60)
    async def again() -> None: ...

    running = RunningTask("the-id", "again", "default", [], {}, 1, 2)
    token = CURRENT_TASK.begin(running)
    handle = await again.retry()
    CURRENT_TASK.end(token)

    assert handle is not None
    assert handle.taskid == "the-id"
    assert running.retried
    assert await handle.status == "early"


async def test_a_retry_of_what_is_not_leased_is_refused(adibs: AsyncDibs, caplog: pytest.LogCaptureFixture) -> None:
    @adibs.task(name="again", attempts=2)
    async def again() -> None: ...

    running = RunningTask("the-id", "again", "default", [], {}, 1, 2, lease_token=1)
    token = CURRENT_TASK.begin(running)
    assert await again.retry() is None
    CURRENT_TASK.end(token)

    assert not running.retried
    assert "lease is not held any more" in caplog.text


async def test_many_calls_at_once_all_arrive(adibs: AsyncDibs, add: AsyncTask[[int, int], int]) -> None:
    handles = await asyncio.gather(*(add.execute(n, n) for n in range(300)))

    assert {await handle.status for handle in handles[::50]} == {"waiting"}
    assert len({handle.taskid for handle in handles}) == 300


def test_another_event_loop_is_told_apart(broker: BrokerThread) -> None:
    adibs = AsyncDibs(broker.target)

    async def ask() -> str:
        return await adibs.handle("x").status

    async def close() -> None:
        assert await ask() == "unknown"
        await adibs.close()

    asyncio.run(close())
    asyncio.run(close())  # closed in its loop, it serves the next

    async def leave_open() -> AsyncDibs:
        left = AsyncDibs(broker.target)
        await left.handle("x").status
        return left

    loop = asyncio.new_event_loop()
    left = loop.run_until_complete(leave_open())

    async def ask_elsewhere() -> None:
        with pytest.raises(DibsError, match="event loop"):
            await left.handle("x").status

    asyncio.run(ask_elsewhere())
    loop.run_until_complete(left.close())
    loop.close()


@pytest.mark.parametrize("closing", [True, False])
def test_at_module_level_it_serves_one_loop_after_the_other(broker: BrokerThread, closing: bool) -> None:
    adibs = AsyncDibs(broker.target)
    queue = adibs.Data("q", vis_timeout=30)

    async def work(number: int) -> None:
        await queue.put_data([number])
        async for batch in queue.stream(get_timeout=0.3):
            assert list(batch.values()) == [number]
        if closing:
            await adibs.close()

    for number in range(3):
        asyncio.run(work(number))


def test_of_goes_without_other_arguments(app: Dibs) -> None:
    with pytest.raises(ValueError, match="of goes without"):
        AsyncDibs("127.0.0.1:1", of=app)


async def under_way(adibs: AsyncDibs, count: int) -> None:
    """Returns when so many calls have been sent and not answered."""
    while adibs._transport is None or len(adibs._transport._calls) < count:  # noqa: ASYNC110 - nothing tells it
        await asyncio.sleep(0.01)


async def test_calls_under_way_when_it_is_closed_fail_and_are_not_cancelled(
    adibs: AsyncDibs, add: AsyncTask[[int, int], int], app: Dibs
) -> None:
    handle = await add.execute(1, 2)
    calls = [
        asyncio.create_task(adibs.Data("empty", vis_timeout=5).get_data(get_timeout=30)),
        asyncio.create_task(handle.get(30)),
    ]
    async with asyncio.timeout(10):
        await under_way(adibs, 2)
        await adibs.close()
        # A group would take a cancelled task for one that was told to end, and say nothing.
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, DibsError)
            assert "has been closed" in str(outcome)


async def test_a_call_that_its_caller_cancels_is_cancelled(adibs: AsyncDibs) -> None:
    waiting = asyncio.create_task(adibs.Data("empty", vis_timeout=5).get_data(get_timeout=30))
    async with asyncio.timeout(10):
        await under_way(adibs, 1)
        waiting.cancel()
        await asyncio.wait((waiting,))
    assert waiting.cancelled()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(adibs.Data("empty", vis_timeout=5).get_data(get_timeout=30), 0.2)


async def test_a_blocking_call_in_an_event_loop_says_so_once(app: Dibs, caplog: pytest.LogCaptureFixture) -> None:
    task = app.task(name="t")(lambda: None)

    with caplog.at_level(logging.WARNING, "dibs"):
        await asyncio.to_thread(task.execute)  # where no loop is held up
        assert caplog.records == []
        task.execute().wait(0)
        task.execute()

    assert len(caplog.records) == 1
    assert "await task.on(adibs).execute" in caplog.text
