"""Many calls at once, and calls that something on the way has ended: nobody sees an error of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from dibs import AsyncDibs, Dibs, Unavailable
from dibs.broker.server import Server
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support.broker_thread import serving
from ..support.redis import RedisServer
from ..support.resets import rapid_resets
from ..support.workers import Job, working
from .conftest import item
from .test_server import settings

ENQUEUE = pb.EnqueueRequest(
    items=[pb.EnqueueItem(queue="q", kind=tpb.QUEUE_KIND_DATA, content=tpb.Content(payload=b"1"))]
)


class EndedOnTheWay(grpc.aio.ServerInterceptor):
    """Ends the first call of each method as CANCELLED, as a proxy or a server that has too many of them does.

    Attributes:
        ended: the methods.
    """

    def __init__(self) -> None:
        self.ended: set[str] = set()

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)
        method = details.method.rpartition("/")[2]
        if method in self.ended:
            return handler
        self.ended.add(method)

        async def end(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort(grpc.StatusCode.CANCELLED)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(end)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(end)
        return grpc.unary_unary_rpc_method_handler(end)


async def answers(stub: Any, count: int) -> Counter[str]:
    """What so many calls at once end with."""

    async def one() -> str:
        try:
            await stub.Enqueue(ENQUEUE, timeout=60)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def test_thousands_of_calls_at_once_on_one_channel_are_all_answered(redis_server: RedisServer) -> None:
    async with (
        Server(settings(redis_server.url)) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        assert await answers(broker_pb2_grpc.BrokerServiceStub(channel), 5000) == {"OK": 5000}


async def test_calls_beyond_the_most_that_wait_are_ended_and_clients_try_them_again(redis_server: RedisServer) -> None:
    async with (
        Server(settings(redis_server.url, max_pending_calls=20)) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
        AsyncDibs(server.addresses[0]) as app,
    ):
        assert set(await answers(broker_pb2_grpc.BrokerServiceStub(channel), 1000)) == {"OK", "CANCELLED"}

        data = app.Data("tried-again")
        await asyncio.gather(*(data.put_data([n]) for n in range(500)))
        assert await data.currently_available() == (500, 0)


async def test_rapid_resets_on_one_connection_fail_no_call_of_others(redis_server: RedisServer) -> None:
    async with (
        Server(settings(redis_server.url)) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        stub = broker_pb2_grpc.BrokerServiceStub(channel)
        with rapid_resets(server.addresses[0], "/dibs.v1.BrokerService/Enqueue"):
            for _ in range(20):
                assert await answers(stub, 50) == {"OK": 50}


def test_a_blocking_client_tries_a_call_again_that_was_ended_on_the_way(redis_server: RedisServer) -> None:
    way = EndedOnTheWay()
    with serving(redis_server.url, way) as broker, Dibs(broker.target, timeout=20) as app:
        data = app.Data("q")
        data.put_data([1])
        assert data.currently_available() == (1, 0)
        assert list(data.get_data(1).values()) == [1]
    assert {"Enqueue", "EnqueueStream", "ListQueues", "Lease"} <= way.ended


async def test_so_does_one_for_asyncio(redis_server: RedisServer) -> None:
    way = EndedOnTheWay()
    with serving(redis_server.url, way) as broker:
        async with AsyncDibs(broker.target, timeout=20) as app:
            data = app.Data("q")
            await data.put_data([1])
            assert await data.currently_available() == (1, 0)
    assert {"Enqueue", "ListQueues"} <= way.ended


async def test_so_does_a_worker(redis_server: RedisServer) -> None:
    way = EndedOnTheWay()
    ran = asyncio.Event()
    loop = asyncio.get_running_loop()
    with serving(redis_server.url, way) as broker:
        async with (
            working(broker.target, {"task": Job("task", lambda: loop.call_soon_threadsafe(ran.set))}),
            grpc.aio.insecure_channel(broker.target) as channel,
        ):
            stub: Any = broker_pb2_grpc.BrokerServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))  # the first is ended
            await stub.Enqueue(pb.EnqueueRequest(items=[item("a")]))
            await asyncio.wait_for(ran.wait(), 20)
    assert "Work" in way.ended


def test_what_must_not_be_repeated_is_told_as_unavailable(redis_server: RedisServer) -> None:
    with (
        serving(redis_server.url, EndedOnTheWay()) as broker,
        Dibs(broker.target) as app,
        pytest.raises(Unavailable, match=f"{broker.target} ended the call before it was answered"),
    ):
        app.Data("DEADLETTER_QUEUE", is_dead=True).redrive()
