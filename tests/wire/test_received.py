"""An attempt counts once its delivery has been received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import cast

import grpc
import pytest
import redis
from google.protobuf.duration_pb2 import Duration

from dibs.broker.border.drain import Drain
from dibs.broker.config.limits import Limits
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.keys import namespace_prefix
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support.processes import running_broker
from ..support.proxy import between
from ..support.redis import RedisServer
from .conftest import Stub, item, serving_channel
from .statuses import next_of
from .streams import Worker, ids_of

PREFIX = namespace_prefix("dibs", "default")


@pytest.fixture
async def elsewhere(redis_server: RedisServer) -> AsyncIterator[Stub]:
    """Another broker on the same Redis as `stub`'s."""
    async with serving_channel(EngineConfig(redis_server.url, timeout_s=20.0), Limits(), Drain()) as channel:
        yield cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel))


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def once_only(id: str, *, lease_s: float = 30.0) -> pb.EnqueueItem:
    """One attempt, at least once; how it ended is kept."""
    made = item(id)
    made.policy.attempts = 1
    made.policy.lease_timeout.FromNanoseconds(int(lease_s * 1e9))
    return made


async def put(stub: Stub, *items: pb.EnqueueItem) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=items))


def request(max_items: int = 1, *, wait_s: int = 8, follow: bool = False) -> pb.LeaseRequest:
    wait = Duration(seconds=wait_s)
    return pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, max_items=max_items, get_timeout=wait, follow=follow)


async def leased(stub: Stub) -> list[tuple[str, int]]:
    """Ids and attempts of what a call gets that waits for a first item."""
    found = [one async for response in stub.Lease(request(10)) for one in response.deliveries]
    return [(one.id, one.attempt) for one in found]


async def state_of(stub: Stub, id: str, *, wait_s: int = 0) -> tpb.ItemState.ValueType:
    """Where an item is, or how it ended if that takes no longer."""
    asked = pb.ResultRequest(ids=[id], until=pb.WAIT_UNTIL_DONE, timeout=Duration(seconds=wait_s))
    return (await stub.Result(asked)).results[0].state


async def test_a_delivery_down_a_work_stream_counts_once_its_batch_is_received(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, once_only("a", lease_s=0.5))
    assert ids_of(await worker.items()) == ["a"]
    # The lease has run out, and nobody had said to have it.
    again = await worker.items()
    assert [(one.id, one.attempt) for one in again.deliveries] == [("a", 1)]
    worker.say(received_batch=again.batch)
    assert await state_of(stub, "a", wait_s=5) == tpb.ITEM_STATE_FAILED


async def test_a_lease_counts_once_its_call_has_ended_well(stub: Stub) -> None:
    await put(stub, once_only("a", lease_s=0.5))
    assert await leased(stub) == [("a", 1)]
    assert await state_of(stub, "a", wait_s=5) == tpb.ITEM_STATE_FAILED


async def test_a_following_lease_counts_once_a_later_batch_was_written(stub: Stub) -> None:
    await put(stub, once_only("a"))
    call = stub.Lease(request(10, follow=True))
    assert [one.id for one in (await next_of(call)).deliveries] == ["a"]
    await put(stub, once_only("b"))
    assert [one.id for one in (await next_of(call)).deliveries] == ["b"]
    call.cancel()
    assert await leased(stub) == [("b", 1)]
    assert await state_of(stub, "a") == tpb.ITEM_STATE_STARTED


@pytest.mark.parametrize("later_ms", [0, 1, 2, 4, 8, 16])
async def test_a_lease_call_that_is_cancelled_keeps_nothing(stub: Stub, later_ms: int) -> None:
    """Whether the item is being leased, on its way, or written when the call ends: long before its lease does."""
    call = stub.Lease(request(10, follow=True))
    read = asyncio.ensure_future(call.read())
    putting = asyncio.ensure_future(put(stub, once_only("a")))
    await asyncio.sleep(later_ms / 1000)
    call.cancel()
    await asyncio.gather(read, putting, return_exceptions=True)
    async with asyncio.timeout(5):
        assert await leased(stub) == [("a", 1)]


