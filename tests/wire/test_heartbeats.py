"""Streams say that they are alive, to those who have said that they know, and end when nothing is heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.broker.config.limits import Limits
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.redis import RedisServer
from .conftest import Stub, item
from .statuses import next_of
from .streams import Worker, ids_of

OFF = Limits(heartbeat_interval=timedelta(0))
#: So that each of them is seen, and nobody is taken for dead.
OFTEN = Limits(heartbeat_interval=timedelta(milliseconds=50), heartbeat_timeout=timedelta(minutes=1))
#: Who says nothing for so long is taken for dead.
IMPATIENT = Limits(heartbeat_interval=timedelta(milliseconds=100), heartbeat_timeout=timedelta(milliseconds=500))
#: The same, on a busy machine.
LENIENT = Limits(heartbeat_interval=timedelta(milliseconds=100), heartbeat_timeout=timedelta(seconds=2))

often = pytest.mark.parametrize("limits", [OFTEN], ids=["often"])
impatient = pytest.mark.parametrize("limits", [IMPATIENT], ids=["impatient"])
off = pytest.mark.parametrize("limits", [OFF], ids=["off"])

EMPTY = pb.WorkResponse()


def lease(**fields: object) -> pb.LeaseRequest:
    return pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, follow=True, **fields)  # type: ignore[arg-type]


def enqueue(id: str) -> pb.EnqueueStreamRequest:
    return pb.EnqueueStreamRequest(request=pb.EnqueueRequest(items=[item(id)]))


async def silence(reading: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Nothing is read for several intervals; what reads it then."""
    read = asyncio.create_task(reading)
    done, _ = await asyncio.wait([read], timeout=0.4)
    assert not done
    return read


@often
async def test_a_worker_hears_the_rhythm_first_and_heartbeats_when_it_has_said_that_it_knows(stub: Stub) -> None:
    worker = Worker(stub)
    first = await worker.hear()
    assert first.heartbeats == tpb.Heartbeats(interval=Duration(nanos=50_000_000), timeout=Duration(seconds=60))
    worker.say(heartbeats=True)
    assert [await worker.hear() for _ in range(3)] == [EMPTY] * 3
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
    assert ids_of(await worker.items()) == ["a"]


@often
async def test_who_has_not_said_that_it_knows_heartbeats_gets_none_and_may_be_silent(stub: Stub) -> None:
    worker = Worker(stub)
    await worker.hear()
    await silence(worker.hear())
    leasing = stub.Lease(lease())
    await silence(next_of(leasing))
    enqueueing = stub.EnqueueStream()
    await enqueueing.write(enqueue("a"))
    assert (await next_of(enqueueing)).HasField("heartbeats")
    await silence(next_of(enqueueing))


@off
async def test_a_broker_without_heartbeats_announces_none_and_takes_those_of_others(stub: Stub) -> None:
    worker = Worker(stub, credit=1)
    assert not (await worker.hear()).HasField("heartbeats")
    worker.say(heartbeats=True)
    enqueueing = stub.EnqueueStream()
    await enqueueing.write(enqueue("a"))
    assert not (await next_of(enqueueing)).HasField("heartbeats")
    await enqueueing.write(pb.EnqueueStreamRequest(heartbeats=True))
    await enqueueing.write(enqueue("b"))
    assert (await next_of(enqueueing)).response.items[0].id == "b"
    assert ids_of(await worker.items()) == ["a"]
    assert [delivery.id for delivery in (await next_of(stub.Lease(lease(heartbeats=True)))).deliveries] == ["b"]


