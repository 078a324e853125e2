"""From the engine's values to the messages of `AdminService`."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from dibs.v1 import admin_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .bodies import task_name
from .engine.dead_letters import DeadQueue
from .engine.queues import QueueCounts
from .engine.types import DEFAULT_MAX_CRASHES, Kind, Record, Spec, State, StoredItem
from .replies import KINDS, STATES, duration, retry_policy
from .stored import read_stored


def queue_info(kind: Kind, counts: QueueCounts) -> pb.QueueInfo:
    """One queue."""
    info = pb.QueueInfo(
        name=counts.name,
        kind=KINDS[kind],
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


def delivery_policy(spec: Spec) -> tpb.DeliveryPolicy:
    """How items of a spec are delivered."""
    policy = tpb.DeliveryPolicy(attempts=spec.attempts, lease_timeout=duration(spec.lease_us))
    if spec.max_crashes != DEFAULT_MAX_CRASHES:
        policy.max_crashes = spec.max_crashes
    if spec.retry is not None:
        policy.retry.CopyFrom(retry_policy(spec.retry))
    if spec.dead_queue is not None:
        policy.use_dead_letter = True
        policy.dead_letter_queue = spec.dead_queue
    if spec.keep_us:
        policy.result_ttl.CopyFrom(duration(spec.keep_us))
    return policy


def item_infos(items: Iterable[StoredItem], *, include_content: bool) -> list[pb.ItemInfo]:
    """Items as an operator sees them."""
    return [_item_info(item, include_content=include_content) for item in items]


def _item_info(item: StoredItem, *, include_content: bool) -> pb.ItemInfo:
    info = pb.ItemInfo(
        id=item.id,
        queue=item.queue,
        kind=KINDS[item.kind],
        state=STATES[item.state],
        attempt=item.deliveries,
        last_error=item.error,
        cancel_requested=item.cancel_requested,
    )
    if item.record is not None:
        _add_record(info, item.record, include_content=include_content)
    if item.time_us is not None:
        at = info.death_time if item.state is State.DEAD else info.next_time
        at.CopyFrom(timestamp(item.time_us))
    return info


def _add_record(info: pb.ItemInfo, record: Record, *, include_content: bool) -> None:
    info.queue = record.spec.queue
    info.kind = KINDS[record.spec.kind]
    info.policy.CopyFrom(delivery_policy(record.spec))
    info.enqueue_time.CopyFrom(timestamp(record.enqueued_us))
    info.schedule_time.CopyFrom(timestamp(record.due_us))
    if include_content:
        info.content.CopyFrom(read_stored(tpb.Content, record.body, f"content of item {info.id}") or tpb.Content())
    else:
        info.content.task_name = task_name(record.body).decode(errors="replace")


def dead_queue_info(kind: Kind, queue: DeadQueue) -> pb.DeadLetterQueueInfo:
    """One dead-letter queue."""
    return pb.DeadLetterQueueInfo(
        name=queue.name, kind=KINDS[kind], size=queue.size, oldest_death_time=timestamp(queue.oldest_death_us)
    )


def timestamp(microseconds: int) -> Timestamp:
    """A point in time."""
    message = Timestamp()
    message.FromMicroseconds(microseconds)
    return message
