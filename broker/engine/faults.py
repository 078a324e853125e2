"""From redis-py's exceptions to the engine's own."""

from __future__ import annotations

from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    RedisError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from .connections import NotConnected, NoTurn
from .error_codes import code_of
from .errors import Crowded, EngineError, NotSent, OutOfMemory, ReadOnly, Refused, ScriptBug, Unavailable

_REFUSED = frozenset({"NOAUTH", "WRONGPASS", "NOPERM"})
#: Replies of a Redis that will be fit again: it loads its data, has no master, is out of slots or disk, or a script
#: of somebody else holds it up.
_PASSING = frozenset(
    {
        "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOREPLICAS", "MISCONF", "BUSY",
        "UNBLOCKED",
    }
)  # fmt: skip


def translate(error: Exception, operation: str) -> Exception:
    """The engine's exception for what a Redis call raised; others are handed back as they are."""
    if isinstance(error, EngineError):
        return error
    code = code_of(error)
    text = f"{operation}: {error}"
    if code == "OOM":
        return OutOfMemory(text)
    if code in _REFUSED:
        return Refused(f"{operation}: Redis does not let the broker in: {error}")
    if isinstance(error, NoTurn):
        return Crowded(text)
    if isinstance(error, NotConnected):
        return NotSent(text)
    if code == "READONLY":
        return ReadOnly(f"{operation}: this Redis is read-only, it may be a replica: {error}")
    if code in _PASSING:
        return Unavailable(f"{operation}: {code}: {error}")
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return Unavailable(text)
    if isinstance(error, RedisError):
        return ScriptBug(text)
    return error
