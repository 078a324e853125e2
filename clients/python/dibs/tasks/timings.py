"""When a schedule runs, to the wire and back."""

from __future__ import annotations

from ..rpc.times import to_duration
from ..v1.admin_pb2 import Schedule
from .schedules import Cron, Every


def write_timing(schedule: Schedule, when: Every | Cron) -> None:
    """Set when a schedule runs."""
    if isinstance(when, Every):
        schedule.interval.CopyFrom(to_duration(when.period.total_seconds()))
    else:
        schedule.cron, schedule.time_zone = when.expression, when.timezone
    schedule.never_skip = when.never_skip


def read_timing(schedule: Schedule) -> Every | Cron | None:
    """When a schedule runs; None: it does not say, as one that the broker cannot read."""
    timing = schedule.WhichOneof("timing")
    if timing == "interval":
        return Every(schedule.interval.ToTimedelta(), schedule.never_skip)
    if timing == "cron":
        return Cron(schedule.cron, schedule.time_zone or "UTC", schedule.never_skip)
    return None
