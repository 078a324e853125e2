"""What an error reply of Redis says, by its code."""

from __future__ import annotations

import re

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)

#: Classes of redis-py for error replies, the special ones before their bases, and the codes that Redis writes.
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, "NOAUTH"),
    (NoPermissionError, "NOPERM"),
    (ReadOnlyError, "READONLY"),
    (BusyLoadingError, "LOADING"),
    (OutOfMemoryError, "OOM"),
    (MasterDownError, "MASTERDOWN"),
    (ClusterDownError, "CLUSTERDOWN"),
    (TryAgainError, "TRYAGAIN"),
    (AskError, "MOVED"),
)
#: Before Redis 7 the error of a command inside of a script comes in this wrapping, with the code inside.
_IN_A_SCRIPT = re.compile(r"(?:ERR )?Error running script .*?@user_script: ?\d+: -?(?=[A-Z]+ )")
_CODE = re.compile(r"[A-Z]{3,}(?= |$)")

#: What a Redis says that is not the primary (any more), has not read its data yet, or wants other credentials: the
#: address may lead to another one by now.
_ELSEWHERE = frozenset({"READONLY", "MASTERDOWN", "LOADING", "NOAUTH", "WRONGPASS"})


def code_of(error: Exception) -> str:
    """The code of an error reply, such as "READONLY"; "": it has none, or is no reply.

    redis-py has classes for some codes, and takes the code out of their text; which ones depends on its release.
    """
    for cls, code in _CLASSES:
        if isinstance(error, cls):
            return code
    if not isinstance(error, ResponseError):
        # What a new connection is told to its first commands comes wrapped.
        cause = error.__cause__ if isinstance(error, RedisConnectionError) else None
        return code_of(cause) if isinstance(cause, Exception) else ""
    text = str(error)
    # Up to Redis 7.0 and since 7.2; without a code where it is the script that may not do something.
    if "user executing the script can't" in text or "ACL failure in script" in text:
        return "NOPERM"
    wrapping = _IN_A_SCRIPT.match(text)
    found = _CODE.match(text, wrapping.end() if wrapping else 0)
    return found[0] if found else ""


def leads_elsewhere(error: Exception) -> bool:
    """Whether a new connection may reach a Redis that does what this one would not."""
    return code_of(error) in _ELSEWHERE
