"""How many items a worker asks for: arithmetic only, no I/O and no clock.

A worker holds what runs, and ahead of that only what its slots will begin within a short horizon, by the task time
measured of late; see `dibs.ahead`.
"""

from __future__ import annotations

from dibs.ahead import Ahead

#: Share of the newest item in the average that says how much of what arrives is for a lane.
_SHARE_WEIGHT = 0.1
#: A lane that gets less than this is not counted on to get anything; see `LaneCredit.room`.
_RARE = 0.125


class LaneCredit:
    """What one lane (a set of slots of one sort) can take. One thread at a time may use it.

    Attributes:
        slots: how many items run at once.
        share: share of the arriving items that were for this lane, 0-1, the newest weighing most. It starts at 1:
            until more is known, every item may be for this lane.
    """

    def __init__(self, slots: int, prefetch: int, horizon_s: float) -> None:
        self.slots = slots
        self.share = 1.0
        self._ahead = Ahead(prefetch, horizon_s, slots)

    @property
    def ahead(self) -> int:
        """Items that the lane holds ready beyond those that run."""
        return self._ahead.items

    def finished(self, count: int, busy_s: float) -> None:
        """Counts items that were run, and the time that their slots spent on them."""
        self._ahead.finished(count, busy_s)

    def arrived(self, count: int, total: int) -> None:
        """Counts items that came for this lane among all that came."""
        if total > 0:
            self.share += (1 - (1 - _SHARE_WEIGHT) ** total) * (count / total - self.share)

    def restart(self) -> None:
        """Holds nothing ahead until items finish again: what was measured is old, or all slots are held up."""
        self._ahead.restart()
        self.share = 1.0

    def room(self, held: int, *, alone: bool) -> float:
        """How many more arriving items, for whichever lane, this lane leaves room for.

        Args:
            held: items that it holds, running or not.
            alone: whether it is the only lane. Otherwise a lane that gets few of the items leaves room for more of
                them, and even when it is full for one, so that a long task in it does not stop the other lane.
        """
        room = self.slots + self.ahead - held
        if alone:
            return max(0, room)
        if self.share < _RARE and held <= self.slots + self.ahead:
            room = max(1, room)
        return max(0, room) / max(self.share, 1 / 64)
