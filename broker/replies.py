"""From the engine's values to the messages of the wire."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from functools import lru_cache

from google.protobuf.duration_pb2 import Duration

from dibs.contract.wire import field, id_entry, tag
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .border.encoded import Encoded
from .engine.types import Cancelled, Enqueued, ItemStatus, Kind, NewItem, Outcome, Retry, State
from .stored import read_stored

#: Bytes that result, content and error take beyond their own: tags and lengths.
_CONTENTS_HEAD = 32
#: Kinds of queues, as the wire has them.
KINDS = {Kind.TASK: tpb.QUEUE_KIND_TASK, Kind.DATA: tpb.QUEUE_KIND_DATA, None: tpb.QUEUE_KIND_UNSPECIFIED}
#: What follows the id in an `EnqueuedItem`.
_ENQUEUED = {
    outcome: pb.EnqueuedItem(outcome=value).SerializeToString()
    for outcome, value in (
        (Enqueued.CREATED, pb.ENQUEUE_OUTCOME_CREATED),
        (Enqueued.EXISTS, pb.ENQUEUE_OUTCOME_EXISTS),
        (Enqueued.REPLACED, pb.ENQUEUE_OUTCOME_REPLACED),
        (Enqueued.CONFLICT, pb.ENQUEUE_OUTCOME_CONFLICT),
        (Enqueued.RUNNING, pb.ENQUEUE_OUTCOME_RUNNING),
    )
}
_OUTCOMES = {
    Outcome.OK: tpb.OUTCOME_OK,
    Outcome.NOT_FOUND: tpb.OUTCOME_NOT_FOUND,
    Outcome.LEASE_EXPIRED: tpb.OUTCOME_LEASE_EXPIRED,
    Outcome.LEASE_SUPERSEDED: tpb.OUTCOME_LEASE_SUPERSEDED,
}
#: What follows the id in an `EntryOutcome`.
_ENTRY_OUTCOMES = {outcome: tpb.EntryOutcome(outcome=value).SerializeToString() for outcome, value in _OUTCOMES.items()}
_TOO_LARGE = tpb.EntryOutcome(outcome=tpb.OUTCOME_RESULT_TOO_LARGE).SerializeToString()
_ACK_OUTCOMES = tag(pb.AckResponse.DESCRIPTOR, "outcomes")
_ENQUEUED_ITEMS = tag(pb.EnqueueResponse.DESCRIPTOR, "items")
_RESPONSE = tag(pb.EnqueueStreamResponse.DESCRIPTOR, "response")
_CANCELLED = {
    Cancelled.NOT_FOUND: pb.CANCEL_OUTCOME_NOT_FOUND,
    Cancelled.REMOVED: pb.CANCEL_OUTCOME_REMOVED,
    Cancelled.REQUESTED: pb.CANCEL_OUTCOME_REQUESTED,
    Cancelled.RESULT_DROPPED: pb.CANCEL_OUTCOME_RESULT_DROPPED,
}
#: States of items, as the wire has them.
STATES = {
    State.SUCCEEDED: tpb.ITEM_STATE_SUCCEEDED,
    State.FAILED: tpb.ITEM_STATE_FAILED,
    State.CANCELLED: tpb.ITEM_STATE_CANCELLED,
    State.DEAD: tpb.ITEM_STATE_DEAD,
    State.STARTED: tpb.ITEM_STATE_STARTED,
    State.WAITING: tpb.ITEM_STATE_WAITING,
    State.SCHEDULED: tpb.ITEM_STATE_SCHEDULED,
    State.LATE: tpb.ITEM_STATE_LATE,
    State.UNKNOWN: tpb.ITEM_STATE_UNKNOWN,
}


def enqueue_response(items: Sequence[NewItem], outcomes: Sequence[Enqueued]) -> Encoded:
    """Reply of Enqueue."""
    entries = [
        id_entry(_ENQUEUED_ITEMS, item.id, _ENQUEUED[outcome]) for item, outcome in zip(items, outcomes, strict=True)
    ]
    return Encoded(b"".join(entries))


def enqueue_stream_response(response: Encoded) -> Encoded:
    """One reply on an enqueue stream, from that of Enqueue."""
    return Encoded(field(_RESPONSE, response))


@lru_cache(maxsize=1024)
def duration(microseconds: int) -> Duration:
    """A duration that is only ever copied from."""
    message = Duration()
    message.FromMicroseconds(microseconds)
    return message


@lru_cache(maxsize=1024)
def retry_policy(retry: Retry) -> tpb.RetryPolicy:
    """A retry policy that is only ever copied from."""
    return tpb.RetryPolicy(
        initial_delay=duration(retry.initial_us),
        multiplier=retry.factor,
        max_delay=duration(retry.max_us),
        jitter=retry.jitter,
    )


def entry_outcome(
    id: str, outcome: Outcome, *, cancel_requested: bool = False, token: int | None = None
) -> tpb.EntryOutcome:
    """What became of one ack, nack or refresh; `token` on a Work stream."""
    return tpb.EntryOutcome(
        id=id, outcome=_OUTCOMES[outcome], cancel_requested=cancel_requested, lease_token=token or 0
    )


def ack_response(request: pb.AckRequest, refused_at: Container[int], done: Iterable[Outcome]) -> Encoded:
    """Reply of Ack: entries that the engine never saw stand at their places among the others."""
    outcomes = iter(done)
    entries = [
        id_entry(_ACK_OUTCOMES, entry.id, _TOO_LARGE if at in refused_at else _ENTRY_OUTCOMES[next(outcomes)])
        for at, entry in enumerate(request.entries)
    ]
    return Encoded(b"".join(entries))


def cancel_response(ids: Sequence[str], outcomes: Sequence[Cancelled]) -> pb.CancelResponse:
    """Reply of Cancel."""
    return pb.CancelResponse(
        items=[pb.CancelledItem(id=id, outcome=_CANCELLED[outcome]) for id, outcome in zip(ids, outcomes, strict=True)]
    )


def result_response(statuses: Sequence[ItemStatus], room: int, item_bytes: int) -> pb.ResultResponse:
    """Reply of Result; what would make it too large for a message is left out and marked.

    Args:
        statuses: of each item.
        room: bytes of all of them together.
        item_bytes: bytes that a single one may have instead.
    """
    response = pb.ResultResponse()
    for status in statuses:
        result = response.results.add(
            id=status.id,
            state=STATES[status.state],
            attempt=status.deliveries,
            queue=status.queue,
            kind=KINDS[status.kind],
            cancel_requested=status.cancel_requested,
            truncated=status.truncated,
        )
        if record := status.record:
            result.enqueue_time.FromMicroseconds(record.enqueued_us)
            result.schedule_time.FromMicroseconds(record.due_us)
    # Everything else has its place before the first content does.
    left = (room if len(statuses) > 1 else item_bytes) - response.ByteSize()
    for result, status in zip(response.results, statuses, strict=True):
        if not status.truncated:
            left = _add_contents(result, status, left)
    return response


def _add_contents(result: pb.ItemResult, status: ItemStatus, room: int) -> int:
    """Adds what is large about an item, if there is room for it; what room is left then."""
    body = status.record.body if status.record else b""
    size = len(status.result or b"") + len(body) + len(status.error.encode())
    if not size and status.result is None:
        return room
    if size + _CONTENTS_HEAD > room:
        result.truncated = True
        return room
    if status.result is not None:
        result.result = status.result
    if body:
        # What another version wrote is told as far as it can be.
        result.content.CopyFrom(read_stored(tpb.Content, body, f"content of item {status.id}") or tpb.Content())
    result.error = status.error
    return room - size - _CONTENTS_HEAD
