"""When to try a call again, and when to give up."""

from __future__ import annotations

import random
import time

from ..contract.pauses import Pauses
from ..errors import BrokerError, DeadlineExceeded, InvalidArgument, Unavailable


class Attempts:
    """The attempts of one call: how much time is left, and how long to pause before the next.

    A pause that the broker asks for (RetryInfo) is the least. An attempt has a time limit of its own, so that a broker
    that has fallen silent leaves time for another one. It is twice as long after each attempt that has run out, for
    what just takes long.

    Args:
        timeout: seconds that all attempts and pauses may take.
        first: seconds that the first attempt may take; None: all that is left, as may every other.
        wait: seconds of that which the broker may deliberately take to answer, on top of the limit of an attempt.
    """

    __slots__ = ("_alive", "_began", "_deadline", "_longest", "_pauses", "_wait", "made", "timeout")

    def __init__(self, timeout: float, first: float | None = None, wait: float = 0.0) -> None:
        self.timeout = timeout + wait
        self._wait = wait
        self._longest = first
        self._began = time.monotonic()
        self._deadline = self._began + self.timeout
        self._pauses = Pauses()
        #: Whether the attempt that goes on has got something.
        self._alive = False
        #: Attempts that have failed so far.
        self.made = 0

    def remaining(self) -> float:
        """Seconds left; at least a millisecond, so that a call gets an answer rather than a bad deadline."""
        return max(self._deadline - time.monotonic(), 0.001)

    def limit(self) -> float:
        """Seconds that the next attempt may take."""
        if self._longest is None:
            return self.remaining()
        return min(self._longest + max(self._wait - self.elapsed(), 0.0), self.remaining())

    def elapsed(self) -> float:
        """Seconds since the first attempt began; 0 while that is the only one."""
        return time.monotonic() - self._began if self.made else 0.0

    def hear(self) -> None:
        """The attempt that goes on has got something: if it fails all the same, the time for others begins anew."""
        self._alive = True

    def pause_after(self, error: BrokerError, *, safe: bool = True) -> float:
        """Seconds to wait before the next attempt.

        Args:
            error: how the last attempt ended.
            safe: whether another attempt can do no harm.

        Raises:
            BrokerError: `error` itself, when another attempt is no use, would do harm, or comes too late.
        """
        ran_out = isinstance(error, DeadlineExceeded)
        if not safe or not (ran_out or is_transient(error)):
            raise error
        self.made += 1
        if self._alive:
            self._alive = False
            self._deadline = time.monotonic() + self.timeout
            self._pauses.reset()
        if ran_out and self._longest is not None:
            self._longest *= 2
        pause = self._pauses.next_s()
        if error.retry_after is not None:
            pause = max(pause, error.retry_after.total_seconds() * random.uniform(1.0, 1.2))
        if time.monotonic() + pause >= self._deadline:
            error.add_note(f"gave up after {self.made} attempts in {self.timeout:g} s")
            raise error
        return pause


def is_transient(error: BrokerError) -> bool:
    """Whether the same call may succeed a little later."""
    if isinstance(error, InvalidArgument | DeadlineExceeded):
        return False
    return isinstance(error, Unavailable) or error.retry_after is not None
