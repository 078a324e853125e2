"""Leases that are to be renewed, and time limits: from the producer to whoever runs the item, in any language."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .conftest import AdminStub, Stub, item
from .statuses import refused


def renewed(id: str, seconds: float = 30) -> pb.EnqueueItem:
    made = item(id)
    made.policy.renew = True
    made.policy.lease_timeout.FromMilliseconds(int(seconds * 1000))
    return made


async def leased(stub: Stub, **request: object) -> list[tpb.Delivery]:
    call = stub.Lease(pb.LeaseRequest(queues=["q"], kind=tpb.QUEUE_KIND_TASK, max_items=10, **request))  # type: ignore[arg-type]
    return [delivery async for response in call for delivery in response.deliveries]


async def test_a_consumer_is_told_which_leases_it_is_to_renew(stub: Stub) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[renewed("a"), item("b")]))
    assert [(one.id, one.renew) for one in await leased(stub)] == [("a", True), ("b", False)]


def limited(id: str, limit: Duration) -> pb.EnqueueItem:
    made = item(id)
    made.policy.run_timeout.CopyFrom(limit)
    return made


async def test_a_consumer_is_told_how_long_a_run_may_take(stub: Stub) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[limited("a", Duration(seconds=90)), item("b")]))
    first, second = await leased(stub)
    assert first.run_timeout == Duration(seconds=90)
    assert not second.HasField("run_timeout")


@pytest.mark.parametrize("time", [Duration(), Duration(nanos=999_000), Duration(seconds=367 * 86_400)], ids=str)
async def test_how_long_an_item_may_wait_has_a_range(stub: Stub, time: Duration) -> None:
    made = item("a")
    made.policy.expire_after.CopyFrom(time)
    call = stub.Enqueue(pb.EnqueueRequest(items=[made]))
    await refused(call, grpc.StatusCode.INVALID_ARGUMENT, field="items[0].policy.expire_after")


@pytest.mark.parametrize("limit", [Duration(), Duration(nanos=999_000), Duration(seconds=31 * 86_400)], ids=str)
async def test_a_time_limit_out_of_range_is_refused(stub: Stub, limit: Duration) -> None:
    call = stub.Enqueue(pb.EnqueueRequest(items=[limited("a", limit)]))
    await refused(call, grpc.StatusCode.INVALID_ARGUMENT, field="items[0].policy.run_timeout")


async def test_what_is_taken_for_good_has_no_lease_to_renew(stub: Stub) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[renewed("a")]))
    assert [one.renew for one in await leased(stub, lease_timeout=Duration())] == [False]


async def test_an_operator_sees_it(stub: Stub, admin: AdminStub) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[renewed("a")]))
    definition = apb.TaskDefinition(name="task", queue="q", policy=renewed("a").policy)
    await admin.RegisterTasks(apb.RegisterTasksRequest(tasks=[definition]))
    request = apb.ListItemsRequest(queue="q", kind=tpb.QUEUE_KIND_TASK, section=apb.ITEM_SECTION_READY)
    assert [one.policy.renew for one in (await admin.ListItems(request)).items] == [True]
    known = await admin.ListTasks(apb.ListTasksRequest())
    assert [one.definition.policy.renew for one in known.tasks] == [True]


@pytest.mark.parametrize("seconds", [0, 0.001, 0.999])
async def test_a_lease_that_is_too_short_to_be_renewed_is_refused(stub: Stub, seconds: float) -> None:
    call = stub.Enqueue(pb.EnqueueRequest(items=[renewed("a", seconds)]))
    await refused(call, grpc.StatusCode.INVALID_ARGUMENT, field="items[0].policy.renew")