@pytest.mark.parametrize("ends", ["wanted", "time"])
async def test_a_following_lease_counts_once_its_call_has_ended_well(stub: Stub, ends: str) -> None:
    await put(stub, once_only("a", lease_s=2))
    call = stub.Lease(request(1 if ends == "wanted" else 10, wait_s=1, follow=True))
    assert [one.id async for response in call for one in response.deliveries] == ["a"]
    assert await state_of(stub, "a", wait_s=8) == tpb.ITEM_STATE_FAILED


async def test_a_receipt_that_was_lost_with_its_stream_is_made_good_at_any_broker(stub: Stub, elsewhere: Stub) -> None:
    worker = Worker(stub)
    await put(stub, once_only("a"))
    (delivery,) = (await worker.items()).deliveries
    worker.call.cancel()
    again = Worker(elsewhere, received_tokens=[delivery.lease_token])
    await put(stub, once_only("b"))
    # A span of time in which it would have come back.
    await asyncio.sleep(1.5)
    assert ids_of(await again.items()) == ["b"]
    again.say(sequence=1, acks=[pb.AckEntry(id="a", lease_token=delivery.lease_token)])
    while (heard := await again.hear()).done_sequence != 1:
        pass
    assert list(heard.outcomes) == []
    assert await state_of(stub, "a") == tpb.ITEM_STATE_SUCCEEDED


async def test_a_receipt_that_is_lost_for_good_costs_one_run_that_is_not_counted(
    channel: grpc.aio.Channel, stub: Stub, redis_server: RedisServer
) -> None:
    # The worker has the item, and the broker never hears so.
    with running_broker("--redis", redis_server.url) as broker, between(broker.address) as proxy:
        async with grpc.aio.insecure_channel(proxy.target) as muted:
            worker = Worker(cast(Stub, broker_pb2_grpc.BrokerServiceStub(muted)))
            await put(stub, once_only("a", lease_s=3))
            response = await worker.items()
            proxy.hold()
            worker.say(received_batch=response.batch)
            assert await asyncio.to_thread(proxy.held.wait, 10)
            worker.call.cancel()
            proxy.drop()
            next_one = Worker(stub)
            again = await next_one.items()
            assert [(one.id, one.attempt) for one in again.deliveries] == [("a", 1)]
            next_one.say(received_batch=again.batch)
            assert await state_of(stub, "a", wait_s=8) == tpb.ITEM_STATE_FAILED


async def test_what_a_killed_broker_had_sent_costs_no_attempt(stub: Stub, redis_server: RedisServer) -> None:
    with running_broker("--redis", redis_server.url) as broker:
        async with grpc.aio.insecure_channel(broker.address) as channel:
            worker = Worker(cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel)))
            await put(stub, once_only("a", lease_s=2), once_only("b", lease_s=2))
            found = [one.id for one in await worker.deliveries(2)]
            broker.kill()
            back: list[tuple[str, int]] = []
            while len(back) < 2:
                back += await leased(stub)
    assert sorted(found) == ["a", "b"]
    assert sorted(back) == [("a", 1), ("b", 1)]


async def test_one_call_tells_of_all_receipts_of_a_stream(stub: Stub, raw: redis.Redis) -> None:
    await put(stub, *(once_only(f"i{n}") for n in range(1000)))
    worker = Worker(stub, credit=1000)
    await worker.deliveries(1000)
    marks = raw.zcard(PREFIX + "unreceived")
    raw.config_resetstat()
    worker.say(received_batch=1000)
    async with asyncio.timeout(8):
        while raw.zcard(PREFIX + "unreceived"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)
    # Of the receipts, and perhaps that of an answer.
    stats = raw.info("commandstats")
    assert marks == 1
    assert stats["cmdstat_zrem"]["calls"] == 1


async def test_a_draining_broker_leaves_no_answers_behind(redis_server: RedisServer, raw: redis.Redis) -> None:
    drain = Drain()
    async with serving_channel(EngineConfig(redis_server.url, timeout_s=20.0), Limits(), drain) as channel:
        stub = cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel))
        await put(stub, item("a", lease_s=0, keep_s=0))
        worker = Worker(stub, credit=1)
        await worker.items()
        drain.begin()
        worker.half_close()
        await worker.rest()
    assert raw.keys(PREFIX + "copies:*") == []
    assert {raw.strlen(key) for key in raw.keys(PREFIX + "answer:*")} == {16}
