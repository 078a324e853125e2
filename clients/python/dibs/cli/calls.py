"""Every call that the operator's commands make, typed; lists come as iterators over all pages."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from .. import admin as operations
from ..connection import Connection
from ..errors import BrokerError
from ..flows import made_for_earlier_version, part_size
from ..ids import new_id
from ..known_limits import is_too_much
from ..operations import ENQUEUE, MAX_BATCH, Operation, Rpc, Until, cancel, result
from ..status import error_from_call
from ..times import to_duration
from ..transport import Transport
from ..v1 import admin_pb2 as admin
from ..v1 import broker_pb2 as pb
from ..v1 import lock_pb2 as lock
from ..v1.admin_pb2_grpc import AdminServiceStub
from ..v1.lock_pb2_grpc import LockServiceStub
from ..v1.types_pb2 import QueueKind

T = TypeVar("T")


class Calls:
    """One broker and one namespace. Close when done.

    Every method raises `dibs.BrokerError` when the broker refuses or cannot be reached.

    Args:
        connection: where the broker is.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.namespace = connection.namespace
        self._transport = Transport(connection)
        #: Of the next request for dead letters.
        self._take_id = new_id()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    # Queues

    def queues(self, kind: QueueKind.ValueType, names: Sequence[str] = ()) -> list[admin.QueueInfo]:
        """Queues in the order in which they are served; all, or those named."""
        found: list[admin.QueueInfo] = []
        for chunk in self._name_chunks(names) or [()]:
            request = admin.ListQueuesRequest(namespace=self.namespace, kind=kind, names=chunk, page_size=MAX_BATCH)
            for page in self._pages("ListQueues", request):
                found.extend(page.queues)
        return found

    def set_priority(self, queue: str, kind: QueueKind.ValueType, priority: float | None) -> None:
        """Give a queue a priority; None takes it away."""
        self._admin("SetPriority", admin.SetPriorityRequest(**self._queue(queue, kind), priority=priority))

    def pause(self, queue: str, kind: QueueKind.ValueType) -> bool:
        """Stop deliveries from a queue; whether that changed something."""
        reply: admin.PauseQueueResponse = self._admin("PauseQueue", admin.PauseQueueRequest(**self._queue(queue, kind)))
        return reply.changed

    def resume(self, queue: str, kind: QueueKind.ValueType) -> bool:
        """Deliver from a queue again; whether that changed something."""
        reply: admin.ResumeQueueResponse = self._admin(
            "ResumeQueue", admin.ResumeQueueRequest(**self._queue(queue, kind))
        )
        return reply.changed

    def clear(self, queue: str, kind: QueueKind.ValueType, *, delete: bool) -> Iterator[admin.ClearQueueResponse]:
        """Remove what waits in a queue, and if asked the queue; tells how far it is."""
        return self._stream("ClearQueue", admin.ClearQueueRequest(**self._queue(queue, kind), delete=delete))

    def redrive_aside(
        self, queue: str, kind: QueueKind.ValueType, ids: Sequence[str]
    ) -> Iterator[admin.RedriveSetAsideResponse]:
        """Send items that were set aside back to their queue, those named or all; tells how far it is."""
        if ids:
            chosen = self._name_chunks(ids)
        else:
            # What still cannot be read is set aside again meanwhile: as often as it takes for those of now.
            [found] = self.queues(kind, [queue])
            chosen = [()] * math.ceil(found.set_aside / MAX_BATCH)
        done = 0
        for chunk in chosen:
            request = admin.RedriveSetAsideRequest(**self._queue(queue, kind), ids=chunk)
            reply: admin.RedriveSetAsideResponse = self._admin("RedriveSetAside", request)
            done += reply.redriven
            yield admin.RedriveSetAsideResponse(redriven=done, left=reply.left)

    # Items

    def items(
        self,
        queue: str,
        kind: QueueKind.ValueType,
        section: admin.ItemSection.ValueType,
        *,
        include_content: bool,
        page_size: int,
        page_token: str = "",
    ) -> Iterator[admin.ListItemsResponse]:
        """Pages of the items of a queue."""
        request = admin.ListItemsRequest(
            **self._queue(queue, kind),
            section=section,
            include_content=include_content,
            page_size=page_size,
            page_token=page_token,
        )
        return self._pages("ListItems", request)

    def results(self, ids: Sequence[str], until: Until = "now", timeout: float = 0.0) -> list[pb.ItemResult]:
        """What is known of items."""
        operation = result(self.namespace, ids, until=until, timeout=timeout, include_content=True)
        return self._listed(operation) if ids else []

    def cancel(self, ids: Sequence[str]) -> list[pb.CancelledItem]:
        """Cancel items."""
        return self._listed(cancel(self.namespace, ids)) if ids else []

    def delete_items(self, ids: Sequence[str]) -> list[str]:
        """Delete items wherever they are; the ids of those that were there."""
        return self._listed(operations.delete_items(self.namespace, ids)) if ids else []

    def enqueue(self, request: pb.EnqueueRequest) -> pb.EnqueuedItem:
        """Enqueue the one item of a request that has a request_id."""
        reply: pb.EnqueueResponse
        try:
            reply = self._ask(ENQUEUE, request)
        except BrokerError as error:
            if not made_for_earlier_version(request, error):
                raise
            reply = self._ask(ENQUEUE, request)
        return reply.items[0]

    # Dead letters

    def dead_queues(self, kind: QueueKind.ValueType) -> Sequence[admin.DeadLetterQueueInfo]:
        """Dead-letter queues."""
        request = admin.ListDeadLetterQueuesRequest(namespace=self.namespace, kind=kind)
        reply: admin.ListDeadLetterQueuesResponse = self._admin("ListDeadLetterQueues", request)
        return reply.queues

    def dead_letters(
        self,
        queue: str,
        kind: QueueKind.ValueType,
        *,
        include_content: bool,
        page_size: int,
        page_token: str = "",
    ) -> Iterator[admin.ListDeadLettersResponse]:
        """Pages of dead letters, the oldest death first."""
        request = admin.ListDeadLettersRequest(
            **self._queue(queue, kind), include_content=include_content, page_size=page_size, page_token=page_token
        )
        return self._pages("ListDeadLetters", request)

    def take_dead(self, queue: str, kind: QueueKind.ValueType, max_items: int, wait: float) -> Sequence[admin.ItemInfo]:
        """Take dead letters out, at most once. To be followed by `confirm_dead` when they are where they should be."""
        deadline = time.monotonic() + wait
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            operation = operations.take_dead_letters(self.namespace, queue, kind, max_items, left, self._take_id)
            items = self._transport.run(operation)
            # The broker may end the wait earlier.
            if items or time.monotonic() >= deadline:
                return items

    def confirm_dead(self, queue: str, kind: QueueKind.ValueType) -> None:
        """Have the broker forget what was taken."""
        self._transport.run(operations.confirm_dead_letters(self.namespace, queue, kind, self._take_id))
        self._take_id = new_id()

    def redrive(
        self, queue: str, kind: QueueKind.ValueType, ids: Sequence[str]
    ) -> Iterator[admin.RedriveDeadLettersResponse]:
        """Send dead letters back to their queues; tells how far it is."""
        done = 0
        for part in self._parts(
            "RedriveDeadLetters",
            lambda some: admin.RedriveDeadLettersRequest(**self._queue(queue, kind), ids=some),
            ids,
        ):
            report = admin.RedriveDeadLettersResponse()
            for report in part:
                yield admin.RedriveDeadLettersResponse(redriven=done + report.redriven, left=report.left)
            done += report.redriven

    def purge(
        self, queue: str, kind: QueueKind.ValueType, ids: Sequence[str]
    ) -> Iterator[admin.PurgeDeadLettersResponse]:
        """Remove dead letters; tells how far it is."""
        done = 0
        for part in self._parts(
            "PurgeDeadLetters",
            lambda some: admin.PurgeDeadLettersRequest(**self._queue(queue, kind), ids=some),
            ids,
        ):
            report = admin.PurgeDeadLettersResponse()
            for report in part:
                yield admin.PurgeDeadLettersResponse(purged=done + report.purged, left=report.left)
            done += report.purged

    # Tasks, schedules, workers

    def flush(self, request: admin.FlushRequest) -> Iterator[admin.FlushResponse]:
        """Wait for what is queued now; tells how far it is."""
        return self._stream("Flush", request)

    def known_tasks(self, names: Sequence[str] = ()) -> list[admin.TaskInfo]:
        """Registered tasks; all, or those of the names that are known."""
        found: list[admin.TaskInfo] = []
        for chunk in self._name_chunks(names) or [()]:
            request = admin.ListTasksRequest(namespace=self.namespace, names=chunk, page_size=MAX_BATCH)
            for page in self._pages("ListTasks", request):
                found.extend(page.tasks)
        return found

    def register_tasks(self, tasks: Sequence[admin.TaskDefinition]) -> None:
        """Make tasks known."""
        self._admin("RegisterTasks", admin.RegisterTasksRequest(namespace=self.namespace, tasks=tasks))

    def schedules(self) -> list[admin.ScheduleInfo]:
        """Schedules, by name."""
        request = admin.ListSchedulesRequest(namespace=self.namespace, page_size=MAX_BATCH)
        return [schedule for page in self._pages("ListSchedules", request) for schedule in page.schedules]

    def put_schedule(self, group: str, schedule: admin.Schedule) -> None:
        """Make or change one schedule."""
        request = admin.PutSchedulesRequest(namespace=self.namespace, group=group, schedules=[schedule])
        self._admin("PutSchedules", request)

    def delete_schedules(self, names: Sequence[str]) -> list[str]:
        """Remove schedules; the names of those that were there."""
        return self._listed(operations.delete_schedules(self.namespace, names)) if names else []

    def workers(self) -> list[admin.WorkerInfo]:
        """Workers that are connected to any broker."""
        request = admin.ListWorkersRequest(namespace=self.namespace, page_size=MAX_BATCH)
        return [worker for page in self._pages("ListWorkers", request) for worker in page.workers]

    # Locks

    def locks(self) -> list[lock.LockInfo]:
        """Locks that are held, by name."""
        request = lock.ListLocksRequest(namespace=self.namespace, page_size=MAX_BATCH)
        rpc = Rpc(LockServiceStub, "ListLocks")
        return [held for page in self._all_pages(rpc, request) for held in page.locks]

    def acquire(self, name: str, owner: str, seconds: float) -> lock.AcquireResponse:
        """Take a lock for `owner`, or fail at once."""
        request = lock.AcquireRequest(namespace=self.namespace, name=name, owner=owner, duration=to_duration(seconds))
        reply: lock.AcquireResponse = self._ask(Rpc(LockServiceStub, "Acquire"), request)
        return reply

    def refresh_lock(self, name: str, owner: str, seconds: float | None) -> lock.RefreshLockResponse:
        """Start the time of a held lock anew."""
        request = lock.RefreshLockRequest(namespace=self.namespace, name=name, owner=owner)
        if seconds is not None:
            request.duration.CopyFrom(to_duration(seconds))
        reply: lock.RefreshLockResponse = self._ask(Rpc(LockServiceStub, "RefreshLock"), request)
        return reply

    def release(self, name: str, owner: str) -> bool:
        """Free a lock; whether the owner held it."""
        request = lock.ReleaseRequest(namespace=self.namespace, name=name, owner=owner)
        reply: lock.ReleaseResponse = self._ask(Rpc(LockServiceStub, "Release"), request)
        return reply.released

    # The broker

    def delete_namespace(self, name: str, *, force: bool) -> Iterator[admin.DeleteNamespaceResponse]:
        """Remove a namespace; tells how far it is."""
        return self._stream("DeleteNamespace", admin.DeleteNamespaceRequest(namespace=name, force=force))

    def server_info(self, timeout: float | None = None) -> admin.GetServerInfoResponse:
        """The broker, as it sees itself."""
        rpc = Rpc(AdminServiceStub, "GetServerInfo")
        reply: admin.GetServerInfoResponse = self._ask(rpc, admin.GetServerInfoRequest(), timeout=timeout)
        if reply.HasField("limits"):
            self._transport.limits.hear(reply.limits)
        return reply

    def now(self) -> datetime:
        """The time on Redis's clock, which all times of replies are on; ours when Redis is away."""
        info = self.server_info()
        return info.redis_time.ToDatetime(UTC) if info.redis_ready else datetime.now(UTC)

    # How

    def _queue(self, queue: str, kind: QueueKind.ValueType) -> dict[str, Any]:
        return {"namespace": self.namespace, "queue": queue, "kind": kind}

    def _listed(self, operation: Operation[Sequence[T]]) -> list[T]:
        values: Sequence[T] = self._transport.run(operation)
        return list(values)

    def _admin(self, method: str, request: Message) -> Any:
        return self._ask(Rpc(AdminServiceStub, method), request)

    def _ask(self, rpc: Rpc, request: Message, *, timeout: float | None = None) -> Any:
        operation: Operation[Any] = Operation(rpc, request, lambda reply, _: reply)
        return self._transport.run(operation, timeout)

    def _pages(self, method: str, request: Message) -> Iterator[Any]:
        return self._all_pages(Rpc(AdminServiceStub, method), request)

    def _all_pages(self, rpc: Rpc, request: Any) -> Iterator[Any]:
        while True:
            reply = self._ask(rpc, request)
            yield reply
            if not reply.next_page_token:
                return
            request.page_token = reply.next_page_token

    def _name_chunks(self, names: Sequence[str]) -> list[Sequence[str]]:
        """Names in pieces that one request takes."""
        limits = self._transport.limits
        longest = max((len(name.encode()) for name in names), default=0) + 8
        most = max(1, min(limits.batch_items, limits.entry_bytes // longest))
        return [names[start : start + most] for start in range(0, len(names), most)]

    def _parts(
        self, method: str, make: Callable[[Sequence[str]], Message], ids: Sequence[str]
    ) -> Iterator[Iterator[Any]]:
        """The streams of as many requests as the ids take; one if there are none."""
        left = deque([ids])
        while left:
            some = left.popleft()
            most = self._transport.limits.batch_items
            if len(some) > most:
                left.extendleft(some[at : at + most] for at in reversed(range(0, len(some), most)))
                continue
            replies = self._stream(method, make(some))
            try:
                first = next(replies, None)
            except BrokerError as error:
                self._transport.limits.hear_refusal(error)
                if not is_too_much(error) or len(some) < 2:
                    raise
                most = part_size(error, len(some))
                left.extendleft(some[at : at + most] for at in reversed(range(0, len(some), most)))
                continue
            if first is not None:
                yield chain([first], replies)

    def _stream(self, method: str, request: Message) -> Iterator[Any]:
        """The messages of a stream, which has no deadline: it takes as long as there is work.

        A broker that vanishes is noticed by the keepalive of the connection.
        """
        call = self._transport.method(Rpc(AdminServiceStub, method))(request, metadata=self.connection.metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise error_from_call(error, self.connection.place) from None
        finally:
            call.cancel()
