"""What `Admin` and `AsyncAdmin` do, written once: flows and lists that give plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from ..codecs.sealing import Sealing
from ..contract.names import QueueName, queue_name
from ..enqueueing.policy import Delivery, Policy
from ..errors import InvalidArgument
from ..rpc import admin_operations as admin
from ..rpc import lock_operations as locking
from ..rpc.admin_operations import Kind
from ..rpc.codec import encode_call
from ..rpc.flow import Flow, do
from ..rpc.known_limits import KnownLimits
from ..rpc.operations import MAX_BATCH
from ..rpc.pages import NamedPages, Pages
from ..rpc.tally import OnProgress
from ..rpc.times import Seconds, to_seconds, to_wait
from ..tasks.schedules import Cron, Every
from ..v1 import admin_pb2 as pb
from ..v1.types_pb2 import QUEUE_KIND_UNSPECIFIED, WorkerCommand
from . import flows as admin_flows
from . import infos
from . import infos_from_wire as wire
from .queues import by_state, flush_seconds, kind_of
from .taking import Taking

M = TypeVar("M")
T = TypeVar("T")

#: A list of the broker's, and what makes a plain value of an entry.
Listing: TypeAlias = tuple[Pages[M] | NamedPages[M], Callable[[M], T]]
OnFlush: TypeAlias = Callable[[infos.FlushProgress], None]

#: What schedules belong to that are put by `Admin`, unless told otherwise.
DEFAULT_GROUP = "admin"


class BaseAdmin:
    """What both faces have in common: everything but the calls to the broker."""

    def __init__(self) -> None:
        #: By namespace, queue and kind: what gets hold of answers that were lost.
        self._takings: dict[tuple[str, str, Kind], Taking] = {}

    @property
    def _namespace(self) -> str:
        raise NotImplementedError

    @property
    def _limits(self) -> KnownLimits:
        raise NotImplementedError

    @property
    def _sealing(self) -> Sealing | None:
        raise NotImplementedError

    def _item_info(self, item: pb.ItemInfo) -> infos.ItemInfo:
        return wire.item_info(item, self._sealing)

    # Queues and items

    def _queues(
        self, names: Iterable[QueueName] | None, is_data: bool | None
    ) -> Listing[pb.QueueInfo, infos.QueueInfo]:
        found = None if names is None else _names(names)
        return admin_flows.queues(self._namespace, _kinds(is_data), found, self._limits), wire.queue_info

    def _queue(self, queue: QueueName, is_data: bool) -> Flow[infos.QueueInfo]:
        page, _ = yield from do(admin.list_queues(self._namespace, kind_of(is_data), [queue_name(queue)]))
        return wire.queue_info(page[0])

    def _set_priority(self, queue: QueueName, priority: float | None, is_data: bool) -> Flow[None]:
        yield from do(admin.set_priority(self._namespace, queue_name(queue), kind_of(is_data), priority))

    def _pause_queue(self, queue: QueueName, is_data: bool) -> Flow[bool]:
        return (yield from do(admin.pause_queue(self._namespace, queue_name(queue), kind_of(is_data))))

    def _resume_queue(self, queue: QueueName, is_data: bool) -> Flow[bool]:
        return (yield from do(admin.resume_queue(self._namespace, queue_name(queue), kind_of(is_data))))

    def _clear_queue(
        self, queue: QueueName, delete: bool, is_data: bool, on_progress: OnProgress | None
    ) -> Flow[infos.Cleared]:
        removed, deleted = yield from admin_flows.clear_queue(
            self._namespace, queue_name(queue), kind_of(is_data), delete=bool(delete), on_progress=on_progress
        )
        return infos.Cleared(removed, deleted)

    def _delete_namespace(self, name: str, force: bool, on_progress: OnProgress | None) -> Flow[infos.Cleared]:
        if not name:
            raise ValueError("name must not be empty")
        removed, deleted = yield from admin_flows.delete_namespace(name, force=bool(force), on_progress=on_progress)
        return infos.Cleared(removed, deleted)

    def _items(
        self, queue: QueueName, section: infos.Section, include_content: bool, is_data: bool
    ) -> Listing[pb.ItemInfo, infos.ItemInfo]:
        if section not in wire.SECTIONS:
            raise ValueError(f"section must be one of {', '.join(wire.SECTIONS)}, not {section!r}")
        pages = admin_flows.items(
            self._namespace,
            queue_name(queue),
            kind_of(is_data),
            wire.SECTIONS[section],
            include_content=bool(include_content),
        )
        return pages, self._item_info

    def _delete_items(self, ids: Iterable[str]) -> Flow[list[str]]:
        return list((yield from admin_flows.delete_items(self._namespace, ids)))

    def _redrive_set_aside(
        self, queue: QueueName, ids: Iterable[str] | None, is_data: bool, on_progress: OnProgress | None
    ) -> Flow[int]:
        return admin_flows.redrive_set_aside(self._namespace, queue_name(queue), kind_of(is_data), ids, on_progress)

    # Dead letters

    def _dead_letter_queues(self, is_data: bool | None) -> Flow[list[infos.DeadLetterQueueInfo]]:
        found = yield from do(admin.list_dead_letter_queues(self._namespace, _kinds(is_data)))
        return [wire.dead_letter_queue_info(queue) for queue in found]

    def _dead_letters(
        self, queue: QueueName, include_content: bool, is_data: bool
    ) -> Listing[pb.ItemInfo, infos.ItemInfo]:
        pages = admin_flows.dead_letters(
            self._namespace, queue_name(queue), kind_of(is_data), include_content=bool(include_content)
        )
        return pages, self._item_info

    def _take_dead_letters(
        self, max_items: int, queue: QueueName, get_timeout: Seconds, is_data: bool
    ) -> Flow[list[infos.ItemInfo]]:
        if isinstance(max_items, bool) or not isinstance(max_items, int) or not 1 <= max_items <= MAX_BATCH:
            raise ValueError(f"max_items must be a whole number from 1 to {MAX_BATCH:,}, not {max_items!r}")
        name, kind, namespace = queue_name(queue), kind_of(is_data), self._namespace
        taking = self._takings.setdefault((namespace, name, kind), Taking(name, kind))
        items, request_id = yield from taking.take(namespace, max_items, to_wait(get_timeout, "get_timeout"))
        found = [self._item_info(item) for item in items]
        if items:
            yield from taking.confirm(namespace, request_id)
        return found

    def _redrive_dead_letters(
        self, queue: QueueName, ids: Iterable[str] | None, is_data: bool, on_progress: OnProgress | None
    ) -> Flow[int]:
        return admin_flows.redrive_dead_letters(self._namespace, queue_name(queue), kind_of(is_data), ids, on_progress)

    def _purge_dead_letters(
        self, queue: QueueName, ids: Iterable[str] | None, is_data: bool, on_progress: OnProgress | None
    ) -> Flow[int]:
        return admin_flows.purge_dead_letters(self._namespace, queue_name(queue), kind_of(is_data), ids, on_progress)

    # Tasks, schedules, workers

    def _flush(
        self,
        queues: Iterable[QueueName] | None,
        complete: bool,
        force_delayed: bool,
        wait_on_hidden: bool,
        timeout: Seconds | None,
        report_every: Seconds,
        on_progress: OnFlush | None,
    ) -> Flow[infos.Flushed]:
        names = () if queues is None else _names(queues)
        interval = to_seconds(report_every, "report_every")
        seconds = flush_seconds(timeout)
        if queues is not None and not names:
            return infos.Flushed((), (), ())

        def heard(report: pb.FlushResponse) -> None:
            if on_progress is not None and not report.finished:
                on_progress(wire.flush_progress(report))

        items = yield from admin_flows.flush(
            self._namespace,
            names,
            complete=bool(complete),
            force_delayed=bool(force_delayed),
            wait_on_hidden=bool(wait_on_hidden),
            timeout=seconds,
            interval=interval,
            heard=heard,
        )
        return infos.Flushed(*by_state(items))

    def _tasks(self, names: Iterable[str] | None) -> Listing[pb.TaskInfo, infos.TaskInfo]:
        found = None if names is None else _names(names)
        return admin_flows.tasks(self._namespace, found, self._limits), wire.task_info

    def _register_task(self, name: str, queue: QueueName, description: str, delivery: Delivery) -> Flow[None]:
        definition = pb.TaskDefinition(name=name, queue=queue_name(queue), description=description)
        definition.policy.MergeFromString(Policy.build(**delivery).encoded)
        yield from do(admin.register_tasks(self._namespace, [definition]))

    def _schedules(self) -> Listing[pb.ScheduleInfo, infos.ScheduleInfo]:
        return admin_flows.schedules(self._namespace), wire.schedule_info

    def _put_schedule(
        self,
        name: str,
        when: Every | Cron,
        task: str | None,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        queue: QueueName | None,
        group: str,
        delivery: Delivery,
    ) -> Flow[None]:
        if not isinstance(when, Every | Cron):
            raise TypeError(f"when must be an Every or a Cron, not {when!r}")
        yield from admin_flows.put_schedule(
            self._namespace,
            group,
            name,
            task or name,
            when,
            encode_call(args, kwargs or {}),
            queue=queue_name(queue) if queue else None,
            policy=Policy.build(**delivery) if delivery else None,
        )

    def _delete_schedules(self, names: Iterable[str]) -> Flow[list[str]]:
        return list((yield from admin_flows.delete_schedules(self._namespace, names)))

    def _stop_worker(self, worker: str) -> Flow[None]:
        return do(admin.command_worker(self._namespace, worker, WorkerCommand(stop=True)))

    def _resize_worker(self, worker: str, processes: int) -> Flow[None]:
        return do(admin.command_worker(self._namespace, worker, WorkerCommand(processes=processes)))

    def _workers(self) -> Listing[pb.WorkerInfo, infos.WorkerInfo]:
        return admin_flows.workers(self._namespace), wire.worker_info

    # Locks

    def _locks(self) -> Listing[Any, infos.LockInfo]:
        return admin_flows.locks(self._namespace), wire.lock_info

    def _acquire_lock(self, name: str, owner: str, duration: Seconds) -> Flow[infos.LockInfo]:
        seconds = to_seconds(duration, "duration")
        return wire.held_lock(name, owner, (yield from do(locking.acquire(self._namespace, name, owner, seconds))))

    def _refresh_lock(self, name: str, owner: str, duration: Seconds | None) -> Flow[infos.LockInfo]:
        seconds = None if duration is None else to_seconds(duration, "duration")
        return wire.held_lock(name, owner, (yield from do(locking.refresh(self._namespace, name, owner, seconds))))

    def _release_lock(self, name: str, owner: str) -> Flow[bool]:
        return (yield from do(locking.release(self._namespace, name, owner)))

    # The broker

    def _server_info(self) -> Flow[infos.ServerInfo]:
        try:
            return wire.server_info((yield from do(admin.server_info(self._limits, self._namespace))))
        except InvalidArgument as error:
            if error.field:
                raise
        # An earlier broker, which does not know the question.
        return wire.server_info((yield from do(admin.server_info(self._limits))))


def _kinds(is_data: bool | None) -> Kind:
    return QUEUE_KIND_UNSPECIFIED if is_data is None else kind_of(is_data)


def _names(names: Iterable[QueueName]) -> list[str]:
    """Names as text; one alone is a list of one."""
    return [queue_name(name) for name in ([names] if isinstance(names, str | bytes) else names)]
