"""Notices that every slot of a process waits for what no slot is left to run."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from dibs.tasks.context import CURRENT_TASK, RunningTask

from ..shared.logs import Said
from ..shared.settings import WorkerSettings
from ..shared.sorts import Sort
from .item import Runnable, by_sort

_log = logging.getLogger("dibs.worker")


class Waits:
    """Of one process; has the face of `SlotWaits`.

    Args:
        tasks: what the process runs, by name.
        settings: how many at once.
    """

    def __init__(self, tasks: Mapping[str, Runnable], settings: WorkerSettings) -> None:
        self._sorts = {name: sort for sort, some in by_sort(tasks).items() for name in some}
        self._slots = {sort: settings.slots(sort) for sort in Sort}
        self._lock = threading.Lock()
        #: Running tasks of each sort that wait, and in how many calls; an async one may wait in several.
        self._waiting: dict[Sort, Counter[RunningTask]] = {sort: Counter() for sort in Sort}
        self._told: set[tuple[str, str]] = set()

    @contextmanager
    def waiting(self, child: str) -> Iterator[Callable[[], object]]:
        """As of `SlotWaits`."""
        running = CURRENT_TASK.task
        assert running is not None, "a slot runs a task"
        waiting = self._waiting[self._sorts[running.name]]
        with self._lock:
            waiting[running] += 1
        try:
            yield lambda: self._look(running, child)
        finally:
            with self._lock:
                waiting[running] -= 1
                if not waiting[running]:
                    del waiting[running]

    def _look(self, running: RunningTask, child: str) -> None:
        sort, pair = self._sorts.get(child), (running.name, child)
        if sort is not None and len(self._waiting[sort]) >= self._slots[sort] and pair not in self._told:
            self._told.add(pair)
            _log.warning(
                Said(
                    f"task waits for a call that no slot is left for: all {self._slots[sort]:,} of this process hold "
                    f"tasks that wait; raise --{sort.label} above the number of tasks that wait, or give the called "
                    "task a queue and a worker of its own",
                    task=running.name,
                    id=running.taskid,
                    called=child,
                )
            )
