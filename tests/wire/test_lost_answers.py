"""Answers of Redis that get lost, and calls that come late, cost nothing."""

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
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.keys import namespace_prefix
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support.proxy import Proxy, between
from ..support.redis import RedisServer
from .conftest import Stub, item, serving_channel
from .statuses import refused
from .streams import Worker

PREFIX = namespace_prefix("dibs", "default")
#: Lease and time that the result is kept, in seconds, by the kind of delivery; items have the default of one attempt.
TERMS = {"leased": (90, 0), "leased, result": (90, 120), "once": (0, 0), "once, result": (0, 120)}
#: Longer than anything takes, on a machine that is busy with something else; long before any lease runs out.
SOON_S = 40
#: How long the broker waits for an answer that is lost: no longer than needed, and as long as one may take that is not.
LOST_S = 2.5
#: What a call of a script has in it; the subscription asks for signs of life, and is to get them.
SCRIPT = b"EVALSHA"


def of_kind(kind: str, id: str) -> pb.EnqueueItem:
    lease_s, keep_s = TERMS[kind]
    made = item(id, lease_s=lease_s, keep_s=keep_s)
    made.policy.attempts = 1
    return made


#: Three of each kind, mixed.
EVERY = [of_kind(kind, f"{kind[:4]}{len(kind)}-{n}") for n in range(3) for kind in TERMS]
IDS = [one.id for one in EVERY]


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """Between one broker and Redis."""
    with between("unix:" + redis_server.url.removeprefix("unix://")) as proxy:
        yield proxy


@pytest.fixture
async def lossy(proxy: Proxy) -> AsyncIterator[Stub]:
    """A broker behind the proxy; `stub` is one on the same Redis without it."""
    engine = Engine(EngineConfig(f"redis://{proxy.target}", timeout_s=20.0))
    async with serving_channel(engine, Limits(), Drain()) as channel:
        stub = cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel))
        # Redis knows the scripts from here on: else the answer that gets lost is that it does not.
        await stub.Enqueue(pb.EnqueueRequest(namespace="other", items=[item("a")]))
        await deliveries(stub.Lease(pb.LeaseRequest(namespace="other", kind=tpb.QUEUE_KIND_TASK)))
        engine._pipe._timeout_s = LOST_S
        yield stub


async def put(stub: Stub, *items: pb.EnqueueItem) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=items))


def request(max_items: int = 100, *, wait_s: float = 5.0, follow: bool = False) -> pb.LeaseRequest:
    get_timeout = Duration()
    get_timeout.FromNanoseconds(int(wait_s * 1e9))
    return pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, max_items=max_items, get_timeout=get_timeout, follow=follow)


async def deliveries(call: grpc.aio.UnaryStreamCall[pb.LeaseRequest, pb.LeaseResponse]) -> list[tpb.Delivery]:
    return [delivery async for response in call for delivery in response.deliveries]


async def leased(stub: Stub, count: int) -> list[tpb.Delivery]:
    """So many items, and soon."""
    found: list[tpb.Delivery] = []
    async with asyncio.timeout(SOON_S):
        while len(found) < count:
            found += await deliveries(stub.Lease(request(count - len(found))))
    return found


async def nothing_left(stub: Stub) -> None:
    assert await deliveries(stub.Lease(request(wait_s=0))) == []


def each_once(found: list[tpb.Delivery], *ids: str) -> None:
    """Every item came once, as the first of its attempts."""
    assert sorted((one.id, one.attempt) for one in found) == sorted((id, 1) for id in ids)


async def until_waiting(lossy: Stub, raw: redis.Redis) -> None:
    """Returns when somebody waits at the broker for items: Redis has been told."""
    async with asyncio.timeout(SOON_S):
        while not raw.exists(PREFIX + "hungry:t"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.005)


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


async def test_an_answer_to_a_lease_that_got_lost_costs_no_item_and_no_attempt(
    stub: Stub, lossy: Stub, proxy: Proxy
) -> None:
    await put(lossy, *EVERY)
    for _ in range(2):
        await lossy.Result(pb.ResultRequest(ids=["none"]))  # the connection is there
        proxy.swallow()
        await refused(
            lossy.Lease(request(12)).read(), grpc.StatusCode.UNAVAILABLE, reason="REDIS_UNAVAILABLE", retry=True
        )
        assert proxy.swallowed.is_set()
    each_once(await leased(stub, 12), *IDS)
    await nothing_left(stub)


