"""The broker and the namespace that a command works with, and how it runs the flows that the library has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from ..admin import flows as admin_flows
from ..enqueueing.flows import made_for_earlier_version
from ..errors import BrokerError, InvalidArgument, PermissionDenied
from ..rpc import admin_operations as admin
from ..rpc import operations
from ..rpc.connection import Connection
from ..rpc.flow import Flow
from ..rpc.known_limits import KnownLimits
from ..rpc.operations import Operation
from ..rpc.pages import NamedPages, Pages, whole
from ..rpc.transport import Transport
from ..v1 import admin_pb2 as pb
from ..v1.broker_pb2 import EnqueuedItem, EnqueueRequest, ItemResult
from ..v1.types_pb2 import QUEUE_KIND_UNSPECIFIED, QueueKind

M = TypeVar("M")
T = TypeVar("T")


class Calls:
    """One broker and one namespace. Close when done.

    What is asked for by one command only, that command takes from `dibs.admin.flows`; here is what several ask for.
    Every method raises `dibs.BrokerError` when the broker refuses or cannot be reached.

    Args:
        connection: where the broker is.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.namespace = connection.namespace
        self._transport = Transport(connection)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    @property
    def limits(self) -> KnownLimits:
        """What the broker takes, as far as it has said."""
        return self._transport.limits

    # How

    def run(self, flow: Flow[T]) -> T:
        """Run a flow."""
        return self._transport.carry(flow)

    def do(self, operation: Operation[T]) -> T:
        """Make one call."""
        return self._transport.run(operation)

    def pages(self, pages: Pages[M] | NamedPages[M]) -> Iterator[Sequence[M]]:
        """The pages of a list, each asked for when it is wanted."""
        while (page := self.run(pages.next())) is not None:
            yield page

    # What

    def queues(
        self, kind: QueueKind.ValueType = QUEUE_KIND_UNSPECIFIED, names: Sequence[str] | None = None
    ) -> list[pb.QueueInfo]:
        """Queues in the order in which they are served; all, or those named."""
        return self.run(whole(admin_flows.queues(self.namespace, kind, names, self.limits)))

    def dead_queues(self, kind: QueueKind.ValueType = QUEUE_KIND_UNSPECIFIED) -> Sequence[pb.DeadLetterQueueInfo]:
        """Dead-letter queues."""
        return self.do(admin.list_dead_letter_queues(self.namespace, kind))

    def known_tasks(self, names: Sequence[str] | None = None) -> list[pb.TaskInfo]:
        """Registered tasks; all, or those of the names that are known."""
        return self.run(whole(admin_flows.tasks(self.namespace, names, self.limits)))

    def schedules(self) -> list[pb.ScheduleInfo]:
        """Schedules, by name."""
        return self.run(whole(admin_flows.schedules(self.namespace)))

    def workers(self) -> list[pb.WorkerInfo]:
        """Workers that are connected to any broker."""
        return self.run(whole(admin_flows.workers(self.namespace)))

    def results(self, ids: Sequence[str]) -> Sequence[ItemResult]:
        """What is known of items."""
        return self.do(operations.result(self.namespace, ids, include_content=True))

    def enqueue(self, request: EnqueueRequest) -> EnqueuedItem:
        """Enqueue the one item of a request that has a request_id."""
        try:
            return self.do(operations.enqueue(request))[0]
        except BrokerError as error:
            if not made_for_earlier_version(request, error):
                raise
        return self.do(operations.enqueue(request))[0]

    def server_info(self) -> pb.GetServerInfoResponse:
        """The broker, as it sees itself."""
        return self.do(admin.server_info(self.limits))

    def quotas(self, namespace: str) -> list[pb.QuotaUse]:
        """How full a namespace is; nothing, if the broker is of an earlier version and cannot tell."""
        try:
            return list(self.do(admin.server_info(self.limits, namespace)).quotas)
        except InvalidArgument as error:
            if error.field:
                raise
            return []

    def now(self) -> datetime:
        """The time on Redis's clock, which all times of replies are on; ours when Redis is away, or we may not ask."""
        try:
            info = self.server_info()
        except PermissionDenied:
            return datetime.now(UTC)
        return info.redis_time.ToDatetime(UTC) if info.redis_ready else datetime.now(UTC)
