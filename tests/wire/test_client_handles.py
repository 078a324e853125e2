"""Handles of enqueued tasks, against a real broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from dibs import (
    CURRENT_TASK,
    AlreadyExists,
    Cancelled,
    Dibs,
    InvalidArgument,
    ResultUnavailable,
    RunningTask,
    State,
    Task,
    TaskCancelled,
    TaskFailed,
    TaskNotFinished,
)
from dibs.contract.headers import attempts_before
from dibs.rpc.codec import decode_call
from dibs.v1 import types_pb2 as tpb

from ..support.broker_thread import BrokerThread
from ..support.by_hand import fail, finish, finish_all, finish_in_bytes, take


@pytest.fixture
def add(app: Dibs) -> Task[[int, int], int]:
    @app.task(name="add", save_results=60, vis_timeout=30)
    def add(a: int, b: int) -> int:
        return a + b

    return add


def in_background(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_a_task_is_followed_from_its_call_to_its_result(app: Dibs, add: Task[[int, int], int]) -> None:
    handle = add.execute(1, 2)
    assert (handle.status, handle.state, handle.result) == ("waiting", State.WAITING, None)
    assert handle.args == ([1, 2], {})
    assert not handle.wait(0)

    (delivery,) = take(app)
    assert delivery.id == handle.taskid
    assert handle.status == "started"
    assert handle.wait(5)
    assert not handle.wait(0, until="done")

    finish(app, delivery, 3)
    assert handle.wait(5, until="done")
    assert (handle.status, handle.state, handle.result) == ("done", State.SUCCEEDED, 3)
    assert handle.get(0) == 3
    assert app.result(handle.taskid) == app.handle(handle.taskid).get() == 3
    assert handle.args is None


def test_get_waits_for_the_result(app: Dibs, add: Task[[int, int], int]) -> None:
    handle = add.execute(1, 2)
    worker = in_background(lambda: finish(app, take(app)[0], 3))

    assert handle.get(timeout=timedelta(seconds=10)) == 3
    worker.join()


def test_wait_without_end_ends_when_there_is_something_to_tell(app: Dibs, add: Task[[int, int], int]) -> None:
    handle = add.execute(1, 2)
    worker = in_background(lambda: take(app))

    assert handle.wait(None)
    worker.join()


def test_get_raises_what_the_task_raised(app: Dibs, add: Task[[int, int], int]) -> None:
    handle = add.execute(1, 2)
    fail(app, take(app)[0], "Traceback ...\nZeroDivisionError: division by zero")

    with pytest.raises(TaskFailed, match=r"add .* failed[\s\S]*ZeroDivisionError") as caught:
        handle.get(5)
    assert caught.value.taskid == handle.taskid
    assert caught.value.name == "add"
    assert handle.state is State.FAILED
    assert handle.result is None


def test_get_gives_up_in_time(add: Task[[int, int], int]) -> None:
    handle = add.execute(1, 2)
    begun = time.monotonic()

    with pytest.raises(TaskNotFinished, match=r"waiting after 0\.2 s"):
        handle.get(0.2)
    assert 0.19 < time.monotonic() - begun < 5


def test_what_is_not_kept_cannot_be_got(app: Dibs) -> None:
    task: Task[[], None] = app.task(name="forgotten")(lambda: None)
    handle = task.execute()
    take(app)

    assert handle.wait(5, until="done")
    assert (handle.status, handle.state) == ("done", State.UNKNOWN)
    assert app.handle(handle.taskid).status == "unknown"  # of an id alone it cannot be told
    with pytest.raises(ResultUnavailable, match="save_results"):
        handle.get(5)


def test_a_result_of_none_is_a_result(app: Dibs, add: Task[[int, int], int]) -> None:
    handle = add.execute(1, 2)
    finish(app, take(app)[0], None)

    assert handle.get(5) is None


def test_done_without_a_result_is_none(app: Dibs, add: Task[[int, int], int]) -> None:
    handle = add.execute(1, 2)
    finish_in_bytes(app, take(app)[0], None)

    assert handle.get(5) is None
    assert (handle.state, handle.result, app.results([handle.taskid])) == (State.SUCCEEDED, None, [None])


def test_a_result_that_is_not_json_comes_as_its_bytes_and_spoils_no_other(
    app: Dibs, add: Task[[int, int], int]
) -> None:
    handles = [add.execute(n, n) for n in range(3)]
    first, second, third = take(app, 3)
    finish(app, first, 0)
    finish_in_bytes(app, second, b"\xff{")
    finish(app, third, 2)

    assert app.results(handle.taskid for handle in handles) == [0, b"\xff{", 2]
    values: list[object] = [handles[1].get(5), handles[1].result]
    assert values == [b"\xff{"] * 2


def test_a_delayed_task_is_early_and_can_be_cancelled(app: Dibs, add: Task[[int, int], int]) -> None:
    handle = add.execute(1, 2, delay=60)
    assert handle.status == "early"

    assert handle.cancel() is Cancelled.NEVER_RUNS
    assert handle.cancel() is Cancelled.NEVER_RUNS, "again"
    assert handle.state is State.CANCELLED
    with pytest.raises(TaskCancelled, match="cancelled"):
        handle.get(5)


def test_cancelling_tells_a_running_task_and_drops_the_result_of_a_finished_one(
    app: Dibs, add: Task[[int, int], int]
) -> None:
    running = add.execute(1, 2)
    take(app)
    done = add.execute(1, 2)
    finish(app, take(app)[0], 3)

    assert running.cancel() is Cancelled.TOLD
    assert done.cancel() == -1
    assert done.cancel() is Cancelled.NOT_KNOWN
    assert done.result is None
    assert app.handle("never-there").cancel() is Cancelled.NOT_KNOWN


def test_many_results_come_in_the_order_of_their_ids(app: Dibs, add: Task[[int, int], int]) -> None:
    with app.batch():
        handles = [add.execute(n, n) for n in range(2_100)]
    places = {handle.taskid: place for place, handle in enumerate(handles)}
    for _ in range(3):
        taken = take(app, 1_000)
        finish_all(app, [(one, places[one.id]) for one in taken if places[one.id] != 1_500])

    assert app.results(handle.taskid for handle in handles) == [
        None if place == 1_500 else place for place in range(2_100)
    ]
    assert app.results([]) == []


def test_results_that_do_not_fit_into_one_reply_are_asked_for_again(app: Dibs, add: Task[[int, int], int]) -> None:
    with app.batch():
        handles = [add.execute(n, n) for n in range(40)]
    texts = [str(place) * 100_000 for place in range(40)]
    for delivery, text in zip(take(app, 40), texts, strict=True):
        finish(app, delivery, text)

    assert app.results(handle.taskid for handle in handles) == texts


def test_an_id_that_is_known_is_kept_replaced_or_refused(app: Dibs, add: Task[[int, int], int]) -> None:
    assert add.execute(1, 1, taskid="mine").created
    handle = add.options(taskid="mine", on_conflict="keep").execute(2, 2)
    assert (handle.args, handle.created) == (([1, 1], {}), False)

    add.options(taskid="mine", on_conflict="replace").execute(3, 3)
    assert handle.args == ([3, 3], {})
    with pytest.raises(AlreadyExists, match="mine"):
        add.options(taskid="mine", on_conflict="fail").execute(4, 4)


def test_what_the_broker_refuses_names_the_field(app: Dibs, add: Task[[int, int], int]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        add.execute(1, 2, _queue="no:colons")
    assert caught.value.field == "items[0].queue"


def test_a_task_goes_where_the_instance_was_told_last(
    app: Dibs, broker: BrokerThread, add: Task[[int, int], int]
) -> None:
    app.connect(broker.target, "elsewhere")
    handle = add.execute(1, 2)

    with Dibs(broker.target, "elsewhere") as other:
        assert other.handle(handle.taskid).status == "waiting"
    with Dibs(broker.target) as default:
        assert default.handle(handle.taskid).state is State.UNKNOWN


def test_a_retry_takes_the_place_of_the_running_attempt(app: Dibs) -> None:
    @app.task(name="again", attempts=3, retry_delay=0, vis_timeout=30, save_results=60)
    def again(value: int, **kwargs: int) -> None: ...

    handle = again.execute(1)
    seen = []
    for _ in range(3):
        (delivery,) = take(app)
        running = as_worker(delivery)
        token = CURRENT_TASK.begin(running)
        seen.append((running.attempt, running.attempts))
        retried = again.retry(running.attempt)
        CURRENT_TASK.end(token)
        assert (retried is not None) == running.retried
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert handle.state is State.STARTED

    finish(app, delivery, "at last")
    assert handle.get(5) == "at last"


@pytest.mark.parametrize("vis_timeout", [0, 30])
def test_a_cancelled_attempt_is_not_retried(app: Dibs, vis_timeout: float, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="again", attempts=3, retry_delay=0, vis_timeout=vis_timeout, save_results=60)
    def again() -> None: ...

    handle = again.execute()
    (delivery,) = take(app)
    assert handle.cancel() is Cancelled.TOLD
    running = as_worker(delivery)
    token = CURRENT_TASK.begin(running)
    assert again.retry() is None
    CURRENT_TASK.end(token)
    assert (running.retried, running.cancelled) == (False, True)
    assert "has been cancelled" in caplog.text
    assert take(app, wait=0) == []


def test_an_attempt_that_has_lost_its_lease_is_not_retried(app: Dibs, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="again", attempts=3, retry_delay=0, vis_timeout=30, save_results=60)
    def again() -> None: ...

    handle = again.execute()
    (lost,) = take(app)
    fail(app, lost, "gone")
    (held,) = take(app)
    running = as_worker(lost)
    token = CURRENT_TASK.begin(running)
    assert again.retry() is None
    CURRENT_TASK.end(token)
    assert (running.retried, running.cancelled) == (False, False)
    assert "lease is not held any more" in caplog.text
    finish(app, held, "second")
    assert handle.get(5) == "second"


def as_worker(delivery: tpb.Delivery) -> RunningTask:
    """What the worker makes of a delivery."""
    args, kwargs = decode_call(delivery.content.payload)
    before = attempts_before(delivery.content.headers)
    return RunningTask(
        delivery.id,
        delivery.content.task_name,
        delivery.queue,
        args,
        kwargs,
        delivery.attempt + before,
        delivery.attempts + before,
        headers=dict(delivery.content.headers),
        lease_token=delivery.lease_token,
    )


def test_calls_from_many_threads_share_requests_and_all_arrive(app: Dibs, add: Task[[int, int], int]) -> None:
    with ThreadPoolExecutor(16) as pool:
        handles = list(pool.map(lambda n: add.execute(n, n), range(400)))

    assert {delivery.id for delivery in take(app, 1_000)} == {handle.taskid for handle in handles}
