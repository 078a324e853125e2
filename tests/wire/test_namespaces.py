"""Namespaces go with everything that is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import grpc
import pytest
import redis
from google.protobuf.duration_pb2 import Duration

from dibs.broker.engine import keys
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Kind, NewItem, Spec
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import broker_pb2 as bpb
from dibs.v1 import lock_pb2 as lpb
from dibs.v1 import lock_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support.redis import RedisServer
from .conftest import AdminStub, Stub, item
from .statuses import refused
from .streams import Worker, ids_of

PREFIX = keys.namespace_prefix("dibs", "going")
TASK = tpb.QUEUE_KIND_TASK
CONTENT = tpb.Content(task_name="task", payload=b"{}")


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A plain client of the same Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def found(raw: redis.Redis) -> set[str]:
    """All keys."""
    return {key.decode() for key in raw.scan_iter(count=1000)}


async def fill(channel: grpc.aio.Channel, stub: Stub, admin: AdminStub, namespace: str) -> None:
    """Puts something of every kind into a namespace."""
    for first in range(0, 3000, 1000):
        items = [item(f"i{n}", f"q{n % 1500}") for n in range(first, first + 1000)]
        await stub.Enqueue(bpb.EnqueueRequest(namespace=namespace, request_id=f"r{first}", items=items))
    call = stub.Lease(bpb.LeaseRequest(namespace=namespace, kind=TASK, max_items=2))
    leased = [delivery async for response in call for delivery in response.deliveries]
    done = [bpb.AckEntry(id=one.id, lease_token=one.lease_token, result=b"1") for one in leased]
    await stub.Ack(bpb.AckRequest(namespace=namespace, entries=done))
    await admin.SetPriority(pb.SetPriorityRequest(namespace=namespace, queue="p", kind=TASK, priority=1))
    schedule = pb.Schedule(name="s", queue="q", content=CONTENT, interval=Duration(seconds=3600))
    await admin.PutSchedules(pb.PutSchedulesRequest(namespace=namespace, group="g", schedules=[schedule]))
    task = pb.TaskDefinition(name="task", queue="q")
    await admin.RegisterTasks(pb.RegisterTasksRequest(namespace=namespace, tasks=[task]))
    locks = lock_pb2_grpc.LockServiceStub(channel)
    await locks.Acquire(lpb.AcquireRequest(namespace=namespace, name="l", owner="o", duration=Duration(seconds=60)))  # type: ignore[misc]


async def delete(admin: AdminStub, name: str = "going", *, force: bool = False) -> list[pb.DeleteNamespaceResponse]:
    call = admin.DeleteNamespace(pb.DeleteNamespaceRequest(namespace=name, force=force))
    return [report async for report in call]


async def test_everything_of_a_namespace_goes_and_nothing_else(
    channel: grpc.aio.Channel, stub: Stub, admin: AdminStub, raw: redis.Redis
) -> None:
    await fill(channel, stub, admin, "going")
    await fill(channel, stub, admin, "going2")
    others = [key for key in found(raw) if not key.startswith(PREFIX)]

    reports = await delete(admin)

    assert reports[-1].deleted
    assert reports[-1].removed > 1500
    assert max(b.removed - a.removed for a, b in pairwise(reports)) <= 2000
    left = found(raw)
    assert not [key for key in left if key.startswith(PREFIX)]
    assert {key for key in others if "{going2:0}" in key} <= left
    info = await admin.GetServerInfo(pb.GetServerInfoRequest())
    assert list(info.namespaces) == ["going2"]


async def test_it_can_be_used_again_and_is_known_again_through_every_broker(
    redis_server: RedisServer, channel: grpc.aio.Channel, stub: Stub, admin: AdminStub, raw: redis.Redis
) -> None:
    other = Engine(EngineConfig(redis_server.url))
    await other.start()
    try:
        await asyncio.wait_for(other.hints.subscribed.wait(), 20)
        new = NewItem("a", Spec(Kind.TASK, "q").encode(), "", "k", b"")
        await other.enqueue("going", "", [new])
        assert (await delete(admin))[-1].deleted
        async with asyncio.timeout(20):
            while "going" in other._namespaces:  # noqa: ASYNC110 - heard of as a hint
                await asyncio.sleep(0.01)
        assert not raw.sismember("dibs:namespaces", "going")
        await other.enqueue("going", "", [new])
        assert raw.sismember("dibs:namespaces", "going")
        call = stub.Lease(bpb.LeaseRequest(namespace="going", kind=TASK))
        assert [delivery.id async for response in call for delivery in response.deliveries] == ["a"]
    finally:
        await other.close()


async def test_workers_that_stay_are_told_to_register_again_and_get_what_comes(
    redis_server: RedisServer, stub: Stub, admin: AdminStub, raw: redis.Redis
) -> None:
    other = Engine(EngineConfig(redis_server.url, poll_interval_s=3600))
    await other.start()
    staying, elsewhere = Worker(stub, namespace="going"), Worker(stub)
    try:
        for worker in (staying, elsewhere):
            await worker.hear()
        assert (await delete(admin, force=True))[-1].deleted
        async with asyncio.timeout(10):
            while not (await staying.hear()).register_again:
                pass
        # Put in elsewhere: the broker hears of it only if Redis knows that somebody waits.
        async with asyncio.timeout(10):
            while not raw.keys(f"{PREFIX}hungry*"):  # noqa: ASYNC110 - the broker asks again
                await asyncio.sleep(0.01)
        await other.enqueue("going", "", [NewItem("new", Spec(Kind.TASK, "q").encode(), "", "k", b"")])
        assert ids_of(await staying.items()) == ["new"]
        await stub.Enqueue(bpb.EnqueueRequest(items=[item("other")]))
        heard = await elsewhere.hear()
        assert not heard.register_again
        assert ids_of(heard) == ["other"]
    finally:
        staying.half_close()
        elsewhere.half_close()
        await other.close()


async def test_word_that_comes_late_does_no_harm_to_what_was_put_in_since(
    redis_server: RedisServer, raw: redis.Redis
) -> None:
    engine = Engine(EngineConfig(redis_server.url))
    await engine.start()
    try:
        await asyncio.wait_for(engine.hints.subscribed.wait(), 20)
        delayed = f"{PREFIX}delayed:{Kind.TASK.value}:q"
        spec = Spec(Kind.TASK, "q").encode()
        delays = {"soon": "+100000", "later": "+2000000"}
        await engine.enqueue("going", "", [NewItem(id, spec, delay, "k", b"") for id, delay in delays.items()])
        async with asyncio.timeout(10):
            while raw.zcard(delayed) > 1:  # noqa: ASYNC110 - time's work
                await asyncio.sleep(0.05)
        raw.publish(keys.hints_channel("dibs"), "d going -")
        assert raw.exists(delayed)
        async with asyncio.timeout(10):
            while raw.exists(delayed):  # noqa: ASYNC110 - time's work
                await asyncio.sleep(0.05)
        # And what is gone and stays away is not looked at any more.
        raw.srem("dibs:namespaces", "going")
        raw.publish(keys.hints_channel("dibs"), "d going -")
        async with asyncio.timeout(10):
            while "going" in engine._namespaces:  # noqa: ASYNC110 - heard of as a hint
                await asyncio.sleep(0.01)
        engine._timers.due("going", 0)
        async with asyncio.timeout(10):
            while "going" in engine._timers._next:  # noqa: ASYNC110 - at its next look
                await asyncio.sleep(0.05)
    finally:
        await engine.close()


async def test_one_where_items_are_leased_or_workers_are_connected_stays(stub: Stub, admin: AdminStub) -> None:
    await stub.Enqueue(bpb.EnqueueRequest(namespace="going", items=[item("a")]))
    await stub.Lease(bpb.LeaseRequest(namespace="going", kind=TASK)).read()
    request = pb.DeleteNamespaceRequest(namespace="going")
    await refused(admin.DeleteNamespace(request).read(), grpc.StatusCode.FAILED_PRECONDITION, reason="NAMESPACE_IN_USE")
    worker = Worker(stub)
    await worker.hear()
    async with asyncio.timeout(20):
        while not (await admin.ListWorkers(pb.ListWorkersRequest())).workers:  # noqa: ASYNC110 - reported in a while
            await asyncio.sleep(0.01)
    await refused(
        admin.DeleteNamespace(pb.DeleteNamespaceRequest(namespace="default")).read(),
        grpc.StatusCode.FAILED_PRECONDITION,
        reason="NAMESPACE_IN_USE",
    )
    assert (await delete(admin, force=True))[-1].deleted
    assert (await delete(admin, "default", force=True))[-1].deleted
    worker.half_close()


async def test_there_is_no_default(admin: AdminStub) -> None:
    call = admin.DeleteNamespace(pb.DeleteNamespaceRequest(force=True))
    await refused(call.read(), grpc.StatusCode.INVALID_ARGUMENT, field="namespace")


async def test_one_that_is_not_there_is_gone(admin: AdminStub) -> None:
    assert await delete(admin, "never") == [pb.DeleteNamespaceResponse(deleted=True)]
