"""A worker's stream, by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc.aio

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .conftest import Stub


class Worker:
    """One Work stream."""

    def __init__(
        self,
        stub: Stub,
        *,
        credit: int = 10,
        received_tokens: Sequence[int] = (),
        task_names: Sequence[str] = (),
        namespace: str = "",
    ) -> None:
        self._up: asyncio.Queue[pb.WorkRequest | None] = asyncio.Queue()
        hello = pb.WorkHello(
            namespace=namespace,
            kind=tpb.QUEUE_KIND_TASK,
            worker_id="test",
            received_tokens=received_tokens,
            task_names=task_names,
        )
        self.say(hello=hello, add_credit=credit)
        self.call = stub.Work(self._requests())
        self._down = aiter(self.call)

    async def _requests(self) -> AsyncIterator[pb.WorkRequest]:
        while (request := await self._up.get()) is not None:
            yield request

    def say(self, **fields: object) -> None:
        self._up.put_nowait(pb.WorkRequest(**fields))  # type: ignore[arg-type]

    def half_close(self) -> None:
        self._up.put_nowait(None)

    async def hear(self) -> pb.WorkResponse:
        async with asyncio.timeout(10):
            return await anext(self._down)

    async def items(self) -> pb.WorkResponse:
        """The next message with deliveries."""
        while not (response := await self.hear()).deliveries:
            pass
        return response

    async def deliveries(self, count: int) -> list[tpb.Delivery]:
        """So many items, in as many messages as it takes."""
        found: list[tpb.Delivery] = []
        while len(found) < count:
            found += (await self.items()).deliveries
        return found

    async def rest(self) -> list[pb.WorkResponse]:
        """Everything up to the end of the stream."""
        async with asyncio.timeout(10):
            return [response async for response in self._down]

    async def until_refused(self) -> list[pb.WorkResponse]:
        """Everything up to the error that ends the stream."""
        found = []
        try:
            while True:
                found.append(await self.hear())
        except grpc.aio.AioRpcError:
            return found


def ids_of(response: pb.WorkResponse) -> list[str]:
    return [delivery.id for delivery in response.deliveries]
