"""The calls of `AdminService` as operations; see `operations`. Every request to it is made here.

One service, one file: it is as long as the service has calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias, TypeVar

from ..v1 import admin_pb2 as pb
from ..v1.types_pb2 import QueueKind, WorkerCommand
from . import rpcs
from .known_limits import KnownLimits
from .operations import Operation, one_after_another
from .tally import Tally
from .times import to_duration

T = TypeVar("T")

#: A page of a list: its entries, and the token of the next page; empty: this was the last.
Page: TypeAlias = tuple[Sequence[T], str]
Kind: TypeAlias = QueueKind.ValueType

#: Entries of the pages that are asked for.
PAGE_SIZE = 1_000

#: The longest flush that one call may ask for, in seconds; also what stands for "as long as it takes".
MAX_FLUSH_SECONDS = 30 * 86_400.0


def list_queues(
    namespace: str, kind: Kind, names: Collection[str] = (), page_token: str = ""
) -> Operation[Page[pb.QueueInfo]]:
    """Queues of one kind, or of both, with their counts; of all names, or of these."""
    request = pb.ListQueuesRequest(
        namespace=namespace, kind=kind, names=names, page_size=PAGE_SIZE, page_token=page_token
    )
    return Operation(rpcs.LIST_QUEUES, request, _page("queues"))


def set_priority(namespace: str, queue: str, kind: Kind, priority: float | None) -> Operation[None]:
    """Set the priority of a queue; None: it has none."""
    request = pb.SetPriorityRequest(namespace=namespace, queue=queue, kind=kind, priority=priority)
    return Operation(rpcs.SET_PRIORITY, request, _nothing)


def pause_queue(namespace: str, queue: str, kind: Kind) -> Operation[bool]:
    """Stop deliveries from a queue; the value is whether it was not paused before."""
    return Operation(rpcs.PAUSE_QUEUE, pb.PauseQueueRequest(namespace=namespace, queue=queue, kind=kind), _changed)


def resume_queue(namespace: str, queue: str, kind: Kind) -> Operation[bool]:
    """Deliver from a queue again; the value is whether it was paused before."""
    return Operation(rpcs.RESUME_QUEUE, pb.ResumeQueueRequest(namespace=namespace, queue=queue, kind=kind), _changed)


def list_items(
    namespace: str,
    queue: str,
    kind: Kind,
    section: pb.ItemSection.ValueType,
    *,
    include_content: bool = False,
    page_size: int = PAGE_SIZE,
    page_token: str = "",
) -> Operation[Page[pb.ItemInfo]]:
    """The items of a section of a queue."""
    request = pb.ListItemsRequest(
        namespace=namespace,
        queue=queue,
        kind=kind,
        section=section,
        include_content=include_content,
        page_size=page_size,
        page_token=page_token,
    )
    return Operation(rpcs.LIST_ITEMS, request, _page("items"))


def delete_items(namespace: str, ids: Sequence[str]) -> Operation[Sequence[str]]:
    """Remove items wherever they are; the value is the ids of those that were there."""

    def deleted(reply: pb.DeleteItemsResponse, _: bool) -> Sequence[str]:
        return reply.deleted_ids

    def part(start: int, stop: int) -> Operation[Sequence[str]]:
        return delete_items(namespace, ids[start:stop])

    request = pb.DeleteItemsRequest(namespace=namespace, ids=ids)
    return Operation(rpcs.DELETE_ITEMS, request, deleted, entries=len(ids), part=part, join=one_after_another)


def redrive_set_aside(
    namespace: str, queue: str, kind: Kind, ids: Sequence[str] = (), tally: Tally | None = None
) -> Operation[int]:
    """Send items that were set aside back: these, or as many as one request takes; the value is how many in all."""
    told = tally or Tally()

    def redriven(reply: pb.RedriveSetAsideResponse, _: bool) -> int:
        told.report(reply.redriven, reply.left)
        return told.end_stream()

    def part(start: int, stop: int) -> Operation[int]:
        return redrive_set_aside(namespace, queue, kind, ids[start:stop], told)

    request = pb.RedriveSetAsideRequest(namespace=namespace, queue=queue, kind=kind, ids=ids)
    return Operation(rpcs.REDRIVE_SET_ASIDE, request, redriven, entries=len(ids), part=part, join=_last)


def clear_queue(
    namespace: str, queue: str, kind: Kind, *, delete: bool = False, tally: Tally | None = None
) -> Operation[tuple[int, bool]]:
    """Remove what is ready or delayed, and the queue itself if asked.

    The value is how many items were removed, and whether the queue is gone.
    """
    told = tally or Tally()

    def heard(reply: pb.ClearQueueResponse) -> None:
        told.report(reply.removed, reply.left)

    def removed(replies: Sequence[pb.ClearQueueResponse], _: bool) -> tuple[int, bool]:
        return told.end_stream(), bool(replies) and replies[-1].deleted

    request = pb.ClearQueueRequest(namespace=namespace, queue=queue, kind=kind, delete=delete)
    return Operation(rpcs.CLEAR_QUEUE, request, removed, heard=heard, again=told.next_stream, endless=True)


def list_dead_letter_queues(namespace: str, kind: Kind) -> Operation[Sequence[pb.DeadLetterQueueInfo]]:
    """The dead-letter queues of one kind, or of both, and their sizes."""

    def queues(reply: pb.ListDeadLetterQueuesResponse, _: bool) -> Sequence[pb.DeadLetterQueueInfo]:
        return reply.queues

    request = pb.ListDeadLetterQueuesRequest(namespace=namespace, kind=kind)
    return Operation(rpcs.LIST_DEAD_LETTER_QUEUES, request, queues)


def list_dead_letters(
    namespace: str,
    queue: str,
    kind: Kind,
    page_size: int = PAGE_SIZE,
    page_token: str = "",
    *,
    include_content: bool = True,
) -> Operation[Page[pb.ItemInfo]]:
    """Dead letters, the oldest death first."""
    request = pb.ListDeadLettersRequest(
        namespace=namespace,
        queue=queue,
        kind=kind,
        include_content=include_content,
        page_size=page_size,
        page_token=page_token,
    )
    return Operation(rpcs.LIST_DEAD_LETTERS, request, _page("items"))


def take_dead_letters(
    namespace: str, queue: str, kind: Kind, max_items: int, get_timeout: float, request_id: str
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
    return Operation(rpcs.TAKE_DEAD_LETTERS, request, items, wait=get_timeout, wait_field="get_timeout")


def confirm_dead_letters(namespace: str, queue: str, kind: Kind, request_id: str) -> Operation[None]:
    """Say that the letters which a request took have arrived, so that they need not be kept any longer."""
    request = pb.TakeDeadLettersRequest(namespace=namespace, queue=queue, kind=kind, received_request_id=request_id)
    return Operation(rpcs.TAKE_DEAD_LETTERS, request, _nothing)


def redrive_dead_letters(
    namespace: str, queue: str, kind: Kind, ids: Sequence[str] = (), tally: Tally | None = None
) -> Operation[int]:
    """Send dead letters back to where they came from, all or these; the value is how many in all."""
    told = tally or Tally()

    def heard(reply: pb.RedriveDeadLettersResponse) -> None:
        told.report(reply.redriven, reply.left)

    def part(start: int, stop: int) -> Operation[int]:
        return redrive_dead_letters(namespace, queue, kind, ids[start:stop], told)

    request = pb.RedriveDeadLettersRequest(namespace=namespace, queue=queue, kind=kind, ids=ids)
    return _goes_on(rpcs.REDRIVE_DEAD_LETTERS, request, told, heard, len(ids), part)


def purge_dead_letters(
    namespace: str, queue: str, kind: Kind, ids: Sequence[str] = (), tally: Tally | None = None
) -> Operation[int]:
    """Remove dead letters for good, all or these; the value is how many in all."""
    told = tally or Tally()

    def heard(reply: pb.PurgeDeadLettersResponse) -> None:
        told.report(reply.purged, reply.left)

    def part(start: int, stop: int) -> Operation[int]:
        return purge_dead_letters(namespace, queue, kind, ids[start:stop], told)

    request = pb.PurgeDeadLettersRequest(namespace=namespace, queue=queue, kind=kind, ids=ids)
    return _goes_on(rpcs.PURGE_DEAD_LETTERS, request, told, heard, len(ids), part)


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
    return Operation(
        rpcs.FLUSH, request, items, wait=wait, wait_field="timeout", limited=False, heard=heard, endless=True
    )


def register_tasks(namespace: str, tasks: Collection[pb.TaskDefinition]) -> Operation[None]:
    """Make tasks known to programs that do not have their code."""
    return Operation(rpcs.REGISTER_TASKS, pb.RegisterTasksRequest(namespace=namespace, tasks=tasks), _nothing)


def list_tasks(namespace: str, names: Collection[str] = (), page_token: str = "") -> Operation[Page[pb.TaskInfo]]:
    """Tasks that workers have registered; all, or those of these names that are known."""
    request = pb.ListTasksRequest(namespace=namespace, names=names, page_size=PAGE_SIZE, page_token=page_token)
    return Operation(rpcs.LIST_TASKS, request, _page("tasks"))


def put_schedules(
    namespace: str, group: str, schedules: Collection[pb.Schedule], *, replace_group: bool
) -> Operation[Sequence[str]]:
    """Make or change schedules; the value is the names of those of the group that were removed."""

    def removed(reply: pb.PutSchedulesResponse, _: bool) -> Sequence[str]:
        return reply.removed_names

    request = pb.PutSchedulesRequest(namespace=namespace, group=group, schedules=schedules, replace_group=replace_group)
    return Operation(rpcs.PUT_SCHEDULES, request, removed)


def list_schedules(namespace: str, page_token: str = "") -> Operation[Page[pb.ScheduleInfo]]:
    """Schedules, by name."""
    request = pb.ListSchedulesRequest(namespace=namespace, page_size=PAGE_SIZE, page_token=page_token)
    return Operation(rpcs.LIST_SCHEDULES, request, _page("schedules"))


def delete_schedules(namespace: str, names: Sequence[str]) -> Operation[Sequence[str]]:
    """Remove schedules; the value is the names of those that were there."""

    def deleted(reply: pb.DeleteSchedulesResponse, _: bool) -> Sequence[str]:
        return reply.deleted_names

    def part(start: int, stop: int) -> Operation[Sequence[str]]:
        return delete_schedules(namespace, names[start:stop])

    request = pb.DeleteSchedulesRequest(namespace=namespace, names=names)
    return Operation(rpcs.DELETE_SCHEDULES, request, deleted, entries=len(names), part=part, join=one_after_another)


def list_workers(namespace: str, page_token: str = "") -> Operation[Page[pb.WorkerInfo]]:
    """Workers that are connected to any broker, by id."""
    request = pb.ListWorkersRequest(namespace=namespace, page_size=PAGE_SIZE, page_token=page_token)
    return Operation(rpcs.LIST_WORKERS, request, _page("workers"))


def command_worker(namespace: str, worker: str, command: WorkerCommand) -> Operation[None]:
    """Tell a worker what to do."""
    request = pb.CommandWorkerRequest(namespace=namespace, worker=worker, command=command)
    return Operation(rpcs.COMMAND_WORKER, request, _nothing)


def delete_namespace(namespace: str, *, force: bool, tally: Tally | None = None) -> Operation[tuple[int, bool]]:
    """Remove a namespace with everything in it.

    The value is how many keys were removed, and whether it is gone.
    """
    told = tally or Tally()

    def heard(reply: pb.DeleteNamespaceResponse) -> None:
        told.report(reply.removed, 0)

    def removed(replies: Sequence[pb.DeleteNamespaceResponse], _: bool) -> tuple[int, bool]:
        return told.end_stream(), bool(replies) and replies[-1].deleted

    request = pb.DeleteNamespaceRequest(namespace=namespace, force=force)
    return Operation(rpcs.DELETE_NAMESPACE, request, removed, heard=heard, again=told.next_stream, endless=True)


def server_info(limits: KnownLimits, quotas_of: str = "") -> Operation[pb.GetServerInfoResponse]:
    """The broker as it sees itself; `limits` hears what it takes.

    Args:
        limits: as it takes requests.
        quotas_of: a namespace, to be told how full it is. Earlier brokers refuse that.
    """

    def info(reply: pb.GetServerInfoResponse, _: bool) -> pb.GetServerInfoResponse:
        if reply.HasField("limits"):
            limits.hear(reply.limits)
        return reply

    return Operation(rpcs.GET_SERVER_INFO, pb.GetServerInfoRequest(quotas_of=quotas_of), info)


def _goes_on(
    rpc: rpcs.Rpc,
    request: Any,
    told: Tally,
    heard: Callable[[Any], None],
    entries: int,
    part: Callable[[int, int], Operation[int]],
) -> Operation[int]:
    """An operation that works through dead letters, and reports."""

    def all_done(_: object, __: bool) -> int:
        return told.end_stream()

    return Operation(
        rpc,
        request,
        all_done,
        heard=heard,
        again=told.next_stream,
        endless=True,
        entries=entries,
        part=part,
        join=_last,
    )


def _page(name: str) -> Callable[[Any, bool], Page[Any]]:
    """Read a page of a list whose entries have that name."""
    return lambda reply, _: (getattr(reply, name), reply.next_page_token)


def _changed(reply: pb.PauseQueueResponse | pb.ResumeQueueResponse, _: bool) -> bool:
    return reply.changed


def _nothing(_: object, __: bool) -> None:
    return None


def _last(values: Sequence[int]) -> int:
    """Of the parts of a request, which one tally has added up."""
    return values[-1]
