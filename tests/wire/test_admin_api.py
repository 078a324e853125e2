"""`Admin` and `AsyncAdmin` against a real broker: everything that each of their methods says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

import dibs
from dibs import (
    DEADLETTER_QUEUE,
    Admin,
    AsyncAdmin,
    AsyncDibs,
    Backoff,
    Cleared,
    Cron,
    Dibs,
    Every,
    FailedPrecondition,
    InvalidArgument,
    LockInfo,
    NotFound,
    PayloadError,
    Policy,
    Progress,
    ScheduleState,
    State,
)
from dibs.broker.config.limits import Limits
from dibs.broker.engine.keys import namespace_prefix

from ..support.admin_faces import Face, Kind, face
from ..support.broker_thread import BrokerThread, serving
from ..support.by_hand import fail, finish, take
from ..support.redis import RedisServer

PREFIX = namespace_prefix("dibs", "default")


@pytest.fixture(params=["blocking", "asyncio"])
async def admin(request: pytest.FixtureRequest, app: Dibs) -> AsyncIterator[Face]:
    kind: Kind = request.param
    async with face(kind, app) as both:
        yield both


@pytest.fixture
def job(app: Dibs) -> dibs.Task[..., Any]:
    """A task of which calls can die."""

    @app.task(name="job", attempts=2, vis_timeout=30, use_dead=True, save_results=60)
    def job(*args: Any, **kwargs: Any) -> None: ...

    return job


def dead(app: Dibs, job: dibs.Task[..., Any], count: int = 1, *args: Any) -> list[str]:
    """Ids of so many dead letters."""
    once = job.options(attempts=1)
    ids = [once.execute(*args).taskid for _ in range(count)]
    for delivery in take(app, count):
        fail(app, delivery, "no paper")
    return ids


# Queues


async def test_queues_come_in_the_order_in_which_they_are_served_with_their_counts(
    admin: Face, app: Dibs, job: dibs.Task[..., Any]
) -> None:
    assert await admin("queues") == []
    began = datetime.now(UTC)
    for queue, delay in (("a", 0), ("a", 60), ("b", 0), ("b", 0)):
        job.options(queue=queue).execute(delay=delay)
    app.Data("d").put_data([1, 2])
    (done,) = take(app, queue="b")
    finish(app, done, None)
    take(app, queue="b")
    await admin("set_priority", b"b", 2.5)

    first, second, third = await admin("queues")

    assert [one.name for one in (first, second, third)] == ["b", "a", "d"]
    assert (first.priority, first.ready, first.leased, first.seen, first.finished) == (2.5, 0, 1, 2, 1)
    assert (second.priority, second.ready, second.delayed, second.dead, second.set_aside) == (None, 1, 1, 0, 0)
    assert (third.is_data, third.ready, first.is_data) == (True, 2, False)
    assert abs(second.oldest_ready_time - began) < timedelta(seconds=20)
    assert first.oldest_ready_time is None
    assert [one.name for one in await admin("queues", is_data=True)] == ["d"]
    assert [one.name for one in await admin("queues", is_data=False)] == ["b", "a"]
    assert [one.name for one in await admin("queues", ["a"], is_data=False)] == ["a"]
    assert await admin("queues", []) == []
    assert await admin("queue", b"a") == second
    assert await admin("queue", "d", is_data=True) == third


async def test_a_queue_that_is_not_known_is_not_found(admin: Face) -> None:
    for method in ("queue", "pause_queue", "resume_queue", "clear_queue", "items", "redrive_set_aside"):
        with pytest.raises(NotFound, match="nowhere"):
            await admin(method, "nowhere")
    with pytest.raises(NotFound, match="nowhere"):
        await admin("queues", ["nowhere"])
    with pytest.raises(TypeError, match="str or bytes"):
        await admin("pause_queue", 5)


async def test_more_queues_than_one_request_takes_are_asked_for_in_several(admin: Face, app: Dibs) -> None:
    names = [f"q{number}" for number in range(1_100)]
    with app.batch():
        for name in names:
            app.Data(name).put_data(1, is_one=True)

    assert {one.name for one in await admin("queues", names)} == set(names)
    assert {one.name for one in await admin("queues")} == set(names)


async def test_a_paused_queue_delivers_nothing_until_it_is_resumed(
    admin: Face, app: Dibs, job: dibs.Task[..., Any]
) -> None:
    job.execute()

    assert await admin("pause_queue", "default") is True
    assert await admin("pause_queue", "default") is False
    assert (await admin("queue", "default")).paused
    assert await asyncio.to_thread(take, app, wait=0.2) == []

    assert await admin("resume_queue", "default") is True
    assert await admin("resume_queue", "default") is False
    assert len(await asyncio.to_thread(take, app)) == 1


async def test_a_priority_is_set_and_taken_away(admin: Face, app: Dibs) -> None:
    app.Data("d").put_data([1])
    await admin("set_priority", "d", -1, is_data=True)
    assert (await admin("queue", "d", is_data=True)).priority == -1
    await admin("set_priority", "d", None, is_data=True)
    assert (await admin("queue", "d", is_data=True)).priority is None
    with pytest.raises(InvalidArgument, match="priority"):
        await admin("set_priority", "d", float("nan"), is_data=True)


async def test_clearing_removes_what_waits_and_reports(admin: Face, app: Dibs) -> None:
    queue = app.Data("d", vis_timeout=30)
    queue.put_data(list(range(450)))
    queue.put_data([1], delay=60)
    (held,) = queue.get_data()
    reports: list[Progress] = []

    with pytest.raises(FailedPrecondition, match="leased"):
        await admin("clear_queue", "d", delete=True, is_data=True)
    assert await admin("clear_queue", "d", is_data=True, on_progress=reports.append) == Cleared(450, False)

    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert len(reports) > 2
    assert reports[-1] == Progress(450, 0)
    queue.done_data([held])
    assert await admin("clear_queue", "d", delete=True, is_data=True) == Cleared(0, True)
    assert await admin("queues") == []


async def test_a_namespace_is_deleted_with_everything_in_it(admin: Face, app: Dibs) -> None:
    app.Data("d").put_data([1])
    with pytest.raises(ValueError, match="name"):
        await admin("delete_namespace", "")
    deleted = await admin("delete_namespace", app.namespace)
    assert deleted.deleted
    assert deleted.removed > 0
    assert await admin("queues") == []


# Items


async def test_items_of_each_section(admin: Face, app: Dibs, job: dibs.Task[..., Any]) -> None:
    taken = job.execute("first").taskid
    take(app)
    ready = job.execute("Ada", urgent=True).taskid
    delayed = job.execute(delay=3_600).taskid

    (one,) = await admin("items", "default")
    assert (one.id, one.queue, one.is_data, one.state, one.task_name) == (ready, "default", False, State.WAITING, "job")
    assert (one.attempt, one.payload, one.headers, one.next_time) == (0, b"", {}, None)
    assert one.policy == Policy(attempts=2, vis_timeout=30, use_dead=True, save_results=60)
    with pytest.raises(PayloadError):
        one.call()

    (one,) = await admin("items", "default", include_content=True)
    assert one.call() == (["Ada"], {"urgent": True})

    (one,) = await admin("items", "default", "delayed")
    assert (one.id, one.state) == (delayed, State.SCHEDULED)
    assert timedelta(minutes=59) < one.next_time - one.enqueue_time < timedelta(minutes=61)

    (one,) = await admin("items", "default", "leased")
    assert (one.id, one.state, one.attempt) == (taken, State.STARTED, 1)

    app.Data("d").put_data([{"celsius": 21.5}])
    (one,) = await admin("items", "d", include_content=True, is_data=True)
    assert (one.is_data, one.task_name, one.data()) == (True, "", {"celsius": 21.5})

    with pytest.raises(ValueError, match="ready, delayed, leased, set-aside"):
        await admin("items", "default", "somewhere")


async def test_a_long_list_comes_whole(admin: Face, app: Dibs) -> None:
    ids = list(app.Data("d").put_data(list(range(2_300))))

    assert [item.id for item in await admin("items", "d", is_data=True)] == ids


async def test_pages_are_asked_for_while_one_iterates(app: Dibs) -> None:
    queue = app.Data("d")
    queue.put_data(list(range(1_001)))
    items = app.admin.items("d", is_data=True)
    queue.delete_all()
    assert list(items) == [], "nothing was asked for before"

    queue.put_data(list(range(1_001)))
    items = app.admin.items("d", is_data=True)
    next(items)
    queue.delete_all()
    assert len(list(items)) == 999


async def test_items_are_deleted_wherever_they_are(admin: Face, app: Dibs, job: dibs.Task[..., Any]) -> None:
    gone = dead(app, job)
    waiting = list(app.Data("d").put_data(list(range(1_500))))

    assert await admin("delete_items", []) == []
    assert await admin("delete_items", [*gone, "never.heard.of", *waiting]) == [*gone, *waiting]
    assert await admin("delete_items", gone[0]) == []
    assert await admin("dead_letters") == []


async def test_what_was_set_aside_is_listed_and_sent_back(
    admin: Face, app: Dibs, job: dibs.Task[..., Any], redis_server: RedisServer
) -> None:
    first, second, third = (job.execute(number).taskid for number in range(3))
    with redis.Redis.from_url(redis_server.url) as raw:
        for id in (first, second, third):
            record = raw.hget(PREFIX + "item", id)
            assert isinstance(record, bytes)
            raw.hset(PREFIX + "item", id, record.replace(b"\n", b" v=2\n", 1))
        assert take(app, 3, wait=0.2) == []
        assert {one.id for one in await admin("items", "default", "set-aside")} == {first, second, third}
        assert (await admin("queue", "default")).set_aside == 3

        assert await admin("redrive_set_aside", "default", []) == 0
        assert await admin("redrive_set_aside", "default", [first]) == 1
        with pytest.raises(NotFound):
            await admin("redrive_set_aside", "default", [first, second])
        reports: list[Progress] = []
        assert await admin("redrive_set_aside", "default", on_progress=reports.append) == 2
    assert reports == [Progress(2, 0)]
    assert await admin("redrive_set_aside", "default") == 0


# Dead letters


async def test_dead_letters_say_what_they_died_of(admin: Face, app: Dibs, job: dibs.Task[..., Any]) -> None:
    assert await admin("dead_letter_queues") == []
    first, second = dead(app, job, 2, "Ada")

    (queue,) = await admin("dead_letter_queues")
    one, other = await admin("dead_letters", include_content=True)

    assert (queue.name, queue.is_data, queue.size) == (DEADLETTER_QUEUE, False, 2)
    assert queue.oldest_death_time == one.death_time
    assert [one.id, other.id] == [first, second]
    assert (one.state, one.last_error, one.queue, one.attempt) == (State.DEAD, "no paper", "default", 1)
    assert one.call() == (["Ada"], {})
    assert [letter.payload for letter in await admin("dead_letters")] == [b"", b""]
    assert await admin("dead_letter_queues", is_data=True) == []
    assert await admin("dead_letters", "unheard.of") == []
    assert await admin("dead_letters", is_data=True) == []


async def test_dead_letters_go_back(admin: Face, app: Dibs, job: dibs.Task[..., Any]) -> None:
    first, *others = dead(app, job, 4)
    reports: list[Progress] = []

    assert await admin("redrive_dead_letters", []) == 0
    assert len(await admin("dead_letters")) == 4
    with pytest.raises(NotFound):
        await admin("redrive_dead_letters", [first, "never.heard.of"])
    assert await admin("redrive_dead_letters", [first]) == 1
    assert [item.id for item in await admin("items", "default")] == [first]
    assert await admin("redrive_dead_letters", on_progress=reports.append) == 3

    assert reports[-1] == Progress(3, 0)
    assert [item.id for item in await admin("items", "default")] == [first, *others]
    assert await admin("redrive_dead_letters") == 0


async def test_dead_letters_are_purged(admin: Face, app: Dibs, job: dibs.Task[..., Any]) -> None:
    first, *others = dead(app, job, 3)
    reports: list[Progress] = []

    assert await admin("purge_dead_letters", []) == 0
    assert await admin("purge_dead_letters", [first], on_progress=reports.append) == 1
    assert [letter.id for letter in await admin("dead_letters")] == others
    assert reports[-1].done == 1
    with pytest.raises(NotFound):
        await admin("purge_dead_letters", [first])
    assert await admin("purge_dead_letters") == 2
    assert await admin("dead_letters") == []


@pytest.mark.parametrize("method", ["redrive_dead_letters", "purge_dead_letters"])
async def test_more_dead_letters_than_one_request_takes_are_one_count(
    admin: Face, app: Dibs, job: dibs.Task[..., Any], method: str
) -> None:
    once = job.options(attempts=1)
    with app.batch():
        ids = [once.execute().taskid for _ in range(1_200)]
    for delivery in [*take(app, 1_000), *take(app, 1_000)]:
        fail(app, delivery, "no")
    reports: list[Progress] = []

    assert await admin(method, ids, on_progress=reports.append) == 1_200

    assert [report.done for report in reports] == sorted({report.done for report in reports})
    assert reports[-1].done == 1_200


async def test_dead_letters_are_taken_once(admin: Face, app: Dibs, job: dibs.Task[..., Any]) -> None:
    assert await admin("take_dead_letters") == []
    first, second, third = dead(app, job, 3, "Ada")

    (one,) = await admin("take_dead_letters")
    assert (one.id, one.call(), one.last_error) == (first, (["Ada"], {}), "no paper")
    assert [letter.id for letter in await admin("take_dead_letters", 1_000)] == [second, third]
    assert await admin("take_dead_letters", get_timeout=timedelta(milliseconds=50)) == []
    for count in (0, 1_001, True):
        with pytest.raises(ValueError, match="max_items"):
            await admin("take_dead_letters", count)


async def test_a_dead_letter_is_waited_for(admin: Face, app: Dibs, job: dibs.Task[..., Any]) -> None:
    taking = asyncio.create_task(admin("take_dead_letters", get_timeout=30))
    (id,) = await asyncio.to_thread(dead, app, job)
    assert [letter.id for letter in await taking] == [id]


# Tasks, schedules, workers


async def test_a_flush_tells_how_far_tasks_have_come(admin: Face, app: Dibs, job: dibs.Task[..., Any]) -> None:
    ids = [job.execute().taskid for _ in range(3)]
    one, two = take(app, 2)
    finish(app, one, None)
    reports: list[dibs.FlushProgress] = []

    found = await admin(
        "flush",
        ["default"],
        complete=True,
        wait_on_hidden=True,
        timeout=timedelta(seconds=2),
        report_every=0.1,
        on_progress=reports.append,
    )

    assert (found.done, found.started, found.waiting) == ([], [two.id], [ids[2]])
    assert dibs.FlushProgress(0, 1, 1) in reports
    assert (await admin("flush", timeout=0.1)).waiting == [ids[2]]
    assert await admin("flush", []) == dibs.Flushed((), (), ())
    with pytest.raises(NotFound, match="nowhere"):
        await admin("flush", "nowhere")


async def test_a_flush_makes_delayed_tasks_due(admin: Face, app: Dibs, job: dibs.Task[..., Any]) -> None:
    id = job.execute(delay=3_600).taskid
    await admin("flush", force_delayed=True, timeout=0.1)
    assert [item.id for item in await admin("items", "default")] == [id]


async def test_tasks_are_registered_by_hand(admin: Face, app: Dibs) -> None:
    await admin("register_task", "far.job", queue="far", description="Far away.", attempts=3, backoff=Backoff(2, 3))
    await admin("register_task", "other.job")

    far, other = await admin("tasks")

    assert (far.name, far.queue, far.description, far.workers) == ("far.job", "far", "Far away.", 0)
    assert (far.policy.attempts, far.policy.backoff.factor) == (3, 3)
    assert abs(far.register_time - datetime.now(UTC)) < timedelta(seconds=20)
    assert (other.name, other.queue, other.policy) == ("other.job", "default", Policy())
    assert [one.name for one in await admin("tasks", ["other.job", "never.heard.of"])] == ["other.job"]
    assert await admin("tasks", []) == []
    assert app.call_task("far.job", None).queue == "far"
    with pytest.raises(ValueError, match="attempts"):
        await admin("register_task", "far.job", attempts=0)


async def test_schedules_are_put_and_deleted(admin: Face, app: Dibs) -> None:
    await admin("register_task", "sweep", queue="night", attempts=4, vis_timeout=60)

    await admin("put_schedule", "hourly", Every(timedelta(hours=1)), task="sweep", args=["all"])
    await admin(
        "put_schedule",
        "nightly",
        Cron("0 3 * * *", "Europe/Vienna", never_skip=True),
        kwargs={"deep": True},
        queue="other",
        group="ops",
        attempts=2,
    )

    hourly, nightly = await admin("schedules")
    assert (hourly.name, hourly.group, hourly.task_name, hourly.queue) == ("hourly", "admin", "sweep", "night")
    assert (hourly.when, hourly.policy) == (Every(timedelta(hours=1)), Policy(attempts=4, vis_timeout=60))
    assert (hourly.payload, hourly.state, hourly.runs) == (b'{"args":["all"],"kwargs":{}}', ScheduleState.PLANNED, 0)
    assert (hourly.last_start_time, hourly.run_id) == (None, "")
    assert timedelta(minutes=59) < hourly.due_time - datetime.now(UTC) < timedelta(minutes=61)
    assert (nightly.group, nightly.task_name, nightly.queue) == ("ops", "nightly", "other")
    assert nightly.when == Cron("0 3 * * *", "Europe/Vienna", never_skip=True)
    assert nightly.policy == Policy(attempts=2)

    due = hourly.due_time
    await admin("put_schedule", "hourly", Every(timedelta(hours=1)), task="sweep", args=["all"])
    assert (await admin("schedules"))[0].due_time == due, "what is unchanged keeps its time"
    assert await admin("delete_schedules", ["hourly", "never.heard.of"]) == ["hourly"]
    assert await admin("delete_schedules", []) == []
    assert [one.name for one in await admin("schedules")] == ["nightly"]


async def test_a_schedule_that_makes_no_sense_is_refused(admin: Face) -> None:
    with pytest.raises(InvalidArgument, match="cron"):
        await admin("put_schedule", "never", Cron("not at all"))
    with pytest.raises(TypeError, match="an Every or a Cron"):
        await admin("put_schedule", "never", 60)
    with pytest.raises(PayloadError):
        await admin("put_schedule", "never", Every(timedelta(hours=1)), args=[object()])
    assert await admin("schedules") == []


async def test_connected_workers_are_listed(admin: Face, app: Dibs) -> None:
    assert await admin("workers") == []
    queue = app.Data("d", vis_timeout=30)
    queue.put_data([1])

    def listed() -> Any:
        with_one = queue.stream(1, get_timeout=20)
        batch = next(with_one)
        return batch, with_one

    batch, stream = await asyncio.to_thread(listed)
    (worker,) = await eventually(lambda: admin("workers"))
    assert (worker.is_data, worker.queues, worker.task_names) == (True, ("d",), ())
    assert worker.broker_id == (await admin("server_info")).broker_id
    assert worker.connect_time <= worker.seen_time
    batch.done(batch)
    await asyncio.to_thread(stream.close)


async def eventually(ask: Callable[[], Any]) -> Any:
    """What is asked for, as soon as there is something: brokers write down their workers in the background."""
    deadline = time.monotonic() + 20
    while not (found := await ask()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return found


# Locks, the broker


async def test_a_lock_is_taken_refreshed_and_freed_by_its_owner(admin: Face, app: Dibs) -> None:
    held = await admin("acquire_lock", "nightly", "ops-1", timedelta(minutes=1))
    assert (held.name, held.owner) == ("nightly", "ops-1")
    assert await admin("locks") == [held]
    with pytest.raises(FailedPrecondition) as caught:
        await admin("acquire_lock", "nightly", "ops-2")
    assert caught.value.reason == "LOCK_HELD"

    later = await admin("refresh_lock", "nightly", "ops-1", 3_600)
    assert later.expire_time - held.expire_time > timedelta(minutes=55)
    with pytest.raises(FailedPrecondition) as caught:
        await admin("refresh_lock", "nightly", "ops-2")
    assert caught.value.reason == "LOCK_LOST"

    assert await admin("release_lock", "nightly", "ops-2") is False
    assert await admin("release_lock", "nightly", "ops-1") is True
    assert await admin("locks") == []


async def test_a_lock_of_a_program_can_be_freed_from_outside(admin: Face, app: Dibs) -> None:
    lock = app.lock("it", duration=60)
    lock.__enter__()
    (held,) = await admin("locks")
    assert isinstance(held, LockInfo)
    assert await admin("release_lock", held.name, held.owner) is True
    with app.lock("it"):
        pass


async def test_the_broker_tells_of_itself(admin: Face, app: Dibs) -> None:
    info = await admin("server_info")

    assert info.redis_ready
    assert info.redis_version.startswith("redis ")
    assert timedelta() < info.redis_latency < timedelta(seconds=20)
    assert abs(info.redis_time - datetime.now(UTC)) < timedelta(seconds=20)
    assert info.limits.max_batch_items == 1_000
    assert info.settings["max_batch_items"] == "1000"
    assert info.start_time <= info.redis_time + timedelta(seconds=1)
    assert all(advice.reason and advice.text for advice in info.advices)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize("told", [False, True])
async def test_requests_are_of_the_size_that_the_broker_takes(
    kind: Kind, told: bool, redis_server: RedisServer
) -> None:
    """Whether it has told before, or refuses the first."""
    with serving(redis_server.url, limits=Limits(max_batch_items=20)) as broker, Dibs(broker.target, timeout=20) as app:
        job = app.task(name="job", vis_timeout=30, use_dead=True)(lambda: None)
        names = [f"q{number}" for number in range(50)]
        for name in names:
            job.options(queue=name).execute()
        letters = [one.id for name in names for one in take(app, queue=name)]
        with Dibs(broker.target, timeout=20) as other:
            async with face(kind, other) as admin:
                if told:
                    assert (await admin("server_info")).limits.max_batch_items == 20
                assert {queue.name for queue in await admin("queues", names)} == set(names)
                assert await admin("tasks", names) == []
                assert await admin("delete_items", letters) == letters
                assert await admin("delete_schedules", names) == []


# Whose it is


def test_without_an_instance_it_is_of_the_default_one(broker: BrokerThread) -> None:
    with Dibs(broker.target) as app:
        app.Data("d").put_data([1])
    dibs.connect(broker.target)
    try:
        assert [queue.name for queue in Admin().queues()] == ["d"]
        assert [queue.name for queue in dibs.default().admin.queues()] == ["d"]
    finally:
        dibs.close()


def test_it_goes_with_a_dibs() -> None:
    for wrong in (AsyncDibs("127.0.0.1:1"), "127.0.0.1:1"):
        with pytest.raises(TypeError, match="goes with a Dibs or None"):
            Admin(of=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="goes with an AsyncDibs"):
        AsyncAdmin(of=Dibs("127.0.0.1:1"))  # type: ignore[arg-type]


def test_it_is_the_same_each_time(app: Dibs) -> None:
    assert app.admin is app.admin
    assert "Dibs" in repr(app.admin)


async def test_it_works_in_the_namespace_of_its_instance(broker: BrokerThread, app: Dibs) -> None:
    app.Data("d").put_data([1])
    with Dibs(broker.target, "other") as other:
        assert list(other.admin.queues()) == []
        other.connect(broker.target, "default")
        assert [queue.name for queue in other.admin.queues()] == ["d"]
