"""How a lane stands, for operators: what runs, what runs although its lease is over, and silence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from dibs.contract.limits import Limits
from dibs.v1 import types_pb2 as tpb

#: Items that are named.
_MOST_NAMED = 20
#: The longest time that is told.
_MOST_S = 366 * 24 * 3600.0


class RunsLong(NamedTuple):
    """An item that has run for a while.

    Attributes:
        since: about when it began, on the monotonic clock.
        task_name: of the item.
        id: likewise.
    """

    since: float
    task_name: str
    id: str


class Overdue(NamedTuple):
    """An item that runs although its lease is over.

    Attributes:
        since: when the lease ended, on the monotonic clock.
        task_name: of the item.
        id: likewise.
    """

    since: float
    task_name: str
    id: str


@dataclass(frozen=True)
class Condition:
    """How a lane stands. Nothing is amiss by default.

    Attributes:
        overdue: items that run although their lease is over.
        silent_since: when the process gave its last sign of life, on the monotonic clock; None: it gives some.
        running: what has run for a while.
    """

    overdue: tuple[Overdue, ...] = ()
    silent_since: float | None = None
    running: tuple[RunsLong, ...] = ()

    def without_running(self) -> Condition:
        """What a broker of an earlier version takes."""
        return replace(self, running=()) if self.running else self

    def message(self, now: float, limits: Limits) -> tpb.WorkerState:
        """As a broker with these limits takes it, beside entries."""
        state = tpb.WorkerState(overdue_count=len(self.overdue), running_count=len(self.running))
        if self.silent_since is not None:
            state.silence.FromMicroseconds(_us(now - self.silent_since))
        room = limits.margin_bytes // 2
        for one in sorted(self.overdue)[:_MOST_NAMED]:
            item = tpb.OverdueItem(id=one.id, task_name=one.task_name)
            item.overdue.FromMicroseconds(_us(now - one.since))
            room -= item.ByteSize()
            if room < 0:
                break
            # They may have come from a broker that takes longer ones.
            if len(one.id) <= limits.max_id_length and len(one.task_name) <= limits.max_task_name_length:
                state.overdue.append(item)
        for runs in sorted(self.running)[:_MOST_NAMED]:
            one_runs = tpb.RunningItem(id=runs.id, task_name=runs.task_name)
            one_runs.running.FromMicroseconds(_us(now - runs.since))
            room -= one_runs.ByteSize()
            if room < 0:
                break
            if len(runs.id) <= limits.max_id_length and len(runs.task_name) <= limits.max_task_name_length:
                state.running.append(one_runs)
        return state


def _us(seconds: float) -> int:
    return round(min(max(seconds, 0.0), _MOST_S) * 1e6)
