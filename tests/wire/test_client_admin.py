"""What programs do to queues as a whole, locks, and tasks whose code is elsewhere, against a real broker."""

from __future__ import annotations

import json
import logging
import time
from datetime import date, timedelta
from typing import Any, Literal

import pytest

from dibs import (
    DEADLETTER_QUEUE,
    AsyncDibs,
    Backoff,
    Dibs,
    FailedPrecondition,
    InvalidArgument,
    NoLock,
    PayloadError,
    SimpleLock,
    State,
    UnknownTask,
)
from dibs.admin.registration import Registered, described, registration
from dibs.v1 import admin_pb2, admin_pb2_grpc

from ..support.broker_thread import BrokerThread
from ..support.by_hand import fail, finish, take


def register(app: Dibs, group: str = "jobs") -> Registered:
    """As a worker does at its start."""
    return app.run(registration(app.namespace, *described(task.definition for task in app.registry.tasks()), group))


def test_queues_are_known_in_the_order_in_which_they_are_served(app: Dibs) -> None:
    assert app.known_queues() == []
    job = app.task(name="job")(lambda: None)
    for queue in ("c", "b", "a"):
        job.options(queue=queue).execute()
    app.Data("data").put_data([1, 2])
    assert app.known_queues() == ["a", "b", "c"]
    app.set_priority("c", 1)
    app.set_priority(b"b", 0.5)
    assert app.known_queues() == ["b", "c", "a"]
    app.set_priority("b", None)
    assert app.known_queues() == ["c", "a", "b"]
    assert app.known_queues(is_data=True) == ["data"]
    with pytest.raises(InvalidArgument, match="priority"):
        app.set_priority("a", float("inf"))


def test_sizes_of_queues(app: Dibs) -> None:
    job = app.task(name="job", vis_timeout=30)(lambda: None)
    for delay in (0, 0, 60):
        job.execute(delay=delay)
    take(app)
    assert app.queue_sizes() == [("default", 2, 3)]
    app.Data("data").put_data([1, 2])
    assert app.queue_sizes(is_data=True) == [("data", 2, 2)]


@pytest.mark.parametrize("name", [True, "morgue"])
def test_a_queue_of_dead_letters_is_cleared(app: Dibs, name: bool | str) -> None:
    mortal = app.task(name="mortal", vis_timeout=30, use_dead=name)(lambda: None)
    for _ in range(2):
        mortal.execute()
    for delivery in take(app, 2):
        fail(app, delivery, "no")
    dead = DEADLETTER_QUEUE if name is True else str(name)
    letters = app.Data(dead, is_tasks=True, is_dead=True)
    assert letters.currently_available() == (2, 0)
    assert app.clear_queue(dead, is_data=True) == 0, "those of data are others"
    assert app.clear_queue(dead) == 2
    assert letters.currently_available() == (0, 0)
    assert app.clear_queue(dead) == 0


def test_a_queue_is_cleared(app: Dibs) -> None:
    job = app.task(name="job", vis_timeout=30)(lambda: None)
    handles = [job.execute(), job.execute(delay=60), job.execute()]
    (running,) = take(app)
    with pytest.raises(FailedPrecondition):
        app.clear_queue("default", delete=True)
    assert app.clear_queue("default") == 2
    assert [handle.status for handle in handles] == ["started", "done", "done"]
    finish(app, running, None)
    assert app.known_queues() == ["default"]
    assert app.clear_queue("default", delete=True) == 0
    assert app.known_queues() == []
    assert app.clear_queue("never.heard.of") == 0
    app.Data("default").put_data([1, 2, 3])
    assert app.clear_queue("default", is_data=True) == 3


def test_a_flush_tells_what_is_done_started_and_waiting(app: Dibs, caplog: pytest.LogCaptureFixture) -> None:
    job = app.task(name="job", vis_timeout=30, save_results=60)(lambda: None)
    first, second, third = (job.execute().taskid for _ in range(3))
    one, _ = take(app, 2)
    with caplog.at_level(logging.INFO, "dibs"):
        done, started, waiting = app.flush_tasks(
            complete=True, wait_on_hidden=True, timeout=timedelta(seconds=0.5), log_every=0.1
        )
    assert (done, sorted(started), waiting) == ([], sorted([first, second]), [third])
    assert "0 done, 2 started, 1 waiting" in caplog.text
    done, started, waiting = app.flush_tasks(timeout=0.1)
    assert (started, waiting) == ([], [third])
    finish(app, one, None)
    for delivery in take(app):
        finish(app, delivery, None)
    done, started, waiting = app.flush_tasks(timeout=10)
    assert (started, waiting) == ([], [])
    assert app.flush_tasks() == ([], [], [])


