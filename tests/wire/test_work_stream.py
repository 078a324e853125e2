from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.broker.border.drain import Drain
from dibs.broker.config.limits import Limits
from dibs.broker.engine.hints import Hints
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .conftest import AdminStub, Stub, item
from .statuses import next_of
from .streams import Worker, ids_of


async def put(stub: Stub, *items: pb.EnqueueItem) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=items))


async def state_of(stub: Stub, id: str) -> tpb.ItemState.ValueType:
    return (await stub.Result(pb.ResultRequest(ids=[id]))).results[0].state


async def leased(stub: Stub) -> list[tpb.Delivery]:
    """What a consumer gets that waits for a first item."""
    request = pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, max_items=10, get_timeout=Duration(seconds=5))
    return [delivery async for response in stub.Lease(request) for delivery in response.deliveries]


async def test_the_broker_never_sends_beyond_the_credit(stub: Stub) -> None:
    worker = Worker(stub, credit=2)
    await put(stub, *(item(f"i{n}") for n in range(5)))
    got = ids_of(await worker.items())
    while len(got) < 2:
        got += ids_of(await worker.items())
    # An outcome comes after anything that the broker would have sent too much.
    worker.say(sequence=1, acks=[pb.AckEntry(id="none", lease_token=1)])
    settled = await worker.hear()
    assert got == ["i0", "i1"]
    assert (ids_of(settled), settled.done_sequence) == ([], 1)
    worker.say(add_credit=1)
    assert ids_of(await worker.items()) == ["i2"]


async def test_acks_are_done_in_order_and_only_other_outcomes_are_listed(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, item("a"))
    delivery = (await worker.items()).deliveries[0]
    worker.say(
        sequence=7,
        acks=[
            pb.AckEntry(id="a", lease_token=delivery.lease_token, result=b"1"),
            pb.AckEntry(id="none", lease_token=5),
        ],
    )
    settled = await worker.hear()
    assert settled.done_sequence == 7
    assert [(one.id, one.outcome) for one in settled.outcomes] == [("none", tpb.OUTCOME_NOT_FOUND)]
    assert await state_of(stub, "a") == tpb.ITEM_STATE_SUCCEEDED


async def test_a_result_over_the_limit_is_refused_and_the_item_stays_leased(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, item("a"))
    token = (await worker.items()).deliveries[0].lease_token
    worker.say(sequence=1, acks=[pb.AckEntry(id="a", lease_token=token, result=b"x" * (256 * 1024 + 1))])
    settled = await worker.hear()
    assert [one.outcome for one in settled.outcomes] == [tpb.OUTCOME_RESULT_TOO_LARGE]
    assert await state_of(stub, "a") == tpb.ITEM_STATE_STARTED


async def test_a_nacked_item_comes_again_with_its_error(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, item("a"))
    token = (await worker.items()).deliveries[0].lease_token
    worker.say(sequence=1, nacks=[pb.NackEntry(id="a", lease_token=token, error="broken", delay=Duration())])
    again = (await worker.items()).deliveries[0]
    assert (again.attempt, again.last_error, again.lease_token > token) == (2, "broken", True)


async def test_items_of_a_stream_that_broke_before_their_receipt_come_back_without_an_attempt(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, item("a"))
    await worker.items()
    worker.call.cancel()
    (delivery,) = await leased(stub)
    assert (delivery.id, delivery.attempt) == ("a", 1)


async def test_at_most_once_items_of_a_stream_that_broke_never_come_back(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, item("once", lease_s=0), item("plain", lease_s=0, keep_s=0), item("again"))
    got = ids_of(await worker.items())
    while len(got) < 3:
        got += ids_of(await worker.items())
    worker.call.cancel()
    # "again" comes back together with whatever else would.
    assert [delivery.id for delivery in await leased(stub)] == ["again"]


