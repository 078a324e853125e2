"""How many items a worker asks for: arithmetic only, no I/O and no clock.

A worker holds what runs, and ahead of that only what its slots will begin within a short horizon, by the task time
measured of late; see `dibs.data.ahead`.
"""

from __future__ import annotations

from dibs.data.ahead import Ahead


class LaneCredit:
    """What one lane (a set of slots of one sort) can take. One thread at a time may use it.

    Attributes:
        slots: how many items run at once.
    """

    def __init__(self, slots: int, prefetch: int, horizon_s: float) -> None:
        self.slots = slots
        self._ahead = Ahead(prefetch, horizon_s, slots)

    @property
    def ahead(self) -> int:
        """Items that the lane holds ready beyond those that run."""
        return self._ahead.items

    def finished(self, count: int, busy_s: float) -> None:
        """Count items that were run, and the time that their slots spent on them."""
        self._ahead.finished(count, busy_s)

    def restart(self) -> None:
        """Hold nothing ahead until items finish again: what was measured is old, or all slots are held up."""
        self._ahead.restart()

    def room(self, held: int) -> int:
        """For how many more items there is room.

        Args:
            held: items that it holds, running or not.
        """
        return max(0, self.slots + self.ahead - held)
