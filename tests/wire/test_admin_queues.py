"""What operators do to queues, over the wire."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.broker.messages.paging import Page
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import broker_pb2 as bpb
from dibs.v1 import types_pb2 as tpb

from .conftest import item
from .statuses import next_of, refused

if TYPE_CHECKING:
    from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc

    AdminStub: TypeAlias = admin_pb2_grpc.AdminServiceAsyncStub
    Stub: TypeAlias = broker_pb2_grpc.BrokerServiceAsyncStub

TASK = tpb.QUEUE_KIND_TASK
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def put(stub: Stub, *items: bpb.EnqueueItem) -> None:
    await stub.Enqueue(bpb.EnqueueRequest(items=items))


async def take(stub: Stub, queue: str, count: int = 1) -> list[tpb.Delivery]:
    found: list[tpb.Delivery] = []
    async for reply in stub.Lease(bpb.LeaseRequest(queues=[queue], kind=TASK, max_items=count)):
        found += reply.deliveries
    return found


async def queue_info(admin: AdminStub, name: str) -> pb.QueueInfo:
    (info,) = (await admin.ListQueues(pb.ListQueuesRequest(kind=TASK, names=[name]))).queues
    return info


async def test_a_queue_is_listed_with_its_counts(stub: Stub, admin: AdminStub) -> None:
    delayed = item("delayed")
    delayed.delay.FromSeconds(60)
    await put(stub, *(item(f"{n}") for n in range(4)), item("once", keep_s=0, lease_s=0), delayed)
    first, second = await take(stub, "q", 2)
    await stub.Ack(bpb.AckRequest(entries=[bpb.AckEntry(id=first.id, lease_token=first.lease_token)]))
    info = await queue_info(admin, "q")
    assert (info.ready, info.delayed, info.leased, info.dead, info.seen, info.done) == (3, 1, 1, 0, 6, 1)
    assert info.kind == TASK
    assert not info.paused
    assert not info.HasField("priority")
    assert info.oldest_ready_time.ToMicroseconds() == second.enqueue_time.ToMicroseconds()
    await take(stub, "q", 3)
    info = await queue_info(admin, "q")
    assert (info.ready, info.leased, info.done) == (0, 3, 2)
    assert not info.HasField("oldest_ready_time")


async def test_queues_are_listed_in_the_order_in_which_they_are_served(stub: Stub, admin: AdminStub) -> None:
    await put(stub, *(item(name, name) for name in ("c", "a", "b", "first")))
    for queue, priority in (("first", -1.5), ("unused", 7)):
        await admin.SetPriority(pb.SetPriorityRequest(queue=queue, kind=TASK, priority=priority))
    await admin.SetPriority(pb.SetPriorityRequest(queue="data", kind=tpb.QUEUE_KIND_DATA, priority=-9))
    names = []
    request = pb.ListQueuesRequest(page_size=2)
    while True:
        reply = await admin.ListQueues(request)
        names += [info.name for info in reply.queues]
        if not reply.next_page_token:
            break
        assert len(reply.queues) == 2
        request.page_token = reply.next_page_token
    assert names == ["first", "unused", "a", "b", "c", "data"]


async def test_priorities_can_be_changed_while_items_wait(stub: Stub, admin: AdminStub) -> None:
    await put(stub, item("a", "a"), item("b", "b"))
    await admin.SetPriority(pb.SetPriorityRequest(queue="b", kind=TASK, priority=1))
    replies = [reply async for reply in stub.Lease(bpb.LeaseRequest(kind=TASK, peek=True, max_items=2))]
    assert [delivery.id for delivery in replies[0].deliveries] == ["b", "a"]
    await admin.SetPriority(pb.SetPriorityRequest(queue="b", kind=TASK))
    replies = [reply async for reply in stub.Lease(bpb.LeaseRequest(kind=TASK, peek=True, max_items=2))]
    assert [delivery.id for delivery in replies[0].deliveries] == ["a", "b"]


async def test_a_paused_queue_delivers_nothing_until_it_is_resumed(stub: Stub, admin: AdminStub) -> None:
    await put(stub, item("a"))
    assert (await admin.PauseQueue(pb.PauseQueueRequest(queue="q", kind=TASK))).changed
    assert not (await admin.PauseQueue(pb.PauseQueueRequest(queue="q", kind=TASK))).changed
    await put(stub, item("b"))
    assert await take(stub, "q") == []
    assert (await queue_info(admin, "q")).paused
    waiting = stub.Lease(bpb.LeaseRequest(kind=TASK, max_items=2, get_timeout=Duration(seconds=20)))
    assert (await admin.ResumeQueue(pb.ResumeQueueRequest(queue="q", kind=TASK))).changed
    assert not (await admin.ResumeQueue(pb.ResumeQueueRequest(queue="q", kind=TASK))).changed
    assert [delivery.id for delivery in (await next_of(waiting)).deliveries] == ["a", "b"]


async def test_items_are_listed_by_section_in_pages(stub: Stub, admin: AdminStub) -> None:
    late = item("later")
    late.delay.FromSeconds(60)
    await put(stub, *(item(f"i{n}") for n in range(5)), late)
    (leased,) = await take(stub, "q")
    request = pb.ListItemsRequest(queue="q", kind=TASK, page_size=3)
    reply = await admin.ListItems(request)
    assert [info.id for info in reply.items] == ["i1", "i2", "i3"]
    (info, *_) = reply.items
    assert info.content == tpb.Content(task_name="task")
    assert info.state == tpb.ITEM_STATE_WAITING
    assert info.policy == item("x").policy
    request.page_token = reply.next_page_token
    assert [info.id for info in (await admin.ListItems(request)).items] == ["i4"]

    request = pb.ListItemsRequest(queue="q", kind=TASK, section=pb.ITEM_SECTION_LEASED, include_content=True)
    (info,) = (await admin.ListItems(request)).items
    assert (info.id, info.attempt, info.state) == (leased.id, 1, tpb.ITEM_STATE_STARTED)
    assert info.content == leased.content
    assert info.next_time.ToMicroseconds() > info.enqueue_time.ToMicroseconds()

    request.section = pb.ITEM_SECTION_DELAYED
    (info,) = (await admin.ListItems(request)).items
    assert (info.id, info.state) == ("later", tpb.ITEM_STATE_SCHEDULED)
    assert info.next_time == info.schedule_time


async def test_deleted_items_are_gone_wherever_they_were(stub: Stub, admin: AdminStub) -> None:
    await put(stub, item("leased"), item("ready"))
    (leased,) = await take(stub, "q")
    reply = await admin.DeleteItems(pb.DeleteItemsRequest(ids=["ready", "leased", "never"]))
    assert list(reply.deleted_ids) == ["ready", "leased"]
    acked = await stub.Ack(bpb.AckRequest(entries=[bpb.AckEntry(id="leased", lease_token=leased.lease_token)]))
    assert acked.outcomes[0].outcome == tpb.OUTCOME_NOT_FOUND
    assert await take(stub, "q") == []


async def test_clearing_removes_what_waits_and_leaves_what_is_leased(stub: Stub, admin: AdminStub) -> None:
    late = item("later")
    late.delay.FromSeconds(60)
    await put(stub, *(item(f"i{n}") for n in range(5)), late)
    (leased,) = await take(stub, "q")
    steps = [step async for step in admin.ClearQueue(pb.ClearQueueRequest(queue="q", kind=TASK))]
    assert (steps[-1].removed, steps[-1].left, steps[-1].deleted) == (5, 0, False)
    info = await queue_info(admin, "q")
    assert (info.ready, info.delayed, info.leased) == (0, 0, 1)
    (result,) = (await stub.Result(bpb.ResultRequest(ids=["i3"]))).results
    assert result.state == tpb.ITEM_STATE_CANCELLED

    await refused(
        admin.ClearQueue(pb.ClearQueueRequest(queue="q", kind=TASK, delete=True)).read(),
        grpc.StatusCode.FAILED_PRECONDITION,
        reason="QUEUE_IN_USE",
    )
    await stub.Ack(bpb.AckRequest(entries=[bpb.AckEntry(id=leased.id, lease_token=leased.lease_token)]))
    steps = [step async for step in admin.ClearQueue(pb.ClearQueueRequest(queue="q", kind=TASK, delete=True))]
    assert steps[-1].deleted
    await refused(admin.ListQueues(pb.ListQueuesRequest(names=["q"])), grpc.StatusCode.NOT_FOUND, reason="NOT_FOUND")


@pytest.mark.parametrize("priority", [math.nan, math.inf, -math.inf, 1e13])
async def test_a_priority_that_is_no_useful_number_is_refused(admin: AdminStub, priority: float) -> None:
    call = admin.SetPriority(pb.SetPriorityRequest(queue="q", kind=TASK, priority=priority))
    await refused(call, INVALID, field="priority")


async def test_a_queue_that_is_not_known_is_not_found(admin: AdminStub) -> None:
    for call in (
        admin.PauseQueue(pb.PauseQueueRequest(queue="none", kind=TASK)),
        admin.ResumeQueue(pb.ResumeQueueRequest(queue="none", kind=TASK)),
        admin.ListItems(pb.ListItemsRequest(queue="none", kind=TASK)),
        admin.ListQueues(pb.ListQueuesRequest(names=["none"])),
        admin.ClearQueue(pb.ClearQueueRequest(queue="none", kind=TASK)).read(),
    ):
        await refused(call, grpc.StatusCode.NOT_FOUND, reason="NOT_FOUND")


@pytest.mark.parametrize("token", ["x", "AAAA", "made up", "é", "AAAAAAAAAAAA", Page(1, "", 0).token("5")])
async def test_a_made_up_page_token_is_refused(stub: Stub, admin: AdminStub, token: str) -> None:
    await put(stub, item("a"))
    for call in (
        admin.ListQueues(pb.ListQueuesRequest(page_token=token)),
        admin.ListItems(pb.ListItemsRequest(queue="q", kind=TASK, page_token=token)),
        admin.ListDeadLetters(pb.ListDeadLettersRequest(kind=TASK, page_token=token)),
    ):
        await refused(call, INVALID, field="page_token")


async def test_a_page_token_of_another_list_is_refused(stub: Stub, admin: AdminStub) -> None:
    await put(stub, *(item(f"{n}") for n in range(3)), item("x", "other"))
    token = (await admin.ListItems(pb.ListItemsRequest(queue="q", kind=TASK, page_size=1))).next_page_token
    assert token
    await refused(
        admin.ListItems(pb.ListItemsRequest(queue="other", kind=TASK, page_token=token)), INVALID, field="page_token"
    )


async def test_bad_fields_are_named(admin: AdminStub) -> None:
    for call, field in (
        (admin.ListQueues(pb.ListQueuesRequest(page_size=1001)), "page_size"),
        (admin.ListQueues(pb.ListQueuesRequest(page_size=-1)), "page_size"),
        (admin.ListQueues(pb.ListQueuesRequest(names=["a", "b c"])), "names[1]"),
        (admin.ListQueues(pb.ListQueuesRequest(namespace="{x}")), "namespace"),
        (admin.SetPriority(pb.SetPriorityRequest(queue="", kind=TASK)), "queue"),
        (admin.PauseQueue(pb.PauseQueueRequest(queue="q")), "kind"),
        (admin.ListItems(pb.ListItemsRequest(queue="q", kind=TASK, section=9)), "section"),  # type: ignore[arg-type]
        (admin.DeleteItems(pb.DeleteItemsRequest()), "ids"),
        (admin.DeleteItems(pb.DeleteItemsRequest(ids=["a", "b c"])), "ids[1]"),
    ):
        await refused(call, INVALID, field=field)
