"""What became of tasks, as flows: states, results, and cancelling."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Literal

from ..codecs.sealing import Sealing
from ..errors import PermissionDenied, ResultUnavailable, TaskCancelled, TaskExpired, TaskFailed, TaskNotFinished
from ..rpc import operations, waiting
from ..rpc.codec import decode_value
from ..rpc.flow import LONGEST_WAIT_SECONDS, Flow, do
from ..rpc.operations import MAX_BATCH, Until
from ..rpc.times import Seconds, to_wait
from ..v1 import broker_pb2 as pb
from .slot_waits import SLOT_WAITS, waiting_for
from .states import Cancelled, State, state_from_wire

#: A wait that is shorter is not worth a request.
_TOO_SHORT_SECONDS = 0.001
#: How long a task waits for another to begin before it is looked whether there is a slot for it.
_LOOK_SECONDS = 0.25


def look_up(namespace: str, id: str, *, include_content: bool = False) -> Flow[pb.ItemResult]:
    """What is known of one item now."""
    found = yield from do(operations.result(namespace, [id], include_content=include_content))
    return found[0]


def look_up_until(
    namespace: str, id: str, name: str, until: Until, timeout: Seconds | None, *, include_content: bool = False
) -> Flow[pb.ItemResult]:
    """What is known of one item when it has got that far, or when the time is up (None: never).

    Args:
        namespace: of the item.
        id: likewise.
        name: of its task, if it is known.
        until: how far.
        timeout: in seconds or as a timedelta.
        include_content: also what it was called with.
    """
    deadline = None if timeout is None else waiting.now() + to_wait(timeout, "timeout")
    longest = LONGEST_WAIT_SECONDS if SLOT_WAITS.get() is None else _LOOK_SECONDS
    with waiting_for(name) as look_for_slots:
        while True:
            left = longest if deadline is None else max(deadline - waiting.now(), 0.0)
            asking = operations.result(
                namespace, [id], until=until, timeout=min(left, longest), include_content=include_content
            )
            found = (yield from do(asking))[0]
            state = state_from_wire(found.state)
            over = deadline is not None and waiting.now() + _TOO_SHORT_SECONDS >= deadline
            if over or (state.is_over if until == "done" else state.has_started):
                return found
            if state is State.WAITING:
                look_for_slots()
            longest = LONGEST_WAIT_SECONDS


def wait_for(
    namespace: str, id: str, name: str, until: Literal["started", "done"], timeout: Seconds | None
) -> Flow[bool]:
    """Whether it got that far in time."""
    if until not in ("started", "done"):
        raise ValueError(f"until must be 'started' or 'done', not {until!r}")
    state = state_from_wire((yield from look_up_until(namespace, id, name, until, timeout)).state)
    return state.is_over if until == "done" else state.has_started


def get_result(
    namespace: str, id: str, name: str, timeout: Seconds | None, sealing: Sealing | None = None
) -> Flow[Any]:
    """The value that a task returned, waiting for it.

    Raises:
        CodecError: it is encoded, and cannot be decoded here.
        TaskFailed: it raised.
        TaskCancelled: somebody cancelled it.
        TaskExpired: it waited longer than it may.
        TaskNotFinished: not in time.
        ResultUnavailable: no result is kept of it, or it is not known.
        PermissionDenied: there is one, and these credentials may not see it.
    """
    found = yield from look_up_until(namespace, id, name, "done", timeout)
    state = state_from_wire(found.state)
    if not state.is_over:
        waited = f"{to_wait(timeout or 0, 'timeout'):g} s"
        raise TaskNotFinished(f"task {name or '(unnamed)'} {id} is {state.status} after {waited}")
    if state is State.CANCELLED:
        raise TaskCancelled(id, name, found.error)
    if state is State.EXPIRED:
        raise TaskExpired(id, name, found.error)
    if state in (State.FAILED, State.DEAD):
        raise TaskFailed(id, name, found.error)
    if found.truncated:
        raise ResultUnavailable(f"the result of task {name or '(unnamed)'} {id} is too large for a reply")
    if state is not State.SUCCEEDED:
        raise ResultUnavailable(
            f"no result of task {name or '(unnamed)'} {id} is kept: it asked for none (save_results), "
            "its time is over, or it was never there"
        )
    return result_of(found, sealing)


def result_of(found: pb.ItemResult, sealing: Sealing | None) -> Any:
    """What a task returned: None if its worker sent nothing, the bytes if they are not JSON.

    Raises:
        PermissionDenied: it may not be seen.
        CodecError: it is encoded, and cannot be decoded here.
    """
    if found.withheld:
        raise PermissionDenied(
            f"the result of task {found.id} is for principals with the role produce, consume or content",
            reason="MISSING_ROLE",
        )
    if not found.HasField("result"):
        return None
    return decode_value(found.result if sealing is None else sealing.open_result(found.id, found.result))


def get_results(namespace: str, ids: Iterable[str], sealing: Sealing | None = None) -> Flow[list[Any]]:
    """The values that tasks returned, None for each that has none (yet), in the order of the ids.

    A worker in another language may have sent what is not JSON: that comes as its bytes.

    Raises:
        CodecError: one is encoded, and cannot be decoded here.
    """
    values: list[Any] = []
    remaining = iter(ids)
    while batch := list(islice(remaining, MAX_BATCH)):
        left_out: list[int] = []
        found = yield from do(operations.result(namespace, batch))
        for item in found:
            if item.truncated:
                left_out.append(len(values))
            values.append(result_of(item, sealing))
        start = len(values) - len(batch)
        most = MAX_BATCH
        while left_out:  # the reply was full; what is asked for alone has room
            again = [batch[place - start] for place in left_out[:most]]
            still: list[int] = []
            found = yield from do(operations.result(namespace, again))
            for place, item in zip(left_out[:most], found, strict=True):
                if item.truncated:
                    still.append(place)
                else:
                    values[place] = result_of(item, sealing)
            if len(still) == len(again):
                if len(again) == 1:
                    raise ResultUnavailable(f"the result of task {again[0]} is too large for a reply")
                most = len(again) // 2
            left_out = still + left_out[len(again) :]
    return values


_CANCELLED: dict[pb.CancelOutcome.ValueType, Cancelled] = {
    pb.CANCEL_OUTCOME_REMOVED: Cancelled.NEVER_RUNS,
    pb.CANCEL_OUTCOME_REQUESTED: Cancelled.TOLD,
    pb.CANCEL_OUTCOME_RESULT_DROPPED: Cancelled.RESULT_DROPPED,
}


def cancel(namespace: str, id: str) -> Flow[Cancelled]:
    """Cancel one item."""
    items = yield from do(operations.cancel(namespace, [id]))
    return _CANCELLED.get(items[0].outcome, Cancelled.NOT_KNOWN)
