"""How many items wait for a worker, by what a broker counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from dibs.rpc import admin_operations
from dibs.rpc.aio_transport import AioTransport
from dibs.rpc.pages import Pages, whole
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import types_pb2 as tpb

from ..shared.hello import Hello


class Waiting:
    """Asks a broker.

    Args:
        transport: to the brokers.
        namespace: of the queues.
        queues: those that are served; empty: all.
        task_names: of the tasks that are known.
    """

    def __init__(
        self, transport: AioTransport, namespace: str, queues: Sequence[str], task_names: Collection[str]
    ) -> None:
        self._transport = transport
        self._namespace = namespace
        self._queues = frozenset(queues)
        self._task_names = frozenset(task_names)

    async def count(self) -> int:
        """Items that could be delivered now. What is due later is none of them, nor is what nobody here knows.

        Raises:
            BrokerError: no broker told.
        """
        namespace = self._namespace
        pages = Pages(lambda token: admin_operations.list_queues(namespace, tpb.QUEUE_KIND_TASK, (), token))
        found = await self._transport.carry(whole(pages))
        return sum(self._of(queue) for queue in found if not self._queues or queue.name in self._queues)

    def _of(self, queue: apb.QueueInfo) -> int:
        if queue.paused:
            return 0
        unknown = sum(parked.items for parked in queue.parked_tasks if parked.task_name not in self._task_names)
        return max(0, queue.ready - unknown)


@asynccontextmanager
async def asking(hello: Hello, queues: Sequence[str]) -> AsyncIterator[Waiting]:
    """Asks about what the worker with this hello serves, inside the with."""
    transport = AioTransport(hello.connection)
    try:
        yield Waiting(transport, hello.connection.namespace, queues, [task.name for task in hello.tasks])
    finally:
        await transport.close()
