"""Items that were set aside, over the wire: counted, listed, told, sent back, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import grpc
import pytest
import redis

from dibs.broker.engine.keys import namespace_prefix
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import broker_pb2 as bpb
from dibs.v1 import types_pb2 as tpb

from ..support.redis import RedisServer
from .conftest import item
from .statuses import refused

if TYPE_CHECKING:
    from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc

    AdminStub: TypeAlias = admin_pb2_grpc.AdminServiceAsyncStub
    Stub: TypeAlias = broker_pb2_grpc.BrokerServiceAsyncStub

TASK = tpb.QUEUE_KIND_TASK
PREFIX = namespace_prefix("dibs", "default")


@pytest.fixture
async def aside(stub: Stub, admin: AdminStub, redis_server: RedisServer) -> None:
    """`a` and `b` are set aside in queue `q`, and the record of `b` cannot be read; `c` is a dead letter sent back."""
    dying = [item(id) for id in ("a", "b", "c")]
    for one in dying:
        one.policy.attempts = 1
        one.policy.use_dead_letter = True
        one.policy.dead_letter_queue = "dead"
    await stub.Enqueue(bpb.EnqueueRequest(items=dying))
    async for reply in stub.Lease(bpb.LeaseRequest(queues=["q"], kind=TASK, max_items=3)):
        entries = [
            bpb.NackEntry(id=one.id, lease_token=one.lease_token, reason=bpb.NACK_REASON_FAILED, error="boom")
            for one in reply.deliveries
        ]
        await stub.Nack(bpb.NackRequest(entries=entries))
    with redis.Redis.from_url(redis_server.url) as raw:
        for id in ("a", "b"):
            raw.hset(PREFIX + "run", id, "of another version")
        record = raw.hget(PREFIX + "item", "b")
        assert isinstance(record, bytes)
        raw.hset(PREFIX + "item", "b", record.replace(b"\n", b" v=2\n", 1))
    request = pb.RedriveDeadLettersRequest(queue="dead", kind=TASK)
    async for step in admin.RedriveDeadLetters(request):
        assert step.redriven == 1


async def queue_info(admin: AdminStub) -> pb.QueueInfo:
    (info,) = (await admin.ListQueues(pb.ListQueuesRequest(kind=TASK, names=["q"]))).queues
    return info


async def listed(admin: AdminStub) -> list[pb.ItemInfo]:
    request = pb.ListItemsRequest(queue="q", kind=TASK, section=pb.ITEM_SECTION_SET_ASIDE, include_content=True)
    return list((await admin.ListItems(request)).items)


@pytest.mark.usefixtures("aside")
async def test_they_are_counted_and_nowhere_else(admin: AdminStub) -> None:
    info = await queue_info(admin)
    assert (info.ready, info.delayed, info.leased, info.dead, info.set_aside) == (1, 0, 0, 0, 2)


@pytest.mark.usefixtures("aside")
async def test_they_are_listed_as_far_as_they_can_be_read(admin: AdminStub) -> None:
    readable, unreadable = await listed(admin)
    assert (readable.id, readable.state, readable.queue) == ("a", tpb.ITEM_STATE_DEAD, "q")
    assert readable.content.task_name == "task"
    assert readable.HasField("enqueue_time")
    assert readable.HasField("death_time")
    assert "what is noted of its deliveries cannot be read" in readable.last_error
    assert (unreadable.id, unreadable.state, unreadable.queue, unreadable.kind) == ("b", tpb.ITEM_STATE_DEAD, "q", TASK)
    assert not unreadable.HasField("content")
    assert unreadable.HasField("death_time")
    assert "its record cannot be read" in unreadable.last_error


@pytest.mark.usefixtures("aside")
async def test_who_asks_for_their_end_is_told_that_they_are_dead(stub: Stub) -> None:
    reply = await stub.Result(bpb.ResultRequest(ids=["a", "b"], until=bpb.WAIT_UNTIL_DONE, include_content=True))
    for found in reply.results:
        assert found.state == tpb.ITEM_STATE_DEAD
        assert found.error.startswith("set aside: ")


@pytest.mark.usefixtures("aside")
async def test_they_are_sent_back_by_id_or_all(stub: Stub, admin: AdminStub) -> None:
    call = pb.RedriveSetAsideRequest(queue="q", kind=TASK)
    await refused(admin.RedriveSetAside(pb.RedriveSetAsideRequest(queue="q", kind=TASK, ids=["a", "c"])), NOT_FOUND)
    await refused(admin.RedriveSetAside(pb.RedriveSetAsideRequest(queue="never", kind=TASK)), NOT_FOUND)
    reply = await admin.RedriveSetAside(pb.RedriveSetAsideRequest(queue="q", kind=TASK, ids=["a"]))
    assert (reply.redriven, reply.left) == (1, 1)
    ids = []
    async for leased in stub.Lease(bpb.LeaseRequest(queues=["q"], kind=TASK, max_items=2)):
        ids += [(one.id, one.attempt) for one in leased.deliveries]
    assert ids == [("c", 1), ("a", 1)]
    reply = await admin.RedriveSetAside(call)
    assert (reply.redriven, reply.left) == (1, 0)


NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.mark.usefixtures("aside")
async def test_they_keep_their_queue_from_being_deleted(admin: AdminStub) -> None:
    request = pb.ClearQueueRequest(queue="q", kind=TASK, delete=True)
    await refused(admin.ClearQueue(request).read(), grpc.StatusCode.FAILED_PRECONDITION, reason="QUEUE_IN_USE")
    assert (await queue_info(admin)).ready == 1
    assert list((await admin.DeleteItems(pb.DeleteItemsRequest(ids=["a", "b"]))).deleted_ids) == ["a", "b"]
    *_, last = [step async for step in admin.ClearQueue(request)]
    assert last.deleted


@pytest.mark.usefixtures("aside")
async def test_cancelling_leaves_them_and_a_replacement_takes_their_place(stub: Stub, admin: AdminStub) -> None:
    cancelled = await stub.Cancel(bpb.CancelRequest(ids=["a", "b"]))
    assert {found.outcome for found in cancelled.items} == {bpb.CANCEL_OUTCOME_NOT_FOUND}
    again = item("b")
    again.on_conflict = bpb.ON_CONFLICT_REPLACE
    reply = await stub.Enqueue(bpb.EnqueueRequest(items=[again]))
    assert reply.items[0].outcome == bpb.ENQUEUE_OUTCOME_REPLACED
    assert [found.id for found in await listed(admin)] == ["a"]
