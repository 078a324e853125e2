"""What requests reach: the queues that they name, and the items, tasks and schedules whose queues are to be looked up.

Asked only where somebody calls who has a right for some queues and not for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dibs.contract.names import DEADLETTER_QUEUE
from dibs.v1 import broker_pb2 as pb

from ..engine.hints import RUN_PREFIX
from .errors import InvalidField
from .item_ids import completed

#: Conflicts in which the item that is there gives way.
_REPLACING = (pb.ON_CONFLICT_REPLACE, pb.ON_CONFLICT_REPLACE_UNLESS_RUNNING)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a request reaches in its namespace.

    Attributes:
        queues: names.
        ids: of items that are there.
        tasks: names of tasks that are registered.
        schedules: names of schedules that are there.
        group: of schedules that are there; "": none.
        whole: everything in it.
    """

    queues: Sequence[str] = ()
    ids: Sequence[str] = ()
    tasks: Sequence[str] = ()
    schedules: Sequence[str] = ()
    group: str = ""
    whole: bool = False


#: More than some queues.
WHOLE = Reach(whole=True)


def whole(request: Any) -> Reach:
    """Everything in the namespace, or what has to do with no queue."""
    return WHOLE


def listed(request: Any) -> Reach:
    """What the caller may see, which the handler looks after."""
    return Reach()


def queue(request: Any) -> Reach:
    """The queue that is named."""
    return Reach(queues=[request.queue])


def dead_queue(request: Any) -> Reach:
    """The dead-letter queue that is named. Whoever has it has what is in it, wherever that came from."""
    return Reach(queues=[request.queue or DEADLETTER_QUEUE])


def named_queues(request: Any) -> Reach:
    """Those that are named; none are: what the caller may see, which the handler looks after."""
    return Reach(queues=request.names)


def ids(request: Any) -> Reach:
    """Items by their ids."""
    return Reach(ids=request.ids)


def entries(request: Any) -> Reach:
    """Items by the ids in entries."""
    return Reach(ids=_ids(request.entries))


def enqueued(request: Any) -> Reach:
    """Where items go, where they may die, and what gives way to them.

    Raises:
        InvalidField: an item would stand for a run of a schedule, which might be in another queue.
    """
    for at, item in enumerate(request.items):
        # Under a lease it is the next attempt of one.
        if item.id.startswith(RUN_PREFIX) and not item.lease_token:
            raise InvalidField(
                f"items[{at}].id", f"must not begin with {RUN_PREFIX!r}, as runs of schedules do: that needs all queues"
            )
    return Reach(
        queues=[name for item in request.items for name in (item.queue, *_own_dead_queue(item.policy))],
        ids=_replaced(request),
    )


def leased(request: Any) -> Reach:
    """The queues that items are wanted of; none are named: all."""
    if not request.queues:
        return WHOLE
    return Reach(queues=[*request.queues, *_other_dead_queue(request.default_dead_letter_queue)])


def worked(request: Any) -> Reach:
    """What a worker settles."""
    lists = (request.acks, request.nacks, request.refreshes, request.begun)
    return Reach(ids=[id for entries in lists for id in _ids(entries)])


def flushed(request: Any) -> Reach:
    """The queues that are waited for; every schedule where they are fired."""
    return WHOLE if request.force_delayed or not request.queues else Reach(queues=request.queues)


def registered(request: Any) -> Reach:
    """Where calls of the tasks go from now on, and went so far."""
    return Reach(
        queues=[name for task in request.tasks for name in (task.queue, *_own_dead_queue(task.policy))],
        tasks=[task.name for task in request.tasks],
    )


def scheduled(request: Any) -> Reach:
    """Where runs go from now on, and went so far, and those of the schedules that are removed."""
    return Reach(
        queues=[name for one in request.schedules for name in (one.queue, *_own_dead_queue(one.policy))],
        schedules=[one.name for one in request.schedules],
        group=request.group if request.replace_group else "",
    )


def schedules(request: Any) -> Reach:
    """Where runs of the schedules went so far."""
    return Reach(schedules=request.names)


def _replaced(request: Any) -> list[str]:
    places = [at for at, item in enumerate(request.items) if item.on_conflict in _REPLACING]
    if not places:
        return []
    # The id that is made for one without is that of an earlier request, if that had the same request id.
    ids = completed([item.id for item in request.items], request.request_id)
    return [ids[at] for at in places]


def _ids(entries: Iterable[Any]) -> list[str]:
    return [entry.id for entry in entries]


def _own_dead_queue(policy: Any) -> list[str]:
    return _other_dead_queue(policy.dead_letter_queue)


def _other_dead_queue(name: str) -> list[str]:
    """The one that items go to where none is named is open to all that may die."""
    return [name] if name and name != DEADLETTER_QUEUE else []
