"""A tenant that takes all it can get, as a process: `python -m benchmarks.greedy TARGET HOW`.

HOW is `items` (requests of 1,000 items, put in, leased and acknowledged), `names` (leases that name 1,000 queues) or
`queues` (lists of 100,000 queues). It says that it is ready when its queues are there, and goes on until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from dibs.v1 import admin_pb2, admin_pb2_grpc, broker_pb2_grpc, types_pb2
from dibs.v1 import broker_pb2 as pb

_NAMESPACE = "greedy"
_AT_ONCE = {"items": 4, "names": 32, "queues": 4}
_BATCH = 1000
_QUEUES = 100_000


def _items(queue: str, count: int) -> pb.EnqueueRequest:
    policy = types_pb2.DeliveryPolicy(attempts=3)
    policy.lease_timeout.seconds = 60
    item = pb.EnqueueItem(queue=queue, kind=types_pb2.QUEUE_KIND_DATA, policy=policy)
    item.content.payload = b'"x"'
    return pb.EnqueueRequest(namespace=_NAMESPACE, items=[item] * count)


class Greedy:
    """Calls that one loop makes again and again."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._broker: Any = broker_pb2_grpc.BrokerServiceStub(channel)
        self._admin: Any = admin_pb2_grpc.AdminServiceStub(channel)

    async def items(self) -> None:
        """Put 1,000 items in, lease and acknowledge 1,000."""
        await self._broker.Enqueue(_items("many", _BATCH))
        wanted = pb.LeaseRequest(
            namespace=_NAMESPACE, queues=["many"], kind=types_pb2.QUEUE_KIND_DATA, max_items=_BATCH
        )
        async for found in self._broker.Lease(wanted):
            acks = [pb.AckEntry(id=one.id, lease_token=one.lease_token) for one in found.deliveries]
            await self._broker.Ack(pb.AckRequest(namespace=_NAMESPACE, entries=acks))

    async def names(self) -> None:
        """Ask 1,000 empty queues for an item."""
        queues = [f"empty-{number}" for number in range(_BATCH)]
        wanted = pb.LeaseRequest(namespace=_NAMESPACE, queues=queues, kind=types_pb2.QUEUE_KIND_DATA, max_items=_BATCH)
        async for _ in self._broker.Lease(wanted):
            pass

    async def queues(self) -> None:
        """List the first thousand of all queues."""
        await self._admin.ListQueues(admin_pb2.ListQueuesRequest(namespace=_NAMESPACE, page_size=1000))

    async def make_queues(self) -> None:
        """Put an item into each of many queues."""
        for first in range(0, _QUEUES, _BATCH):
            request = _items("", _BATCH)
            for number, item in enumerate(request.items, first):
                item.queue = f"q{number}"
            await self._broker.Enqueue(request)


async def _again_and_again(call: Callable[[], Awaitable[None]]) -> None:
    while True:
        await call()


async def _main(target: str, how: str) -> None:
    async with grpc.aio.insecure_channel(target, options=[("grpc.max_receive_message_length", -1)]) as channel:
        greedy = Greedy(channel)
        if how == "queues":
            await greedy.make_queues()
        print("ready", flush=True)
        await asyncio.gather(*(_again_and_again(getattr(greedy, how)) for _ in range(_AT_ONCE[how])))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
