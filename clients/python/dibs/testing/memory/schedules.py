"""What runs by itself in a broker in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from ...tasks.schedules import Schedule
from ...tasks.timings import read_timing
from ...v1 import admin_pb2 as pb
from ...v1 import broker_pb2 as bpb
from ...v1 import types_pb2 as tpb
from .items import Items, page


@dataclass
class _Planned:
    """A schedule, and how it stands.

    Attributes:
        wire: as it was put.
        timing: when it runs.
        group: who put it.
        due: its next time, or that of the run that is pending.
        run_id: of its last run; "": there was none.
        pending: that has not started.
        runs: so far.
    """

    wire: pb.Schedule
    timing: Schedule
    group: str
    due: float
    run_id: str = ""
    pending: bool = False
    runs: int = 0


class Schedules:
    """Enqueues runs at their times: at most one of a schedule is pending, and the next is planned when it starts.

    Args:
        items: where runs are put.

    Attributes:
        answers: to the calls about schedules, by the names of the methods.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        self._planned: dict[str, _Planned] = {}
        self.answers: dict[str, Callable[[Any], Message | Sequence[Message]]] = {
            "PutSchedules": self.put,
            "ListSchedules": self._list,
            "DeleteSchedules": self._delete,
        }

    def fire(self) -> None:
        """Enqueue what is due, and plan anew what has started."""
        now = self._items.clock.now()
        for planned in self._planned.values():
            if planned.pending and self._has_started(planned.run_id):
                planned.pending = False
                planned.due = _next(planned.timing, planned.due if planned.timing.never_skip else max(planned.due, now))
            if not planned.pending and planned.due <= now:
                self._enqueue(planned)

    def next_time(self) -> float | None:
        """When the next run is due; None: none is planned."""
        return min((one.due for one in self._planned.values() if not one.pending), default=None)

    def put(self, request: pb.PutSchedulesRequest) -> pb.PutSchedulesResponse:
        """Make, change and remove schedules; those that have not changed go on as they were."""
        now = self._items.clock.now()
        names = {schedule.name for schedule in request.schedules}
        removed = []
        if request.replace_group:
            removed = [n for n, one in self._planned.items() if one.group == request.group and n not in names]
        for name in removed:
            del self._planned[name]
        for schedule in request.schedules:
            timing = read_timing(schedule)
            known = self._planned.get(schedule.name)
            if timing is not None and (known is None or known.wire != schedule):
                self._planned[schedule.name] = _Planned(schedule, timing, request.group, _next(timing, now))
        return pb.PutSchedulesResponse(removed_names=removed)

    def _enqueue(self, planned: _Planned) -> None:
        wire = planned.wire
        planned.run_id, planned.pending = f"{wire.name}:{planned.due:.6f}", True
        planned.runs += 1
        item = bpb.EnqueueItem(
            id=planned.run_id, queue=wire.queue, kind=tpb.QUEUE_KIND_TASK, content=wire.content, policy=wire.policy
        )
        self._items.put(item)

    def _has_started(self, run_id: str) -> bool:
        item = self._items.there.get(run_id)
        return item is None or item.deadline is not None or item.used > 0

    def _list(self, request: pb.ListSchedulesRequest) -> Message:
        names, token = page(sorted(self._planned), request.page_size, request.page_token)
        response = pb.ListSchedulesResponse(next_page_token=token)
        for name in names:
            planned = self._planned[name]
            state = pb.SCHEDULE_STATE_PENDING if planned.pending else pb.SCHEDULE_STATE_PLANNED
            info = response.schedules.add(
                schedule=planned.wire, group=planned.group, state=state, run_id=planned.run_id, runs=planned.runs
            )
            info.due_time.FromNanoseconds(round(planned.due * 1e9))
        return response

    def _delete(self, request: pb.DeleteSchedulesRequest) -> Message:
        deleted = [name for name in request.names if self._planned.pop(name, None) is not None]
        return pb.DeleteSchedulesResponse(deleted_names=deleted)


def _next(timing: Schedule, after: float) -> float:
    return timing.next(datetime.fromtimestamp(after, UTC)).timestamp()
