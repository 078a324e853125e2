"""Redis is gone: every call that looks after things says so, and works again when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import pytest

from dibs.broker.engine.config import EngineConfig
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import lock_pb2 as lpb
from dibs.v1 import lock_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support.outages import FragileRedis, fragile
from .conftest import item
from .statuses import refused

if TYPE_CHECKING:
    from dibs.v1 import admin_pb2_grpc

    AdminStub: TypeAlias = admin_pb2_grpc.AdminServiceAsyncStub

TASK = tpb.QUEUE_KIND_TASK
SCHEDULE = pb.Schedule(name="s", queue="q", content=tpb.Content(task_name="t"), cron="0 0 * * *")

#: A request for every call of AdminService but GetServerInfo, which tells of the outage.
REQUESTS: dict[str, Any] = {
    "ListQueues": pb.ListQueuesRequest(),
    "SetPriority": pb.SetPriorityRequest(queue="q", kind=TASK, priority=1),
    "PauseQueue": pb.PauseQueueRequest(queue="q", kind=TASK),
    "ResumeQueue": pb.ResumeQueueRequest(queue="q", kind=TASK),
    "ListItems": pb.ListItemsRequest(queue="q", kind=TASK),
    "DeleteItems": pb.DeleteItemsRequest(ids=["a"]),
    "RedriveSetAside": pb.RedriveSetAsideRequest(queue="q", kind=TASK),
    "ClearQueue": pb.ClearQueueRequest(queue="q", kind=TASK),
    "ListDeadLetterQueues": pb.ListDeadLetterQueuesRequest(),
    "ListDeadLetters": pb.ListDeadLettersRequest(kind=TASK),
    "TakeDeadLetters": pb.TakeDeadLettersRequest(kind=TASK),
    "RedriveDeadLetters": pb.RedriveDeadLettersRequest(kind=TASK),
    "PurgeDeadLetters": pb.PurgeDeadLettersRequest(kind=TASK),
    "Flush": pb.FlushRequest(),
    "RegisterTasks": pb.RegisterTasksRequest(tasks=[pb.TaskDefinition(name="t", queue="q", policy=item("x").policy)]),
    "ListTasks": pb.ListTasksRequest(),
    "PutSchedules": pb.PutSchedulesRequest(group="g", schedules=[SCHEDULE]),
    "ListSchedules": pb.ListSchedulesRequest(),
    "DeleteSchedules": pb.DeleteSchedulesRequest(names=["s"]),
    "CommandWorker": pb.CommandWorkerRequest(worker="w", command=tpb.WorkerCommand(stop=True)),
    "ListWorkers": pb.ListWorkersRequest(),
    "DeleteNamespace": pb.DeleteNamespaceRequest(namespace="n"),
}
LOCK_REQUESTS: dict[str, Any] = {
    "Acquire": lpb.AcquireRequest(name="a"),
    "RefreshLock": lpb.RefreshLockRequest(name="a", owner="me"),
    "Release": lpb.ReleaseRequest(name="a", owner="me"),
    "ListLocks": lpb.ListLocksRequest(),
}


@pytest.fixture
def server(redis_program: str) -> Iterator[FragileRedis]:
    with fragile(redis_program) as server:
        yield server


@pytest.fixture
def engine_config(server: FragileRedis) -> EngineConfig:
    """On the fragile server, impatient."""
    return EngineConfig(server.url, timeout_s=0.3)


@pytest.fixture
async def gone(channel: grpc.aio.Channel, server: FragileRedis) -> FragileRedis:
    """The server after its death."""
    server.kill()
    return server


def call_of(stub: Any, method: str, request: Any) -> Awaitable[Any]:
    call = getattr(stub, method)(request)
    return call.read() if hasattr(call, "read") else call  # type: ignore[no-any-return]


def test_there_is_a_request_for_every_call() -> None:
    def methods(file: Any, service: str) -> set[str]:
        return {method.name for method in file.DESCRIPTOR.services_by_name[service].methods}

    assert methods(pb, "AdminService") == {*REQUESTS, "GetServerInfo"}
    assert methods(lpb, "LockService") == {*LOCK_REQUESTS}


async def test_every_call_is_unavailable(admin: AdminStub, channel: grpc.aio.Channel, gone: FragileRedis) -> None:
    locks = lock_pb2_grpc.LockServiceStub(channel)
    for stub, requests in ((admin, REQUESTS), (locks, LOCK_REQUESTS)):
        for method, request in requests.items():
            call = call_of(stub, method, request)
            await refused(call, grpc.StatusCode.UNAVAILABLE, reason="REDIS_UNAVAILABLE")


async def test_the_broker_still_tells_of_itself(admin: AdminStub, gone: FragileRedis) -> None:
    info = await admin.GetServerInfo(pb.GetServerInfoRequest())
    assert info.version
    assert info.settings
    assert not info.redis_ready
    assert not info.redis_version


async def test_all_is_well_when_it_is_back(admin: AdminStub, gone: FragileRedis) -> None:
    await refused(admin.ListQueues(pb.ListQueuesRequest()), grpc.StatusCode.UNAVAILABLE)
    gone.start()
    async with asyncio.timeout(10):
        while not (await admin.GetServerInfo(pb.GetServerInfoRequest())).redis_ready:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not (await admin.ListQueues(pb.ListQueuesRequest())).queues
