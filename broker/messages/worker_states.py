"""What a worker says of itself for operators, and how that stands a while later."""

from __future__ import annotations

import time

from google.protobuf.duration_pb2 import Duration

from dibs.v1 import types_pb2 as tpb

from ..border.errors import InvalidField
from ..config.limits import Limits
from . import validation as check

#: Items that are named.
_MOST_NAMED = 20
#: Items that there can be: more than a worker holds.
_MOST_COUNTED = 20_000
_MOST_US = 366 * 24 * 3600 * 1_000_000


class ToldState:
    """The last word of one worker. Nothing until there was one."""

    def __init__(self) -> None:
        self._state: tpb.WorkerState | None = None
        self._told_at = 0.0

    def take(self, state: tpb.WorkerState, limits: Limits) -> None:
        """Take a new word. Raises `InvalidField`."""
        if len(state.overdue) > _MOST_NAMED:
            raise InvalidField("state.overdue", f"must be at most {_MOST_NAMED}")
        for at, one in enumerate(state.overdue):
            try:
                check.identifier(one.id, "id", limits.max_id_length)
                check.task_name(one.task_name, "task_name", limits.max_task_name_length)
                check.duration_us(one.overdue, "overdue", _MOST_US)
            except InvalidField as error:
                raise error.under(f"state.overdue[{at}]") from None
        if len(state.running) > _MOST_NAMED:
            raise InvalidField("state.running", f"must be at most {_MOST_NAMED}")
        for at, runs in enumerate(state.running):
            try:
                check.identifier(runs.id, "id", limits.max_id_length)
                check.task_name(runs.task_name, "task_name", limits.max_task_name_length)
                check.duration_us(runs.running, "running", _MOST_US)
            except InvalidField as error:
                raise error.under(f"state.running[{at}]") from None
        check.integer(state.running_count, "state.running_count", 0, _MOST_COUNTED)
        check.integer(state.overdue_count, "state.overdue_count", 0, _MOST_COUNTED)
        if state.HasField("silence"):
            check.duration_us(state.silence, "state.silence", _MOST_US)
        self._state = tpb.WorkerState()
        self._state.CopyFrom(state)
        self._told_at = time.monotonic()

    def now(self) -> tpb.WorkerState | None:
        """How it stands by now, if there is something to tell: what was so when it was told has gone on since."""
        told = self._state
        if told is None or not (told.overdue or told.running or told.HasField("silence")):
            return None
        state = tpb.WorkerState()
        state.CopyFrom(told)
        since_s = time.monotonic() - self._told_at
        for one in state.overdue:
            _lengthen(one.overdue, since_s)
        for runs in state.running:
            _lengthen(runs.running, since_s)
        if state.HasField("silence"):
            _lengthen(state.silence, since_s)
        return state


def _lengthen(duration: Duration, seconds: float) -> None:
    duration.FromMicroseconds(duration.ToMicroseconds() + round(seconds * 1e6))
