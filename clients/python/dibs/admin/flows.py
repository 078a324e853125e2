"""Running the queues, as flows: what `Admin`, `AsyncAdmin` and the `dibs` command do, each thing written once.

Values are the broker's messages: `Admin` makes plain values of them (`infos_from_wire`), the command JSON and tables.
Where ids or names may be left out, None stands for all, and an empty list for none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from ..contract.names import DEFAULT_QUEUE
from ..enqueueing.policy import Policy
from ..errors import BrokerError
from ..rpc import admin_operations as admin
from ..rpc import lock_operations as locking
from ..rpc.admin_operations import PAGE_SIZE, Kind
from ..rpc.flow import Flow, do
from ..rpc.known_limits import KnownLimits
from ..rpc.operations import Operation
from ..rpc.pages import NamedPages, Pages
from ..rpc.tally import OnProgress, Tally
from ..rpc.times import to_duration
from ..tasks.schedules import Cron, Every
from ..tasks.timings import write_timing
from ..v1 import admin_pb2 as pb
from ..v1 import lock_pb2
from ..v1.types_pb2 import Content, DeliveryPolicy

T = TypeVar("T")

#: How often a flush can report, in seconds.
LEAST_REPORT_SECONDS = 0.1
MOST_REPORT_SECONDS = 3_600.0


# Lists


def queues(
    namespace: str, kind: Kind, names: Iterable[str] | None, limits: KnownLimits
) -> Pages[pb.QueueInfo] | NamedPages[pb.QueueInfo]:
    """Queues in the order in which they are served; all, or those named."""
    if names is None:
        return Pages(lambda token: admin.list_queues(namespace, kind, page_token=token))
    return NamedPages(lambda some, token: admin.list_queues(namespace, kind, some, token), names, limits)


def items(
    namespace: str,
    queue: str,
    kind: Kind,
    section: pb.ItemSection.ValueType,
    *,
    include_content: bool = False,
    page_size: int = PAGE_SIZE,
    page_token: str = "",
) -> Pages[pb.ItemInfo]:
    """Items of a section of a queue."""

    def ask(token: str) -> Operation[admin.Page[pb.ItemInfo]]:
        return admin.list_items(
            namespace, queue, kind, section, include_content=include_content, page_size=page_size, page_token=token
        )

    return Pages(ask, page_token)


def dead_letters(
    namespace: str,
    queue: str,
    kind: Kind,
    *,
    include_content: bool = False,
    page_size: int = PAGE_SIZE,
    page_token: str = "",
) -> Pages[pb.ItemInfo]:
    """Dead letters, the oldest death first."""

    def ask(token: str) -> Operation[admin.Page[pb.ItemInfo]]:
        return admin.list_dead_letters(namespace, queue, kind, page_size, token, include_content=include_content)

    return Pages(ask, page_token)


def tasks(
    namespace: str, names: Iterable[str] | None, limits: KnownLimits
) -> Pages[pb.TaskInfo] | NamedPages[pb.TaskInfo]:
    """Registered tasks; all, or those of the names that are known."""
    if names is None:
        return Pages(lambda token: admin.list_tasks(namespace, page_token=token))
    return NamedPages(lambda some, token: admin.list_tasks(namespace, some, token), names, limits)


def schedules(namespace: str) -> Pages[pb.ScheduleInfo]:
    """Schedules, by name."""
    return Pages(lambda token: admin.list_schedules(namespace, token))


def workers(namespace: str) -> Pages[pb.WorkerInfo]:
    """Workers that are connected to any broker, by id."""
    return Pages(lambda token: admin.list_workers(namespace, token))


def locks(namespace: str) -> Pages[lock_pb2.LockInfo]:
    """Locks that are held, by name."""
    return Pages(lambda token: locking.list_locks(namespace, token))


# Queues and items


def clear_queue(
    namespace: str, queue: str, kind: Kind, *, delete: bool, on_progress: OnProgress | None = None
) -> Flow[tuple[int, bool]]:
    """Remove what waits in a queue, and if asked the queue; how many items, and whether the queue is gone."""
    tally = Tally(on_progress)
    operation = admin.clear_queue(namespace, queue, kind, delete=delete, tally=tally)
    return (yield from _noting(operation, tally))


def delete_items(namespace: str, ids: Iterable[str]) -> Flow[Sequence[str]]:
    """Delete items wherever they are; the ids of those that were there."""
    wanted = _listed(ids)
    return (yield from do(admin.delete_items(namespace, wanted))) if wanted else []


def redrive_set_aside(
    namespace: str, queue: str, kind: Kind, ids: Iterable[str] | None, on_progress: OnProgress | None = None
) -> Flow[int]:
    """Send items that were set aside back to their queue, those named or all; how many."""
    tally = Tally(on_progress)
    if ids is not None:
        wanted = _listed(ids)
        if not wanted:
            return 0
        return (yield from _noting(admin.redrive_set_aside(namespace, queue, kind, wanted, tally), tally))
    [found], _ = yield from do(admin.list_queues(namespace, kind, [queue]))
    # What still cannot be read is set aside again meanwhile: as many as there are now, and not for ever.
    while tally.done < found.set_aside:
        before = tally.done
        yield from _noting(admin.redrive_set_aside(namespace, queue, kind, tally=tally), tally)
        if tally.done == before:
            break
    return tally.done


# Dead letters


def redrive_dead_letters(
    namespace: str, queue: str, kind: Kind, ids: Iterable[str] | None, on_progress: OnProgress | None = None
) -> Flow[int]:
    """Send dead letters back to where they came from, those named or all; how many."""
    wanted = None if ids is None else _listed(ids)
    if wanted == []:
        return 0
    tally = Tally(on_progress)
    return (yield from _noting(admin.redrive_dead_letters(namespace, queue, kind, wanted or (), tally), tally))


def purge_dead_letters(
    namespace: str, queue: str, kind: Kind, ids: Iterable[str] | None = None, on_progress: OnProgress | None = None
) -> Flow[int]:
    """Remove dead letters for good, those named or all; how many."""
    wanted = None if ids is None else _listed(ids)
    if wanted == []:
        return 0
    tally = Tally(on_progress)
    return (yield from _noting(admin.purge_dead_letters(namespace, queue, kind, wanted or (), tally), tally))


# Tasks and schedules


def flush(
    namespace: str,
    queues: Collection[str] = (),
    *,
    complete: bool = False,
    force_delayed: bool = False,
    wait_on_hidden: bool = False,
    timeout: float | None = None,
    interval: float = 0.0,
    heard: Callable[[pb.FlushResponse], None] | None = None,
) -> Flow[Sequence[pb.FlushedItem]]:
    """Wait for the tasks that are queued now; how far each has come.

    Args:
        namespace: theirs.
        queues: only of these; empty: all.
        complete: until they are done, not only started.
        force_delayed: make delayed tasks due, and fire every schedule.
        wait_on_hidden: also for tasks that have started already.
        timeout: seconds; None: as long as it takes.
        interval: seconds between reports, made to be within what the broker takes; 0: the broker's own.
        heard: told each report.
    """
    request = pb.FlushRequest(
        namespace=namespace,
        queues=queues,
        complete=complete,
        force_delayed=force_delayed,
        wait_on_hidden=wait_on_hidden,
    )
    if interval:
        request.report_interval.CopyFrom(to_duration(min(max(interval, LEAST_REPORT_SECONDS), MOST_REPORT_SECONDS)))
    return (yield from do(admin.flush(request, timeout, heard)))


def put_schedule(
    namespace: str,
    group: str,
    name: str,
    task: str,
    when: Every | Cron,
    payload: bytes,
    *,
    queue: str | None = None,
    policy: Policy | None = None,
) -> Flow[pb.Schedule]:
    """Make or change a schedule; it as it was put.

    Args:
        namespace: its namespace.
        group: what it belongs to.
        name: its name.
        task: what it runs.
        when: when it runs.
        payload: the arguments of the runs.
        queue: of the runs; None: that of the task, if it is registered.
        policy: how they are delivered; None: as calls of the task are, if it is registered, else at most once.
    """
    schedule = pb.Schedule(name=name, content=Content(task_name=task, payload=payload))
    registered, _ = yield from do(admin.list_tasks(namespace, [task]))
    known = registered[0].definition if registered else pb.TaskDefinition(policy=DeliveryPolicy(attempts=1))
    schedule.queue = queue or known.queue or DEFAULT_QUEUE
    if policy is None:
        schedule.policy.CopyFrom(known.policy)
    else:
        schedule.policy.MergeFromString(policy.encoded)
    write_timing(schedule, when)
    yield from do(admin.put_schedules(namespace, group, [schedule], replace_group=False))
    return schedule


def delete_schedules(namespace: str, names: Iterable[str]) -> Flow[Sequence[str]]:
    """Remove schedules; the names of those that were there."""
    wanted = _listed(names)
    return (yield from do(admin.delete_schedules(namespace, wanted))) if wanted else []


def delete_namespace(name: str, *, force: bool, on_progress: OnProgress | None = None) -> Flow[tuple[int, bool]]:
    """Remove a namespace with everything in it; how many keys, and whether it is gone."""
    tally = Tally(on_progress)
    return (yield from _noting(admin.delete_namespace(name, force=force, tally=tally), tally))


def _listed(ids: Iterable[str]) -> list[str]:
    """Ids or names; one alone is a list of one."""
    return [ids] if isinstance(ids, str) else list(ids)


def _noting(operation: Operation[T], tally: Tally) -> Flow[T]:
    """Do it; an error tells what was done before it."""
    try:
        return (yield from do(operation))
    except BrokerError as error:
        if tally.done:
            error.add_note(f"{tally.done:,} items were done before that")
        raise
