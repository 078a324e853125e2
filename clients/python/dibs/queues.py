"""Looking after queues, as flows: names, sizes, priorities, clearing, and waiting until they are worked off."""

from __future__ import annotations

import logging
from collections.abc import Callable

from . import admin
from .errors import NotFound
from .flows import Flow, do
from .names import DEADLETTER_QUEUE, QueueName, queue_name
from .times import Seconds, to_duration, to_seconds
from .v1 import admin_pb2 as pb
from .v1 import types_pb2 as tpb

_log = logging.getLogger("dibs")

#: How often a flush can report, in seconds.
_LEAST_REPORT_SECONDS = 0.1
_MOST_REPORT_SECONDS = 3_600.0


def kind_of(is_data: bool) -> tpb.QueueKind.ValueType:
    """The kind of a queue of tasks or of data."""
    return tpb.QUEUE_KIND_DATA if is_data else tpb.QUEUE_KIND_TASK


def queues(namespace: str, *, is_data: bool) -> Flow[list[pb.QueueInfo]]:
    """All queues of a kind, in the order in which they are served."""
    found: list[pb.QueueInfo] = []
    token = ""
    while True:
        page, token = yield from do(admin.list_queues(namespace, kind_of(is_data), page_token=token))
        found += page
        if not token:
            return found


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
        removed = yield from do(admin.clear_queue(namespace, name, kind, delete=delete))
        if name != DEADLETTER_QUEUE:
            return removed
    except NotFound:
        pass
    try:
        return removed + (yield from do(admin.purge_dead_letters(namespace, name, kind)))
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
    request = pb.FlushRequest(
        namespace=namespace,
        complete=bool(complete),
        force_delayed=bool(force_delayed),
        wait_on_hidden=bool(wait_on_hidden),
    )
    heard: Callable[[pb.FlushResponse], None] | None = None
    interval = to_seconds(log_every, "log_every")
    if interval:
        interval = min(max(interval, _LEAST_REPORT_SECONDS), _MOST_REPORT_SECONDS)
        request.report_interval.CopyFrom(to_duration(interval))
        heard = _log_progress
    endless = timeout is None or (isinstance(timeout, int | float) and timeout < 0)
    seconds = None if timeout is None or endless else to_seconds(timeout, "timeout")
    items = yield from do(admin.flush(request, seconds, heard))
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
