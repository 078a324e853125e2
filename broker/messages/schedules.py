"""Between the messages about schedules and the engine's values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dibs.contract.cron import BadCron, Effort, check_cron, zone
from dibs.contract.headers import PRINCIPAL
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..border.errors import InvalidField
from ..config.limits import Limits
from ..config.principals import EVERYTHING, Names
from ..engine.schedules import NewSchedule, ScheduleState, StoredSchedule
from . import validation as check
from .delivery_policy import check_content, delivery_spec
from .paging import Page
from .recurrence import Cron, Every, Recurrence
from .rooms import fitting
from .stored import read_stored

#: Longest name of a schedule or of a group, in characters.
MAX_NAME_LENGTH = 256
_DEFAULT_ZONE = "UTC"

_STATES = {
    ScheduleState.PLANNED: pb.SCHEDULE_STATE_PLANNED,
    ScheduleState.NO_WORKER: pb.SCHEDULE_STATE_NO_WORKER,
    ScheduleState.PENDING: pb.SCHEDULE_STATE_PENDING,
    # For the moment that it takes until a broker has planned what comes next.
    ScheduleState.STARTED: pb.SCHEDULE_STATE_PLANNED,
    ScheduleState.UNREADABLE: pb.SCHEDULE_STATE_UNREADABLE,
}


@dataclass(frozen=True, slots=True)
class PutCall:
    """A checked PutSchedulesRequest. The schedules have no due times yet."""

    namespace: str
    group: str
    schedules: Sequence[NewSchedule]
    replace_group: bool
    effort: Effort

    def planned(self, now_us: int) -> list[NewSchedule]:
        """The schedules with their first due times, if they are made now. Raises `InvalidField`."""
        planned = []
        for at, one in enumerate(self.schedules):
            try:
                due_us = decode_recurrence(one.definition).first(now_us, self.effort)
            except BadCron as error:
                raise InvalidField(f"schedules[{at}].cron", str(error)) from None
            planned.append(one._replace(due_us=due_us))
        return planned


def read_put(request: pb.PutSchedulesRequest, limits: Limits) -> PutCall:
    """A PutSchedulesRequest. Raises `InvalidField`."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.text(request.group, "group", MAX_NAME_LENGTH)
    check.batch(len(request.schedules), "schedules", limits.batch_items, minimum=0)
    found: dict[str, NewSchedule] = {}
    effort = Effort()
    for at, schedule in enumerate(request.schedules):
        try:
            if schedule.name in found:
                raise InvalidField("name", "is that of another schedule in this request")
            found[schedule.name] = _read_schedule(schedule, limits, effort)
        except InvalidField as error:
            raise error.under(f"schedules[{at}]") from None
    return PutCall(namespace, request.group, list(found.values()), request.replace_group, effort)


def _read_schedule(schedule: pb.Schedule, limits: Limits, effort: Effort) -> NewSchedule:
    check.text(schedule.name, "name", MAX_NAME_LENGTH)
    # Who has put a schedule is not told by its runs.
    schedule.content.headers.pop(PRINCIPAL, None)
    check_content(schedule.content, limits, is_task=True)
    spec = delivery_spec(schedule.queue, tpb.QUEUE_KIND_TASK, schedule.policy.SerializeToString(), limits)
    _check_timing(schedule, limits, effort)
    definition = pb.Schedule()
    definition.CopyFrom(schedule)
    definition.ClearField("content")
    return NewSchedule(
        schedule.name,
        spec,
        schedule.content.task_name,
        definition.SerializeToString(deterministic=True),
        schedule.content.SerializeToString(deterministic=True),
        due_us=0,
    )


