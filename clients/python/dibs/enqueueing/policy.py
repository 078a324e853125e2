"""How often and at what pace an item is delivered, and what is kept of it: the arguments that decorators share."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

from google.protobuf.duration_pb2 import Duration

from ..contract.names import DEADLETTER_QUEUE, possible_queue_name
from ..rpc.times import Seconds, to_duration, to_seconds
from ..v1.types_pb2 import DeliveryPolicy, RetryPolicy

#: Times that a call may kill its process when the task does not say.
DEFAULT_MAX_CRASHES = 3
_MOST_CRASHES = 1_000
#: Deliveries when the task does not say: one, but of a lease that is renewed, so that a death costs no call.
DEFAULT_ATTEMPTS = 1
DEFAULT_ATTEMPTS_RENEWED = 3
#: Shortest lease that is renewed, in seconds.
_LEAST_LEASE = 1.0
#: Shortest time limit, and shortest time that an item may wait, in seconds.
_LEAST_TIME = 0.001
#: Growth from one wait to the next.
_MOST_FACTOR = 100

#: Wait before the next attempt that `Task.retry` asks for when the task names none, in seconds.
DEFAULT_RETRY_DELAY_SECONDS = 30.0


@dataclass(frozen=True)
class Backoff:
    """Growing waits between attempts: `initial`, then `factor` times as long each time, up to `maximum`.

    Args:
        initial: wait after the first failed attempt; seconds or a timedelta. Default 1 s.
        factor: growth from one wait to the next, 1 to 100. Default 2.
        maximum: the longest wait; seconds or a timedelta. Default: 1 hour.
        jitter: share of the wait that is random, either way, 0 to 1, so that what failed together does not come
            back together. Default 0.1.

    Raises:
        ValueError: a value is out of its range; the text names it.

    Example::

        @task(attempts=5, lease=30, backoff=Backoff(initial=2, factor=3, maximum=300))
        def fetch(url): ...
    """

    initial: Seconds = 1.0
    factor: float = 2.0
    maximum: Seconds = 3600.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        """Check the values."""
        to_seconds(self.initial, "initial")
        to_seconds(self.maximum, "maximum")
        if not 1 <= self.factor <= _MOST_FACTOR:
            raise ValueError(f"factor must be 1 to {_MOST_FACTOR}, not {self.factor!r}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be 0 to 1, not {self.jitter!r}")

    def wait(self, attempt: int) -> float:
        """The wait after attempt number `attempt`, in seconds, without jitter."""
        initial, maximum = to_seconds(self.initial, "initial"), to_seconds(self.maximum, "maximum")
        if not initial:
            return 0.0
        exponent = (attempt - 1) * math.log(self.factor) + math.log(initial)
        return maximum if exponent > 700 else min(math.exp(exponent), maximum)

    def wait_with_jitter(self, attempt: int) -> float:
        """The wait after attempt number `attempt`, in seconds, with jitter."""
        return self.wait(attempt) * random.uniform(1 - self.jitter, 1 + self.jitter)


class Delivery(TypedDict, total=False):
    """The arguments of the decorators that say how calls are delivered; see `Dibs.task`."""

    attempts: int | None
    retry_delay: Seconds | None
    save_results: Seconds
    vis_timeout: Seconds
    lease: Seconds
    time_limit: Seconds | None
    expires: Seconds | None
    use_dead: bool | str | None
    backoff: Backoff | None
    max_crashes: int


@dataclass(frozen=True)
class Policy:
    """How items of a task or of a data queue are delivered. All times in seconds.

    Attributes:
        attempts: deliveries in all, the first included.
        vis_timeout: how long one delivery may take before the next; 0: at most one delivery, ever, unless there is a
            lease.
        lease: how soon it is noticed that whoever runs an item is dead; 0: see `vis_timeout`. At most one of the two is
            above 0.
        time_limit: how long one run may take; None: as long as it likes.
        expires: how long an item may wait after it was due; None: for ever.
        use_dead: whether used-up items go to a dead-letter queue, or the name of that queue.
        save_results: how long result and final state are kept; 0: not at all.
        retry_delay: wait after a failed attempt; None: until the lease would have run out.
        backoff: growing waits, instead of `retry_delay`.
        max_crashes: how many times an item may kill the process that runs it; then it is dead, whatever attempts are
            left.
    """

    attempts: int = 1
    vis_timeout: float = 0.0
    lease: float = 0.0
    time_limit: float | None = None
    expires: float | None = None
    use_dead: bool | str = False
    save_results: float = 0.0
    retry_delay: float | None = None
    backoff: Backoff | None = None
    max_crashes: int = DEFAULT_MAX_CRASHES

    @classmethod
    def build(
        cls,
        *,
        attempts: int | None = None,
        vis_timeout: Seconds = 0,
        lease: Seconds = 0,
        time_limit: Seconds | None = None,
        expires: Seconds | None = None,
        use_dead: bool | str | None = None,
        save_results: Seconds = 0,
        retry_delay: Seconds | None = None,
        backoff: Backoff | None = None,
        max_crashes: int = DEFAULT_MAX_CRASHES,
    ) -> Policy:
        """Check what a decorator was given.

        Raises:
            ValueError: a value is out of range; the text names the argument.
        """
        if retry_delay is not None and backoff is not None:
            raise ValueError("retry_delay and backoff do not go together")
        visible, renewed = to_seconds(vis_timeout, "vis_timeout"), _checked_lease(lease)
        if visible and renewed:
            raise ValueError(
                "lease and vis_timeout do not go together: a lease is renewed while the task runs, "
                "a vis_timeout is the longest that one delivery may take"
            )
        if attempts is None:
            attempts = DEFAULT_ATTEMPTS_RENEWED if renewed else DEFAULT_ATTEMPTS
        return cls(
            attempts=checked_attempts(attempts),
            vis_timeout=visible,
            lease=renewed,
            time_limit=None if time_limit is None else checked_time_limit(time_limit),
            expires=None if expires is None else checked_expires(expires),
            use_dead=possible_queue_name(use_dead) if use_dead and isinstance(use_dead, str) else bool(use_dead),
            save_results=to_seconds(save_results, "save_results"),
            retry_delay=None if retry_delay is None else to_seconds(retry_delay, "retry_delay"),
            backoff=backoff,
            max_crashes=_checked_crashes(max_crashes),
        )

    @cached_property
    def encoded(self) -> bytes:
        """As a DeliveryPolicy for the first of all attempts."""
        return self.encode(self.attempts)

    def encode(self, attempts: int, used: int = 0) -> bytes:
        """As an encoded DeliveryPolicy.

        Args:
            attempts: deliveries still to come.
            used: attempts used up before; the waits go on from there.
        """
        policy = DeliveryPolicy(attempts=attempts)
        if self.lease:
            policy.lease_timeout.CopyFrom(to_duration(self.lease))
            policy.renew = True
        elif self.vis_timeout:
            policy.lease_timeout.CopyFrom(to_duration(self.vis_timeout))
        if self.time_limit is not None:
            policy.run_timeout.CopyFrom(to_duration(self.time_limit))
        if self.expires is not None:
            policy.expire_after.CopyFrom(to_duration(self.expires))
        if self.save_results:
            policy.result_ttl.CopyFrom(to_duration(self.save_results))
        if self.use_dead:
            policy.use_dead_letter = True
            if isinstance(self.use_dead, str) and self.use_dead != DEADLETTER_QUEUE:
                policy.dead_letter_queue = self.use_dead
        if self.max_crashes != DEFAULT_MAX_CRASHES:
            policy.max_crashes = self.max_crashes
        if self.backoff is not None:
            policy.retry.CopyFrom(
                RetryPolicy(
                    initial_delay=to_duration(self.backoff.wait(used + 1)),
                    multiplier=self.backoff.factor,
                    max_delay=to_duration(to_seconds(self.backoff.maximum, "maximum")),
                    jitter=self.backoff.jitter,
                )
            )
        elif self.retry_delay is not None:
            policy.retry.initial_delay.CopyFrom(to_duration(self.retry_delay))
        return policy.SerializeToString()

    def retry_wait(self, attempt: int) -> float:
        """Seconds until the attempt after number `attempt`, when the task itself asks for it."""
        if self.backoff is not None:
            return self.backoff.wait_with_jitter(attempt)
        return DEFAULT_RETRY_DELAY_SECONDS if self.retry_delay is None else self.retry_delay


def policy_from_wire(wire: DeliveryPolicy) -> Policy:
    """How items are delivered, as a message says it; numbers that only a later version has are cut down to ours."""
    name, retry = wire.dead_letter_queue, wire.retry
    initial = _seconds(retry.initial_delay)
    backoff = None
    if wire.HasField("retry") and retry.multiplier > 1:
        backoff = Backoff(
            initial, min(retry.multiplier, _MOST_FACTOR), _seconds(retry.max_delay), min(max(retry.jitter, 0.0), 1.0)
        )
    lease = _seconds(wire.lease_timeout)
    return Policy(
        attempts=wire.attempts or DEFAULT_ATTEMPTS,
        vis_timeout=0.0 if wire.renew else lease,
        lease=lease if wire.renew else 0.0,
        time_limit=_seconds(wire.run_timeout) if wire.HasField("run_timeout") else None,
        expires=_seconds(wire.expire_after) if wire.HasField("expire_after") else None,
        use_dead=bool(name or wire.use_dead_letter) if name in ("", DEADLETTER_QUEUE) else name,
        save_results=_seconds(wire.result_ttl),
        retry_delay=initial if wire.HasField("retry") and backoff is None else None,
        backoff=backoff,
        max_crashes=wire.max_crashes or DEFAULT_MAX_CRASHES,
    )


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def checked_attempts(attempts: int) -> int:
    """`attempts`, if it is a number of attempts.

    Raises:
        ValueError: it is not a whole number from 1 on.
    """
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise ValueError(f"attempts must be a whole number from 1 on, not {attempts!r}")
    return attempts


def checked_time_limit(time_limit: Seconds) -> float:
    """`time_limit` in seconds.

    Raises:
        ValueError: it is no length of time, or less than 1 ms.
    """
    return _least(time_limit, "time_limit")


def checked_expires(expires: Seconds) -> float:
    """`expires` in seconds.

    Raises:
        ValueError: it is no length of time, or less than 1 ms.
    """
    return _least(expires, "expires")


def _least(value: Seconds, name: str) -> float:
    seconds = to_seconds(value, name)
    if seconds < _LEAST_TIME:
        raise ValueError(f"{name} must be at least {_LEAST_TIME:g} s, or None for none, not {value!r}")
    return seconds


def _checked_lease(lease: Seconds) -> float:
    seconds = to_seconds(lease, "lease")
    if seconds and seconds < _LEAST_LEASE:
        raise ValueError(f"lease must be at least {_LEAST_LEASE:g} s, or 0 for none, not {lease!r}")
    return seconds


def _checked_crashes(crashes: int) -> int:
    if isinstance(crashes, bool) or not isinstance(crashes, int) or not 1 <= crashes <= _MOST_CRASHES:
        raise ValueError(f"max_crashes must be a whole number from 1 to {_MOST_CRASHES:,}, not {crashes!r}")
    return crashes
