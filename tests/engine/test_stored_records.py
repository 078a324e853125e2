"""Records of every earlier format can be read and worked with, for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from dibs.broker.engine.dead_letters import Progress
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.locks import HeldLock
from dibs.broker.engine.queues import Section
from dibs.broker.engine.schedules import ScheduleState
from dibs.broker.engine.types import (
    Ack,
    Cancelled,
    Enqueued,
    Kind,
    Leased,
    LeaseQuery,
    Nack,
    NackReason,
    Outcome,
    Refresh,
    State,
)
from dibs.v1 import admin_pb2 as admin

from .helpers import HOUR_US, NS, PREFIX, SECOND_US, Clock, ids_of, new
from .stored import FIXTURES, load

FORMATS = sorted(path.name for path in FIXTURES.glob("records-*.json"))
BODY = b"\x0a\x09shop.send"


@pytest.fixture(params=FORMATS)
def old(request: pytest.FixtureRequest, still: Engine, raw: redis.Redis) -> Engine:
    """An engine that finds the records of an earlier version, at the time at which they were written."""
    load(raw, request.param)
    return still


def token_of(raw: redis.Redis, id: str) -> int:
    run = raw.hget(PREFIX + "run", id)
    assert isinstance(run, bytes)
    return int(run.split(b" ")[1])


async def take(engine: Engine, queue: str, kind: Kind = Kind.TASK) -> list[Leased]:
    return (await engine.lease(NS, LeaseQuery(kind, (queue,)), 1000)).items


def nothing_set_aside(raw: redis.Redis) -> bool:
    return not raw.exists(PREFIX + "whyaside")


async def test_every_state_is_told(old: Engine, raw: redis.Redis) -> None:
    expected = {
        "once-ready": State.WAITING,
        "data-ready": State.WAITING,
        "started-once": State.STARTED,
        "leased": State.STARTED,
        "stopping": State.STARTED,
        "succeeded": State.SUCCEEDED,
        "failed": State.FAILED,
        "cancelled": State.CANCELLED,
        "again": State.WAITING,
        "again-later": State.SCHEDULED,
        "moved-away": State.WAITING,
        "later": State.SCHEDULED,
        "dead-1": State.DEAD,
        "paused": State.WAITING,
    }
    found = {status.id: status for status in await old.lookup(NS, list(expected), bodies=True)}
    assert {id: status.state for id, status in found.items()} == expected
    assert found["succeeded"].result == b'{"result":1}'
    assert (found["failed"].error, found["dead-1"].error) == ("boom", "Traceback: boom")
    assert found["stopping"].cancel_requested
    record = found["again"].record
    assert record is not None
    assert record.body.startswith(BODY)
    assert record.spec.retry is not None
    assert (record.spec.attempts, record.spec.retry.factor) == (3, 2.5)


async def test_what_is_ready_is_leased_and_acknowledged(old: Engine, raw: redis.Redis) -> None:
    for queue, ids in {"once": ["once-ready", "once-second"], "retried": ["again"], "other": ["moved-away"]}.items():
        items = await take(old, queue)
        assert ids_of(items) == ids
        assert all(item.record.partition(b"\n")[2].startswith(BODY) for item in items)
        held = [Ack(item.id, item.token) for item in items if item.token]
        if held:
            assert set(await old.ack(NS, held)) == {Outcome.OK}
    assert await take(old, "paused") == []
    assert ids_of(await take(old, "readings", Kind.DATA)) == ["data-ready"]
    assert nothing_set_aside(raw)


async def test_attempts_and_errors_go_on_where_they_stood(old: Engine, clock: Clock) -> None:
    (again,) = await take(old, "retried")
    assert (again.attempt, again.attempts, again.last_error) == (2, 3, "Traceback: boom")
    clock.passes(HOUR_US)
    items = {item.id: item for item in await take(old, "retried")}
    assert {id: item.attempt for id, item in items.items()} == {"again-later": 2, "later": 1, "again": 3}


async def test_leases_are_refreshed_failed_released_and_acknowledged(old: Engine, raw: redis.Redis) -> None:
    token = token_of(raw, "leased")
    (refreshed,) = await old.refresh(NS, [Refresh("leased", token, HOUR_US)])
    assert refreshed.outcome is Outcome.OK
    (stopping,) = await old.refresh(NS, [Refresh("stopping", token)])
    assert stopping.cancel_requested
    started = token_of(raw, "started-once")
    entries = [Ack("started-once", started, b"done"), Ack("leased", token, b"done")]
    assert await old.ack(NS, entries) == [Outcome.OK, Outcome.OK]
    assert await old.nack(NS, [Nack("stopping", token, NackReason.RELEASED)]) == [Outcome.OK]
    found = await old.lookup(NS, ["started-once", "leased", "stopping"])
    assert [status.state for status in found] == [State.SUCCEEDED, State.SUCCEEDED, State.CANCELLED]


async def test_leases_run_out(old: Engine, clock: Clock) -> None:
    clock.passes(25 * HOUR_US)
    items = await take(old, "kept")
    assert [(item.id, item.attempt) for item in items] == [("leased", 2)]
    found = await old.lookup(NS, ["stopping", "started-once"])
    assert [status.state for status in found] == [State.CANCELLED, State.FAILED]


async def test_what_waits_is_cancelled_replaced_and_deleted(old: Engine, raw: redis.Redis) -> None:
    assert await old.cancel(NS, ["again", "later", "leased", "succeeded", "dead-1"]) == [
        Cancelled.REMOVED,
        Cancelled.REMOVED,
        Cancelled.REQUESTED,
        Cancelled.RESULT_DROPPED,
        Cancelled.NOT_FOUND,
    ]
    ids = ["once-ready", "again-later", "dead-2", "stopping"]
    replaced = await old.enqueue(NS, "", [new(id, conflict="r") for id in ids])
    assert replaced == [Enqueued.REPLACED] * 4
    assert await old.queues.delete_items(NS, ["once-second", "dead-1", "started-once", "failed"]) == [True] * 4
    assert ids_of(await take(old, "q")) == ids


async def test_a_request_is_remembered(old: Engine) -> None:
    items = [new("once-ready"), new("not-there")]
    assert await old.enqueue(NS, "request-1", items) == [Enqueued.CREATED, Enqueued.CREATED]
    (status,) = await old.lookup(NS, ["not-there"])
    assert status.state is State.UNKNOWN


async def test_dead_letters_are_listed_sent_back_and_taken(old: Engine) -> None:
    page = await old.queues.items(
        NS, Kind.TASK, "dead", Section.DEAD, 10, body_bytes=1000, room=3 * 2**20, item_bytes=4 * 2**20
    )
    assert [(item.id, item.error) for item in page.items] == [(f"dead-{n}", "Traceback: boom") for n in (1, 2)]
    steps = [step async for step in old.dead_letters.redrive(NS, Kind.TASK, "dead", ["dead-2"])]
    assert steps == [Progress(1, 0)]
    (item,) = await take(old, "dying")
    assert (item.id, item.attempt, item.last_error) == ("dead-2", 1, "")
    taken = await old.dead_letters.take(NS, Kind.TASK, "dead", 10, room=3 * 2**20, item_bytes=4 * 2**20)
    assert [item.id for item in taken.letters] == ["dead-1"]
    assert await old.dead_letters.queues(NS, Kind.TASK) == []


async def test_queues_are_known_with_their_counts(old: Engine) -> None:
    names = [name for _, name in await old.queues.names(NS, Kind.TASK)]
    assert names == ["kept", "dying", "once", "other", "paused", "retried", "scheduled"]
    found = {one.name: one for one in await old.queues.describe(NS, Kind.TASK, names) if one is not None}
    assert (found["kept"].leased, found["kept"].seen, found["kept"].done, found["kept"].priority) == (3, 6, 1, -1.5)
    assert (found["retried"].ready, found["retried"].delayed, found["dying"].dead) == (1, 2, 2)
    assert found["paused"].paused


async def test_schedules_go_on(old: Engine, clock: Clock) -> None:
    found, _ = await old.schedules.page(NS, 1000, 10**6)
    assert {one.name: one.state for one in found} == {
        "lacking": ScheduleState.NO_WORKER,
        "pending": ScheduleState.PENDING,
        "planned": ScheduleState.PLANNED,
        "started": ScheduleState.STARTED,
    }
    for one in found:
        assert admin.Schedule.FromString(one.definition).interval.seconds == 60
        assert one.body.startswith(BODY)
    look = await old.schedules.look(NS, ["started"])
    (run,) = look.started
    await old.schedules.plan(NS, [(run, clock.now_us + SECOND_US)])
    clock.passes(SECOND_US)
    assert "started" in (await old.schedules.look(NS)).pending.values()
    assert len(await take(old, "scheduled")) == 2


async def test_locks_tasks_and_workers_are_there(old: Engine, clock: Clock) -> None:
    assert (await old.locks.page(NS, 10))[0] == [HeldLock("nightly", "ops-1", clock.now_us + HOUR_US)]
    assert await old.locks.refresh(NS, "nightly", "ops-1") == clock.now_us + HOUR_US
    ((task,), _) = await old.tasks.page(NS, 10)
    assert admin.TaskDefinition.FromString(task.definition).description == "Sends."
    ((worker,), _) = await old.workers.page(NS, 10)
    assert admin.WorkerInfo.FromString(worker.info).worker_id == "w"
    assert await old.workers.count(NS, ["shop.send", "shop.other"]) == [1, 0]


def test_every_key_kind_of_the_first_format_is_there() -> None:
    found: dict[str, Any] = json.loads((FIXTURES / "records-0.1.json").read_text())
    kinds = {key.split(":")[0] for key in found}
    kinds_of_0_1 = """item run error end ends queue stale delayed leased due ready priority paused seen done hungry dead
        deadqueues deaths watch request token schedule plan schedules timetable stranded group lock task worker skills
        skilled"""
    assert kinds == set(kinds_of_0_1.split())
    states = {text.split(" ")[0] for text in found["run"]["value"].values()}
    assert states == set("LOWX")
    assert {text.split(" ")[0] for text in found["plan"]["value"].values()} == set("WNPS")