async def test_received_items_stay_leased_when_the_stream_breaks(stub: Stub) -> None:
    worker = Worker(stub, credit=1)
    await put(stub, item("received"), item("unreceived"))
    worker.say(received_batch=(await worker.items()).batch, add_credit=1)
    assert ids_of(await worker.items()) == ["unreceived"]
    worker.call.cancel()
    assert [delivery.id for delivery in await leased(stub)] == ["unreceived"]
    assert await state_of(stub, "received") == tpb.ITEM_STATE_STARTED


async def test_items_of_a_worker_that_does_not_read_wait_in_redis(stub: Stub, admin: AdminStub) -> None:
    for n in range(100):
        large = item(f"i{n:02}")
        large.content.payload = b"x" * 200_000
        await put(stub, large)
    worker = Worker(stub, credit=100)
    # A span of time, in which all 100 would be leased.
    await asyncio.sleep(1)
    (queue,) = (await admin.ListQueues(apb.ListQueuesRequest(kind=tpb.QUEUE_KIND_TASK))).queues
    # 3 MiB wait to be written, as much again may have come with the last lease, and gRPC has a message or two.
    assert 15 <= queue.leased <= 75
    got: list[str] = []
    while len(got) < 100:
        got += ids_of(await worker.items())
    assert got == [f"i{n:02}" for n in range(100)]


async def test_outcomes_for_a_worker_that_does_not_read_do_not_pile_up(stub: Stub) -> None:
    worker = Worker(stub)
    for sequence in range(1, 101):
        acks = [pb.AckEntry(id=f"{sequence:04}-{n:03}-" + "x" * 119, lease_token=1) for n in range(1_000)]
        worker.say(sequence=sequence, acks=acks)
    # A span of time, in which all would be settled, and make a message that is too large.
    await asyncio.sleep(1)
    outcomes = done = 0
    while done < 100:
        response = await worker.hear()
        outcomes += len(response.outcomes)
        done = response.done_sequence or done
    assert outcomes == 100_000


async def test_long_error_texts_of_many_items_fit_into_the_messages_of_the_next_attempt(stub: Stub) -> None:
    error = "€" * 2_730  # 8 KiB
    await put(stub, *(item(f"i{n:03}") for n in range(600)))
    worker = Worker(stub, credit=600)
    first: list[tpb.Delivery] = []
    while len(first) < 600:
        first += (await worker.items()).deliveries
    failed: dict[str, Any] = {"reason": pb.NACK_REASON_FAILED, "error": error, "delay": Duration()}
    for at in range(0, 600, 300):
        nacks = [pb.NackEntry(id=d.id, lease_token=d.lease_token, **failed) for d in first[at : at + 300]]
        worker.say(sequence=at + 1, nacks=nacks)
    while (await worker.hear()).done_sequence < 301:
        pass
    worker.say(add_credit=600)
    again: list[tpb.Delivery] = []
    while len(again) < 600:
        again += (await worker.items()).deliveries
    assert {d.id for d in again} == {d.id for d in first}
    assert {(d.attempt, d.last_error) for d in again} == {(2, error)}


@pytest.mark.parametrize("limits", [Limits(max_credit=10)], ids=["credit of 10"])
async def test_a_worker_without_receipts_is_not_remembered_for_ever(stub: Stub, limits: Limits) -> None:
    worker = Worker(stub, credit=1)
    await put(stub, *(item(f"i{n:02}") for n in range(30)))
    for n in range(30):
        assert ids_of(await worker.items()) == [f"i{n:02}"]
        worker.say(add_credit=1)
    worker.call.cancel()
    back = [delivery.id for _ in range(2) for delivery in await leased(stub)]
    # The newest of them, twice the credit; the others wait for their leases to run out.
    assert sorted(back) == [f"i{n:02}" for n in range(10, 30)]
    assert await state_of(stub, "i09") == tpb.ITEM_STATE_STARTED


