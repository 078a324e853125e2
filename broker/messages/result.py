"""`Result` and `Cancel`: how items stand, and the end of those that are not wanted any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..config.limits import Limits
from ..config.principals import EVERYTHING, Names
from ..engine.types import Cancelled, ItemStatus, Until
from . import validation as check
from .enums import KIND_TO_WIRE, STATES
from .stored import read_stored

#: Bytes that result, content and error take beyond their own: tags and lengths.
_CONTENTS_HEAD = 32
_CANCELLED = {
    Cancelled.NOT_FOUND: pb.CANCEL_OUTCOME_NOT_FOUND,
    Cancelled.REMOVED: pb.CANCEL_OUTCOME_REMOVED,
    Cancelled.REQUESTED: pb.CANCEL_OUTCOME_REQUESTED,
    Cancelled.RESULT_DROPPED: pb.CANCEL_OUTCOME_RESULT_DROPPED,
}


def cancel_response(ids: Sequence[str], outcomes: Sequence[Cancelled]) -> pb.CancelResponse:
    """Reply of Cancel."""
    return pb.CancelResponse(
        items=[pb.CancelledItem(id=id, outcome=_CANCELLED[outcome]) for id, outcome in zip(ids, outcomes, strict=True)]
    )


def result_response(
    statuses: Sequence[ItemStatus], room: int, item_bytes: int, shown: Names = EVERYTHING
) -> pb.ResultResponse:
    """Reply of Result; what would make it too large for a message is left out and marked.

    Args:
        statuses: of each item.
        room: bytes of all of them together.
        item_bytes: bytes that a single one may have instead.
        shown: the queues whose results may be seen.
    """
    response = pb.ResultResponse()
    for status in statuses:
        result = response.results.add(
            id=status.id,
            state=STATES[status.state],
            attempt=status.deliveries,
            queue=status.queue,
            kind=KIND_TO_WIRE[status.kind],
            cancel_requested=status.cancel_requested,
            truncated=status.truncated,
        )
        if record := status.record:
            result.enqueue_time.FromMicroseconds(record.enqueued_us)
            result.schedule_time.FromMicroseconds(record.due_us)
    # Everything else has its place before the first content does.
    left = (room if len(statuses) > 1 else item_bytes) - response.ByteSize()
    for result, status in zip(response.results, statuses, strict=True):
        if status.result is not None and not (shown.everything or status.queue in shown):
            result.withheld, status = True, status._replace(result=None)
        if not status.truncated:
            left = _add_contents(result, status, left)
    return response


def _add_contents(result: pb.ItemResult, status: ItemStatus, room: int) -> int:
    """Add what is large about an item, if there is room for it; what room is left then."""
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


#: Wait of a Result that names none.
_DEFAULT_RESULT_WAIT_US = 30_000_000
_UNTIL: dict[int, Until] = {
    pb.WAIT_UNTIL_UNSPECIFIED: Until.NOW,
    pb.WAIT_UNTIL_NOW: Until.NOW,
    pb.WAIT_UNTIL_STARTED: Until.STARTED,
    pb.WAIT_UNTIL_DONE: Until.DONE,
}


@dataclass(frozen=True, slots=True)
class ResultCall:
    """A checked ResultRequest."""

    namespace: str
    ids: Sequence[str]
    until: Until
    timeout_s: float
    bodies: bool


def read_cancel(request: pb.CancelRequest, limits: Limits) -> tuple[str, Sequence[str]]:
    """A CancelRequest."""
    return check.namespace(request.namespace, limits.max_name_length), read_ids(request.ids, limits)


def read_result(request: pb.ResultRequest, limits: Limits) -> ResultCall:
    """A ResultRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    until = check.choice(request.until, "until", _UNTIL)
    timeout_us = min(_DEFAULT_RESULT_WAIT_US, limits.max_wait_us)
    if request.HasField("timeout"):
        timeout_us = check.wait_us(request.timeout, "timeout", limits.max_wait_us)
    return ResultCall(namespace, read_ids(request.ids, limits), until, timeout_us / 1e6, request.include_content)


def read_ids(found: Sequence[str], limits: Limits) -> Sequence[str]:
    """A batch of item ids."""
    check.batch(len(found), "ids", limits.batch_items)
    for at, id in enumerate(found):
        check.identifier(id, f"ids[{at}]", limits.max_id_length)
    return list(found)
