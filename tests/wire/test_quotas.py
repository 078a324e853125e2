"""What namespaces may hold, as clients see it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from dibs import AsyncDibs, LimitExceeded
from dibs.broker.config.options import options
from dibs.broker.config.quotas import NamespaceQuotas
from dibs.broker.engine.quotas import Quotas
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc, lock_pb2_grpc
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import lock_pb2 as lpb

from ..support.auth import bearer, grant
from ..support.guarded import guarded
from ..support.redis import RedisServer
from .conftest import item
from .statuses import next_of, refused
from .test_identities import SHOP
from .test_server import serving

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_full_namespace_is_told_what_is_full_and_tried_once(redis_server: RedisServer) -> None:
    async with (
        serving(redis_server.url, max_namespace_items=2) as (server, _),
        AsyncDibs(server.addresses[0], namespace="shop") as client,
    ):
        queue = client.Data("mail")
        await queue.put_data(["a", "b"])

        with pytest.raises(LimitExceeded) as caught:
            await asyncio.wait_for(queue.put_data(["c"]), 2)

    assert (caught.value.reason, caught.value.retry_after) == ("QUOTA", None)
    assert caught.value.metadata == {"quota": "items", "limit": "2", "used": "2"}
    assert "'shop' may hold 2 items and holds 2" in str(caught.value)


async def test_a_stream_of_requests_goes_on_after_one_that_had_no_room(redis_server: RedisServer) -> None:
    async with serving(redis_server.url, max_namespace_items=2) as (_, channel):
        stub: Any = broker_pb2_grpc.BrokerServiceStub(channel)
        stream = stub.EnqueueStream()
        for ids in (("a",), ("b", "c"), ("d",)):
            request = pb.EnqueueRequest(items=[item(id) for id in ids])
            await stream.write(pb.EnqueueStreamRequest(request=request))
        await stream.done_writing()

        replies = [await next_of(stream) for _ in range(3)]

        assert [reply.HasField("response") for reply in replies] == [True, False, True]
        assert replies[1].error.code == FULL.value[0]


async def test_locks_tasks_and_schedules_are_refused_likewise(redis_server: RedisServer) -> None:
    async with serving(redis_server.url, max_namespace_locks=1, max_namespace_tasks=1, max_namespace_schedules=1) as (
        _,
        channel,
    ):
        locks: Any = lock_pb2_grpc.LockServiceStub(channel)
        admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
        lock = lpb.AcquireRequest(name="a", owner="me")
        lock.duration.seconds = 60
        await locks.Acquire(lock)
        lock.name = "b"
        await refused(locks.Acquire(lock), FULL, reason="QUOTA")

        tasks = apb.RegisterTasksRequest(tasks=[apb.TaskDefinition(name=name, queue="q") for name in ("a", "b")])
        await refused(admin.RegisterTasks(tasks), FULL, reason="QUOTA")

        schedules = apb.PutSchedulesRequest(group="g")
        for name in ("a", "b"):
            one = schedules.schedules.add(name=name)
            one.content.task_name = "t"
            one.queue = "q"
            one.interval.seconds = 3600
        await refused(admin.PutSchedules(schedules), FULL, reason="QUOTA")
        assert not (await admin.ListSchedules(apb.ListSchedulesRequest())).schedules


async def test_quotas_of_the_file_hold_and_may_change_while_the_broker_runs(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with guarded(redis_server, tmp_path, SHOP, max_namespace_items=3) as broker:
        write = {"shop": {"max_items": 1}, "*": {"max_items": 2}}
        await broker.take(SHOP, limits=write)
        await broker.enqueue("ops", item("a"))
        await refused(broker.enqueue("ops", item("b")), FULL, reason="QUOTA")
        await broker.enqueue("ops", item("a"), item("b"), namespace="other")
        await refused(broker.enqueue("ops", item("c"), namespace="other"), FULL, reason="QUOTA")

        # What the file leaves out is as the settings say.
        await broker.take(SHOP, limits={"shop": {"max_queues": 1}})

        await broker.enqueue("ops", item("b"), item("c"))
        await refused(broker.enqueue("ops", item("d")), FULL, reason="QUOTA")


async def test_the_broker_tells_how_full_a_namespace_is(redis_server: RedisServer) -> None:
    async with serving(redis_server.url, max_namespace_items=5, max_namespace_queues=2) as (_, channel):
        stub: Any = broker_pb2_grpc.BrokerServiceStub(channel)
        admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
        await stub.Enqueue(pb.EnqueueRequest(namespace="shop", items=[item(id) for id in "abc"]))

        info = await admin.GetServerInfo(apb.GetServerInfoRequest(quotas_of="shop"))

        told = {one.quota: (one.used if one.HasField("used") else None, one.limit) for one in info.quotas}
        assert told == {
            "items": (3, 5),
            "bytes": (None, 0),
            "queues": (1, 2),
            "schedules": (0, 0),
            "locks": (0, 0),
            "tasks": (0, 0),
        }
        assert not (await admin.GetServerInfo(apb.GetServerInfoRequest())).quotas
        await refused(
            admin.GetServerInfo(apb.GetServerInfoRequest(quotas_of="{")),
            grpc.StatusCode.INVALID_ARGUMENT,
            field="quotas_of",
        )


async def test_the_library_tells_it_too(redis_server: RedisServer) -> None:
    async with (
        serving(redis_server.url, max_namespace_items=5) as (server, _),
        AsyncDibs(server.addresses[0], namespace="shop") as client,
    ):
        await client.Data("mail").put_data(["a", "b"])

        told = {one.quota: (one.used, one.limit) for one in (await client.admin.server_info()).quotas}

    assert (told["items"], told["bytes"], told["queues"]) == ((2, 5), (None, None), (1, None))


async def test_how_full_a_namespace_is_is_told_to_those_who_may_see_it(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    who = {**SHOP, "watch": [grant("other", "server")]}
    async with guarded(redis_server, tmp_path, who, max_namespace_items=5) as broker:
        await broker.enqueue("ops", item("a"))
        ask = apb.GetServerInfoRequest(quotas_of="shop")

        assert (await broker.admin.GetServerInfo(ask, metadata=bearer("ops"))).quotas
        assert not (await broker.admin.GetServerInfo(ask, metadata=bearer("watch"))).quotas


def test_the_page_about_limits_has_every_quota() -> None:
    text = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    flags = {option.name: option.flag for option in options() if option.name in NamespaceQuotas.model_fields}

    for quota in Quotas._fields:
        assert f"| {quota} | `{flags[f'max_namespace_{quota}']}` | `max_{quota}` |" in text
    assert len(flags) == len(Quotas._fields)
