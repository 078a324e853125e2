"""What brokers keep in Redis for each other, and one cannot read: lists tell of it as far as they can, and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import redis

from dibs.broker.engine.keys import namespace_prefix
from dibs.broker.messages.schedules import UnknownTiming, decode_recurrence
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import broker_pb2 as bpb
from dibs.v1 import types_pb2 as tpb

from ..support.redis import RedisServer
from .conftest import item

if TYPE_CHECKING:
    from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc

    AdminStub: TypeAlias = admin_pb2_grpc.AdminServiceAsyncStub
    Stub: TypeAlias = broker_pb2_grpc.BrokerServiceAsyncStub

TASK = tpb.QUEUE_KIND_TASK
PREFIX = namespace_prefix("dibs", "default")
#: No message: a field that ends too early.
GARBAGE = b"\x0a\xff"


def edit(server: RedisServer, key: str, name: str, change: Any) -> None:
    """Changes what is kept under a name."""
    with redis.Redis.from_url(server.url) as raw:
        before = raw.hget(PREFIX + key, name)
        assert isinstance(before, bytes)
        raw.hset(PREFIX + key, name, change(before))


def every_minute(name: str) -> pb.Schedule:
    schedule = pb.Schedule(name=name, queue="q", content=tpb.Content(task_name="task", payload=b"{}"))
    schedule.interval.FromSeconds(60)
    return schedule


async def test_a_schedule_that_recurs_in_an_unknown_way_is_told_apart(
    admin: AdminStub, redis_server: RedisServer
) -> None:
    await admin.PutSchedules(pb.PutSchedulesRequest(group="g", schedules=[every_minute(n) for n in ("a", "b", "c")]))
    # Started, so that its next time is to be computed.
    edit(redis_server, "plan", "b", lambda _: b"S 1 1 1 1")
    definition = pb.Schedule(name="b", queue="q").SerializeToString()
    head = f"t q 1 0 - - - - : 0\nschedule:b\ntask\ng\n{len(definition)}\n".encode()
    edit(redis_server, "schedule", "b", lambda _: head + definition)
    edit(redis_server, "schedule", "c", lambda text: b"t q of another version" + text)
    found = {one.schedule.name: one for one in (await admin.ListSchedules(pb.ListSchedulesRequest())).schedules}
    assert {name: one.state for name, one in found.items()} == {
        "a": pb.SCHEDULE_STATE_PLANNED,
        "b": pb.SCHEDULE_STATE_UNREADABLE,
        "c": pb.SCHEDULE_STATE_UNREADABLE,
    }
    assert found["a"].schedule == every_minute("a")
    assert not found["b"].HasField("due_time")


def test_what_recurs_in_an_unknown_way_is_not_taken_for_always_due() -> None:
    with pytest.raises(UnknownTiming):
        decode_recurrence(pb.Schedule(name="s").SerializeToString())
    with pytest.raises(UnknownTiming):
        decode_recurrence(GARBAGE)


async def test_a_task_whose_definition_cannot_be_read_is_listed_by_name(
    admin: AdminStub, redis_server: RedisServer
) -> None:
    tasks = [pb.TaskDefinition(name=name, queue="q") for name in ("a", "b", "c")]
    await admin.RegisterTasks(pb.RegisterTasksRequest(tasks=tasks))
    edit(redis_server, "task", "a", lambda text: text.split(b" ")[0] + b" " + GARBAGE)
    edit(redis_server, "task", "b", lambda _: b"of another version")
    found = (await admin.ListTasks(pb.ListTasksRequest())).tasks
    assert [(task.definition.name, task.definition.queue) for task in found] == [("a", ""), ("b", ""), ("c", "q")]


async def test_a_worker_whose_report_cannot_be_read_is_listed_by_name(
    stub: Stub, admin: AdminStub, redis_server: RedisServer
) -> None:
    with redis.Redis.from_url(redis_server.url) as raw:
        for name, value in (("w1 x", b"* 5 " + GARBAGE), ("w2 x", b"*"), ("w3 x", b"- 7 \x0a\x02w3")):
            raw.hset(PREFIX + "worker", name, value)
            raw.zadd(PREFIX + "worker:names", {name: 0})
            raw.zadd(PREFIX + "worker:ends", {name: 2**52})
    found = (await admin.ListWorkers(pb.ListWorkersRequest())).workers
    assert [worker.worker_id for worker in found] == ["w1", "w2", "w3"]


async def test_an_item_whose_content_cannot_be_read_is_told_without(
    stub: Stub, admin: AdminStub, redis_server: RedisServer
) -> None:
    await stub.Enqueue(bpb.EnqueueRequest(items=[item("a"), item("b")]))
    edit(redis_server, "item", "a", lambda record: record.partition(b"\n")[0] + b"\n" + GARBAGE)
    request = pb.ListItemsRequest(queue="q", kind=TASK, section=pb.ITEM_SECTION_READY, include_content=True)
    items = (await admin.ListItems(request)).items
    assert [(one.id, one.content.task_name) for one in items] == [("a", ""), ("b", "task")]
    results = (await stub.Result(bpb.ResultRequest(ids=["a", "b"], include_content=True))).results
    assert [(one.id, one.content.task_name) for one in results] == [("a", ""), ("b", "task")]
    peeked = [reply async for reply in stub.Lease(bpb.LeaseRequest(queues=["q"], kind=TASK, max_items=2, peek=True))]
    assert [one.content.task_name for reply in peeked for one in reply.deliveries] == ["", "task"]
