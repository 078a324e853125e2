"""What is amiss with workers, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ..contract.lane_names import process_name
from ..v1.admin_pb2 import WorkerInfo
from . import words

#: Items of one worker that are named; more are counted.
_MOST = 5


def silent(workers: Iterable[WorkerInfo]) -> Iterator[str]:
    """One for each process that gives no sign of life."""
    found: dict[str, float] = {}
    for worker in workers:
        if worker.state.HasField("silence"):
            found.setdefault(process_name(worker.worker_id), words.seconds_of(worker.state.silence))
    for name, seconds in found.items():
        yield f"{words.plain(name)} has given no sign of life for {words.age(seconds)}"


def overdue(workers: Iterable[WorkerInfo]) -> Iterator[str]:
    """One for each item that runs although its lease is over, and one for those of a worker that are not named."""
    for worker in workers:
        name, state = words.plain(worker.worker_id), worker.state
        named = state.overdue[:_MOST]
        for item in named:
            seconds = words.age(words.seconds_of(item.overdue))
            yield (
                f"{name} runs {words.plain(item.task_name)} {words.plain(item.id)}, "
                f"whose lease has been over for {seconds}"
            )
        if state.overdue_count > len(named):
            yield f"{name} runs {state.overdue_count - len(named):,} more whose leases are over"


def count(workers: Iterable[WorkerInfo]) -> int:
    """How many are connected. One may have a stream for each of its lanes; several may have the same name."""
    streams = Counter(worker.worker_id for worker in workers)
    most: dict[str, int] = {}
    for worker_id, number in streams.items():
        name = process_name(worker_id)
        most[name] = max(most.get(name, 0), number)
    return sum(most.values())
