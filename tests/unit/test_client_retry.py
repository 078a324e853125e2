"""`Task.retry` and `_attempts`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from dibs import CURRENT_TASK, Backoff, RunningTask
from dibs.contract.headers import ATTEMPTS_BEFORE, LAST_ERROR, attempts_before
from dibs.rpc.codec import decode_call
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.process.leased import LeasedTask
from dibs.worker.shared.bell import LoopBell
from dibs.worker.shared.entries import Entries
from dibs.worker.shared.memory import Table

from ..support.recording import RecordingDibs
from ..support.workers import Job


@pytest.fixture
def app() -> RecordingDibs:
    return RecordingDibs()


@pytest.fixture
def running() -> Iterator[RunningTask]:
    """Attempt 2 of 5 of a task named "task", as a worker would run it."""
    task = RunningTask(
        "the-id", "task", "its-queue", [], {}, attempt=2, attempts=5, headers={"trace": "x"}, lease_token=7
    )
    token = CURRENT_TASK.begin(task)
    yield task
    CURRENT_TASK.end(token)


def test_the_next_attempt_takes_the_place_of_the_running_one(app: RecordingDibs, running: RunningTask) -> None:
    @app.task(name="task", attempts=5, retry_delay=7, save_results=9)
    def task(value: int) -> None: ...

    handle = task.retry(1)

    item = app.last
    assert handle is not None
    assert handle.taskid == item.id == "the-id"
    assert item.queue == "its-queue"
    assert (item.on_conflict, item.lease_token) == (pb.ON_CONFLICT_REPLACE, 7)
    assert item.delay.seconds == 7
    assert item.policy.attempts == 3
    assert item.policy.result_ttl.seconds == 9
    assert decode_call(item.content.payload) == ([1], {})
    assert dict(item.content.headers) == {"trace": "x", ATTEMPTS_BEFORE: "2"}
    assert running.retried


def test_a_worker_counts_on_from_there(app: RecordingDibs, running: RunningTask) -> None:
    task = app.task(name="task", attempts=5)(lambda: None)
    task.retry()

    before = attempts_before(app.last.content.headers)

    assert (before + 1, before + app.last.policy.attempts) == (3, 5)


def leased(delivery: tpb.Delivery) -> LeasedTask:
    item = (delivery, 0.0, Job("task", print), 0)
    return LeasedTask(item, [], {}, Entries(LoopBell()), Table.new().ends)


def test_a_delivery_of_a_retry_shows_all_attempts_and_the_error_before_it() -> None:
    delivery = tpb.Delivery(id="the-id", lease_token=9, attempt=1, attempts=3)
    delivery.content.headers.update({ATTEMPTS_BEFORE: "2", LAST_ERROR: "earlier"})

    task = leased(delivery)
    assert task.lease_token == 9
    assert (task.attempt, task.attempts, task.last_error, task.retried) == (3, 5, "earlier", False)

    delivery.last_error = "later"
    assert leased(delivery).last_error == "later"


@pytest.mark.parametrize("text", ["", "x", "-1", "99999999", "²", "1.5"])
def test_a_header_that_is_no_number_counts_nothing(text: str) -> None:
    assert attempts_before({ATTEMPTS_BEFORE: text}) == 0


def test_the_last_attempt_is_not_tried_again(
    app: RecordingDibs, running: RunningTask, caplog: pytest.LogCaptureFixture
) -> None:
    task = app.task(name="task", attempts=5)(lambda: None)
    running.attempt = 5

    with caplog.at_level(logging.WARNING, "dibs"):
        assert task.retry() is None

    assert app.items == []
    assert not running.retried
    assert "last attempt" in caplog.text


def test_the_error_at_hand_goes_along(app: RecordingDibs, running: RunningTask) -> None:
    task = app.task(name="task", attempts=5)(lambda: None)
    try:
        raise RuntimeError("the reason " + "x" * 10_000 + " end of it")
    except RuntimeError:
        task.retry()

    error = app.last.content.headers[LAST_ERROR]
    assert "end of it" in error
    assert len(error) <= 4096


def test_without_an_error_the_one_before_stays_known(app: RecordingDibs, running: RunningTask) -> None:
    running.last_error = "earlier"
    app.task(name="task", attempts=5)(lambda: None).retry()

    assert app.last.content.headers[LAST_ERROR] == "earlier"


def test_backoff_grows_with_the_attempts_whoever_asks_for_them(app: RecordingDibs, running: RunningTask) -> None:
    backoff = Backoff(initial=1, factor=3, jitter=0)
    app.task(name="task", attempts=5, vis_timeout=60, backoff=backoff)(lambda: None).retry()

    assert app.last.delay.ToMilliseconds() == pytest.approx(3_000, abs=1)
    assert app.last.policy.retry.initial_delay.ToMilliseconds() == pytest.approx(9_000, abs=1)


def test_a_function_that_takes_attempts_gets_those_left_with_this_one(app: RecordingDibs, running: RunningTask) -> None:
    @app.task(name="task", attempts=2)
    def anything(**kwargs: Any) -> Any:
        return kwargs

    @app.task(name="once")
    def once(**kwargs: Any) -> Any:
        return kwargs

    @app.task(name="directly")
    def directly(a: int, _attempts: int = 0) -> int:
        return _attempts

    @app.task(name="neither")
    def neither(a: int) -> int:
        return a

    assert anything.function(x=1) == {"x": 1, "_attempts": 4}
    assert once.function(x=1) == {"x": 1}
    assert directly.function(1) == 4
    assert neither.function(1) == 1


def test_called_here_a_function_gets_no_attempts(app: RecordingDibs, running: RunningTask) -> None:
    @app.task(name="anything")
    def anything(**kwargs: Any) -> Any:
        return kwargs

    assert anything(x=1) == {"x": 1}


def test_attempts_that_are_passed_on_are_no_argument(app: RecordingDibs, running: RunningTask) -> None:
    @app.task(name="task", attempts=5)
    def task(value: int, **kwargs: Any) -> None: ...

    task.retry(1, _attempts=4, key=2)

    assert app.last.policy.attempts == 3
    assert decode_call(app.last.content.payload) == ([1], {"key": 2})
    assert task.retry(1, _attempts=1) is None


def test_the_example_of_three_attempts_never_gets_to_zero(app: RecordingDibs) -> None:
    succeeded: list[int] = []

    @app.task(attempts=3, name="countdown")
    def countdown(value: int, **kwargs: Any) -> None:
        if value:
            countdown.retry(value - 1, **kwargs)
        else:
            succeeded.append(value)

    countdown.execute(3)
    runs = 0
    while app.items:
        item = app.items.pop()
        runs += 1
        args, kwargs = decode_call(item.content.payload)
        before = attempts_before(item.content.headers)
        token = CURRENT_TASK.begin(
            RunningTask(item.id, "countdown", item.queue, args, kwargs, before + 1, before + item.policy.attempts)
        )
        countdown.function(*args, **kwargs)
        CURRENT_TASK.end(token)

    assert runs == 3
    assert succeeded == []


def test_outside_of_a_worker_the_call_that_asks_is_the_first_attempt(app: RecordingDibs) -> None:
    @app.task(attempts=3, name="task")
    def task(**kwargs: Any) -> None: ...

    task.retry()
    assert (app.last.policy.attempts, app.last.id, app.last.delay.seconds) == (2, "new", 30)
    task.retry(_attempts=10)
    assert app.last.policy.attempts == 9
    assert app.task(name="t")(lambda: None).retry() is None


def test_an_attempt_under_another_id_takes_nobodys_place(app: RecordingDibs, running: RunningTask) -> None:
    app.task(name="task", attempts=5)(lambda: None).options(taskid="other").retry()

    assert (app.last.id, app.last.lease_token) == ("other", 0)
    assert not running.retried


def test_another_task_that_runs_here_has_nothing_to_do_with_it(app: RecordingDibs, running: RunningTask) -> None:
    app.task(name="other", attempts=2)(lambda: None).retry()

    assert app.last.id == "new"
    assert not running.retried
