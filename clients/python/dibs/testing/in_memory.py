"""Tests without a broker: tasks run when they are enqueued, or when the test says so, on a clock that it moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ..admin.registration import described
from ..client.async_dibs import AsyncDibs
from ..client.dibs import Dibs
from ..contract.names import DEFAULT_NAMESPACE
from ..rpc import offline
from ..rpc.times import Seconds, to_seconds
from ..tasks.registry import Registry
from ..v1 import admin_pb2 as apb
from ..v1 import broker_pb2 as pb
from ..v1 import types_pb2 as tpb
from .bench import Bench
from .memory.answering import Answering, Runs
from .memory.channel import MemoryConnection
from .memory.clock import Clock
from .memory.service import Service
from .recording import Call, call_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..worker.process.item import Runnable

_OFFLINE = (
    "this test runs without a broker (dibs.testing), and this instance is not part of it: "
    "name it in the fixture dibs_instances"
)


class InMemory(Runs):
    """What `eager` and `recorded` have in common.

    Attributes:
        calls: what has been enqueued, in order; without runs of schedules and without retries.
        aio: the same for asyncio.
    """

    #: Whether what is enqueued runs at once.
    _eager = False

    def __init__(self, instances: Sequence[Dibs | AsyncDibs]) -> None:
        self.calls: list[Call] = []
        self.aio = AsyncInMemory(self)
        self._clock = Clock()
        self._bench = Bench()
        self._parts: list[tuple[Service, Dibs]] = []
        self._instances = distinct(instances)

    def run_all(self) -> int:
        """Run what is due, and what that enqueues, until nothing is left that is due.

        Returns:
            How many runs that were.

        Raises:
            DibsError: there is no end to it: more than 10,000 runs.
        """
        self._pass_time(0)
        return self._bench.run_ready()

    def advance(self, seconds: Seconds) -> None:
        """Move the clock on: what was delayed becomes due, leases and results run out, schedules enqueue their runs.

        Args:
            seconds: how far; seconds or a timedelta.
        """
        self._register()
        length_s = to_seconds(seconds, "seconds")
        with self._clock.held():
            until = self._clock.now() + length_s
            while self._clock.now() < until:
                self.enqueued()
                self.pass_time(until)
            self.enqueued()

    def close(self) -> None:
        """End what the runs have left open."""
        self._bench.close()

    # For those who wait

    def enqueued(self) -> None:
        """As of `Runs`."""
        if self._eager and not self._bench.inside:
            self._bench.run_ready()

    async def enqueued_async(self) -> None:
        """As of `Runs`."""
        if self._eager and not self._bench.inside:
            await self._bench.run_ready_async()

    def awaited(self) -> None:
        """As of `Runs`."""
        if self._eager or self._bench.inside:
            self._bench.run_ready()

    async def awaited_async(self) -> None:
        """As of `Runs`."""
        if self._eager or self._bench.inside:
            await self._bench.run_ready_async()

    def waiting(self) -> AbstractContextManager[None]:
        """As of `Runs`."""
        return self._bench.waiting()

    def is_busy_elsewhere(self) -> bool:
        """As of `Runs`."""
        return self._bench.is_busy_elsewhere()

    def pass_time(self, until: float) -> bool:
        """As of `Runs`."""
        now = self._clock.now()
        times = [time for service, _ in self._parts if (time := service.next_time()) is not None and time > now]
        next_time = min(times, default=until)
        self._pass_time(min(next_time, until) - now)
        return next_time < until

    def _pass_time(self, seconds: float) -> None:
        self._clock.advance(max(seconds, 0.0))
        for service, _ in self._parts:
            service.pass_time()

    # Its life

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside the with the instances have brokers in memory, and no instance reaches a real one."""
        with ExitStack() as stack:
            stack.callback(self.close)
            for instance in self._instances:
                before = instance.reconnect(None)
                stack.callback(instance.reconnect, before)
                service = Service(self._clock)
                service.on_put = partial(self._heard, instance)
                service.on_cancel = self._bench.cancel
                namespace = before.namespace if before is not None else DEFAULT_NAMESPACE
                instance.reconnect(MemoryConnection(namespace=namespace, answering=Answering(service, self)))
                self._parts.append((service, instance))
                self._bench.add(_MemorySource(service, instance.registry), instance.sealing)
            stack.enter_context(offline.forbidden(_OFFLINE))
            self._register()
            yield

    def _heard(self, instance: Dibs, item: pb.EnqueueItem) -> None:
        if item.kind == tpb.QUEUE_KIND_TASK and not item.lease_token:
            self.calls.append(call_of(item, instance.sealing))

    def _register(self) -> None:
        """Make tasks and schedules known, as a worker does; those that the test defines later as well."""
        for service, instance in self._parts:
            tasks, schedules = described(task.definition for task in instance.registry.tasks())
            service.answer("RegisterTasks", apb.RegisterTasksRequest(tasks=tasks))
            service.answer("PutSchedules", apb.PutSchedulesRequest(group="tests", schedules=schedules))


class Recorded(InMemory):
    """What is enqueued waits until the test has it run; see `recorded`."""


class Eager(InMemory):
    """What is enqueued runs at once; see `eager`."""

    _eager = True


class AsyncInMemory:
    """`run_all` and `advance` for asyncio: ``async def`` tasks run in the event loop of who awaits them."""

    def __init__(self, of: InMemory) -> None:
        self._of = of

    async def run_all(self) -> int:
        """As `InMemory.run_all`."""
        self._of._pass_time(0)
        return await self._of._bench.run_ready_async()

    async def advance(self, seconds: Seconds) -> None:
        """As `InMemory.advance`."""
        of = self._of
        of._register()
        length_s = to_seconds(seconds, "seconds")
        with of._clock.held():
            until = of._clock.now() + length_s
            while of._clock.now() < until:
                await of.enqueued_async()
                of.pass_time(until)
            await of.enqueued_async()


class _MemorySource:
    """The items of one broker in memory."""

    def __init__(self, service: Service, registry: Registry[Any]) -> None:
        self._service = service
        self._registry = registry

    def lease(self) -> tuple[tpb.Delivery, Runnable] | None:
        with self._service.lock:
            self._service.pass_time()
            request = pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK)
            found = self._service.items.lease(request, lambda item: item.content.task_name in self._registry)
        task = self._registry.runnable(found[0].content.task_name) if found else None
        return (found[0], task) if task is not None else None

    def report(self, request: pb.WorkRequest) -> None:
        with self._service.lock:
            self._service.refresh(pb.RefreshRequest(entries=request.refreshes))
            self._service.ack(pb.AckRequest(entries=request.acks))
            self._service.nack(pb.NackRequest(entries=request.nacks))

    def rest(self) -> None:
        """What is not known here waits for a worker that knows it."""


def distinct(instances: Sequence[Dibs | AsyncDibs]) -> list[Dibs]:
    """The blocking instances of some, each once."""
    return list(dict.fromkeys(one.of if isinstance(one, AsyncDibs) else one for one in instances))