def _check_timing(schedule: pb.Schedule, limits: Limits, effort: Effort) -> None:
    timing = schedule.WhichOneof("timing")
    if timing is None:
        raise InvalidField("interval", "or cron must be there")
    if timing == "interval":
        least = limits.min_schedule_interval_us
        check.duration_us(schedule.interval, "interval", limits.max_delay_us, minimum_us=least)
        if schedule.time_zone:
            raise InvalidField("time_zone", "does not go with interval")
        return
    try:
        check_cron(schedule.cron, effort)
    except BadCron as error:
        raise InvalidField("cron", str(error)) from None
    try:
        zone(schedule.time_zone or _DEFAULT_ZONE)
    except BadCron as error:
        raise InvalidField("time_zone", str(error)) from None


class UnknownTiming(ValueError):
    """A schedule that recurs in a way that this version does not know, or whose definition is damaged."""


@lru_cache(maxsize=1024)
def decode_recurrence(definition: bytes) -> Recurrence:
    """When a schedule is due, from its definition; the same are looked at again and again. Raises `UnknownTiming`."""
    schedule = read_stored(pb.Schedule, definition, "definition of a schedule")
    timing = schedule.WhichOneof("timing") if schedule is not None else None
    if schedule is None or timing is None:
        raise UnknownTiming("it says in no way that this version knows when it is due")
    if timing == "cron":
        return Cron(schedule.cron, schedule.time_zone or _DEFAULT_ZONE, schedule.never_skip)
    interval = schedule.interval
    return Every(interval.seconds * 1_000_000 + (interval.nanos + 999) // 1000, schedule.never_skip)


def read_delete(request: pb.DeleteSchedulesRequest, limits: Limits) -> tuple[str, list[str]]:
    """Namespace and names of a DeleteSchedulesRequest, each once. Raises `InvalidField`."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.batch(len(request.names), "names", limits.batch_items)
    for at, name in enumerate(request.names):
        check.text(name, f"names[{at}]", MAX_NAME_LENGTH)
    return namespace, list(dict.fromkeys(request.names))


def list_response(
    found: Iterable[StoredSchedule], page: Page, last: str, room: int, shown: Names = EVERYTHING
) -> pb.ListSchedulesResponse:
    """Reply of ListSchedules.

    Args:
        found: the schedules.
        page: what was asked for.
        last: the name after which the list goes on; "" at its end.
        room: bytes of all of them together; the rest is for the next page.
        shown: the queues of whose runs the payloads and headers may be seen.
    """
    infos = [_info(one) for one in found]
    for info in infos if not shown.everything else ():
        if info.schedule.queue not in shown:
            info.schedule.content.ClearField("payload")
            info.schedule.content.ClearField("headers")
    fit = fitting(infos, room)
    if len(fit) < len(infos):
        last = fit[-1].schedule.name
    return pb.ListSchedulesResponse(schedules=fit, next_page_token=page.token(last))


def _info(stored: StoredSchedule) -> pb.ScheduleInfo:
    definition = read_stored(pb.Schedule, stored.definition, f"definition of schedule {stored.name}")
    content = read_stored(tpb.Content, stored.body, f"content of schedule {stored.name}")
    info = pb.ScheduleInfo(group=stored.group, state=_STATES[stored.state], run_id=stored.run_id, runs=stored.runs)
    info.schedule.CopyFrom(definition or pb.Schedule())
    info.schedule.name = stored.name
    try:
        due_us = _due_us(stored)
    except (UnknownTiming, BadCron):
        due_us = None
    if due_us is None or definition is None or content is None:
        info.state = pb.SCHEDULE_STATE_UNREADABLE
        return info
    info.schedule.content.CopyFrom(content)
    info.due_time.FromMicroseconds(due_us)
    if stored.start_us:
        info.last_start_time.FromMicroseconds(stored.start_us)
    return info


def _due_us(stored: StoredSchedule) -> int | None:
    """When it is due; None: it cannot be read."""
    if stored.state is ScheduleState.UNREADABLE:
        return None
    if stored.state is ScheduleState.STARTED:
        return decode_recurrence(stored.definition).following(stored.run_due_us, stored.start_us)
    return stored.due_us
