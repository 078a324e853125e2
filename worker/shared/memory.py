"""Memory that a task process and its connector both map. A look at it needs no word of the process."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import NamedTuple

from .begun import RING
from .sorts import Sort

_TIME = 8
#: Each lane has marks and ends of leases; then comes the time of the last sign of life.
_LANE = RING + _TIME * RING
_SIZE = len(Sort) * _LANE + _TIME


class OtherVersion(Exception):
    """The program has been changed under a running worker."""


class Table(NamedTuple):
    """What is known of the items of one lane, by their positions.

    Attributes:
        marks: how far each has come; see `begun`. Written by slots.
        ends: when the lease of each ends that was lengthened, on the monotonic clock, which is that of the machine; 0:
            it was not. Written by slots.
    """

    marks: memoryview
    ends: memoryview[float]

    @classmethod
    def new(cls) -> Table:
        """A table for one process alone."""
        return cls(memoryview(bytearray(RING)), memoryview(bytearray(_TIME * RING)).cast("d"))


class SharedMemory:
    """The whole of it.

    Args:
        memory: a file descriptor of `new_memory`, which is closed.

    Attributes:
        tables: of each lane.

    Raises:
        OtherVersion: it is not laid out like this.
    """

    def __init__(self, memory: int) -> None:
        try:
            if os.fstat(memory).st_size != _SIZE:
                raise OtherVersion("the connector of this task process is of another version: restart the worker")
            whole = memoryview(mmap.mmap(memory, _SIZE))
        finally:
            os.close(memory)
        self.tables = {sort: _table(whole[sort * _LANE : (sort + 1) * _LANE]) for sort in Sort}
        self._alive = whole[-_TIME:].cast("d")

    @property
    def alive_at(self) -> float:
        """When the process said last that it is alive, on the monotonic clock; 0: never."""
        return float(self._alive[0])

    @alive_at.setter
    def alive_at(self, now: float) -> None:
        self._alive[0] = now


def new_memory() -> int:
    """Memory of zeros: a file descriptor that two processes can map."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("dibs-items")
    else:  # macOS
        with tempfile.TemporaryFile(prefix="dibs-items-") as file:
            memory = os.dup(file.fileno())
    os.ftruncate(memory, _SIZE)
    return memory


def _table(part: memoryview) -> Table:
    return Table(part[:RING], part[RING:].cast("d"))
