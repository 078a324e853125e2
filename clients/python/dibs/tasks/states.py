"""Where a task is in its life, in the broker's words and in the few that `status` uses."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal, TypeAlias

from ..v1 import types_pb2 as tpb

#: What `EnqueuedTask.status` says.
Status: TypeAlias = Literal["early", "late", "waiting", "started", "done", "unknown"]


class State(StrEnum):
    """Where an item is in its life."""

    #: Delayed, not due yet.
    SCHEDULED = "SCHEDULED"
    #: Due, not yet moved to its queue.
    LATE = "LATE"
    #: In its queue, or with a worker that has not begun it.
    WAITING = "WAITING"
    #: A worker or consumer has begun it, and it is not finished.
    STARTED = "STARTED"
    #: Finished, its result kept.
    SUCCEEDED = "SUCCEEDED"
    #: Attempts used up, its error kept.
    FAILED = "FAILED"
    #: Attempts used up; it stands in a dead-letter queue.
    DEAD = "DEAD"
    #: Cancelled.
    CANCELLED = "CANCELLED"
    #: It waited longer than its task's `expires`, and nobody gets it any more.
    EXPIRED = "EXPIRED"
    #: Never there, or forgotten. What is done and asked for no result is forgotten at once.
    UNKNOWN = "UNKNOWN"

    @property
    def status(self) -> Status:
        """In the fewer words of `EnqueuedTask.status`."""
        return _STATUS.get(self, "done")

    @property
    def has_started(self) -> bool:
        """Whether it runs, or is over."""
        return self not in _BEFORE

    @property
    def is_over(self) -> bool:
        """Whether nothing more will become of it."""
        return self is not State.STARTED and self not in _BEFORE


class Cancelled(IntEnum):
    """What `cancel` found; true when there was something to cancel, and equal to the True, False and -1 of rpqueue."""

    #: It had not started and never will.
    NEVER_RUNS = 1
    #: It is running; its worker is told, and it will not be delivered again.
    TOLD = 2
    #: It had finished, and its result has been dropped.
    RESULT_DROPPED = -1
    #: Nothing is known of it.
    NOT_KNOWN = 0


_BEFORE = frozenset((State.SCHEDULED, State.LATE, State.WAITING))
_STATUS: dict[State, Status] = {
    State.SCHEDULED: "early",
    State.LATE: "late",
    State.WAITING: "waiting",
    State.STARTED: "started",
    State.UNKNOWN: "unknown",
}
_STATES = {tpb.ItemState.Value(f"ITEM_STATE_{state.name}"): state for state in State}


def state_from_wire(state: tpb.ItemState.ValueType) -> State:
    """The state that a reply names; UNKNOWN for one that a newer broker may know."""
    return _STATES.get(state, State.UNKNOWN)
