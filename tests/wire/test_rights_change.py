"""What goes on when another file of principals is taken: it ends for those who lost a right, and for nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.auth import bearer, grant, token_of
from ..support.guarded import Guarded, guarded
from ..support.redis import RedisServer
from ..support.waiting import until
from .conftest import item
from .statuses import next_of, refused

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
TASK = tpb.QUEUE_KIND_TASK
ALL = {"bystander": [grant("shop", "admin")], "one": [grant("shop", "admin")]}
#: What is left for `one` when it has lost what it needed.
LESS = {**ALL, "one": [grant("shop", "lock")]}
GONE = {"bystander": ALL["bystander"]}
HOUR = Duration(seconds=3600)


@pytest.fixture
async def shop(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(redis_server, tmp_path, ALL) as broker:
        yield broker


class Open:
    """A call that goes on, and what shows that it does."""

    def __init__(self, call: Any, alive: Callable[[], Awaitable[Any]] | None = None) -> None:
        self.call = call
        self.alive = alive

    async def end(self) -> None:
        """Returns at its end, or raises what it ended with."""
        if isinstance(self.call, grpc.aio.UnaryUnaryCall):
            await self.call
            return
        while await self.call.read() is not grpc.aio.EOF:
            pass


async def work(shop: Guarded, who: str) -> Open:
    call = shop.broker.Work(metadata=bearer(who))
    await call.write(
        pb.WorkRequest(hello=pb.WorkHello(namespace="shop", kind=TASK, worker_id=who, queues=[who]), add_credit=1)
    )
    await next_of(call)

    async def alive() -> None:
        await enqueue(shop, who, f"for {who}".replace(" ", "-"), who)
        while not (await next_of(call)).deliveries:
            pass

    return Open(call, alive)


async def lease(shop: Guarded, who: str) -> Open:
    call = shop.broker.Lease(
        pb.LeaseRequest(namespace="shop", queues=[who], kind=TASK, max_items=9, follow=True, heartbeats=True),
        metadata=bearer(who),
    )
    await next_of(call)
    return Open(call)


async def enqueue_stream(shop: Guarded, who: str) -> Open:
    call = shop.broker.EnqueueStream(metadata=bearer(who))

    async def alive() -> None:
        request = pb.EnqueueRequest(namespace="shop", items=[item(f"s-{who}", who)])
        await call.write(pb.EnqueueStreamRequest(request=request))
        assert (await next_of(call)).response.items

    await alive()
    return Open(call, alive)


async def result(shop: Guarded, who: str) -> Open:
    await enqueue(shop, who, f"wanted-{who}", who)
    request = pb.ResultRequest(namespace="shop", ids=[f"wanted-{who}"], until=pb.WAIT_UNTIL_DONE, timeout=HOUR)
    return Open(shop.broker.Result(request, metadata=bearer(who)))


async def letters(shop: Guarded, who: str) -> Open:
    request = apb.TakeDeadLettersRequest(namespace="shop", queue=who, kind=TASK, get_timeout=HOUR)
    return Open(shop.admin.TakeDeadLetters(request, metadata=bearer(who)))


async def flush(shop: Guarded, who: str) -> Open:
    await enqueue(shop, who, f"flushed-{who}", who)
    call = shop.admin.Flush(apb.FlushRequest(namespace="shop", queues=[who]), metadata=bearer(who))
    await next_of(call)
    return Open(call)


async def watch(shop: Guarded, who: str) -> Open:
    health: Any = health_pb2_grpc.HealthStub(shop.channel)
    call = health.Watch(health_pb2.HealthCheckRequest(), metadata=bearer(who))
    await next_of(call)
    return Open(call)


async def reflection(shop: Guarded, who: str) -> Open:
    channel: Any = shop.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(metadata=bearer(who))

    async def alive() -> None:
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await next_of(call)).list_services_response.service

    await alive()
    return Open(call, alive)


async def enqueue(shop: Guarded, who: str, id: str, queue: str) -> None:
    request = pb.EnqueueRequest(namespace="shop", items=[item(id, queue)])
    await shop.broker.Enqueue(request, metadata=bearer(who))


LASTING = [work, lease, enqueue_stream, result, letters, flush, watch, reflection]


@pytest.mark.parametrize("opened", LASTING, ids=lambda opened: opened.__name__)
@pytest.mark.parametrize(
    ("then", "code", "reason"), [(GONE, UNAUTHENTICATED, "TOKEN_UNKNOWN"), (LESS, DENIED, "MISSING_ROLE")]
)
async def test_a_call_ends_when_its_principal_may_not_make_it_any_more(
    shop: Guarded,
    opened: Callable[[Guarded, str], Awaitable[Open]],
    then: dict[str, Any],
    code: grpc.StatusCode,
    reason: str,
) -> None:
    one, bystander = await opened(shop, "one"), await opened(shop, "bystander")
    # Whoever waits is where it waits.
    await asyncio.sleep(0.05)

    await shop.take({**ALL, "one": [grant("s*", "admin")], "another": []})
    await shop.take(then)

    async with asyncio.timeout(20):
        await refused(one.end(), code, reason=reason)
    assert not bystander.call.done()
    if bystander.alive is not None:
        await bystander.alive()
    bystander.call.cancel()


async def test_a_call_ends_with_its_token_though_its_principal_has_another(
    shop: Guarded,
) -> None:
    one = await work(shop, "one")
    await shop.take(ALL, tokens={"one": [token_of("one"), "next"]})
    assert one.alive is not None
    await one.alive()
    await shop.take(ALL, tokens={"one": ["next"]})
    async with asyncio.timeout(20):
        await refused(one.end(), UNAUTHENTICATED, reason="TOKEN_UNKNOWN")


async def test_what_a_stream_was_given_and_has_not_received_goes_back_at_once(shop: Guarded) -> None:
    call = shop.broker.Work(metadata=bearer("one"))
    hello = pb.WorkHello(namespace="shop", kind=TASK, worker_id="one", queues=["q"])
    await call.write(pb.WorkRequest(hello=hello, add_credit=1))
    await enqueue(shop, "one", "a", "q")
    while not (await next_of(call)).deliveries:
        pass
    await shop.take(GONE)
    async with asyncio.timeout(20):
        await refused(Open(call).end(), UNAUTHENTICATED, reason="TOKEN_UNKNOWN")

    lease = pb.LeaseRequest(namespace="shop", queues=["q"], kind=TASK, get_timeout=Duration(seconds=20))
    [delivery] = (await next_of(shop.broker.Lease(lease, metadata=bearer("bystander")))).deliveries

    assert (delivery.id, delivery.attempt) == ("a", 1)


async def test_a_request_on_a_stream_is_refused_by_itself(shop: Guarded) -> None:
    call = shop.broker.EnqueueStream(metadata=bearer("one"))
    outcomes = []
    for namespace in ("shop", "other", "shop", "default", ""):
        request = pb.EnqueueRequest(namespace=namespace, items=[item("a")])
        await call.write(pb.EnqueueStreamRequest(request=request))
        outcomes.append((await next_of(call)).error.code)
    denied = DENIED.value[0]
    assert outcomes == [0, denied, 0, denied, denied]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_worker_in_another_namespace_is_refused(shop: Guarded) -> None:
    call = shop.broker.Work(metadata=bearer("one"))
    await call.write(pb.WorkRequest(hello=pb.WorkHello(namespace="other", kind=TASK, worker_id="w"), add_credit=1))
    await refused(Open(call).end(), DENIED, reason="MISSING_ROLE")


async def test_nothing_is_kept_of_calls_that_are_over(shop: Guarded) -> None:
    identities = shop.server._identities
    assert identities is not None
    before = len(identities._listeners)
    for opened in LASTING:
        (await opened(shop, "one")).call.cancel()
    for _ in range(20):
        request = pb.ResultRequest(namespace="shop", ids=["x"])
        await shop.broker.Result(request, metadata=bearer("one"))
        await refused(shop.broker.Result(request, metadata=bearer("who")), UNAUTHENTICATED)
    await asyncio.to_thread(until, lambda: len(identities._listeners) == before)