async def test_a_worker_hears_that_its_item_was_cancelled(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, item("a"))
    token = (await worker.items()).deliveries[0].lease_token
    cancelled = await stub.Cancel(pb.CancelRequest(ids=["a"]))
    notice = await worker.hear()
    assert [one.outcome for one in cancelled.items] == [pb.CANCEL_OUTCOME_REQUESTED]
    assert [(one.id, one.lease_token) for one in notice.cancelled] == [("a", token)]
    worker.say(sequence=1, refreshes=[pb.RefreshEntry(id="a", lease_token=token)])
    (outcome,) = (await worker.hear()).outcomes
    assert (outcome.outcome, outcome.cancel_requested) == (tpb.OUTCOME_OK, True)
    worker.say(sequence=2, nacks=[pb.NackEntry(id="a", lease_token=token, reason=pb.NACK_REASON_CANCELLED)])
    assert (await worker.hear()).done_sequence == 2
    assert await state_of(stub, "a") == tpb.ITEM_STATE_CANCELLED


@pytest.mark.parametrize("lease_s", [30, 0])
async def test_a_worker_hears_within_five_seconds_of_a_cancellation_whose_hint_was_lost(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, lease_s: int
) -> None:
    monkeypatch.setattr(Hints, "_receive", lambda self, data: None)
    worker = Worker(stub)
    await put(stub, item("a", lease_s=lease_s))
    token = (await worker.items()).deliveries[0].lease_token
    await stub.Cancel(pb.CancelRequest(ids=["a"]))
    async with asyncio.timeout(5):
        notice = await worker.hear()
    assert [(one.id, one.lease_token) for one in notice.cancelled] == [("a", token)]


async def test_what_was_sent_before_a_half_close_is_settled_and_reported(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, item("a"))
    response = await worker.items()
    worker.say(
        received_batch=response.batch,
        sequence=1,
        acks=[pb.AckEntry(id="a", lease_token=response.deliveries[0].lease_token)],
    )
    worker.half_close()
    assert [response.done_sequence for response in await worker.rest()] == [1]
    assert await worker.call.code() is grpc.StatusCode.OK
    assert await state_of(stub, "a") == tpb.ITEM_STATE_SUCCEEDED


async def test_a_draining_broker_says_so_takes_acks_and_sends_no_more_items(stub: Stub, drain: Drain) -> None:
    worker = Worker(stub)
    await put(stub, item("a"))
    response = await worker.items()
    drain.begin()
    assert (await worker.hear()).drain
    await put(stub, item("b"))
    worker.say(
        received_batch=response.batch,
        sequence=1,
        acks=[pb.AckEntry(id="a", lease_token=response.deliveries[0].lease_token)],
    )
    worker.half_close()
    rest = await worker.rest()
    assert [(ids_of(response), response.done_sequence) for response in rest] == [([], 1)]
    assert await state_of(stub, "b") == tpb.ITEM_STATE_WAITING


@pytest.mark.parametrize(
    ("request_message", "field"),
    [
        (pb.WorkRequest(add_credit=1), "hello"),
        (pb.WorkRequest(hello=pb.WorkHello(worker_id="w")), "hello.kind"),
        (pb.WorkRequest(hello=pb.WorkHello(kind=tpb.QUEUE_KIND_TASK)), "hello.worker_id"),
        (
            pb.WorkRequest(hello=pb.WorkHello(kind=tpb.QUEUE_KIND_TASK, worker_id="w"), add_credit=10_001),
            "add_credit",
        ),
    ],
)
async def test_a_first_message_that_makes_no_sense_ends_the_stream_naming_the_field(
    stub: Stub, request_message: pb.WorkRequest, field: str
) -> None:
    async def requests() -> AsyncIterator[pb.WorkRequest]:
        yield request_message

    call = stub.Work(requests())
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await call.details() or "").startswith(f"{field}:")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"hello": pb.WorkHello(kind=tpb.QUEUE_KIND_TASK, worker_id="w")}, "hello"),
        ({"acks": [pb.AckEntry(id="a", lease_token=1)]}, "sequence"),
        ({"sequence": 1, "acks": [pb.AckEntry(id="a")]}, "acks[0].lease_token"),
        ({"sequence": 1, "nacks": [pb.NackEntry(id="", lease_token=1)]}, "nacks[0].id"),
    ],
)
async def test_a_later_message_that_makes_no_sense_ends_the_stream_and_loses_nothing(
    stub: Stub, fields: dict[str, object], field: str
) -> None:
    worker = Worker(stub)
    await put(stub, item("a"))
    await worker.items()
    worker.say(**fields)
    assert await worker.call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await worker.call.details() or "").startswith(f"{field}:")
    assert [delivery.id for delivery in await leased(stub)] == ["a"]


