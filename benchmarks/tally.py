"""Counts how often each item came out, in a file that the benchmark and its worker share.

Standard library only: it is imported in the environments of the peers too.
"""

from __future__ import annotations

import mmap
import os
import struct
import time

_HEAD = struct.Struct("<ddq")


class Tally:
    """One counter (0-255) an item, and when the first and the last new item came.

    Args:
        path: the shared file.
        size: number of items; given by the one who makes the file, else read from it.
    """

    def __init__(self, path: str, size: int | None = None) -> None:
        if size is not None:
            with open(path, "wb") as file:
                file.truncate(_HEAD.size + size)
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.size = len(self._map) - _HEAD.size
        self._distinct = 0

    def hit(self, item: int) -> None:
        """Count an item; called by one thread of one process."""
        at = _HEAD.size + item
        count = self._map[at]
        self._map[at] = min(count + 1, 255)
        if not count:
            if not self._distinct:
                struct.pack_into("<d", self._map, 0, time.monotonic())
            self._distinct += 1
            if self._distinct == self.size:
                _HEAD.pack_into(self._map, 0, self.first, time.monotonic(), self._distinct)

    @property
    def first(self) -> float:
        """When the first item came, on the monotonic clock; 0: not yet."""
        return float(_HEAD.unpack_from(self._map, 0)[0])

    @property
    def last(self) -> float:
        """When the last item came; 0: not yet all."""
        return float(_HEAD.unpack_from(self._map, 0)[1])

    def check(self) -> None:
        """Raise if any item came out not exactly once."""
        counts = self._map[_HEAD.size :]
        wrong = {count: counts.count(count) for count in set(counts) if count != 1}
        if wrong:
            raise AssertionError(f"items by the number of times that they came out: {wrong}")


def from_environment() -> Tally:
    """The tally of the running benchmark, for workers."""
    return Tally(os.environ["DIBS_BENCH_TALLY"])