def test_a_flush_forces_what_is_delayed(app: Dibs) -> None:
    handle = app.task(name="job", vis_timeout=30)(lambda: None).execute(delay=3600)
    assert app.flush_tasks(timeout=0.1) == ([], [], [])
    app.flush_tasks(force_delayed=True, timeout=0.1)
    assert [delivery.id for delivery in take(app)] == [handle.taskid]


def test_a_lock_is_held_by_one(app: Dibs, broker: BrokerThread) -> None:
    def fail() -> None:
        with app.lock("it", duration=30):
            raise AssertionError

    with Dibs(broker.target) as other, SimpleLock(other, "it", duration=30) as lock:
        for _ in range(2):
            with pytest.raises(NoLock, match="it"):
                fail()
        lock.refresh()
        lock.refresh(timedelta(seconds=60))
        with app.lock("another"):
            pass
    with app.lock("it", duration=30):
        pass


def test_a_lock_that_was_lost_says_so_at_its_end(app: Dibs) -> None:
    def outlast(error: Exception | None) -> None:
        with app.lock("it", duration=0.05):
            time.sleep(0.1)
            if error is not None:
                raise error

    with pytest.raises(NoLock, match="was lost before its end"):
        outlast(None)
    with pytest.raises(KeyError) as caught:
        outlast(KeyError())
    assert "was lost before its end" in caught.value.__notes__[0]
    with app.lock("it", duration=30):
        pass


@pytest.mark.parametrize(
    "conn", [AsyncDibs("127.0.0.1:1"), "127.0.0.1:1", 0, object()], ids=lambda conn: str(type(conn))
)
def test_a_lock_goes_with_an_instance(conn: Any) -> None:
    with pytest.raises(TypeError, match="goes with a Dibs or None"):
        SimpleLock(conn, "it")


def test_a_lock_that_ran_out_is_lost(app: Dibs) -> None:
    lost = app.lock("it", duration=0.05)
    with lost:
        time.sleep(0.1)
        with app.lock("it", duration=30) as ours:
            with pytest.raises(NoLock, match="run out"):
                lost.refresh()
            ours.refresh()
    with pytest.raises(NoLock, match="not held"):
        lost.refresh()
    with pytest.raises(ValueError, match="duration"):
        app.lock("it", duration=0)


def test_one_lock_object_is_not_taken_twice_at_once(app: Dibs) -> None:
    lock = app.lock("it", duration=30)

    def again() -> None:
        with lock:
            raise AssertionError

    with lock:
        with pytest.raises(NoLock):
            again()
        lock.refresh()
    with lock:
        pass


def test_tasks_of_workers_are_called_without_their_code(app: Dibs, broker: BrokerThread) -> None:
    app.task(name="far.plain", queue="there")(lambda *_, **__: None)
    app.task(
        name="far.rich", queue="there", attempts=4, vis_timeout=30, save_results=60, backoff=Backoff(2, 3, 60, 0.2)
    )(lambda *_, **__: None)
    app.task(name="far.fixed", attempts=2, vis_timeout=30, retry_delay=7, use_dead="broken")(lambda *_, **__: None)
    assert register(app).tasks == 3
    with Dibs(broker.target) as other:
        assert other.known_tasks() == ["far.fixed", "far.plain", "far.rich"]
        for name in other.known_tasks():
            other.call_task(name, "ignored", 1, key=2, _verify_call=True)
        with pytest.raises(UnknownTask):
            other.call_task("nobody.knows", None, _verify_call=True)
        other.call_task("nobody.knows", "asked.for")
    plain, rich = take(app, 2, "there")
    (fixed,) = take(app)
    assert [item.content.task_name for item in (plain, rich, fixed)] == ["far.plain", "far.rich", "far.fixed"]
    assert (plain.attempts, plain.lease_token, plain.content.payload) == (1, 0, b'{"args":[1],"kwargs":{"key":2}}')
    assert (rich.attempts, rich.lease_timeout.seconds, rich.keep_result) == (4, 30, True)
    assert (rich.retry.initial_delay.seconds, rich.retry.multiplier, rich.retry.max_delay.seconds) == (2, 3, 60)
    assert (fixed.attempts, fixed.retry.initial_delay.seconds) == (2, 7)
    assert app.known_queues() == ["asked.for", "default", "there"]


def send(address: str, *, at: date, copies: int = 1) -> None: ...


def test_calls_of_tasks_whose_code_is_elsewhere_are_checked_by_what_their_worker_said(
    app: Dibs, broker: BrokerThread
) -> None:
    app.task(name="far.send")(send)
    register(app)
    with Dibs(broker.target) as other:
        for args, kwargs, told in (
            (["me"], {}, r"far.send\(\) is missing the argument 'at'"),
            (["me"], {"at": "2026-01-01", "countdown": 5}, "countdown is delay=, in seconds here"),
            ([5], {"at": "2026-01-01"}, "argument 'address' of far.send must be a string, not 5"),
        ):
            with pytest.raises((TypeError, PayloadError), match=told):
                other.call_task("far.send", None, *args, **kwargs)
        other.call_task("far.send", None, "me", at="2026-01-01", copies=2, delay=0)
    (item,) = take(app)
    assert item.content.payload == b'{"args":["me"],"kwargs":{"at":"2026-01-01","copies":2}}'
    [info] = app.admin.tasks(["far.send"])
    assert json.loads(info.schema)["required"] == ["address", "at"]


