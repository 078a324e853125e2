"""Dead letters: lists of them and taking them, both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dibs.contract.names import DEADLETTER_QUEUE
from dibs.v1 import admin_pb2 as pb

from ..config.limits import Limits
from ..engine.dead_letters import DeadQueue
from ..engine.engine import MAX_BATCH
from ..engine.queues import Section
from ..engine.types import Kind
from . import validation as check
from .enums import KIND_FROM_WIRE, KIND_TO_WIRE, timestamp
from .items import ListItemsCall, wanted_body_bytes
from .paging import read_page
from .queues import QueueCall, read_kinds


def dead_queue_info(kind: Kind, queue: DeadQueue) -> pb.DeadLetterQueueInfo:
    """One dead-letter queue."""
    return pb.DeadLetterQueueInfo(
        name=queue.name, kind=KIND_TO_WIRE[kind], size=queue.size, oldest_death_time=timestamp(queue.oldest_death_us)
    )


#: Requests that name a dead-letter queue.
DeadRequest: TypeAlias = (
    pb.ListDeadLettersRequest | pb.TakeDeadLettersRequest | pb.RedriveDeadLettersRequest | pb.PurgeDeadLettersRequest
)


@dataclass(frozen=True, slots=True)
class TakeCall:
    """A checked TakeDeadLettersRequest. `max_items` 0: it only says that an earlier answer has arrived."""

    queue: QueueCall
    max_items: int
    timeout_s: float
    request_id: str
    received_request_id: str


def read_list_dead_queues(request: pb.ListDeadLetterQueuesRequest, limits: Limits) -> tuple[str, tuple[Kind, ...]]:
    """A ListDeadLetterQueuesRequest."""
    return check.namespace(request.namespace, limits.max_name_length), read_kinds(request.kind)


def read_dead_queue(request: DeadRequest, limits: Limits) -> QueueCall:
    """The dead-letter queue that a request names."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    queue = check.name(request.queue or DEADLETTER_QUEUE, "queue", limits.max_name_length)
    return QueueCall(namespace, check.choice(request.kind, "kind", KIND_FROM_WIRE), queue)


def read_list_dead_letters(request: pb.ListDeadLettersRequest, limits: Limits) -> ListItemsCall:
    """A ListDeadLettersRequest."""
    queue = read_dead_queue(request, limits)
    page = read_page(request)
    return ListItemsCall(queue, Section.DEAD, page, page.position(), wanted_body_bytes(request.include_content, limits))


def read_take(request: pb.TakeDeadLettersRequest, limits: Limits) -> TakeCall:
    """A TakeDeadLettersRequest."""
    queue = read_dead_queue(request, limits)
    check.integer(request.max_items, "max_items", 0, MAX_BATCH)
    timeout_us = 0
    if request.HasField("get_timeout"):
        timeout_us = check.wait_us(request.get_timeout, "get_timeout", limits.max_wait_us)
    for name in ("request_id", "received_request_id"):
        if value := getattr(request, name):
            check.identifier(value, name, limits.max_id_length)
    only_confirms = bool(request.received_request_id) and not request.request_id
    most = request.max_items or (0 if only_confirms else 1)
    return TakeCall(queue, most, timeout_us / 1e6, request.request_id, request.received_request_id)
