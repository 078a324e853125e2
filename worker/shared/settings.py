"""What a worker can be told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from .sorts import Sort

#: A worker that cannot work for a reason that will not go away, such as a module that cannot be imported, ends with
#: this code (sysexits.h: EX_CONFIG).
EXIT_UNFIT = 78
#: Most task processes of one worker.
MAX_PROCESSES = 1_000
#: Most items that a worker may ask for beyond its free slots; the contract allows 10,000 in all.
MAX_PREFETCH = 8_000
#: What a process has before it has loaded any tasks.
_LEAST_MEMORY = 16 * 1024 * 1024


def default_worker_id() -> str:
    """Host and process, such as ``web-3:4711``."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Settings of a worker: of each of its task processes, but for queues and worker_id, which are its own.

    Attributes:
        queues: queues to serve, strictly in this order. Default (empty): every task queue, by priority.
        threads: how many plain functions run at once, 1-1,000. Default 1: code that was never meant for threads
            is safe, and tasks of one queue begin in their order. Raise it for tasks that wait for I/O.
        async_tasks: how many ``async def`` tasks run at once, 1-8,000. Default 100.
        wait: seconds that a stopping worker gives to what runs, 0 or more. Default 10.
        prefetch: most items to hold beyond those that run, 0-8,000. Default 2,048. As many are held as begin within
            `horizon` by the task time measured of late: many quick tasks, no long ones.
        horizon: seconds; see `prefetch`. Default 0.025: about what a round trip to the broker costs when both
            ends are busy, and less than 0.05, within which an item that was handed to a worker should begin.
        stale_after: seconds after which an item that could not begin is handed back to its queue, if it is
            delivered at least once. Default 1. Items whose lease is shorter go back when half of it has passed.
        max_tasks_per_process: tasks after which another process takes the place of one, 0 (none) to 1,000,000,000.
            Up to a tenth fewer, by chance, so that not all are replaced together. Default 0.
        max_memory_per_process: bytes of memory, likewise; 0 (none), or 16 MiB and more. Looked at each second.
            Default 0.
        log_runs: seconds; a run that takes so long, or longer, has a line in the log with its name, id, attempt,
        seconds
            and outcome. 0: every run; infinite: none. Default 1: a line costs about as much as a small task.
        hard: seconds after which a run that goes on after its time limit is ended together with its process, 0 or more.
            Default 10.
        worker_id: who is working, for operators, 1-256 printable characters. Default: host and process id.
    """

    queues: tuple[str, ...] = ()
    threads: int = 1
    async_tasks: int = 100
    wait: float = 10.0
    prefetch: int = 2048
    horizon: float = 0.025
    stale_after: float = 1.0
    max_tasks_per_process: int = 0
    max_memory_per_process: int = 0
    log_runs: float = 1.0
    hard: float = 10.0
    worker_id: str = field(default_factory=default_worker_id)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value is out of its range; the text names it.
        """
        _check("threads", self.threads, 1, 1_000)
        _check("async_tasks", self.async_tasks, 1, MAX_PREFETCH)
        _check("wait", self.wait, 0, float("inf"))
        _check("prefetch", self.prefetch, 0, MAX_PREFETCH)
        _check("horizon", self.horizon, 0, 60)
        _check("stale_after", self.stale_after, 0.01, float("inf"))
        _check("log_runs", self.log_runs, 0, float("inf"))
        _check("hard", self.hard, 0, float("inf"))
        _check("max_tasks_per_process", self.max_tasks_per_process, 0, 1_000_000_000)
        if self.max_memory_per_process:
            _check("max_memory_per_process", self.max_memory_per_process, _LEAST_MEMORY, 1 << 50)
        if not 1 <= len(self.worker_id) <= 256 or not self.worker_id.isprintable():
            raise ValueError(f"worker_id must be 1-256 printable characters, not {self.worker_id!r}")

    def slots(self, sort: Sort) -> int:
        """How many tasks of a sort run at once."""
        return self.async_tasks if sort is Sort.ASYNC else self.threads


def queue_names(queues: str | bytes | Iterable[str | bytes] | None) -> tuple[str, ...]:
    """Names of queues as text, from one name, several, or None for every queue."""
    if queues is None:
        return ()
    if isinstance(queues, str | bytes):
        queues = [queues]
    return tuple(queue.decode() if isinstance(queue, bytes) else queue for queue in queues)


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be between {least:g} and {most:g}, not {value!r}")
