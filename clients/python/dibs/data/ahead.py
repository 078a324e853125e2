"""How many items to ask for ahead of whoever works on them: arithmetic only, no I/O and no clock.

Ahead is held only what will be begun within a short horizon, by the time measured of late that an item takes. It begins
with nothing and grows by one for each item that is finished, so that it doubles from round trip to round trip; a pause,
or an item that takes long, sets it back to nothing.
"""

from __future__ import annotations

#: Share of the newest item in the average of the times that items take.
_WEIGHT = 0.05


class Ahead:
    """What one worker or consumer holds ahead. One thread at a time may use it.

    Attributes:
        items: how many, from 0 to the most.
    """

    __slots__ = ("_horizon_s", "_item_s", "_most", "_ramp", "_slots", "items")

    def __init__(self, most: int, horizon_s: float, slots: int = 1) -> None:
        """Hold nothing yet.

        Args:
            most: limit of `items`.
            horizon_s: what is held ahead shall be begun within so many seconds.
            slots: items that are worked on at once.
        """
        self.items = 0
        self._most = most
        self._horizon_s = horizon_s
        self._slots = slots
        self._ramp = 0
        self._item_s: float | None = None

    def finished(self, count: int, busy_s: float) -> None:
        """Count items that were worked on, and the time that it took, summed over the slots."""
        if count <= 0:
            return
        mean = busy_s / count
        if self._item_s is None:
            self._item_s = mean
        else:
            self._item_s += (1 - (1 - _WEIGHT) ** count) * (mean - self._item_s)
        self._ramp = min(self._most, self._ramp + count)
        worth = self._ramp if self._item_s <= 0 else int(self._horizon_s / self._item_s * self._slots)
        self.items = min(self._ramp, worth)

    def restart(self) -> None:
        """Hold nothing ahead until items are finished again: what was measured is old, or all slots are held up."""
        self._ramp = 0
        self.items = 0
