"""When a task process has had its time: after so many tasks, or beyond so much memory."""

from __future__ import annotations

import os
import random
from pathlib import Path

from dibs.contract.sizes import format_size

from ..shared.settings import WorkerSettings

#: Share of a limit that is left to chance, so that processes that began together do not end together.
_JITTER = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MEMORY = Path("/proc/self/statm")


class Recycling:
    """The limits of one process, drawn anew for each.

    Args:
        settings: `max_tasks_per_process` and `max_memory_per_process`.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._tasks = _drawn(settings.max_tasks_per_process)
        self._memory = _drawn(settings.max_memory_per_process)

    def after(self, tasks: int) -> str | None:
        """Why a process that has run so many tasks has had its time, in words; None: it has not."""
        return f"{tasks:,} tasks" if 0 < self._tasks <= tasks else None

    def beyond(self, pid: int, tasks: int) -> str | None:
        """Why a process has that, by its memory. One that has run nothing yet is as large as it begins."""
        if not self._memory or not tasks:
            return None
        size = resident_bytes(pid)
        return f"{format_size(size)} of memory" if size >= self._memory else None


def measures_memory() -> bool:
    """Whether it can be told here how much memory another process has."""
    return _MEMORY.exists()


def resident_bytes(pid: int) -> int:
    """Bytes of memory that a process has, shared ones too; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _drawn(limit: int) -> int:
    return max(1, round(limit * random.uniform(1 - _JITTER, 1))) if limit else 0
