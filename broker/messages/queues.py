"""Queues: lists of them, their state, priority and items, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dibs.v1 import admin_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..border.errors import InvalidField
from ..config.limits import Limits
from ..engine.engine import MAX_BATCH
from ..engine.queues import QueueCounts
from ..engine.types import Kind
from . import validation as check
from .enums import KIND_FROM_WIRE, KIND_TO_WIRE, timestamp
from .paging import Page, read_page


def queue_info(kind: Kind, counts: QueueCounts) -> pb.QueueInfo:
    """One queue."""
    info = pb.QueueInfo(
        name=counts.name,
        kind=KIND_TO_WIRE[kind],
        ready=counts.ready,
        delayed=counts.delayed,
        leased=counts.leased,
        dead=counts.dead,
        seen=counts.seen,
        done=counts.done,
        priority=counts.priority,
        paused=counts.paused,
        set_aside=counts.set_aside,
        parked_tasks=[
            pb.ParkedTask(task_name=task.name, items=task.items, workers=task.workers) for task in counts.parked
        ],
    )
    if counts.oldest_ready_us is not None:
        info.oldest_ready_time.CopyFrom(timestamp(counts.oldest_ready_us))
    return info


#: Bound of priorities either way.
MAX_PRIORITY = 1e12
#: What stands for both kinds where a request need not name one.
_SOME_KINDS: dict[int, tuple[Kind, ...]] = {
    tpb.QUEUE_KIND_UNSPECIFIED: tuple(Kind),
    tpb.QUEUE_KIND_TASK: (Kind.TASK,),
    tpb.QUEUE_KIND_DATA: (Kind.DATA,),
}
#: Requests that name one queue.
QueueRequest: TypeAlias = (
    pb.SetPriorityRequest
    | pb.PauseQueueRequest
    | pb.ResumeQueueRequest
    | pb.ClearQueueRequest
    | pb.RedriveSetAsideRequest
)


@dataclass(frozen=True, slots=True)
class QueueCall:
    """One queue, or dead-letter queue."""

    namespace: str
    kind: Kind
    queue: str


@dataclass(frozen=True, slots=True)
class ListQueuesCall:
    """A checked ListQueuesRequest."""

    namespace: str
    kinds: tuple[Kind, ...]
    names: Sequence[str]
    page: Page


def read_list_queues(request: pb.ListQueuesRequest, limits: Limits) -> ListQueuesCall:
    """A ListQueuesRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    names = read_names(request.names, "names", limits)
    return ListQueuesCall(namespace, read_kinds(request.kind), names, read_page(request))


def read_kinds(kind: int) -> tuple[Kind, ...]:
    """The kinds that a request is about which need not name one."""
    return check.choice(kind, "kind", _SOME_KINDS)


def read_names(found: Sequence[str], field: str, limits: Limits) -> list[str]:
    """Names of queues, each once; at most 1,000."""
    if len(found) > MAX_BATCH:
        raise InvalidField(field, f"has {len(found)} entries, must have at most {MAX_BATCH}")
    names = list(dict.fromkeys(found))
    for at, name in enumerate(names):
        check.name(name, f"{field}[{at}]", limits.max_name_length)
    return names


def read_queue(request: QueueRequest | pb.ListItemsRequest, limits: Limits) -> QueueCall:
    """The queue that a request names."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    queue = check.name(request.queue, "queue", limits.max_name_length)
    return QueueCall(namespace, check.choice(request.kind, "kind", KIND_FROM_WIRE), queue)


def read_priority(request: pb.SetPriorityRequest) -> float | None:
    """The priority of a SetPriorityRequest."""
    if not request.HasField("priority"):
        return None
    return check.number(request.priority, "priority", -MAX_PRIORITY, MAX_PRIORITY)