@impatient
async def test_a_worker_that_says_nothing_more_loses_its_stream_and_what_it_has_not_received(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(stub, credit=1)
    await stub.Enqueue(pb.EnqueueRequest(items=[item("received"), item("unreceived")]))
    worker.say(heartbeats=True, received_batch=(await worker.items()).batch, add_credit=1)
    assert ids_of(await worker.items()) == ["unreceived"]
    with caplog.at_level(logging.WARNING, "dibs.broker"), pytest.raises(grpc.aio.AioRpcError) as ended:
        await worker.rest()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert ended.value.details() == "nothing was heard for 0.5 s on this stream: open another one"
    assert caplog.messages.count("worker test of namespace default has said nothing for 0.5 s, its stream ends") == 1
    found = await next_of(stub.Lease(lease(max_items=10)))
    assert [(delivery.id, delivery.attempt) for delivery in found.deliveries] == [("unreceived", 1)]
    states = await stub.Result(pb.ResultRequest(ids=["received"]))
    assert states.results[0].state == tpb.ITEM_STATE_STARTED


@pytest.mark.parametrize("limits", [LENIENT], ids=["lenient"])
async def test_a_worker_that_sends_heartbeats_keeps_its_stream(stub: Stub) -> None:
    worker = Worker(stub)
    await worker.hear()
    # For longer than the broker's patience.
    for _ in range(25):
        worker.say(heartbeats=True)
        await asyncio.sleep(0.1)
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
    assert ids_of(await worker.items()) == ["a"]


@impatient
async def test_a_worker_that_has_half_closed_is_not_silent_while_redis_lets_it_wait(
    stub: Stub, redis_server: RedisServer
) -> None:
    worker = Worker(stub)
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
    token = (await worker.items()).deliveries[0].lease_token
    worker.say(heartbeats=True)
    assert not (await worker.hear()).deliveries
    with redis_server.frozen():
        worker.say(sequence=1, acks=[pb.AckEntry(id="a", lease_token=token)])
        worker.half_close()
        # Longer than the broker's patience.
        heard = [await worker.hear() for _ in range(10)]
    assert [*heard, *(await worker.rest())][-1].done_sequence == 1


@often
async def test_a_follower_hears_the_rhythm_and_heartbeats_between_batches(stub: Stub) -> None:
    call = stub.Lease(lease(max_items=2, heartbeats=True))
    assert (await next_of(call)).heartbeats.interval == Duration(nanos=50_000_000)
    assert await next_of(call) == pb.LeaseResponse()
    await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
    batches = [await next_of(call)]
    while not batches[-1].deliveries:
        batches.append(await next_of(call))
    assert await next_of(call) == pb.LeaseResponse()
    await stub.Enqueue(pb.EnqueueRequest(items=[item("b")]))
    async with asyncio.timeout(10):
        while isinstance(batch := await call.read(), pb.LeaseResponse):
            batches.append(batch)
    assert [delivery.id for batch in batches for delivery in batch.deliveries] == ["a", "b"]


@often
async def test_a_long_poll_ends_in_time_in_spite_of_heartbeats(stub: Stub) -> None:
    request = pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, heartbeats=True, get_timeout=Duration(nanos=300_000_000))
    async with asyncio.timeout(10):
        messages = [message async for message in stub.Lease(request)]
    assert len(messages) > 2
    assert not any(message.deliveries for message in messages)


@often
async def test_a_producer_hears_heartbeats_while_its_reply_is_out(stub: Stub, redis_server: RedisServer) -> None:
    call = stub.EnqueueStream()
    await call.write(enqueue("a"))
    assert (await next_of(call)).heartbeats.timeout == Duration(seconds=60)
    await call.write(pb.EnqueueStreamRequest(heartbeats=True))
    reading = await silence(next_of(call))
    with redis_server.frozen():
        await call.write(enqueue("b"))
        assert [await reading, await next_of(call), await next_of(call)] == [pb.EnqueueStreamResponse()] * 3
    reply = await next_of(call)
    while reply == pb.EnqueueStreamResponse():
        reply = await next_of(call)
    assert reply.response.items[0].id == "b"
    assert not reply.HasField("heartbeats")


@impatient
async def test_a_producer_that_says_nothing_more_loses_its_stream(stub: Stub) -> None:
    call = stub.EnqueueStream()
    await call.write(enqueue("a"))
    assert (await next_of(call)).response.items[0].id == "a"
    for _ in range(8):
        await call.write(pb.EnqueueStreamRequest(heartbeats=True))
        await asyncio.sleep(0.1)
    with pytest.raises(grpc.aio.AioRpcError, match="nothing was heard for"):
        await next_of(call)


async def test_heartbeats_do_not_go_with_peek(stub: Stub) -> None:
    request = pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, peek=True, heartbeats=True)
    with pytest.raises(grpc.aio.AioRpcError, match="heartbeats: does not go with peek"):
        await next_of(stub.Lease(request))