def test_a_schema_that_is_too_long_is_left_out_and_named(app: Dibs) -> None:
    app.task(name="large")(large)
    app.task(name="small")(send)

    done = register(app)

    assert (done.tasks, done.refused, done.unchecked) == (2, {}, ["large"])
    schemas = {info.name: info.schema for info in app.admin.tasks()}
    assert schemas["large"] == ""
    assert schemas["small"]


def large(choice: Any) -> None: ...


large.__annotations__["choice"] = Literal[tuple(f"{number:04}" for number in range(6_000))]


def test_what_the_broker_said_of_a_task_is_believed_for_a_while(app: Dibs, broker: BrokerThread) -> None:
    app.task(name="far.job", queue="one")(lambda: None)
    register(app)
    with Dibs(broker.target) as other:
        assert other.call_task("far.job", None).queue == "one"
        moved = Dibs(broker.target)
        moved.task(name="far.job", queue="two")(lambda: None)
        register(moved)
        moved.close()
        assert other.call_task("far.job", None).queue == "one"
    with Dibs(broker.target) as third:
        assert third.call_task("far.job", None).queue == "two"


def test_schedules_come_and_go_with_the_code(app: Dibs, broker: BrokerThread) -> None:
    app.periodic_task(60, name="every", never_skip=True, queue="p")(lambda: None)
    app.cron_task("0 5 * * tue", name="cron", timezone="Europe/Berlin")(lambda: None)
    done = register(app)
    assert (done.tasks, done.schedules, list(done.removed), done.refused) == (2, 2, [], {})
    before = _schedules(app)
    assert (before["every"].schedule.interval.seconds, before["every"].schedule.never_skip) == (60, True)
    assert (before["cron"].schedule.cron, before["cron"].schedule.time_zone) == ("0 5 * * tue", "Europe/Berlin")
    assert before["every"].group == "jobs"

    register(app)
    assert {name: info.due_time for name, info in _schedules(app).items()} == {
        name: info.due_time for name, info in before.items()
    }
    with Dibs(broker.target) as later:
        later.cron_task("0 5 * * tue", name="cron", timezone="Europe/Berlin")(lambda: None)
        assert list(register(later).removed) == ["every"]
        assert list(register(later, "another").removed) == []
        assert list(_schedules(app)) == ["cron"]
    with Dibs(broker.target) as bare:
        bare.task(name="plain")(lambda: None)
        assert list(register(bare, "another").removed) == ["cron"]


def test_what_the_broker_refuses_does_not_hinder_the_rest(app: Dibs) -> None:
    app.periodic_task(60, name="good")(lambda: None)
    app.periodic_task(60, name="bad schedule", queue="q" * 129)(lambda: None)
    app.task(name="bad task", queue="q" * 129)(lambda: None)
    done = register(app)
    assert (done.tasks, done.schedules) == (1, 1)
    assert set(done.refused) == {"bad schedule", "bad task"}
    assert "queue" in done.refused["bad schedule"]
    assert list(_schedules(app)) == ["good"]
    assert app.known_tasks() == ["bad schedule", "bad task", "good"]  # here they can be called


async def test_the_same_for_asyncio(app: Dibs) -> None:
    async with AsyncDibs(of=app) as adibs:
        job = app.task(name="job", save_results=60)(lambda: None)
        await job.on(adibs).execute(delay=60)
        await adibs.set_priority("default", 3)
        assert await adibs.known_queues() == ["default"]
        assert await adibs.queue_sizes() == [("default", 1, 1)]
        assert await adibs.flush_tasks(timeout=0.1) == ([], [], [])
        assert await adibs.clear_queue("default", delete=True) == 1
        assert await adibs.known_tasks() == ["job"]
        handle: Any = await adibs.call_task("elsewhere", "q")
        assert await handle.state is State.WAITING
        async with adibs.lock("it", duration=30) as lock:
            await lock.refresh()
            with pytest.raises(NoLock):
                await adibs.lock("it").__aenter__()
        async with adibs.lock("it"):
            pass


def _schedules(app: Dibs) -> dict[str, admin_pb2.ScheduleInfo]:
    request = admin_pb2.ListSchedulesRequest(namespace=app.namespace)
    with app.connection.open_channel() as channel:
        found = admin_pb2_grpc.AdminServiceStub(channel).ListSchedules(request, timeout=10).schedules
    return {info.schedule.name: info for info in found}
