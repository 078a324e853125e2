"""From the messages of `AdminService` and `LockService` to the engine's values. All raise `InvalidField`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dibs.v1 import admin_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from . import validation as check
from .bodies import HEAD_BYTES
from .border.errors import InvalidField
from .config.limits import Limits
from .engine.engine import MAX_BATCH
from .engine.queues import Section
from .engine.types import Kind
from .paging import Page, read_page
from .requests import DEAD_LETTER_QUEUE, KINDS, delivery_spec, read_ids

#: Bound of priorities either way.
MAX_PRIORITY = 1e12
#: Characters of a task's description; what is longer is cut off.
MAX_DESCRIPTION_LENGTH = 1000
_LONGEST_FLUSH_US = 30 * 86_400_000_000
_SHORTEST_REPORT_US, _DEFAULT_REPORT_US, _LONGEST_REPORT_US = 100_000, 10_000_000, 3_600_000_000

_SECTIONS: dict[int, Section] = {
    pb.ITEM_SECTION_UNSPECIFIED: Section.READY,
    pb.ITEM_SECTION_READY: Section.READY,
    pb.ITEM_SECTION_DELAYED: Section.DELAYED,
    pb.ITEM_SECTION_LEASED: Section.LEASED,
    pb.ITEM_SECTION_SET_ASIDE: Section.SET_ASIDE,
}
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
#: Requests that may name items of what they are about.
IdsRequest: TypeAlias = pb.RedriveDeadLettersRequest | pb.PurgeDeadLettersRequest | pb.RedriveSetAsideRequest
#: Requests that name a dead-letter queue.
DeadRequest: TypeAlias = (
    pb.ListDeadLettersRequest | pb.TakeDeadLettersRequest | pb.RedriveDeadLettersRequest | pb.PurgeDeadLettersRequest
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


@dataclass(frozen=True, slots=True)
class ListItemsCall:
    """A checked ListItemsRequest or ListDeadLettersRequest. `body_bytes`: how much of each body is wanted."""

    queue: QueueCall
    section: Section
    page: Page
    position: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class TakeCall:
    """A checked TakeDeadLettersRequest. `max_items` 0: it only says that an earlier answer has arrived."""

    queue: QueueCall
    max_items: int
    timeout_s: float
    request_id: str
    received_request_id: str


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
    return QueueCall(namespace, check.choice(request.kind, "kind", KINDS), queue)


def read_priority(request: pb.SetPriorityRequest) -> float | None:
    """The priority of a SetPriorityRequest."""
    if not request.HasField("priority"):
        return None
    return check.number(request.priority, "priority", -MAX_PRIORITY, MAX_PRIORITY)


def read_list_items(request: pb.ListItemsRequest, limits: Limits) -> ListItemsCall:
    """A ListItemsRequest."""
    queue = read_queue(request, limits)
    section = check.choice(request.section, "section", _SECTIONS)
    page = read_page(request)
    return ListItemsCall(queue, section, page, page.position(), _body_bytes(request.include_content, limits))


def _body_bytes(include_content: bool, limits: Limits) -> int:
    # Without the content the task's name is still wanted, which stands in front.
    return 2**53 if include_content else HEAD_BYTES + 4 * limits.max_task_name_length


def read_delete_items(request: pb.DeleteItemsRequest, limits: Limits) -> tuple[str, Sequence[str]]:
    """A DeleteItemsRequest."""
    return check.namespace(request.namespace, limits.max_name_length), read_ids(request.ids, limits)


def read_list_dead_queues(request: pb.ListDeadLetterQueuesRequest, limits: Limits) -> tuple[str, tuple[Kind, ...]]:
    """A ListDeadLetterQueuesRequest."""
    return check.namespace(request.namespace, limits.max_name_length), read_kinds(request.kind)


def read_dead_queue(request: DeadRequest, limits: Limits) -> QueueCall:
    """The dead-letter queue that a request names."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    queue = check.name(request.queue or DEAD_LETTER_QUEUE, "queue", limits.max_name_length)
    return QueueCall(namespace, check.choice(request.kind, "kind", KINDS), queue)


def read_list_dead_letters(request: pb.ListDeadLettersRequest, limits: Limits) -> ListItemsCall:
    """A ListDeadLettersRequest."""
    queue = read_dead_queue(request, limits)
    page = read_page(request)
    return ListItemsCall(queue, Section.DEAD, page, page.position(), _body_bytes(request.include_content, limits))


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


@dataclass(frozen=True, slots=True)
class ListTasksCall:
    """A checked ListTasksRequest."""

    namespace: str
    names: Sequence[str]
    page: Page


def read_register_tasks(request: pb.RegisterTasksRequest, limits: Limits) -> tuple[str, list[tuple[str, bytes]]]:
    """A RegisterTasksRequest: namespace, names and definitions."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.batch(len(request.tasks), "tasks", limits.batch_items)
    tasks = []
    for at, task in enumerate(request.tasks):
        try:
            tasks.append((task.name, _definition(task, limits)))
        except InvalidField as error:
            raise error.under(f"tasks[{at}]") from None
    return namespace, tasks


def _definition(task: pb.TaskDefinition, limits: Limits) -> bytes:
    check.task_name(task.name, "name", limits.max_task_name_length)
    # Only checked: calls name their own.
    delivery_spec(task.queue, tpb.QUEUE_KIND_TASK, task.policy.SerializeToString(), limits)
    definition = pb.TaskDefinition()
    definition.CopyFrom(task)
    definition.description = task.description[:MAX_DESCRIPTION_LENGTH]
    return definition.SerializeToString()


def read_list_tasks(request: pb.ListTasksRequest, limits: Limits) -> ListTasksCall:
    """A ListTasksRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    if len(request.names) > MAX_BATCH:
        raise InvalidField("names", f"has {len(request.names)} entries, must have at most {MAX_BATCH}")
    for at, name in enumerate(request.names):
        check.task_name(name, f"names[{at}]", limits.max_task_name_length)
    return ListTasksCall(namespace, sorted(set(request.names)), read_page(request))


@dataclass(frozen=True, slots=True)
class FlushCall:
    """A checked FlushRequest. `timeout_s` None: as long as it takes."""

    namespace: str
    queues: Sequence[str]
    complete: bool
    force_delayed: bool
    wait_on_hidden: bool
    timeout_s: float | None
    report_interval_s: float


def read_flush(request: pb.FlushRequest, limits: Limits) -> FlushCall:
    """A FlushRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    queues = read_names(request.queues, "queues", limits)
    timeout_s = None
    if request.HasField("timeout"):
        timeout_s = check.duration_us(request.timeout, "timeout", _LONGEST_FLUSH_US) / 1e6
    interval_us = _DEFAULT_REPORT_US
    if request.HasField("report_interval"):
        interval_us = check.duration_us(
            request.report_interval, "report_interval", _LONGEST_REPORT_US, minimum_us=_SHORTEST_REPORT_US
        )
    return FlushCall(
        namespace,
        queues,
        request.complete,
        request.force_delayed,
        request.wait_on_hidden,
        timeout_s,
        interval_us / 1e6,
    )


def read_list_workers(request: pb.ListWorkersRequest, limits: Limits) -> tuple[str, Page]:
    """A ListWorkersRequest."""
    return check.namespace(request.namespace, limits.max_name_length), read_page(request)


def read_some_ids(request: IdsRequest, limits: Limits) -> Sequence[str]:
    """Ids of a redrive or a purge; none: all."""
    return read_ids(request.ids, limits) if request.ids else ()
