"""`dibs queues`: what is in each queue, and how fast it moves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

from ..v1.admin_pb2 import QueueInfo
from ..v1.types_pb2 import QUEUE_KIND_UNSPECIFIED
from . import words
from .arguments import AnyKind, Queues
from .command import single
from .machine import as_json
from .session import Session
from .tables import cell, table
from .values import span
from .waiting_tasks import unknown_tasks

#: Name and kind.
Key: TypeAlias = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a queue moves, in items a second.

    Attributes:
        put: put in.
        done: taken out for good.
    """

    put: float
    done: float


def key(queue: QueueInfo) -> Key:
    """What tells queues apart."""
    return queue.kind, queue.name


def rates(before: Iterable[QueueInfo], after: Iterable[QueueInfo], seconds: float) -> dict[Key, Rates]:
    """The rates between two looks at the same queues.

    Args:
        before: the first look.
        after: the second.
        seconds: from one to the other.
    """
    earlier = {key(queue): queue for queue in before}
    found = {}
    for queue in after:
        first = earlier.get(key(queue))
        # A queue that was deleted and came back counts from 0 again.
        seen, done = (first.seen, first.done) if first is not None and first.seen <= queue.seen else (0, 0)
        found[key(queue)] = Rates((queue.seen - seen) / seconds, max(queue.done - done, 0) / seconds)
    return found


def queues_table(queues: Sequence[QueueInfo], moving: Mapping[Key, Rates] | None, now: datetime) -> Table:
    """The table for people; `moving` None: without rates."""
    rate_columns = () if moving is None else ("in#", "out#")
    # They are rare: as long as there are none, nobody need wonder what they are.
    any_aside = any(queue.set_aside for queue in queues)
    aside_column = ("set aside#",) if any_aside else ()
    made = table(
        *("queue", "kind", "ready#", "delayed#", "leased#", "dead#", *aside_column, "seen#", *rate_columns),
        *("oldest#", "prio#", ""),
    )
    for queue in queues:
        at = moving.get(key(queue)) if moving is not None else None
        speeds = () if moving is None else (words.rate(at.put if at else None), words.rate(at.done if at else None))
        made.add_row(
            cell(queue.name),
            words.kind_word(queue.kind),
            words.count(queue.ready),
            words.count(queue.delayed),
            words.count(queue.leased),
            Text(words.count(queue.dead), style="red" if queue.dead else ""),
            *([Text(words.count(queue.set_aside), style="red" if queue.set_aside else "")] if any_aside else []),
            words.count(queue.seen),
            *speeds,
            oldest(queue, now),
            words.priority(queue.priority if queue.HasField("priority") else None),
            Text("paused", style="yellow") if queue.paused else "",
        )
    return made


def oldest(queue: QueueInfo, now: datetime) -> str:
    """How long the first ready item has waited."""
    if not queue.HasField("oldest_ready_time"):
        return words.NOTHING
    return words.age(words.since(queue.oldest_ready_time, now))


def queues(
    session: Session,
    names: Queues = None,
    kind: AnyKind = None,
    sample: Annotated[
        float,
        typer.Option(parser=span, metavar="TIME", show_default="1s", help="Measure rates for so long; 0: no rates."),
    ] = 1.0,
) -> None:
    """Queues with their counts, in the order in which they are served.

    in and out: items put in and taken out for good, a second. oldest: how long the first ready item has waited. set
    aside, if there are any: items that no delivery can carry; see `dibs tasks QUEUE --section set-aside`. Below: tasks
    whose calls wait although workers ask for work, because none of those that are connected knows them.
    """
    calls = session.calls
    wanted = kind.on_wire if kind else QUEUE_KIND_UNSPECIFIED
    found = calls.queues(wanted, names or None)
    moving: dict[Key, Rates] | None = None
    if sample and found:
        began = time.monotonic()
        with session.waiting("measuring rates"):
            time.sleep(sample)
        first, found = found, calls.queues(wanted, names or None)
        moving = rates(first, found, time.monotonic() - began)
    if session.as_json:
        session.document(queues=[_facts(queue, moving) for queue in found])
    elif not found:
        session.say(f"no queues in namespace {calls.namespace}")
    else:
        session.show(queues_table(found, moving, calls.now()))
        for sentence in unknown_tasks(found):
            session.say(sentence)


def _facts(queue: QueueInfo, moving: Mapping[Key, Rates] | None) -> dict[str, object]:
    at = moving.get(key(queue)) if moving is not None else None
    return {**as_json(queue), "in_per_second": at.put if at else None, "out_per_second": at.done if at else None}


command = single(queues)
