"""Heartbeats of streams: when to say that one is alive, and when the other side is not. Arithmetic only.

Both sides of a stream look at it a few times in each interval. What was said and heard in between is noted as a flag,
so that it costs nothing for each message.

Whoever was frozen, or held up by a long computation, has a late look. To the other side that was silence, so the next
heartbeat is due at once; but as far as anyone can tell the other side was not silent meanwhile: what has come waits to
be read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

#: Looks in each interval.
_LOOKS = 10
#: Shorter intervals than this, in seconds, are no use to anybody; who announces one is not taken at its word.
_LEAST_INTERVAL_S = 0.01


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What a broker has announced.

    Attributes:
        interval_s: who has had nothing to say for so many seconds sends an empty message.
        timeout_s: who has heard nothing for so many seconds takes the other side for frozen or gone.
    """

    interval_s: float = 5.0
    timeout_s: float = 15.0

    @property
    def look_s(self) -> float:
        """Seconds from one look at a stream to the next."""
        return self.interval_s / _LOOKS

    @classmethod
    def told(cls, message: Any) -> Rhythm | None:
        """What a `dibs.v1.Heartbeats` says; None: nothing that can be kept to."""
        rhythm = cls(message.interval.ToMicroseconds() / 1e6, message.timeout.ToMicroseconds() / 1e6)
        sound = rhythm.interval_s >= _LEAST_INTERVAL_S and rhythm.timeout_s >= 2 * rhythm.interval_s
        return rhythm if sound else None


#: What brokers announce unless their settings say otherwise. So long is the first word of one waited for.
DEFAULT = Rhythm()


class Clock:
    """The time, and the time for which this process has run. To be told of each look.

    Attributes:
        now: monotonic time of the last look, in seconds.
        awake: seconds without those for which a look was late.
    """

    __slots__ = ("_look_s", "awake", "now")

    def __init__(self, look_s: float) -> None:
        self._look_s = look_s
        self.now = time.monotonic()
        self.awake = 0.0

    def look(self, now: float | None = None) -> None:
        """It is that time now (None: the system's)."""
        now = time.monotonic() if now is None else now
        self.awake += min(now - self.now, 2 * self._look_s)
        self.now = now


class Pulse:
    """One stream, seen from one of its sides.

    Attributes:
        heard: set it when a message has come.
        said: set it when a message has gone.
    """

    __slots__ = ("_clock", "_heard_at", "_rhythm", "_said_at", "heard", "said")

    def __init__(self, rhythm: Rhythm, clock: Clock) -> None:
        self.heard = self.said = False
        self._rhythm = rhythm
        self._clock = clock
        self._heard_at = clock.awake
        self._said_at = clock.now

    @property
    def due(self) -> bool:
        """Whether to send an empty message now; True only once for each. To be asked at each look."""
        now = self._clock.now
        if self.said:
            self.said = False
            self._said_at = now
        # A look comes a little early at times; the next one would be late.
        if now - self._said_at < self._rhythm.interval_s - self._rhythm.look_s / 2:
            return False
        self._said_at = now
        return True

    @property
    def silent(self) -> bool:
        """Whether the other side has said nothing for too long. To be asked at each look."""
        awake = self._clock.awake
        if self.heard:
            self.heard = False
            self._heard_at = awake
        return awake - self._heard_at >= self._rhythm.timeout_s
