"""When what is read now was leased: arithmetic only.

As a rule that was just now. But whoever was frozen, or held up for long, reads what came meanwhile, and leases may have
run out by then: nothing may begin under them. So it counts as leased when the broker says, on Redis's clock, as far as
that can be told from what was read before; and if it cannot, when we last read anything.
"""

from __future__ import annotations

import time
from collections import deque

#: Seconds between two looks, at most.
LOOK_SECONDS = 0.5
#: Looks that are so much apart, in seconds, were no accident of a busy machine.
_GAP_S = 2 * LOOK_SECONDS
#: So long after a gap, in seconds, what is read may have come during it.
CATCH_UP_SECONDS = 2.0
#: How many batches the difference of the clocks is taken from; a clock that was set is followed so soon.
_REMEMBERED = 16


class Dating:
    """Dates the batches of one stream, or of one after the other. To be told every `LOOK_SECONDS` that we are awake."""

    __slots__ = ("_behind", "_gap_began", "_gap_ended", "_last_began", "_looked")

    def __init__(self) -> None:
        self._looked = time.monotonic()
        #: When what is read now may have come at the earliest; the last gap.
        self._gap_began = self._last_began = self._gap_ended = float("-inf")
        #: Our clock less Redis's, of batches that were read at once.
        self._behind: deque[float] = deque(maxlen=_REMEMBERED)

    def begin(self, now: float) -> None:
        """A stream begins: nothing that comes on it came before."""
        self._looked = now
        self._gap_began = self._last_began = self._gap_ended = float("-inf")

    def look(self, now: float) -> None:
        """We are awake."""
        if now - self._looked >= _GAP_S:
            # What came during the gap before may still wait to be read; what came earlier has been.
            self._gap_began = self._looked if now - self._gap_ended > CATCH_UP_SECONDS else self._last_began
            self._last_began, self._gap_ended = self._looked, now
        self._looked = now

    def date(self, leased: float, now: float) -> float:
        """When a batch that is read now was leased, on the monotonic clock.

        Args:
            leased: the same on Redis's clock, in seconds; 0: it was not told.
            now: on the monotonic clock.
        """
        self.look(now)
        if now - self._gap_ended > CATCH_UP_SECONDS:
            if leased:
                self._behind.append(now - leased)
            return now
        if not leased or not self._behind:
            return self._gap_began
        return min(max(leased + min(self._behind), self._gap_began), now)
