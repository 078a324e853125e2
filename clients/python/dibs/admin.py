"""The calls of `AdminService` that this package makes, as operations; see `operations`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from .operations import Operation, Rpc, one_after_another
from .times import to_duration
from .v1 import admin_pb2 as pb
from .v1.admin_pb2_grpc import AdminServiceStub
from .v1.types_pb2 import QueueKind

#: A page of a list: its entries, and the token of the next page; empty: this was the last.
QueuePage: TypeAlias = tuple[Sequence[pb.QueueInfo], str]
ItemPage: TypeAlias = tuple[Sequence[pb.ItemInfo], str]
TaskPage: TypeAlias = tuple[Sequence[pb.TaskInfo], str]
SchedulePage: TypeAlias = tuple[Sequence[pb.ScheduleInfo], str]

#: Entries of the pages that are asked for.
PAGE_SIZE = 1_000

#: The longest flush that one call may ask for, in seconds; also what stands for "as long as it takes".
MAX_FLUSH_SECONDS = 30 * 86_400.0

LIST_QUEUES = Rpc(AdminServiceStub, "ListQueues")
SET_PRIORITY = Rpc(AdminServiceStub, "SetPriority")
LIST_ITEMS = Rpc(AdminServiceStub, "ListItems")
DELETE_ITEMS = Rpc(AdminServiceStub, "DeleteItems")
CLEAR_QUEUE = Rpc(AdminServiceStub, "ClearQueue", streams=True)
LIST_DEAD_LETTER_QUEUES = Rpc(AdminServiceStub, "ListDeadLetterQueues")
LIST_DEAD_LETTERS = Rpc(AdminServiceStub, "ListDeadLetters")
TAKE_DEAD_LETTERS = Rpc(AdminServiceStub, "TakeDeadLetters")
REDRIVE_DEAD_LETTERS = Rpc(AdminServiceStub, "RedriveDeadLetters", streams=True)
PURGE_DEAD_LETTERS = Rpc(AdminServiceStub, "PurgeDeadLetters", streams=True)
FLUSH = Rpc(AdminServiceStub, "Flush", streams=True)
REGISTER_TASKS = Rpc(AdminServiceStub, "RegisterTasks")
LIST_TASKS = Rpc(AdminServiceStub, "ListTasks")
PUT_SCHEDULES = Rpc(AdminServiceStub, "PutSchedules")
LIST_SCHEDULES = Rpc(AdminServiceStub, "ListSchedules")
DELETE_SCHEDULES = Rpc(AdminServiceStub, "DeleteSchedules")


def list_queues(
    namespace: str, kind: QueueKind.ValueType, names: Collection[str] = (), page_token: str = ""
) -> Operation[QueuePage]:
    """Queues of one kind with their counts; of all names, or of these."""

    def page(reply: pb.ListQueuesResponse, _: bool) -> QueuePage:
        return reply.queues, reply.next_page_token

    request = pb.ListQueuesRequest(
        namespace=namespace, kind=kind, names=names, page_size=PAGE_SIZE, page_token=page_token
    )
    return Operation(LIST_QUEUES, request, page)


def set_priority(namespace: str, queue: str, kind: QueueKind.ValueType, priority: float | None) -> Operation[None]:
    """Set the priority of a queue; None: it has none."""

    def done(_: pb.SetPriorityResponse, __: bool) -> None:
        return None

    request = pb.SetPriorityRequest(namespace=namespace, queue=queue, kind=kind, priority=priority)
    return Operation(SET_PRIORITY, request, done)


def list_leased(namespace: str, queue: str, kind: QueueKind.ValueType, page_token: str = "") -> Operation[ItemPage]:
    """The items of a queue that are leased, without their content."""

    def page(reply: pb.ListItemsResponse, _: bool) -> ItemPage:
        return reply.items, reply.next_page_token

    request = pb.ListItemsRequest(
        namespace=namespace,
        queue=queue,
        kind=kind,
        section=pb.ITEM_SECTION_LEASED,
        page_size=PAGE_SIZE,
        page_token=page_token,
    )
    return Operation(LIST_ITEMS, request, page)


def delete_items(namespace: str, ids: Sequence[str]) -> Operation[Sequence[str]]:
    """Remove items wherever they are; the value is the ids of those that were there."""

    def deleted(reply: pb.DeleteItemsResponse, _: bool) -> Sequence[str]:
        return reply.deleted_ids

    def part(start: int, stop: int) -> Operation[Sequence[str]]:
        return delete_items(namespace, ids[start:stop])

    request = pb.DeleteItemsRequest(namespace=namespace, ids=ids)
    return Operation(DELETE_ITEMS, request, deleted, entries=len(ids), part=part, join=one_after_another)


def clear_queue(namespace: str, queue: str, kind: QueueKind.ValueType, *, delete: bool = False) -> Operation[int]:
    """Remove what is ready or delayed, and the queue itself if asked; the value is how many items were removed."""

    def removed(replies: Sequence[pb.ClearQueueResponse], _: bool) -> int:
        return replies[-1].removed if replies else 0

    request = pb.ClearQueueRequest(namespace=namespace, queue=queue, kind=kind, delete=delete)
    return Operation(CLEAR_QUEUE, request, removed)


def list_dead_letter_queues(namespace: str, kind: QueueKind.ValueType) -> Operation[Sequence[pb.DeadLetterQueueInfo]]:
    """The dead-letter queues of one kind and their sizes."""

    def queues(reply: pb.ListDeadLetterQueuesResponse, _: bool) -> Sequence[pb.DeadLetterQueueInfo]:
        return reply.queues

    request = pb.ListDeadLetterQueuesRequest(namespace=namespace, kind=kind)
    return Operation(LIST_DEAD_LETTER_QUEUES, request, queues)


def list_dead_letters(
    namespace: str, queue: str, kind: QueueKind.ValueType, page_size: int, page_token: str = ""
) -> Operation[ItemPage]:
    """Dead letters with their content, the oldest death first."""

    def page(reply: pb.ListDeadLettersResponse, _: bool) -> ItemPage:
        return reply.items, reply.next_page_token

    request = pb.ListDeadLettersRequest(
        namespace=namespace, queue=queue, kind=kind, include_content=True, page_size=page_size, page_token=page_token
    )
    return Operation(LIST_DEAD_LETTERS, request, page)


def take_dead_letters(
    namespace: str, queue: str, kind: QueueKind.ValueType, max_items: int, get_timeout: float, request_id: str
) -> Operation[Sequence[pb.ItemInfo]]:
    """Remove dead letters and get them, at most once; asked again under the same id they are the same.

    To be followed by `confirm_dead_letters` if there are any.
    """

    def items(reply: pb.TakeDeadLettersResponse, _: bool) -> Sequence[pb.ItemInfo]:
        return reply.items

    request = pb.TakeDeadLettersRequest(
        namespace=namespace, queue=queue, kind=kind, max_items=max_items, request_id=request_id
    )
    if get_timeout:
        request.get_timeout.CopyFrom(to_duration(get_timeout))
    return Operation(TAKE_DEAD_LETTERS, request, items, wait=get_timeout, wait_field="get_timeout")


def confirm_dead_letters(namespace: str, queue: str, kind: QueueKind.ValueType, request_id: str) -> Operation[None]:
    """Say that the letters which a request took have arrived, so that they need not be kept any longer."""

    def done(_: pb.TakeDeadLettersResponse, __: bool) -> None:
        return None

    request = pb.TakeDeadLettersRequest(namespace=namespace, queue=queue, kind=kind, received_request_id=request_id)
    return Operation(TAKE_DEAD_LETTERS, request, done)


def redrive_dead_letters(
    namespace: str, queue: str, kind: QueueKind.ValueType, ids: Sequence[str] = ()
) -> Operation[int]:
    """Send dead letters back to where they came from, all or these; the value is how many."""

    def redriven(replies: Sequence[pb.RedriveDeadLettersResponse], _: bool) -> int:
        return replies[-1].redriven if replies else 0

    def part(start: int, stop: int) -> Operation[int]:
        return redrive_dead_letters(namespace, queue, kind, ids[start:stop])

    request = pb.RedriveDeadLettersRequest(namespace=namespace, queue=queue, kind=kind, ids=ids)
    return Operation(REDRIVE_DEAD_LETTERS, request, redriven, entries=len(ids), part=part)


def purge_dead_letters(namespace: str, queue: str, kind: QueueKind.ValueType) -> Operation[int]:
    """Remove all dead letters for good; the value is how many there were."""

    def purged(replies: Sequence[pb.PurgeDeadLettersResponse], _: bool) -> int:
        return replies[-1].purged if replies else 0

    request = pb.PurgeDeadLettersRequest(namespace=namespace, queue=queue, kind=kind)
    return Operation(PURGE_DEAD_LETTERS, request, purged)


def flush(
    request: pb.FlushRequest, timeout: float | None, heard: Callable[[pb.FlushResponse], None] | None
) -> Operation[Sequence[pb.FlushedItem]]:
    """Wait for the tasks that are queued now; the value is how far each has come.

    Args:
        request: what to wait for; its timeout is set here.
        timeout: seconds to wait; None: as long as it takes.
        heard: told of progress.
    """

    def items(replies: Sequence[pb.FlushResponse], _: bool) -> Sequence[pb.FlushedItem]:
        return [item for reply in replies for item in reply.items]

    wait = MAX_FLUSH_SECONDS if timeout is None else min(timeout, MAX_FLUSH_SECONDS)
    request.timeout.CopyFrom(to_duration(wait))
    return Operation(FLUSH, request, items, wait=wait, wait_field="timeout", limited=False, heard=heard)


def register_tasks(namespace: str, tasks: Collection[pb.TaskDefinition]) -> Operation[None]:
    """Make tasks known to programs that do not have their code."""

    def done(_: pb.RegisterTasksResponse, __: bool) -> None:
        return None

    return Operation(REGISTER_TASKS, pb.RegisterTasksRequest(namespace=namespace, tasks=tasks), done)


def list_tasks(namespace: str, names: Collection[str] = (), page_token: str = "") -> Operation[TaskPage]:
    """Tasks that workers have registered; all, or those of these names that are known."""

    def page(reply: pb.ListTasksResponse, _: bool) -> TaskPage:
        return reply.tasks, reply.next_page_token

    request = pb.ListTasksRequest(namespace=namespace, names=names, page_size=PAGE_SIZE, page_token=page_token)
    return Operation(LIST_TASKS, request, page)


def put_schedules(
    namespace: str, group: str, schedules: Collection[pb.Schedule], *, replace_group: bool
) -> Operation[Sequence[str]]:
    """Make or change schedules; the value is the names of those of the group that were removed."""

    def removed(reply: pb.PutSchedulesResponse, _: bool) -> Sequence[str]:
        return reply.removed_names

    request = pb.PutSchedulesRequest(namespace=namespace, group=group, schedules=schedules, replace_group=replace_group)
    return Operation(PUT_SCHEDULES, request, removed)


def list_schedules(namespace: str, page_token: str = "") -> Operation[SchedulePage]:
    """Schedules, by name."""

    def page(reply: pb.ListSchedulesResponse, _: bool) -> SchedulePage:
        return reply.schedules, reply.next_page_token

    request = pb.ListSchedulesRequest(namespace=namespace, page_size=PAGE_SIZE, page_token=page_token)
    return Operation(LIST_SCHEDULES, request, page)


def delete_schedules(namespace: str, names: Sequence[str]) -> Operation[Sequence[str]]:
    """Remove schedules; the value is the names of those that were there."""

    def deleted(reply: pb.DeleteSchedulesResponse, _: bool) -> Sequence[str]:
        return reply.deleted_names

    def part(start: int, stop: int) -> Operation[Sequence[str]]:
        return delete_schedules(namespace, names[start:stop])

    request = pb.DeleteSchedulesRequest(namespace=namespace, names=names)
    return Operation(DELETE_SCHEDULES, request, deleted, entries=len(names), part=part, join=one_after_another)
