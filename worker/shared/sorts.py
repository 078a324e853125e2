"""The sorts of tasks. Each has a lane of its own in every process: slots, credit, and a stream to the broker.

So one that is busy takes nothing from the other.
"""

from __future__ import annotations

from enum import IntEnum

from dibs.contract.lane_names import ASYNC_TASKS, THREADS, lane_name


class Sort(IntEnum):
    """A sort of tasks; its number names its lane in frames."""

    #: Plain functions, which run in threads.
    PLAIN = 0
    #: ``async def`` functions, which run in an event loop.
    ASYNC = 1

    @property
    def label(self) -> str:
        """What operators know it by: the option that says how many run at once."""
        return ASYNC_TASKS if self is Sort.ASYNC else THREADS


def worker_name(name: str, sort: Sort, *, alone: bool) -> str:
    """What the stream of a lane calls itself.

    Args:
        name: of the process.
        sort: of the lane.
        alone: the process has no other lane.
    """
    return name if alone else lane_name(name, sort.label)
