"""A broker that asks who calls, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from dibs.broker.config.settings import Settings
from dibs.broker.server import Server
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc, lock_pb2_grpc
from dibs.v1 import broker_pb2 as pb

from .auth import bearer, write_auth_file
from .redis import RedisServer

#: Grants by the names of principals.
Principals = Mapping[str, Sequence[Any]]
_LONGEST_S = 20.0


class Guarded:
    """The broker, and stubs that call it.

    Attributes:
        server: the broker.
        channel: leads to it.
        path: its file of principals.
    """

    def __init__(self, server: Server, channel: grpc.aio.Channel, path: Path) -> None:
        self.server = server
        self.channel = channel
        self.path = path
        self.broker: Any = broker_pb2_grpc.BrokerServiceStub(channel)
        self.admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
        self.lock: Any = lock_pb2_grpc.LockServiceStub(channel)

    async def enqueue(self, who: str, *items: pb.EnqueueItem, namespace: str = "shop") -> pb.EnqueueResponse:
        """Put items in as that principal."""
        request = pb.EnqueueRequest(namespace=namespace, items=items)
        reply: pb.EnqueueResponse = await self.broker.Enqueue(request, metadata=bearer(who), timeout=_LONGEST_S)
        return reply

    async def take(self, principals: Principals, **others: Any) -> None:
        """Another file is in use when this returns; `others` as for `write_auth_file`."""
        identities = self.server._identities
        assert identities is not None
        taken = asyncio.Event()
        with identities.on_change(taken.set):
            write_auth_file(self.path, principals, **others)
            self.server.look_at_files()
            async with asyncio.timeout(_LONGEST_S):
                await taken.wait()


@asynccontextmanager
async def guarded(redis: RedisServer, folder: Path, principals: Principals, **settings: Any) -> AsyncIterator[Guarded]:
    """The broker inside the with; `settings` besides those that it needs."""
    path = write_auth_file(folder / "auth.toml", principals)
    given = {"redis": redis.url, "listen": ("127.0.0.1:0",), "auth_file": path, **settings}
    async with (
        Server(Settings(**given)) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        yield Guarded(server, channel, path)
