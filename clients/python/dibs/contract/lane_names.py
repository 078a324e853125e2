"""What workers call the streams of their lanes: the process, and the option that says how many run at once."""

from __future__ import annotations

#: Of plain functions.
THREADS = "threads"
#: Of coroutine functions.
ASYNC_TASKS = "async-tasks"


def lane_name(process: str, lane: str) -> str:
    """The worker_id of the stream of a lane, where the process has two of them."""
    return f"{process}/{lane}"


def process_name(worker_id: str) -> str:
    """The process that a stream is of, by its worker_id."""
    process, _, lane = worker_id.rpartition("/")
    return process if lane in (THREADS, ASYNC_TASKS) else worker_id
