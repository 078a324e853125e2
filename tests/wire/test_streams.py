"""EnqueueStream, and the forms of Lease."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.broker.border.drain import Drain
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .conftest import Stub, item
from .statuses import next_of, refused


def lease(**fields: object) -> pb.LeaseRequest:
    return pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, **fields)  # type: ignore[arg-type]


async def test_a_request_that_fails_does_not_end_the_enqueue_stream(stub: Stub) -> None:
    call = stub.EnqueueStream()
    replies = []
    async with asyncio.timeout(10):
        for one in (item("a"), item("b", "bra{ce"), item("c")):
            await call.write(pb.EnqueueStreamRequest(request=pb.EnqueueRequest(items=[one])))
            replies.append(await anext(aiter(call)))
    assert [reply.WhichOneof("outcome") for reply in replies] == ["response", "error", "response"]
    assert replies[1].error.message.startswith("items[0].queue:")


@pytest.mark.parametrize("sizes", [(200,) * 8, (200, 1, 200, 1, 1, 200)])
async def test_requests_sent_one_behind_the_other_are_put_in_and_answered_in_order(
    stub: Stub, sizes: tuple[int, ...]
) -> None:
    call = stub.EnqueueStream()
    ids = [[f"{at}-{n}" for n in range(size)] for at, size in enumerate(sizes)]
    async with asyncio.timeout(10):
        for batch in ids:
            await call.write(pb.EnqueueStreamRequest(request=pb.EnqueueRequest(items=[item(id) for id in batch])))
        wrong = [item(f"wrong-{n}") for n in range(99)] + [item("wrong", "bra{ce")]
        await call.write(pb.EnqueueStreamRequest(request=pb.EnqueueRequest(items=wrong)))
        await call.done_writing()
        *replies, last = [reply async for reply in call]
    assert [[one.id for one in reply.response.items] for reply in replies] == ids
    assert last.error.message.startswith("items[99].queue:")
    put_in = [id for batch in ids for id in batch]
    found = [delivery.id async for response in stub.Lease(lease(max_items=1000)) for delivery in response.deliveries]
    assert found == put_in[:1000]


async def test_a_client_that_goes_away_ends_the_enqueue_stream_with_requests_under_way(stub: Stub) -> None:
    call = stub.EnqueueStream()
    for at in range(8):
        items = [item(f"{at}-{n}") for n in range(500)]
        await call.write(pb.EnqueueStreamRequest(request=pb.EnqueueRequest(items=items)))
    call.cancel()
    # The same broker serves on.
    await stub.Enqueue(pb.EnqueueRequest(items=[item("after")]))
    assert (await stub.Result(pb.ResultRequest(ids=["after"]))).results[0].state == tpb.ITEM_STATE_WAITING


async def test_the_enqueue_stream_ends_in_peace_when_the_broker_drains(stub: Stub, drain: Drain) -> None:
    call = stub.EnqueueStream()
    async with asyncio.timeout(10):
        await call.write(pb.EnqueueStreamRequest(request=pb.EnqueueRequest(items=[item("a")])))
        await anext(aiter(call))
        drain.begin()
        rest = [reply async for reply in call]
    assert rest == []


async def test_a_lease_waits_for_its_first_item(stub: Stub) -> None:
    request = lease(max_items=5, get_timeout=Duration(seconds=10))
    waiting = asyncio.ensure_future(anext(aiter(stub.Lease(request))))
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
    async with asyncio.timeout(8):
        response = await waiting
    assert [delivery.id for delivery in response.deliveries] == ["a"]


async def test_a_lease_that_finds_nothing_in_time_ends_without_a_batch(stub: Stub) -> None:
    request = lease(get_timeout=Duration(nanos=50_000_000))
    assert [response async for response in stub.Lease(request)] == []


async def test_a_following_lease_goes_on_until_it_has_what_it_wanted(stub: Stub) -> None:
    ids = []
    await stub.Enqueue(pb.EnqueueRequest(items=[item("i0")]))
    async with asyncio.timeout(10):
        async for response in stub.Lease(lease(max_items=3, follow=True)):
            ids += [delivery.id for delivery in response.deliveries]
            if len(ids) < 3:
                await stub.Enqueue(pb.EnqueueRequest(items=[item(f"i{len(ids)}")]))
    assert ids == ["i0", "i1", "i2"]


async def test_a_peek_takes_nothing(stub: Stub) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a"), item("b")]))
    for _ in range(2):
        (response,) = [response async for response in stub.Lease(lease(max_items=5, peek=True))]
        assert [(one.id, one.lease_token) for one in response.deliveries] == [("a", 0), ("b", 0)]


async def test_a_draining_broker_ends_leases_that_wait(stub: Stub, drain: Drain) -> None:
    call = stub.Lease(lease(max_items=2, follow=True))
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
    async with asyncio.timeout(10):
        first = [one.id for one in (await next_of(call)).deliveries]
        drain.begin()
        assert await call.read() is grpc.aio.EOF
    assert first == ["a"]


@pytest.mark.parametrize("until", [pb.WAIT_UNTIL_STARTED, pb.WAIT_UNTIL_DONE])
async def test_a_draining_broker_sends_those_who_wait_elsewhere(
    stub: Stub, drain: Drain, until: pb.WaitUntil.ValueType
) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
    waiting = stub.Result(pb.ResultRequest(ids=["a"], until=until, timeout=Duration(seconds=60)))
    leasing = stub.Lease(lease(queues=["empty"], get_timeout=Duration(seconds=60)))
    # A round trip, so that both have begun.
    await stub.Result(pb.ResultRequest(ids=["a"]))
    drain.begin()
    async with asyncio.timeout(10):
        await refused(waiting, grpc.StatusCode.UNAVAILABLE, reason="BROKER_DRAINING", retry=True)
        await refused(leasing.read(), grpc.StatusCode.UNAVAILABLE, reason="BROKER_DRAINING", retry=True)
        again = stub.Result(pb.ResultRequest(ids=["a"], until=until, timeout=Duration(seconds=60)))
        await refused(again, grpc.StatusCode.UNAVAILABLE, reason="BROKER_DRAINING", retry=True)


async def test_a_draining_broker_still_tells_how_things_stand(stub: Stub, drain: Drain) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
    drain.begin()
    reply = await stub.Result(pb.ResultRequest(ids=["a"]))
    assert reply.results[0].state == tpb.ITEM_STATE_WAITING


async def test_a_lease_can_take_at_most_once_what_was_meant_at_least_once(stub: Stub) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a", keep_s=0)]))
    (response,) = [response async for response in stub.Lease(lease(lease_timeout=Duration()))]
    (known,) = (await stub.Result(pb.ResultRequest(ids=["a"]))).results
    assert response.deliveries[0].lease_token == 0
    assert known.state == tpb.ITEM_STATE_UNKNOWN
