"""From the broker's messages to the plain values of `infos`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from ..codecs.sealing import Sealing
from ..contract.limits import CONTRACT
from ..enqueueing.policy import policy_from_wire
from ..tasks.states import state_from_wire
from ..tasks.timings import read_timing
from ..v1 import admin_pb2 as pb
from ..v1 import lock_pb2
from ..v1.types_pb2 import QUEUE_KIND_DATA
from . import infos

#: The sections of a queue.
SECTIONS: dict[infos.Section, pb.ItemSection.ValueType] = {
    "ready": pb.ITEM_SECTION_READY,
    "delayed": pb.ITEM_SECTION_DELAYED,
    "leased": pb.ITEM_SECTION_LEASED,
    "set-aside": pb.ITEM_SECTION_SET_ASIDE,
}

_SCHEDULE_STATES = {
    pb.SCHEDULE_STATE_PLANNED: infos.ScheduleState.PLANNED,
    pb.SCHEDULE_STATE_PENDING: infos.ScheduleState.PENDING,
    pb.SCHEDULE_STATE_NO_WORKER: infos.ScheduleState.NO_WORKER,
    pb.SCHEDULE_STATE_UNREADABLE: infos.ScheduleState.UNREADABLE,
}


def queue_info(queue: pb.QueueInfo) -> infos.QueueInfo:
    """A queue."""
    return infos.QueueInfo(
        name=queue.name,
        is_data=queue.kind == QUEUE_KIND_DATA,
        ready=queue.ready,
        delayed=queue.delayed,
        leased=queue.leased,
        dead=queue.dead,
        set_aside=queue.set_aside,
        seen=queue.seen,
        finished=queue.done,
        priority=queue.priority if queue.HasField("priority") else None,
        paused=queue.paused,
        oldest_ready_time=_time(queue, "oldest_ready_time"),
        parked_tasks=tuple(infos.ParkedTask(one.task_name, one.items, one.workers) for one in queue.parked_tasks),
    )


def item_info(item: pb.ItemInfo, sealing: Sealing | None = None) -> infos.ItemInfo:
    """An item; `sealing` decodes its content."""
    return infos.ItemInfo(
        id=item.id,
        queue=item.queue,
        is_data=item.kind == QUEUE_KIND_DATA,
        state=state_from_wire(item.state),
        task_name=item.content.task_name,
        payload=item.content.payload,
        headers=dict(item.content.headers),
        attempt=item.attempt,
        policy=policy_from_wire(item.policy),
        last_error=item.last_error,
        enqueue_time=_time(item, "enqueue_time"),
        schedule_time=_time(item, "schedule_time"),
        next_time=_time(item, "next_time"),
        death_time=_time(item, "death_time"),
        cancel_requested=item.cancel_requested,
        sealing=sealing,
    )


def dead_letter_queue_info(queue: pb.DeadLetterQueueInfo) -> infos.DeadLetterQueueInfo:
    """A dead-letter queue."""
    return infos.DeadLetterQueueInfo(
        queue.name, queue.kind == QUEUE_KIND_DATA, queue.size, _time(queue, "oldest_death_time")
    )


def task_info(task: pb.TaskInfo) -> infos.TaskInfo:
    """A registered task."""
    known = task.definition
    return infos.TaskInfo(
        name=known.name,
        queue=known.queue,
        policy=policy_from_wire(known.policy),
        description=known.description,
        register_time=_time(task, "register_time"),
        workers=task.workers,
        schema=known.schema,
    )


def schedule_info(schedule: pb.ScheduleInfo) -> infos.ScheduleInfo:
    """A schedule."""
    put = schedule.schedule
    return infos.ScheduleInfo(
        name=put.name,
        group=schedule.group,
        task_name=put.content.task_name,
        payload=put.content.payload,
        queue=put.queue,
        policy=policy_from_wire(put.policy),
        when=read_timing(put),
        state=_SCHEDULE_STATES.get(schedule.state, infos.ScheduleState.UNKNOWN),
        due_time=_time(schedule, "due_time"),
        last_start_time=_time(schedule, "last_start_time"),
        run_id=schedule.run_id,
        runs=schedule.runs,
    )


def worker_info(worker: pb.WorkerInfo) -> infos.WorkerInfo:
    """A connected worker."""
    return infos.WorkerInfo(
        worker_id=worker.worker_id,
        is_data=worker.kind == QUEUE_KIND_DATA,
        queues=tuple(worker.queues),
        task_names=tuple(worker.task_names),
        broker_id=worker.broker_id,
        connect_time=_time(worker, "connect_time"),
        seen_time=_time(worker, "seen_time"),
        credit=worker.credit,
        delivered=worker.delivered,
        acked=worker.acked,
        nacked=worker.nacked,
        overdue=tuple(
            infos.OverdueItem(item.id, item.task_name, item.overdue.ToTimedelta()) for item in worker.state.overdue
        ),
        overdue_count=worker.state.overdue_count,
        silence=worker.state.silence.ToTimedelta() if worker.state.HasField("silence") else None,
        running=tuple(
            infos.RunningItem(item.id, item.task_name, item.running.ToTimedelta()) for item in worker.state.running
        ),
        running_count=worker.state.running_count,
        worker=worker.takes_commands_as,
    )


def lock_info(lock: lock_pb2.LockInfo) -> infos.LockInfo:
    """A lock."""
    return infos.LockInfo(lock.name, lock.owner, _time(lock, "expire_time"))


def held_lock(name: str, owner: str, reply: lock_pb2.AcquireResponse | lock_pb2.RefreshLockResponse) -> infos.LockInfo:
    """A lock that was just taken or refreshed."""
    return infos.LockInfo(name, owner, _time(reply, "expire_time"))


def flush_progress(report: pb.FlushResponse) -> infos.FlushProgress:
    """How far a flush is."""
    return infos.FlushProgress(report.done, report.started, report.waiting)


def server_info(info: pb.GetServerInfoResponse) -> infos.ServerInfo:
    """A broker."""
    return infos.ServerInfo(
        version=info.version,
        broker_id=info.broker_id,
        start_time=_time(info, "start_time"),
        redis_ready=info.redis_ready,
        redis_version=info.redis_version,
        redis_latency=info.redis_latency.ToTimedelta(),
        redis_time=_time(info, "redis_time"),
        redis_memory_bytes=info.redis_memory_bytes,
        redis_max_memory_bytes=info.redis_max_memory_bytes,
        settings={setting.name: setting.value for setting in info.settings},
        advices=tuple(infos.Advice(advice.reason, advice.text) for advice in info.advices),
        namespaces=tuple(info.namespaces),
        limits=CONTRACT.with_message(info.limits),
        tls_expire_time=_time(info, "tls_expire_time"),
        tls_client_ca_expire_time=_time(info, "tls_client_ca_expire_time"),
        quotas=tuple(map(_quota_use, info.quotas)),
    )


def _quota_use(use: pb.QuotaUse) -> infos.QuotaUse:
    return infos.QuotaUse(use.quota, use.used if use.HasField("used") else None, use.limit or None)


def _time(message: Message, field: str) -> datetime | None:
    """A time of a message, if it is there."""
    if not message.HasField(field):
        return None
    time: Any = getattr(message, field)
    found: datetime = time.ToDatetime(UTC)
    return found
