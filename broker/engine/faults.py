"""From redis-py's exceptions to the engine's own."""

from __future__ import annotations

from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from .connections import NotConnected
from .errors import EngineError, NotSent, OutOfMemory, ScriptBug, Unavailable

#: Replies of a Redis that will be fit again: it loads its data, has no master, is out of slots or disk, or a script
#: of somebody else holds it up.
_PASSING = (
    "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "NOREPLICAS", "MISCONF", "BUSY", "UNBLOCKED",
)  # fmt: skip


def translate(error: Exception, operation: str) -> Exception:
    """The engine's exception for what a Redis call raised; others are handed back as they are."""
    if isinstance(error, EngineError):
        return error
    text = f"{operation}: {error}"
    if isinstance(error, OutOfMemoryError) or "OOM " in str(error)[:200]:
        return OutOfMemory(text)
    if isinstance(error, NotConnected):
        return NotSent(text)
    if isinstance(error, RedisConnectionError | RedisTimeoutError | ReadOnlyError | OSError):
        return Unavailable(text)
    if isinstance(error, ResponseError) and str(error).startswith(_PASSING):
        return Unavailable(text)
    if isinstance(error, RedisError):
        return ScriptBug(text)
    return error