async def test_who_waits_gets_what_a_lost_answer_had_leased(
    stub: Stub, lossy: Stub, proxy: Proxy, raw: redis.Redis
) -> None:
    waiting = asyncio.ensure_future(deliveries(lossy.Lease(request(12, wait_s=20))))
    await until_waiting(lossy, raw)
    proxy.swallow()
    # Its own answer is lost, too; the lease goes down the same connection, right behind it.
    await refused(put(lossy, *EVERY), grpc.StatusCode.UNAVAILABLE, reason="REDIS_UNAVAILABLE", retry=True)
    async with asyncio.timeout(SOON_S):
        each_once(await waiting, *IDS)
    await nothing_left(stub)


async def test_who_follows_gets_what_a_lost_answer_had_leased(
    stub: Stub, lossy: Stub, proxy: Proxy, raw: redis.Redis
) -> None:
    following = asyncio.ensure_future(deliveries(lossy.Lease(request(13, wait_s=20, follow=True))))
    await until_waiting(lossy, raw)
    proxy.swallow()
    await refused(put(lossy, *EVERY), grpc.StatusCode.UNAVAILABLE, reason="REDIS_UNAVAILABLE", retry=True)
    await put(stub, of_kind("leased", "last"))
    async with asyncio.timeout(SOON_S):
        each_once(await following, *IDS, "last")
    await nothing_left(stub)


async def test_workers_get_what_a_lost_answer_had_leased(
    stub: Stub, lossy: Stub, proxy: Proxy, raw: redis.Redis
) -> None:
    workers = [Worker(lossy, credit=credit) for credit in (5, 7)]
    await until_waiting(lossy, raw)
    proxy.swallow()
    await refused(put(lossy, *EVERY), grpc.StatusCode.UNAVAILABLE, reason="REDIS_UNAVAILABLE", retry=True)
    found = [await worker.deliveries(count) for worker, count in zip(workers, (5, 7), strict=True)]
    each_once([one for some in found for one in some], *IDS)
    tokens = [{one.lease_token for one in some} - {0} for some in found]
    assert not tokens[0] & tokens[1]
    for worker in workers:
        worker.call.cancel()


async def test_what_was_leased_for_somebody_who_is_gone_goes_back(
    stub: Stub, lossy: Stub, proxy: Proxy, raw: redis.Redis
) -> None:
    worker = Worker(lossy, credit=12)
    await until_waiting(lossy, raw)
    proxy.swallow()
    putting = asyncio.ensure_future(put(lossy, *EVERY))
    async with asyncio.timeout(SOON_S):
        while raw.exists(PREFIX + "hungry:t"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.005)
        # What was put in has been leased.
        while raw.exists(PREFIX + "queue:t:q") or not raw.exists(PREFIX + "seen:t"):  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.005)
    worker.call.cancel()
    await refused(putting, grpc.StatusCode.UNAVAILABLE, reason="REDIS_UNAVAILABLE", retry=True)
    each_once(await leased(stub, 12), *IDS)
    await nothing_left(stub)


@pytest.mark.parametrize("kind", ["leased", "once"])
async def test_a_lease_call_that_was_held_up_and_given_up_leases_to_nobody(
    stub: Stub, lossy: Stub, proxy: Proxy, raw: redis.Redis, kind: str
) -> None:
    await deliveries(lossy.Lease(request(wait_s=0)))
    proxy.hold(SCRIPT)
    await refused(
        lossy.Lease(request(wait_s=0)).read(), grpc.StatusCode.UNAVAILABLE, reason="REDIS_UNAVAILABLE", retry=True
    )
    async with asyncio.timeout(SOON_S):
        # The broker has asked again, for what was its second call.
        while not any(raw.getrange(key, 0, 14) == "2".zfill(15) for key in raw.keys(PREFIX + "answer:*")):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await put(stub, of_kind(kind, "a"))
    await asyncio.to_thread(proxy.deliver)
    each_once(await leased(stub, 1), "a")


async def test_a_lease_call_that_comes_after_its_repetition_was_answered_leases_to_nobody(
    stub: Stub, lossy: Stub, proxy: Proxy, raw: redis.Redis
) -> None:
    waiting = asyncio.ensure_future(deliveries(lossy.Lease(request(1, wait_s=20))))
    await until_waiting(lossy, raw)
    proxy.hold(SCRIPT)
    await put(stub, of_kind("once", "a"))
    each_once(await waiting, "a")
    assert proxy.held.is_set()
    async with asyncio.timeout(SOON_S):
        # The answer has arrived, and Redis has been told.
        while raw.keys(PREFIX + "copies:*"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.005)
    await put(stub, of_kind("once", "b"))
    await asyncio.to_thread(proxy.deliver)
    each_once(await leased(stub, 1), "b")
