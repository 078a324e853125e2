"""What becomes of Redis's error replies."""

from __future__ import annotations

import pytest
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from dibs.broker.engine.connections import NotConnected
from dibs.broker.engine.error_codes import leads_elsewhere
from dibs.broker.engine.errors import EngineError, NotSent, OutOfMemory, ReadOnly, Refused, ScriptBug, Unavailable
from dibs.broker.engine.faults import translate

IN_A_SCRIPT = "Error running script (call to f_0123abc): @user_script:7: @user_script: 7: "


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (ClusterDownError("The cluster is down"), Unavailable),
        (MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."), Unavailable),
        (TryAgainError("Multiple keys request during rehashing of slot"), Unavailable),
        (MovedError("3999 127.0.0.1:6381"), Unavailable),
        (AskError("3999 127.0.0.1:6381"), Unavailable),
        (BusyLoadingError("Redis is loading the dataset in memory"), Unavailable),
        (ReadOnlyError("You can't write against a read only replica."), ReadOnly),
        (AuthenticationError("Authentication required."), Refused),
        (NoPermissionError("User x has no permissions to run the 'evalsha' command"), Refused),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), OutOfMemory),
        (NotConnected("Connection refused"), NotSent),
        # For these redis-py has no class, or not in every release that is supported.
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), Unavailable),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), Unavailable),
        (ResponseError("BUSY Redis is busy running a script."), Unavailable),
        (ResponseError("MASTERDOWN Link with MASTER is down"), Unavailable),
        (ResponseError("CLUSTERDOWN Hash slot not served"), Unavailable),
        # Before Redis 7 the error of a command inside of a script comes wrapped.
        (ResponseError(IN_A_SCRIPT + "-READONLY You can't write against a read only replica."), ReadOnly),
        (ResponseError(IN_A_SCRIPT + "-OOM command not allowed when used memory > 'maxmemory'."), OutOfMemory),
        (ResponseError(IN_A_SCRIPT + "attempt to index a nil value (READONLY)"), ScriptBug),
        (ResponseError("unknown command 'READONLY'"), ScriptBug),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else str(one)[:20],
)
def test_an_error_is_known_by_its_class_or_its_code(raised: Exception, becomes: type[EngineError]) -> None:
    found = translate(raised, "enqueue")
    assert type(found) is becomes
    assert str(found).startswith("enqueue: ")


@pytest.mark.parametrize(
    ("raised", "elsewhere"),
    [
        (ReadOnlyError("You can't write"), True),
        (ResponseError(IN_A_SCRIPT + "-READONLY You can't write"), True),
        (MasterDownError("Link with MASTER is down"), True),
        (BusyLoadingError("Redis is loading"), True),
        (AuthenticationError("Authentication required."), True),
        (NoPermissionError("User x has no permissions"), False),
        (ClusterDownError("The cluster is down"), False),
        (ResponseError("MISCONF no disk"), False),
    ],
    ids=str,
)
def test_only_what_another_connection_may_mend_asks_for_one(raised: Exception, elsewhere: bool) -> None:
    assert leads_elsewhere(raised) is elsewhere
