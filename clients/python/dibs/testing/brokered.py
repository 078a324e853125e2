"""Tests with a real broker: what is enqueued stands in a namespace of the test's own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ..admin.registration import described, registration
from ..client.async_dibs import AsyncDibs
from ..client.dibs import Dibs
from ..rpc import admin_operations, operations
from ..rpc.connection import Connection
from ..rpc.flow import do
from ..rpc.ids import new_id
from ..rpc.operations import Operation
from ..rpc.rpcs import LEASE
from ..rpc.times import Seconds, to_seconds
from ..v1 import broker_pb2 as pb
from ..v1 import types_pb2 as tpb
from .bench import Bench
from .in_memory import distinct
from .recording import Call, call_of
from .tapped import TappedConnection

if TYPE_CHECKING:
    from ..worker.process.item import Runnable

_log = logging.getLogger("dibs")

#: What schedules of a test belong to.
GROUP = "tests"


class OnBroker:
    """What is enqueued waits in a real broker until the test has it run; see `on_broker`.

    Attributes:
        calls: what this process has enqueued, in order; without runs of schedules and without retries.
        aio: the same for asyncio.
        target: where the broker is.
    """

    def __init__(self, target: str, instances: Sequence[Dibs | AsyncDibs]) -> None:
        self.calls: list[Call] = []
        self.aio = AsyncOnBroker(self)
        self.target = target
        self.instances = distinct(instances)
        self._bench = Bench()
        self._sources: list[_BrokerSource] = []
        #: Requests may be sent more than once.
        self._heard: set[str] = set()

    def run_all(self) -> int:
        """Run what is due in this thread, and what that enqueues, until nothing is left that is due.

        Returns:
            How many runs that were.

        Raises:
            DibsError: there is no end to it: more than 10,000 runs.
            BrokerError: the broker refused.
        """
        return self._bench.run_ready()

    def advance(self, seconds: Seconds) -> None:
        """Let time pass: this waits that long. The clock of a real broker cannot be moved.

        Args:
            seconds: how long; seconds or a timedelta.
        """
        time.sleep(to_seconds(seconds, "seconds"))

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside the with the instances have a namespace of the broker each, which is removed at the end."""
        with ExitStack() as stack:
            stack.callback(self._bench.close)
            for instance in self.instances:
                before = instance.reconnect(None)
                stack.callback(instance.reconnect, before)
                connection = Connection.build(self.target, f"test-{new_id()}")
                instance.reconnect(TappedConnection.of(connection, partial(self._hear, instance)))
                stack.callback(_remove, instance)
                source = _BrokerSource(instance)
                self._sources.append(source)
                self._bench.add(source, instance.sealing)
            self._begin(stack)
            yield

    def _begin(self, stack: ExitStack) -> None:
        """Nobody else runs what is enqueued."""

    def _hear(self, instance: Dibs, request: pb.EnqueueRequest) -> None:
        if request.request_id in self._heard:
            return
        self._heard.add(request.request_id)
        for item in request.items:
            if item.kind == tpb.QUEUE_KIND_TASK and not item.lease_token:
                self.calls.append(call_of(item, instance.sealing))


class AsyncOnBroker:
    """`run_all` and `advance` for asyncio: ``async def`` tasks run in the event loop of who awaits them."""

    def __init__(self, of: OnBroker) -> None:
        self._of = of

    async def run_all(self) -> int:
        """As `OnBroker.run_all`."""
        return await self._of._bench.run_ready_async()

    async def advance(self, seconds: Seconds) -> None:
        """As `OnBroker.advance`."""
        await asyncio.sleep(to_seconds(seconds, "seconds"))


class _BrokerSource:
    """The items of one namespace of a broker."""

    def __init__(self, instance: Dibs) -> None:
        self._instance = instance
        #: Items of tasks that are not known here.
        self._aside: list[tpb.Delivery] = []
        #: Queues that begin with one that can be delivered once only.
        self._blocked: set[str] = set()

    def lease(self) -> tuple[tpb.Delivery, Runnable] | None:
        while (head := self._look(self._open_queues())) is not None:
            task = self._instance.registry.runnable(head.content.task_name)
            if task is None and not head.lease_timeout.ToNanoseconds():
                _log.warning("task %s is not known here, queue %s waits", head.content.task_name, head.queue)
                self._blocked.add(head.queue)
                continue
            found = self._look([head.queue], peek=False)
            if found is not None and task is not None and found.id == head.id:
                return found, task
            if found is not None:
                self._aside.append(found)
        return None

    def _open_queues(self) -> list[str] | None:
        """Where to look; None: nowhere."""
        if not self._blocked:
            return []
        instance = self._instance
        return [name for name in instance.known_queues() if name not in self._blocked] or None

    def _look(self, queues: list[str] | None, *, peek: bool = True) -> tpb.Delivery | None:
        if queues is None:
            return None
        namespace = self._instance.namespace
        request = pb.LeaseRequest(namespace=namespace, queues=queues, kind=tpb.QUEUE_KIND_TASK, max_items=1, peek=peek)
        return self._instance.transport.run(Operation(LEASE, request, _delivery))

    def report(self, request: pb.WorkRequest) -> None:
        namespace, run = self._instance.namespace, self._instance.transport.run
        if request.refreshes:
            run(operations.refresh(namespace, request.refreshes))
        if request.acks:
            run(operations.ack(namespace, request.acks))
        if request.nacks:
            run(operations.nack(namespace, request.nacks))

    def rest(self) -> None:
        """Give back what is not known here, for a worker that knows it."""
        self._blocked.clear()
        aside, self._aside = self._aside, []
        entries = [
            pb.NackEntry(id=one.id, lease_token=one.lease_token, reason=pb.NACK_REASON_NOT_BEGUN)
            for one in aside
            if one.lease_token
        ]
        if entries:
            self._instance.transport.run(operations.nack(self._instance.namespace, entries))


def _delivery(replies: Sequence[Any], _: bool) -> tpb.Delivery | None:
    return replies[0].deliveries[0] if replies else None


def _remove(instance: Dibs) -> None:
    instance.run(do(admin_operations.delete_namespace(instance.namespace, force=True)))


def register(instance: Dibs) -> None:
    """Tell the broker of the tasks and schedules of an instance, as a worker does."""
    tasks, schedules = described(task.definition for task in instance.registry.tasks())
    instance.run(registration(instance.namespace, tasks, schedules, GROUP))
