"""What a worker tells the broker when it starts: which tasks it runs, and when they run by themselves."""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..errors import BrokerError, InvalidArgument, PermissionDenied
from ..rpc import admin_operations as admin
from ..rpc.codec import encode_call
from ..rpc.flow import Flow, do, part_size
from ..rpc.known_limits import is_too_much
from ..rpc.operations import MAX_BATCH, Operation
from ..rpc.pages import whole
from ..tasks.definition import Definition
from ..tasks.timings import write_timing
from ..v1 import admin_pb2 as pb
from . import flows as admin_flows

T = TypeVar("T")

#: Characters of a description that the broker keeps.
_MAX_DESCRIPTION = 1_000

_PLACE = re.compile(r"(?:tasks|schedules)\[(\d+)\]")


@dataclass
class Registered:
    """What has become of a registration.

    Attributes:
        tasks: how many tasks the broker knows now.
        schedules: how many schedules it keeps now.
        removed: schedules that are no longer in the code, and gone.
        refused: names of tasks and schedules that the broker does not take, with its reasons.
        unchecked: names of tasks whose schema is longer than the broker takes; callers elsewhere are not checked by it.
    """

    tasks: int = 0
    schedules: int = 0
    removed: Sequence[str] = ()
    refused: dict[str, str] = field(default_factory=dict)
    unchecked: list[str] = field(default_factory=list)


def described(definitions: Iterable[Definition]) -> tuple[list[pb.TaskDefinition], list[pb.Schedule]]:
    """Tasks, and the schedules of those that have one, as the broker is told of them."""
    known = list(definitions)
    tasks = [task for one in known for task in _tasks(one)]
    return tasks, [_schedule(one) for one in known if one.schedule is not None]


def registration(
    namespace: str, definitions: Sequence[pb.TaskDefinition], timings: Sequence[pb.Schedule], group: str
) -> Flow[Registered]:
    """Register tasks, and put the schedules of those that have one; other schedules of the group go.

    Of schedules that are there already and have not changed, the times stay as they are: it does no harm how often, and
    from how many workers, this is done. What the broker refuses is left out, and the rest goes without it; a schedule
    that is refused is removed, if an older one of its name is there.

    Args:
        namespace: theirs.
        definitions: the tasks.
        timings: the schedules.
        group: what the schedules belong to: the module that the worker was started with.

    Raises:
        BrokerError: the broker refused altogether.
    """
    done = Registered()
    for at in range(0, len(definitions), MAX_BATCH):
        tasks = list(definitions[at : at + MAX_BATCH])
        done.tasks += yield from _in_parts(tasks, done, lambda tasks: admin.register_tasks(namespace, tasks))
    yield from _put_schedules(namespace, group, list(timings), done)
    return done


def _put_schedules(namespace: str, group: str, schedules: list[pb.Schedule], done: Registered) -> Flow[None]:
    """Put schedules in the place of those that the group has: in one request, if the broker takes so many."""

    def put_beside(some: list[pb.Schedule]) -> Operation[Sequence[str]]:
        return admin.put_schedules(namespace, group, some, replace_group=False)

    try:
        if len(schedules) <= MAX_BATCH:
            done.removed = yield from _without_refused(
                schedules, done, lambda left: admin.put_schedules(namespace, group, left, replace_group=True)
            )
            done.schedules = len(schedules)
            return
    except PermissionDenied:
        # The group has schedules of queues that are not ours to change: those stay.
        done.schedules = yield from _in_parts(schedules, done, put_beside)
        return
    except BrokerError as error:
        if not is_too_much(error) or len(schedules) < 2:
            raise
    done.schedules = yield from _in_parts(schedules, done, put_beside)
    names = {schedule.name for schedule in schedules} - done.refused.keys()
    there = yield from _names_in_group(namespace, group)
    removed = [name for name in there if name not in names]
    done.removed = (yield from do(admin.delete_schedules(namespace, removed))) if removed else ()


def _names_in_group(namespace: str, group: str) -> Flow[list[str]]:
    there = yield from whole(admin_flows.schedules(namespace))
    return [info.schedule.name for info in there if info.group == group]


def _in_parts(entries: list[Any], done: Registered, call: Callable[[list[Any]], Operation[Any]]) -> Flow[int]:
    """Make a call for all entries, in as many parts as the broker wants; how many were taken."""
    taken = 0
    left = deque([entries])
    while left:
        part = left.popleft()
        if not part:
            continue
        try:
            yield from _without_refused(part, done, call, none_left=())
        except BrokerError as error:
            if not is_too_much(error) or len(part) < 2:
                raise
            most = part_size(error, len(part))
            left.extendleft(part[at : at + most] for at in reversed(range(0, len(part), most)))
        else:
            taken += len(part)
    return taken


def _without_refused(
    entries: list[Any], done: Registered, call: Callable[[list[Any]], Operation[T]], *, none_left: T | None = None
) -> Flow[T]:
    """Make a call, again and again without the entries that were refused; `entries` is then what was taken.

    Args:
        entries: of the call.
        done: is told what was refused.
        call: makes it.
        none_left: what to answer instead of a call without entries; None: that one is made, too.
    """
    while True:
        if not entries and none_left is not None:
            return none_left
        try:
            return (yield from do(call(entries)))
        except InvalidArgument as error:
            match = _PLACE.match(error.field)
            if match is None or int(match[1]) >= len(entries):
                raise
            at = int(match[1])
            if error.field.endswith("].schema"):
                entries[at].schema = ""
                done.unchecked.append(entries[at].name)
            else:
                done.refused[entries.pop(at).name] = str(error)
        except PermissionDenied as error:
            kept = [entry for entry in entries if error.metadata.get("queue") not in _queues_of(entry)]
            if len(kept) == len(entries):
                raise
            done.refused |= {entry.name: str(error) for entry in entries if entry not in kept}
            entries[:] = kept


def _queues_of(entry: pb.TaskDefinition | pb.Schedule) -> tuple[str, str]:
    """Where calls or runs go, and where they may die."""
    return entry.queue, entry.policy.dead_letter_queue


def _tasks(definition: Definition) -> list[pb.TaskDefinition]:
    """Of a task: under its name, and under each alias, for who calls it by that."""
    text = inspect.getdoc(definition.target) or ""
    schema = definition.annotated.schema()
    tasks = []
    for name in (definition.name, *definition.aliases):
        task = pb.TaskDefinition(name=name, queue=definition.queue, description=text[:_MAX_DESCRIPTION], schema=schema)
        task.policy.MergeFromString(definition.policy.encoded)
        tasks.append(task)
    return tasks


def _schedule(definition: Definition) -> pb.Schedule:
    timing = definition.schedule
    schedule = pb.Schedule(name=definition.name, queue=definition.queue)
    schedule.content.task_name = definition.name
    schedule.content.payload = encode_call((), {})
    schedule.policy.MergeFromString(definition.policy.encoded)
    if timing is not None:
        write_timing(schedule, timing)
    return schedule
