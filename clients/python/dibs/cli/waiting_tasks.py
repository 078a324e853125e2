"""Tasks whose calls wait although workers ask for work: no connected worker knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..v1.admin_pb2 import QueueInfo
from . import words

#: Tasks that are named; more are counted.
_MOST = 5


def unknown_tasks(queues: Iterable[QueueInfo]) -> list[str]:
    """One sentence for each task that no connected worker knows, those with the most waiting calls first."""
    calls: Counter[str] = Counter()
    for queue in queues:
        for task in queue.parked_tasks:
            if not task.workers:
                calls[task.task_name] += task.items
    sentences = [
        f"{count:,} call{'s' if count > 1 else ''} of {words.plain(name)} wait{'' if count > 1 else 's'}, "
        "no worker knows it"
        for name, count in calls.most_common(_MOST)
    ]
    if len(calls) > _MOST:
        sentences.append(f"so do calls of {len(calls) - _MOST:,} other tasks")
    return sentences
