"""The broker's services on a real Redis, behind a real channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs import Dibs
from dibs.broker.border.drain import Drain
from dibs.broker.config.limits import Limits
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.services import Services
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.broker_thread import BrokerThread, serving
from ..support.redis import RedisServer

if TYPE_CHECKING:
    # The generated typing tells the asynchronous face apart; at run time it is the same class.
    Stub: TypeAlias = broker_pb2_grpc.BrokerServiceAsyncStub
    AdminStub: TypeAlias = admin_pb2_grpc.AdminServiceAsyncStub
else:
    Stub = broker_pb2_grpc.BrokerServiceStub
    AdminStub = admin_pb2_grpc.AdminServiceStub


@pytest.fixture
def drain() -> Drain:
    """Begin it, and the services behind `stub` go away."""
    return Drain()


@pytest.fixture
def engine_config(redis_server: RedisServer) -> EngineConfig:
    """Settings of the engine behind the services."""
    # A machine that is busy with something else answers late; that is not what these tests are about.
    return EngineConfig(redis_server.url, timeout_s=20.0)


@pytest.fixture
def limits() -> Limits:
    """Of the services; a test that wants others is parametrized with them."""
    return Limits()


@asynccontextmanager
async def serving_channel(
    engine_config: EngineConfig | Engine, limits: Limits, drain: Drain
) -> AsyncIterator[grpc.aio.Channel]:
    """Leads to services of its own, on an engine that is started here. All of it ends with the with, in any case."""
    async with AsyncExitStack() as stack:
        engine = engine_config if isinstance(engine_config, Engine) else Engine(engine_config)
        stack.push_async_callback(engine.close)
        await engine.start()
        services = Services(engine, limits, drain)
        stack.push_async_callback(services.close)
        server = grpc.aio.server()
        services.register(server)
        services.start()
        port = server.add_insecure_port("127.0.0.1:0")
        stack.push_async_callback(server.stop, 1)
        await server.start()
        yield await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))


@pytest.fixture
async def channel(engine_config: EngineConfig, limits: Limits, drain: Drain) -> AsyncIterator[grpc.aio.Channel]:
    """Leads to the services."""
    async with serving_channel(engine_config, limits, drain) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Stub:
    """Calls BrokerService."""
    return cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel))


@pytest.fixture
def admin(channel: grpc.aio.Channel) -> AdminStub:
    """Calls AdminService."""
    return cast(AdminStub, admin_pb2_grpc.AdminServiceStub(channel))


@pytest.fixture
def broker(redis_server: RedisServer) -> Iterator[BrokerThread]:
    """Services in a thread of their own, for blocking clients."""
    with serving(redis_server.url) as broker:
        yield broker


@pytest.fixture
def app(broker: BrokerThread) -> Iterator[Dibs]:
    """A blocking client of `broker`."""
    # One try: a lease whose answer takes long would be made again, and the items of the first come back late.
    with Dibs(broker.target, timeout=20, try_timeout=20) as app:
        yield app


def item(id: str, queue: str = "q", *, lease_s: int = 30, keep_s: int = 60) -> pb.EnqueueItem:
    """A task with two attempts; `lease_s` 0: at most once."""
    policy = tpb.DeliveryPolicy(attempts=2, lease_timeout=Duration(seconds=lease_s))
    if keep_s:
        policy.result_ttl.FromSeconds(keep_s)
    content = tpb.Content(task_name="task", payload=b'{"args":[],"kwargs":{}}')
    return pb.EnqueueItem(id=id, queue=queue, kind=tpb.QUEUE_KIND_TASK, content=content, policy=policy)
