"""What the engine raises when an operation as a whole could not be done.

Outcomes that belong to one item (not found, superseded, ...) are part of the replies and never raised.

    EngineError
    ├── Unavailable            Redis did not answer, or not in time; try again
    │   ├── NotSent            Redis could not be reached: nothing was done
    │   │   ├── EngineClosed       this engine has been closed or not been started
    │   │   │   └── EngineNotStarted   it has not been started: Redis has not been there so far
    │   │   ├── Crowded            so many calls of its namespace were before it that its turn did not come in time
    │   │   └── Refused            Redis wants other credentials, or does not allow this user what the engine needs
    │   ├── ReadOnly           Redis takes no writes: most often it is a replica
    │   ├── LateCall           a lease call came too late to be carried out: nothing was done
    │   └── TooFewReplicas     written, but not on as many replicas as asked for; try again with the same id
    ├── QuotaExceeded          a namespace would hold more than it may: nothing was done
    ├── OutOfMemory            Redis is at its maxmemory and takes no new items
    ├── UnsuitableRedis        Redis is too old or set up in a way that would lose items
    └── ScriptBug              a script failed or answered what it should not
"""

from __future__ import annotations

from datetime import timedelta


class EngineError(Exception):
    """Base of everything that the engine raises.

    Args:
        message: What happened, for the broker's log; may name hosts, so it is never sent to clients.
        retry_after: How long a client had better wait before it tries again; None: a retry does not help.
    """

    #: Used when `retry_after` is not given.
    default_retry_after: timedelta | None = None

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = self.default_retry_after if retry_after is None else retry_after


class Unavailable(EngineError):
    """Redis could not be reached or did not answer in time; whether the operation was done is unknown."""

    default_retry_after = timedelta(seconds=1)


class NotSent(Unavailable):
    """Redis could not be reached, so that the operation was not done for certain."""


class LateCall(Unavailable):
    """A lease call reached Redis after its time, or after a later call of its caller; it was not carried out."""


class EngineClosed(NotSent):
    """The engine has been closed or has not been started."""


class EngineNotStarted(EngineClosed):
    """The engine has not been started, since Redis has not been there so far."""


class Crowded(NotSent):
    """So many calls of its namespace were before it that its turn did not come in time; nothing was done."""


class Refused(NotSent):
    """Redis wants other credentials, or does not allow this user what the engine needs; nothing was done."""


class ReadOnly(Unavailable):
    """Redis takes no writes: most often it is a replica, to which an address still leads after a failover."""


class TooFewReplicas(Unavailable):
    """The write was done, but fewer replicas than asked for confirmed it."""


class QuotaExceeded(EngineError):
    """A namespace would hold more than it may; nothing was done.

    Args:
        namespace: which.
        quota: of what: items, bytes, queues, schedules, locks or tasks.
        limit: how much it may hold.
        used: how much it holds.
    """

    def __init__(self, namespace: str, quota: str, limit: int, used: int) -> None:
        super().__init__(
            f"namespace {namespace!r} may hold {limit} {quota} and holds {used}: this would be more; nothing was done"
        )
        self.namespace = namespace
        self.quota = quota
        self.limit = limit
        self.used = used


class OutOfMemory(EngineError):
    """Redis is at its maxmemory: no new items until others have been worked off."""

    default_retry_after = timedelta(seconds=5)


class UnsuitableRedis(EngineError):
    """Redis is too old or set up in a way that would lose items; the broker does not start on it."""


class ScriptBug(EngineError):
    """A script failed or answered what it should not."""
