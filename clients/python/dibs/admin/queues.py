"""Looking after queues, as flows: names, sizes, priorities, clearing, and waiting until they are worked off."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..contract.names import DEADLETTER_QUEUE, QueueName, queue_name
from ..errors import NotFound
from ..rpc import admin_operations as admin
from ..rpc.flow import Flow, do
from ..rpc.pages import Pages, whole
from ..rpc.times import Seconds, to_seconds
from ..v1 import admin_pb2 as pb
from ..v1 import types_pb2 as tpb
from . import flows as admin_flows

_log = logging.getLogger("dibs")


def kind_of(is_data: bool) -> tpb.QueueKind.ValueType:
    """The kind of a queue of tasks or of data."""
    return tpb.QUEUE_KIND_DATA if is_data else tpb.QUEUE_KIND_TASK


def queues(namespace: str, *, is_data: bool) -> Flow[list[pb.QueueInfo]]:
    """All queues of a kind, in the order in which they are served."""
    return (yield from whole(Pages(lambda token: admin.list_queues(namespace, kind_of(is_data), page_token=token))))


def known_queues(namespace: str, *, is_data: bool) -> Flow[list[str]]:
    """Their names."""
    return [queue.name for queue in (yield from queues(namespace, is_data=is_data))]


def queue_sizes(namespace: str, *, is_data: bool) -> Flow[list[tuple[str, int, int]]]:
    """Of each: its name, how many items wait in it, and how many were ever put into it."""
    found = yield from queues(namespace, is_data=is_data)
    return [(queue.name, queue.ready + queue.delayed, queue.seen) for queue in found]


def set_priority(namespace: str, queue: QueueName, priority: float | None, *, is_data: bool) -> Flow[None]:
    """Set the priority of a queue."""
    yield from do(admin.set_priority(namespace, queue_name(queue), kind_of(is_data), priority))


def clear_queue(namespace: str, queue: QueueName, *, delete: bool, is_data: bool) -> Flow[int]:
    """Remove what waits in a queue, and the queue itself if asked; of a queue of dead letters, all of them."""
    name, kind = queue_name(queue), kind_of(is_data)
    removed = 0
    try:
        removed, _ = yield from admin_flows.clear_queue(namespace, name, kind, delete=delete)
        if name != DEADLETTER_QUEUE:
            return removed
    except NotFound:
        pass
    try:
        return removed + (yield from admin_flows.purge_dead_letters(namespace, name, kind))
    except NotFound:
        return removed


def flush_tasks(
    namespace: str,
    *,
    complete: bool,
    force_delayed: bool,
    wait_on_hidden: bool,
    timeout: Seconds | None,
    log_every: Seconds,
) -> Flow[tuple[list[str], list[str], list[str]]]:
    """Wait for the tasks that are queued now: the ids of those that are done, started, and waiting."""
    interval = to_seconds(log_every, "log_every")
    items = yield from admin_flows.flush(
        namespace,
        complete=bool(complete),
        force_delayed=bool(force_delayed),
        wait_on_hidden=bool(wait_on_hidden),
        timeout=flush_seconds(timeout),
        interval=interval,
        heard=_log_progress if interval else None,
    )
    return by_state(items)


def flush_seconds(timeout: Seconds | None) -> float | None:
    """How long a flush may wait, in seconds; None: as long as it takes, which is also what less than nothing means."""
    if timeout is None or (isinstance(timeout, int | float) and timeout < 0):
        return None
    return to_seconds(timeout, "timeout")


def by_state(items: Iterable[pb.FlushedItem]) -> tuple[list[str], list[str], list[str]]:
    """The ids of tasks that are done, started, and waiting."""
    lists: dict[pb.FlushState.ValueType, list[str]] = {
        pb.FLUSH_STATE_DONE: [],
        pb.FLUSH_STATE_STARTED: [],
        pb.FLUSH_STATE_WAITING: [],
    }
    for item in items:
        lists[item.state].append(item.id)
    return lists[pb.FLUSH_STATE_DONE], lists[pb.FLUSH_STATE_STARTED], lists[pb.FLUSH_STATE_WAITING]


def _log_progress(report: pb.FlushResponse) -> None:
    if not report.finished:
        _log.info("flush: %d done, %d started, %d waiting", report.done, report.started, report.waiting)
