"""Tasks and workers, the wait for tasks, and what the broker tells of itself, over the wire."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc
from google.protobuf.duration_pb2 import Duration

from dibs.broker.border.drain import Drain
from dibs.broker.config.limits import Limits
from dibs.broker.engine.config import EngineConfig
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc
from dibs.v1 import broker_pb2 as bpb
from dibs.v1 import types_pb2 as tpb

from .conftest import item, serving_channel
from .statuses import next_of, refused

if TYPE_CHECKING:
    AdminStub: TypeAlias = admin_pb2_grpc.AdminServiceAsyncStub
    Stub: TypeAlias = broker_pb2_grpc.BrokerServiceAsyncStub

TASK = tpb.QUEUE_KIND_TASK


def definition(name: str, **fields: Any) -> pb.TaskDefinition:
    return pb.TaskDefinition(name=name, queue="q", policy=item("x").policy, **fields)


def hello(*task_names: str, credit: int = 10, worker_id: str = "worker") -> bpb.WorkRequest:
    return bpb.WorkRequest(
        hello=bpb.WorkHello(kind=TASK, worker_id=worker_id, task_names=task_names), add_credit=credit
    )


def named(id: str, task: str, *, lease_s: int = 30, keep_s: int = 60) -> bpb.EnqueueItem:
    one = item(id, lease_s=lease_s, keep_s=keep_s)
    one.content.task_name = task
    return one


async def take(stub: Stub, count: int = 1) -> list[tpb.Delivery]:
    found: list[tpb.Delivery] = []
    async for reply in stub.Lease(bpb.LeaseRequest(kind=TASK, max_items=count)):
        found += reply.deliveries
    return found


async def workers(admin: AdminStub, count: int) -> list[pb.WorkerInfo]:
    """The connected workers, when there are so many."""
    async with asyncio.timeout(10):
        while True:
            found = (await admin.ListWorkers(pb.ListWorkersRequest())).workers
            if len(found) == count:
                return list(found)
            await asyncio.sleep(0.01)


async def test_registered_tasks_are_listed_by_name(admin: AdminStub) -> None:
    await admin.RegisterTasks(
        pb.RegisterTasksRequest(tasks=[definition("b"), definition("a b", description="x" * 2000)])
    )
    await admin.RegisterTasks(pb.RegisterTasksRequest(tasks=[definition("b", description="does b")]))
    first = await admin.ListTasks(pb.ListTasksRequest(page_size=1))
    (task,) = first.tasks
    assert task.definition == definition("a b", description="x" * 1000)
    assert task.workers == 0
    (task,) = (await admin.ListTasks(pb.ListTasksRequest(page_size=1, page_token=first.next_page_token))).tasks
    assert task.definition == definition("b", description="does b")
    assert task.register_time.ToMicroseconds() > first.tasks[0].register_time.ToMicroseconds()
    request = pb.ListTasksRequest(names=["none", "b", "a b"], page_size=1)
    reply = await admin.ListTasks(request)
    assert [task.definition.name for task in reply.tasks] == ["a b"]
    request.page_token = reply.next_page_token
    reply = await admin.ListTasks(request)
    assert [task.definition.name for task in reply.tasks] == ["b"]


async def test_bad_tasks_are_refused(admin: AdminStub) -> None:
    for task, field in (
        (pb.TaskDefinition(queue="q"), "tasks[1].name"),
        (pb.TaskDefinition(name="x"), "tasks[1].queue"),
        (pb.TaskDefinition(name="x", queue="q", policy=tpb.DeliveryPolicy(attempts=-1)), "tasks[1].policy.attempts"),
    ):
        call = admin.RegisterTasks(pb.RegisterTasksRequest(tasks=[definition("a"), task]))
        await refused(call, grpc.StatusCode.INVALID_ARGUMENT, field=field)
    assert not (await admin.ListTasks(pb.ListTasksRequest())).tasks


async def test_a_connected_worker_is_listed_until_it_goes(stub: Stub, admin: AdminStub) -> None:
    await admin.RegisterTasks(pb.RegisterTasksRequest(tasks=[definition("a"), definition("c")]))
    stream = stub.Work()
    await stream.write(hello("b", "a"))
    (worker,) = await workers(admin, 1)
    assert (worker.worker_id, worker.kind, worker.credit) == ("worker", TASK, 10)
    assert worker.task_names == ["a", "b"]
    assert worker.broker_id
    assert abs(worker.seen_time.ToMicroseconds() - worker.connect_time.ToMicroseconds()) < 5_000_000
    tasks = (await admin.ListTasks(pb.ListTasksRequest())).tasks
    assert [(task.definition.name, task.workers) for task in tasks] == [("a", 1), ("c", 0)]
    await stream.done_writing()
    assert (await next_of(stream)).limits.max_credit == 10_000
    assert await stream.read() is grpc.aio.EOF
    await workers(admin, 0)


async def parked(admin: AdminStub, count: int) -> pb.QueueInfo:
    """The queue, once so many of its items are parked."""
    async with asyncio.timeout(40):
        while True:
            (queue,) = (await admin.ListQueues(pb.ListQueuesRequest(names=["q"]))).queues
            if sum(task.items for task in queue.parked_tasks) == count:
                return queue
            await asyncio.sleep(0.01)


async def items_of(stream: grpc.aio.StreamStreamCall[bpb.WorkRequest, bpb.WorkResponse]) -> list[str]:
    """The ids of the next items on a Work stream."""
    while not (message := await next_of(stream)).deliveries:
        pass
    return [one.id for one in message.deliveries]


async def test_items_of_unknown_tasks_wait_without_using_an_attempt(stub: Stub, admin: AdminStub) -> None:
    knows_a = stub.Work()
    await knows_a.write(hello("a"))
    items = [named("1", "b"), named("2", "a"), named("3", "b", lease_s=0, keep_s=0), named("4", "b", lease_s=0)]
    await stub.Enqueue(bpb.EnqueueRequest(items=items))
    told: list[str] = []
    delivered: list[str] = []
    while not (told and delivered):
        message = await next_of(knows_a)
        told += message.unknown_task_names
        delivered += [one.id for one in message.deliveries]
        if message.deliveries:
            await knows_a.write(bpb.WorkRequest(received_batch=message.batch))
    assert (told, delivered) == (["b"], ["2"])
    queue = await parked(admin, 3)
    assert (queue.ready, queue.delayed, queue.done) == (3, 0, 0)
    assert [(task.task_name, task.workers) for task in queue.parked_tasks] == [("b", 0)]
    statuses = (await stub.Result(bpb.ResultRequest(ids=["1", "3", "4"]))).results
    assert [status.attempt for status in statuses] == [0, 0, 0]
    await knows_a.done_writing()
    assert await knows_a.read() is grpc.aio.EOF

    knows_b = stub.Work()
    await knows_b.write(hello("b"))
    got: list[tpb.Delivery] = []
    while len(got) < 3:
        got += (await next_of(knows_b)).deliveries
    assert sorted((one.id, one.attempt) for one in got) == [("1", 1), ("3", 1), ("4", 1)]
    await knows_b.done_writing()
    assert await knows_b.read() is grpc.aio.EOF


async def test_workers_with_different_tasks_share_a_queue(stub: Stub, admin: AdminStub) -> None:
    streams = {}
    for name in ("a", "b"):
        streams[name] = stub.Work()
        await streams[name].write(hello(name, credit=100))
    await workers(admin, 2)
    await stub.Enqueue(bpb.EnqueueRequest(items=[named(f"{name}{n}", name) for n in range(20) for name in ("a", "b")]))
    async with asyncio.timeout(0.9):
        for name, stream in streams.items():
            got: list[str] = []
            while len(got) < 20:
                got += [one.id for one in (await next_of(stream)).deliveries]
            assert sorted(got) == sorted(f"{name}{n}" for n in range(20))
    for stream in streams.values():
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass


async def test_a_flush_waits_until_all_tasks_have_started(stub: Stub, admin: AdminStub) -> None:
    late = item("later")
    late.delay.FromSeconds(60)
    await stub.Enqueue(bpb.EnqueueRequest(items=[item("a"), item("b"), late, named("schedule:x:1", "task")]))
    flush = admin.Flush(pb.FlushRequest())
    first = await next_of(flush)
    assert (first.done, first.started, first.waiting, first.finished) == (0, 0, 2, False)
    await take(stub, 3)
    last = await next_of(flush)
    assert (last.done, last.started, last.waiting, last.finished) == (2, 0, 0, True)
    assert {one.id: one.state for one in last.items} == {"a": pb.FLUSH_STATE_DONE, "b": pb.FLUSH_STATE_DONE}
    assert await flush.read() is grpc.aio.EOF


async def test_a_flush_can_wait_until_all_tasks_are_done(stub: Stub, admin: AdminStub) -> None:
    late = item("later")
    late.delay.FromSeconds(60)
    await stub.Enqueue(bpb.EnqueueRequest(items=[item("a"), item("b"), late]))
    (hidden,) = await take(stub)
    request = pb.FlushRequest(
        complete=True, force_delayed=True, timeout=Duration(seconds=20), report_interval=Duration(nanos=100_000_000)
    )
    flush = admin.Flush(request)
    assert (await next_of(flush)).waiting == 3
    leased = [hidden, *await take(stub, 2)]
    while (progress := await next_of(flush)).started < 3:
        assert not progress.finished
    for one in leased:
        await stub.Ack(bpb.AckRequest(entries=[bpb.AckEntry(id=one.id, lease_token=one.lease_token)]))
    while not (progress := await next_of(flush)).finished:
        pass
    assert (progress.done, progress.started, progress.waiting) == (3, 0, 0)


async def test_a_flush_whose_time_is_up_tells_how_far_each_task_has_come(stub: Stub, admin: AdminStub) -> None:
    await stub.Enqueue(bpb.EnqueueRequest(items=[item("a"), item("b"), item("c")]))
    (one,) = await take(stub)
    flush = admin.Flush(pb.FlushRequest(complete=True, wait_on_hidden=True, timeout=Duration(seconds=2)))
    await next_of(flush)
    (two,) = await take(stub)
    await stub.Ack(bpb.AckRequest(entries=[bpb.AckEntry(id=one.id, lease_token=one.lease_token)]))
    last = await next_of(flush)
    assert last.finished
    assert {one.id: one.state for one in last.items} == {
        "a": pb.FLUSH_STATE_DONE,
        two.id: pb.FLUSH_STATE_STARTED,
        "c": pb.FLUSH_STATE_WAITING,
    }


async def test_a_flush_of_nothing_is_over_at_once(admin: AdminStub) -> None:
    replies = [reply async for reply in admin.Flush(pb.FlushRequest())]
    assert [reply.finished for reply in replies] == [False, True]


async def test_a_flush_of_many_tasks_lists_them_all(stub: Stub, admin: AdminStub) -> None:
    for at in range(3):
        await stub.Enqueue(bpb.EnqueueRequest(items=[item(f"{at}-{n}", keep_s=0) for n in range(800)]))
    flush = admin.Flush(pb.FlushRequest())
    assert (await next_of(flush)).waiting == 2400
    while await take(stub, 1000):
        pass
    listed: list[str] = []
    while len(listed) < 2400:
        reply = await next_of(flush)
        assert len(reply.items) <= 1000
        listed += [one.id for one in reply.items]
    assert reply.finished
    assert sorted(listed) == sorted(f"{at}-{n}" for at in range(3) for n in range(800))


async def test_a_flush_ends_when_the_broker_goes_away(stub: Stub, admin: AdminStub, drain: Drain) -> None:
    await stub.Enqueue(bpb.EnqueueRequest(items=[item("a")]))
    flush = admin.Flush(pb.FlushRequest())
    await next_of(flush)
    drain.begin()
    await refused(flush.read(), grpc.StatusCode.UNAVAILABLE, reason="BROKER_DRAINING")


async def test_bad_flushes_are_refused(admin: AdminStub) -> None:
    await refused(admin.Flush(pb.FlushRequest(queues=["none"])).read(), grpc.StatusCode.NOT_FOUND, reason="NOT_FOUND")
    for request, field in (
        (pb.FlushRequest(queues=["a b"]), "queues[0]"),
        (pb.FlushRequest(timeout=Duration(seconds=31 * 86400)), "timeout"),
        (pb.FlushRequest(report_interval=Duration(nanos=1)), "report_interval"),
    ):
        await refused(admin.Flush(request).read(), grpc.StatusCode.INVALID_ARGUMENT, field=field)


async def test_the_broker_tells_of_itself_and_of_redis(stub: Stub, admin: AdminStub) -> None:
    await stub.Enqueue(bpb.EnqueueRequest(namespace="here", items=[item("a")]))
    info = await admin.GetServerInfo(pb.GetServerInfoRequest())
    assert info.version
    assert info.broker_id.count(":") == 2
    assert info.redis_version.startswith("redis ")
    assert info.redis_ready
    assert info.redis_memory_bytes > 0
    assert info.redis_latency.ToMicroseconds() > 0
    assert info.redis_time.ToMicroseconds() >= info.start_time.ToMicroseconds() - 10_000_000
    settings = {setting.name: setting.value for setting in info.settings}
    assert settings["max_payload_bytes"] == "256KiB"
    assert settings["max_wait"] == "1h"
    assert "REDIS_WITHOUT_AOF" in [advice.reason for advice in info.advices]
    assert info.namespaces == ["here"]


async def test_a_known_task_does_not_wait_for_many_that_nobody_knows(stub: Stub, admin: AdminStub) -> None:
    for first in range(0, 10_000, 1000):
        items = [named(f"u{n}", "unknown", lease_s=60) for n in range(first, first + 1000)]
        await stub.Enqueue(bpb.EnqueueRequest(items=items))
    await stub.Enqueue(bpb.EnqueueRequest(items=[named("known", "a")]))
    knows_a = stub.Work()
    await knows_a.write(hello("a"))
    assert await items_of(knows_a) == ["known"]
    assert (await parked(admin, 10_000)).ready == 10_000

    knows_both = stub.Work()
    await knows_both.write(hello("a", "unknown"))
    assert await items_of(knows_both) == [f"u{n}" for n in range(10)]
    for stream in (knows_a, knows_both):
        stream.cancel()


async def test_a_task_that_comes_to_be_known_is_taken_up_at_once(
    engine_config: EngineConfig, limits: Limits, drain: Drain
) -> None:
    # No look of the engine by itself brings it in time.
    config = dataclasses.replace(engine_config, poll_interval_s=60)
    async with serving_channel(config, limits, drain) as channel:
        stub = cast("Stub", broker_pb2_grpc.BrokerServiceStub(channel))
        knows_a = stub.Work()
        await knows_a.write(hello("a"))
        await stub.Enqueue(bpb.EnqueueRequest(items=[named("1", "b")]))
        await parked(cast("AdminStub", admin_pb2_grpc.AdminServiceStub(channel)), 1)
        knows_b = stub.Work()
        async with asyncio.timeout(5):
            await knows_b.write(hello("b"))
            assert await items_of(knows_b) == ["1"]
        for stream in (knows_a, knows_b):
            stream.cancel()
