"""What operators and consumers do to dead letters, over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.broker.border.drain import Drain
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import broker_pb2 as bpb
from dibs.v1 import types_pb2 as tpb

from .conftest import item
from .statuses import refused

if TYPE_CHECKING:
    from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc

    AdminStub: TypeAlias = admin_pb2_grpc.AdminServiceAsyncStub
    Stub: TypeAlias = broker_pb2_grpc.BrokerServiceAsyncStub

TASK = tpb.QUEUE_KIND_TASK


async def bury(stub: Stub, *ids: str, queue: str = "q", dead: str = "") -> None:
    """Has items die, in their order, each with an error of its own."""
    items = [item(id, queue) for id in ids]
    for one in items:
        one.policy.use_dead_letter = True
        one.policy.dead_letter_queue = dead
    await stub.Enqueue(bpb.EnqueueRequest(items=items))
    async for reply in stub.Lease(bpb.LeaseRequest(queues=[queue], kind=TASK, max_items=len(ids))):
        entries = [
            bpb.NackEntry(id=one.id, lease_token=one.lease_token, reason=bpb.NACK_REASON_REJECTED, error=f"no {one.id}")
            for one in reply.deliveries
        ]
        await stub.Nack(bpb.NackRequest(entries=entries))


async def dead(admin: AdminStub, queue: str = "") -> Sequence[pb.ItemInfo]:
    return (await admin.ListDeadLetters(pb.ListDeadLettersRequest(queue=queue, kind=TASK))).items


async def test_a_dead_letter_tells_all_about_itself(stub: Stub, admin: AdminStub) -> None:
    await bury(stub, "a", "b")
    request = pb.ListDeadLettersRequest(kind=TASK, include_content=True, page_size=1)
    reply = await admin.ListDeadLetters(request)
    (info,) = reply.items
    assert (info.id, info.queue, info.kind, info.state) == ("a", "q", TASK, tpb.ITEM_STATE_DEAD)
    assert info.content == item("a").content
    assert (info.attempt, info.policy.attempts, info.last_error) == (1, 2, "no a")
    assert info.policy.dead_letter_queue == "DEADLETTER_QUEUE"
    assert info.enqueue_time.ToMicroseconds() == info.schedule_time.ToMicroseconds() < info.death_time.ToMicroseconds()
    request.page_token = reply.next_page_token
    assert [info.id for info in (await admin.ListDeadLetters(request)).items] == ["b"]


async def test_dead_letter_queues_are_listed_while_there_is_something_in_them(stub: Stub, admin: AdminStub) -> None:
    await bury(stub, "a", "b", dead="x")
    await bury(stub, "c")
    found = (await admin.ListDeadLetterQueues(pb.ListDeadLetterQueuesRequest())).queues
    assert [(queue.name, queue.kind, queue.size) for queue in found] == [
        ("DEADLETTER_QUEUE", TASK, 1),
        ("x", TASK, 2),
    ]
    assert found[1].oldest_death_time == (await dead(admin, "x"))[0].death_time
    async for _ in admin.PurgeDeadLetters(pb.PurgeDeadLettersRequest(kind=TASK)):
        pass
    found = (await admin.ListDeadLetterQueues(pb.ListDeadLetterQueuesRequest(kind=TASK))).queues
    assert [queue.name for queue in found] == ["x"]


async def test_taking_dead_letters_removes_them(stub: Stub, admin: AdminStub) -> None:
    await bury(stub, "a", "b", "c")
    reply = await admin.TakeDeadLetters(pb.TakeDeadLettersRequest(kind=TASK))
    assert [info.id for info in reply.items] == ["a"]
    assert reply.items[0].content == item("a").content
    reply = await admin.TakeDeadLetters(pb.TakeDeadLettersRequest(kind=TASK, max_items=9))
    assert [(info.id, info.last_error) for info in reply.items] == [("b", "no b"), ("c", "no c")]
    assert not (await admin.TakeDeadLetters(pb.TakeDeadLettersRequest(kind=TASK))).items
    (queue,) = (await admin.ListQueues(pb.ListQueuesRequest(names=["q"]))).queues
    assert queue.dead == 0


async def test_a_taker_waits_for_the_first_death(stub: Stub, admin: AdminStub) -> None:
    request = pb.TakeDeadLettersRequest(kind=TASK, get_timeout=Duration(seconds=20))
    taking = asyncio.ensure_future(admin.TakeDeadLetters(request))
    await bury(stub, "other", dead="other")
    await bury(stub, "a")
    async with asyncio.timeout(4):
        assert [info.id for info in (await taking).items] == ["a"]
    request.get_timeout.FromMilliseconds(1)
    assert not (await admin.TakeDeadLetters(request)).items


async def test_a_waiting_taker_is_let_go_when_the_broker_goes_away(admin: AdminStub, drain: Drain) -> None:
    request = pb.TakeDeadLettersRequest(kind=TASK, get_timeout=Duration(seconds=60))
    taking = asyncio.ensure_future(admin.TakeDeadLetters(request))
    await admin.ListQueues(pb.ListQueuesRequest())
    drain.begin()
    async with asyncio.timeout(4):
        await refused(taking, grpc.StatusCode.UNAVAILABLE, reason="BROKER_DRAINING")


async def test_redriven_items_start_anew(stub: Stub, admin: AdminStub) -> None:
    await bury(stub, "a", "b", "c")
    request = pb.RedriveDeadLettersRequest(kind=TASK, ids=["c", "a", "c"])
    (step,) = [step async for step in admin.RedriveDeadLetters(request)]
    assert (step.redriven, step.left) == (2, 0)
    async for reply in stub.Lease(bpb.LeaseRequest(kind=TASK, max_items=5)):
        assert [(one.id, one.attempt, one.last_error) for one in reply.deliveries] == [("c", 1, ""), ("a", 1, "")]
    (step,) = [step async for step in admin.RedriveDeadLetters(pb.RedriveDeadLettersRequest(kind=TASK))]
    assert (step.redriven, step.left) == (1, 0)
    assert not await dead(admin)


async def test_long_redrives_and_purges_report_after_each_step(stub: Stub, admin: AdminStub) -> None:
    await bury(stub, *(f"{n}" for n in range(500)))
    steps = [step async for step in admin.RedriveDeadLetters(pb.RedriveDeadLettersRequest(kind=TASK))]
    assert [(step.redriven, step.left) for step in steps] == [(200, 300), (400, 100), (500, 0)]
    assert not await dead(admin)


@pytest.mark.parametrize("queue", ["", "none"])
async def test_what_is_not_there_is_not_redriven_and_nothing_else_is(stub: Stub, admin: AdminStub, queue: str) -> None:
    await bury(stub, "a")
    for call in (
        admin.RedriveDeadLetters(pb.RedriveDeadLettersRequest(queue=queue, kind=TASK, ids=["a", "b"])),
        admin.PurgeDeadLetters(pb.PurgeDeadLettersRequest(queue=queue, kind=TASK, ids=["a", "b"])),
    ):
        await refused(call.read(), grpc.StatusCode.NOT_FOUND, reason="NOT_FOUND")
    assert [info.id for info in await dead(admin)] == ["a"]


async def test_bad_fields_are_named(admin: AdminStub) -> None:
    for call, field in (
        (admin.ListDeadLetters(pb.ListDeadLettersRequest()), "kind"),
        (admin.ListDeadLetterQueues(pb.ListDeadLetterQueuesRequest(kind=7)), "kind"),  # type: ignore[arg-type]
        (admin.TakeDeadLetters(pb.TakeDeadLettersRequest(kind=TASK, max_items=1001)), "max_items"),
        (admin.TakeDeadLetters(pb.TakeDeadLettersRequest(kind=TASK, queue="a:b")), "queue"),
        (
            admin.TakeDeadLetters(pb.TakeDeadLettersRequest(kind=TASK, get_timeout=Duration(seconds=3601))),
            "get_timeout",
        ),
        (admin.RedriveDeadLetters(pb.RedriveDeadLettersRequest(kind=TASK, ids=["a", ""])).read(), "ids[1]"),
    ):
        await refused(call, grpc.StatusCode.INVALID_ARGUMENT, field=field)
