"""What tasks say of their calls by what they raise, in a worker on a real broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dibs import CURRENT_TASK, AsyncDibs, AsyncTask, Reject, Retry, Snooze, State, TaskFailed

from ..support.broker_thread import BrokerThread
from ..support.workers import working

LONG_S = 20.0
HOUR_S = 3600.0

#: Tasks that a test would wait for in vain if what they raise meant nothing: without it they come again in an hour.
AGAIN: dict[str, Any] = {"attempts": 3, "vis_timeout": 60, "retry_delay": HOUR_S, "save_results": 60}
ONCE: dict[str, Any] = {"save_results": 60}


@pytest.fixture
async def adibs(broker: BrokerThread) -> AsyncIterator[AsyncDibs]:
    async with AsyncDibs(broker.target) as adibs:
        yield adibs


def attempts() -> list[int]:
    running = CURRENT_TASK.task
    assert running is not None
    return [running.attempt, running.attempts]


def in_both_sorts(function: Callable[[], Any]) -> list[Callable[[], Any]]:
    async def later() -> Any:
        return function()

    return [function, later]


async def ended(broker: BrokerThread, *tasks: AsyncTask[..., Any]) -> list[Any]:
    """What comes of a call of each, run by a worker."""
    async with working(broker.target, {task.name: task for task in tasks}):
        handles = [await task.execute() for task in tasks]
        return list(await asyncio.gather(*(handle.get(LONG_S) for handle in handles), return_exceptions=True))


def made(adibs: AsyncDibs, function: Callable[[], Any], **arguments: Any) -> list[AsyncTask[..., Any]]:
    """A plain and an async task."""
    return [adibs.task(name=f"task{number}", **arguments)(one) for number, one in enumerate(in_both_sorts(function))]


async def test_a_task_says_when_its_next_attempt_is(broker: BrokerThread, adibs: AsyncDibs) -> None:
    def task() -> list[int]:
        if attempts()[0] < 3:
            raise Retry(0.01, "busy")
        return attempts()

    assert await ended(broker, *made(adibs, task, **AGAIN)) == [[3, 3], [3, 3]]


async def test_a_retry_without_a_delay_waits_as_the_task_has_it(broker: BrokerThread, adibs: AsyncDibs) -> None:
    def task() -> int:
        if attempts()[0] < 2:
            raise Retry
        return attempts()[0]

    assert await ended(broker, *made(adibs, task, **{**AGAIN, "retry_delay": 0.01})) == [2, 2]


async def test_with_the_last_attempt_a_retry_has_failed(broker: BrokerThread, adibs: AsyncDibs) -> None:
    def task() -> None:
        raise Retry(0.01, "still busy")

    for error in await ended(broker, *made(adibs, task, **AGAIN)):
        assert isinstance(error, TaskFailed)
        assert "Retry: still busy" in error.traceback


async def test_a_snooze_uses_no_attempt(broker: BrokerThread, adibs: AsyncDibs) -> None:
    runs: list[str] = []

    def task() -> list[int]:
        running = CURRENT_TASK.task
        assert running is not None
        runs.append(running.name)
        if runs.count(running.name) < 5:
            raise Snooze(0.01)
        return attempts()

    assert await ended(broker, *made(adibs, task, **AGAIN)) == [[1, 3], [1, 3]]
    assert len(runs) == 10


async def test_what_is_rejected_is_not_tried_again_and_dead_if_it_asked_to(
    broker: BrokerThread, adibs: AsyncDibs
) -> None:
    def task() -> None:
        try:
            raise LookupError("17")
        except LookupError as error:
            raise Reject("no such order") from error

    tasks = made(adibs, task, **AGAIN, use_dead=True)
    for error in await ended(broker, *tasks):
        assert isinstance(error, TaskFailed)
        assert "LookupError: 17" in error.traceback
        assert "Reject: no such order" in error.traceback
    letters = [letter async for letter in adibs.admin.dead_letters()]
    assert [(letter.attempt, letter.state) for letter in letters] == [(1, State.DEAD)] * 2


async def test_exceptions_that_the_task_gives_up_on_are_final(broker: BrokerThread, adibs: AsyncDibs) -> None:
    def task() -> None:
        raise FileNotFoundError("gone")

    for arguments in ({"retry_on": ValueError}, {"retry_on": OSError, "give_up_on": FileNotFoundError}):
        for error in await ended(broker, *made(adibs, task, **AGAIN, **arguments)):
            assert isinstance(error, TaskFailed)
            assert "FileNotFoundError: gone" in error.traceback


async def test_other_exceptions_are_tried_again(broker: BrokerThread, adibs: AsyncDibs) -> None:
    def task() -> int:
        if attempts()[0] < 2:
            raise ConnectionError
        return attempts()[0]

    arguments = {**AGAIN, "retry_delay": 0.01}
    assert await ended(broker, *made(adibs, task, **arguments, retry_on=OSError, give_up_on=FileNotFoundError)) == [
        2,
        2,
    ]


class Unreadable(dict[str, int]):
    """A result that raises when it is written."""

    def items(self) -> Any:
        raise RuntimeError("the connection is closed")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (object(), "cannot be written as JSON"),
        (Unreadable(a=1), "the connection is closed"),
        ("x" * 300_000, "takes no result of that size"),
    ],
    ids=["no JSON", "raises", "too large"],
)
async def test_a_task_whose_result_cannot_be_written_does_not_run_again(
    broker: BrokerThread, adibs: AsyncDibs, result: Any, words: str
) -> None:
    runs: list[int] = []

    def task() -> Any:
        runs.append(1)
        return result

    for error in await ended(broker, *made(adibs, task, **{**AGAIN, "retry_delay": 0})):
        assert isinstance(error, TaskFailed)
        assert words in error.traceback
    assert len(runs) == 2


@pytest.mark.parametrize("raised", [KeyError("x"), Retry(0.01), Snooze(0.01)], ids=lambda one: type(one).__name__)
async def test_of_a_task_that_is_delivered_once_the_log_says_once_what_to_write(
    broker: BrokerThread, adibs: AsyncDibs, caplog: pytest.LogCaptureFixture, raised: Exception
) -> None:
    def task() -> None:
        raise raised

    (plain, _) = made(adibs, task, **ONCE, attempts=3)
    with caplog.at_level(logging.WARNING, "dibs.worker"):
        async with working(broker.target, {plain.name: plain}):
            for _ in range(3):
                handle = await plain.execute()
                with pytest.raises(TaskFailed, match=type(raised).__name__):
                    await handle.get(LONG_S)
    said = [record.getMessage() for record in caplog.records if "write lease=" in record.getMessage()]
    assert len(said) == 1
    assert "task0" in said[0]


async def test_of_a_task_that_asks_for_one_attempt_it_says_nothing(
    broker: BrokerThread, adibs: AsyncDibs, caplog: pytest.LogCaptureFixture
) -> None:
    def task() -> None:
        raise KeyError

    with caplog.at_level(logging.WARNING, "dibs.worker"):
        for error in await ended(broker, *made(adibs, task, **ONCE)):
            assert isinstance(error, TaskFailed)
    assert "lease=" not in caplog.text