async def test_what_was_sent_before_an_invalid_entry_is_done_and_reported_and_no_more(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, *map(item, "abcd"))
    tokens = {delivery.id: delivery.lease_token for delivery in await worker.deliveries(4)}
    acks = {id: pb.AckEntry(id=id, lease_token=token) for id, token in tokens.items()}
    worker.say(sequence=1, received_batch=4, acks=[acks["a"], pb.AckEntry(id="nobody", lease_token=1)])
    worker.say(sequence=2, acks=[acks["b"], pb.AckEntry(id="bad")])
    worker.say(sequence=3, acks=[acks["c"]])
    responses = await worker.until_refused()
    assert await worker.call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await worker.call.details() or "").startswith("acks[1].lease_token:")
    assert max(response.done_sequence for response in responses) == 1
    outcomes = [(one.id, one.outcome) for response in responses for one in response.outcomes]
    assert outcomes == [("nobody", tpb.OUTCOME_NOT_FOUND)]
    states = {id: await state_of(stub, id) for id in "abcd"}
    assert states == {"a": tpb.ITEM_STATE_SUCCEEDED} | dict.fromkeys("bcd", tpb.ITEM_STATE_STARTED)


async def test_the_receipt_in_an_invalid_message_counts(stub: Stub) -> None:
    worker = Worker(stub, credit=1)
    await put(stub, item("received"), item("unreceived"))
    first = await worker.items()
    worker.say(add_credit=1)
    assert ids_of(await worker.items()) == ["unreceived"]
    worker.say(received_batch=first.batch, sequence=1, acks=[pb.AckEntry(id="bad")])
    await worker.until_refused()
    assert [delivery.id for delivery in await leased(stub)] == ["unreceived"]
    assert await state_of(stub, "received") == tpb.ITEM_STATE_STARTED


async def test_who_leaves_the_named_entry_out_gets_on(stub: Stub) -> None:
    await put(stub, *map(item, "abc"))
    entries = [pb.AckEntry(id=one.id, lease_token=one.lease_token) for one in await leased(stub)]
    waiting = [entries[0], pb.AckEntry(id="bad"), entries[1], pb.AckEntry(lease_token=7), entries[2]]
    streams = 0
    while waiting:
        worker = Worker(stub)
        worker.say(sequence=1, acks=waiting)
        worker.half_close()
        streams += 1
        try:
            responses = await worker.rest()
        except grpc.aio.AioRpcError as error:
            named = re.match(r"acks\[(\d+)\]", error.details() or "")
            assert named
            del waiting[int(named[1])]
        else:
            assert responses[-1].done_sequence == 1
            waiting = []
    assert streams == 3
    assert [await state_of(stub, id) for id in "abc"] == [tpb.ITEM_STATE_SUCCEEDED] * 3


async def test_the_first_message_of_a_stream_says_what_the_broker_takes(stub: Stub) -> None:
    call = stub.Work()
    await call.write(pb.WorkRequest(hello=pb.WorkHello(kind=tpb.QUEUE_KIND_TASK, worker_id="w")))
    first = await next_of(call)
    assert (first.limits.max_batch_items, first.limits.max_credit) == (1000, 10_000)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
