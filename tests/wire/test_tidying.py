"""What a broker keeps for a namespace goes when nothing happens there any more, and is made anew when it is needed."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc

from dibs.broker.border.drain import Drain
from dibs.broker.config.limits import Limits
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.services import Services
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support.redis import RedisServer
from .conftest import Stub, item

TASK = tpb.QUEUE_KIND_TASK


async def work_in(stub: Stub, namespace: str) -> None:
    """Puts an item in and works it off, by a call and by a stream."""
    await stub.Enqueue(pb.EnqueueRequest(namespace=namespace, items=[item("a"), item("b"), item("c")]))
    call = stub.Lease(pb.LeaseRequest(namespace=namespace, kind=TASK))
    (one,) = [delivery async for response in call for delivery in response.deliveries]
    await stub.Refresh(
        pb.RefreshRequest(namespace=namespace, entries=[pb.RefreshEntry(id=one.id, lease_token=one.lease_token)])
    )
    await stub.Nack(pb.NackRequest(namespace=namespace, entries=[pb.NackEntry(id=one.id, lease_token=one.lease_token)]))
    hello = pb.WorkHello(namespace=namespace, kind=TASK, worker_id="w")
    begun = [pb.BegunEntry(id="nothing", lease_token=1)]
    stream = stub.Work(iter([pb.WorkRequest(hello=hello, begun=begun), pb.WorkRequest(add_credit=2)]))
    async for _ in stream:
        pass


def kept(engine: Any, services: Any) -> list[int]:
    """How many namespaces each part of the broker keeps something for."""
    dispatch = services._dispatch
    others = (engine.receipts._untold, dispatch._callers._free, dispatch.returns._lines, services.roster._namespaces)
    return [len(one) for one in (*engine._coalescers, *others)]


async def test_nothing_is_kept_where_nothing_happens(redis_server: RedisServer) -> None:
    engine = Engine(EngineConfig(redis_server.url))
    await engine.start()
    server = grpc.aio.server()
    services = Services(engine, Limits(), Drain())
    services.register(server)
    services.start()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel))
            for round in range(2):
                await asyncio.gather(*(work_in(stub, f"{round}-{n}") for n in range(20)))
                assert max(kept(engine, services)) >= 20
                async with asyncio.timeout(20):
                    while any(kept(engine, services)):
                        services.tidy()
                        await asyncio.sleep(0.02)
            # And all of it works again.
            await work_in(stub, "0-0")
    finally:
        await server.stop(1)
        await services.close()
        await engine.close()
