"""Whether a Redis is fit to hold queues, looked at once when the engine starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis.asyncio as redis_async

from .connections import Pipe
from .errors import UnsuitableRedis
from .faults import translate
from .scripts import Call

_log = logging.getLogger(__name__)

_OLDEST = (6, 2)
#: Reason of the one advice that a broker insists on.
MAY_EVICT = "REDIS_MAY_EVICT"
#: Share of Redis's memory from which on it is nearly full.
_FULL_SHARE = 0.9
#: First release of each line that mends CVE-2025-49844 (a script can run native code) and its family; from the
#: advisories of both of 3 October 2025.
_LUA_MENDED = {
    "redis": {
        (6, 2): (6, 2, 20),
        (7, 2): (7, 2, 11),
        (7, 4): (7, 4, 6),
        (8, 0): (8, 0, 4),
        (8, 2): (8, 2, 2),
    },
    "valkey": {
        (7, 2): (7, 2, 11),
        (8, 0): (8, 0, 6),
        (8, 1): (8, 1, 4),
    },
}


@dataclass(frozen=True, slots=True)
class Advice:
    """Something about a Redis that an operator had better change.

    Attributes:
        reason: machine-readable, in UPPER_SNAKE_CASE.
        text: one sentence for a person.
    """

    reason: str
    text: str


async def check_rights(call: Call, pipe: Pipe, channel: str) -> None:
    """Refuses a Redis that does not allow this user all that the engine does.

    Args:
        call: runs scripts.
        pipe: runs commands.
        channel: of the hints.

    Raises:
        UnsuitableRedis: with the names of the commands that scripts may not run.
        Refused: one outside of scripts is not allowed.
        Unavailable: it does not answer.
    """
    try:
        await pipe.call("PING")
        # Scripts that Redis remembers from earlier on run without it.
        await pipe.call("EVAL", "return 1", 0)
        await pipe.call("PUBSUB", "NUMSUB", channel)
        await pipe.call("SCAN", "0", "COUNT", 1)
    except Exception as error:
        raise translate(error, "rights") from error
    lacking: list[bytes] = await call("rights", "probe", ())
    if lacking:
        names = " ".join(f"+{name.decode().lower()}" for name in lacking)
        raise UnsuitableRedis(
            f"this Redis is not open to the broker: its user lacks {names} (docs/security.md has all that it needs)"
        )


async def check_server(client: redis_async.Redis, *, allow_eviction: bool) -> tuple[int, ...]:
    """Refuses a Redis that is too old or may evict keys; warns of one that may lose or leak data.

    Args:
        client: a connection.
        allow_eviction: take a Redis whose maxmemory-policy is not noeviction, with a warning.

    Returns:
        The version, such as (7, 0, 15). Valkey's is the version of Redis that it is compatible with.

    Raises:
        UnsuitableRedis: when it must not be used.
        Unavailable: when it cannot be reached.
    """
    try:
        info = await client.info()
    except Exception as error:
        raise translate(error, "info") from error
    version = _version(info)
    if version < _OLDEST:
        raise UnsuitableRedis(f"{server_name(info)} is too old: Redis 6.2 or newer, or Valkey, is needed")
    for advice in advices(info):
        if advice.reason == MAY_EVICT and not allow_eviction:
            raise UnsuitableRedis(f"{advice.text} (or start the broker with --allow-eviction)")
        _log.warning(advice.text)
    return version


def advices(info: Mapping[str, Any]) -> list[Advice]:
    """What an operator had better change, from what INFO says."""
    found = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        text = f"Redis may evict queued items: its maxmemory-policy is {policy}, it must be noeviction"
        found.append(Advice(MAY_EVICT, text))
    if not info.get("aof_enabled"):
        text = "Redis keeps no append-only file: what was enqueued last is lost if it dies (appendonly yes)"
        found.append(Advice("REDIS_WITHOUT_AOF", text))
    if not _mended(info):
        text = (
            f"{server_name(info)} has known faults in its Lua interpreter (CVE-2025-49844): "
            "let only trusted programs reach it"
        )
        found.append(Advice("REDIS_LUA_FAULTS", text))
    used, most = info.get("used_memory", 0), info.get("maxmemory", 0)
    if most and used > most * _FULL_SHARE:
        text = f"Redis's memory is full to {used / most:.0%}: when it is full nothing more can be enqueued"
        found.append(Advice("REDIS_MEMORY_NEARLY_FULL", text))
    return found


def server_name(info: Mapping[str, Any]) -> str:
    """Name and version, such as "redis 7.0.15", from what INFO says."""
    name = info.get("server_name", "redis")
    return f"{name} {info.get(f'{name}_version', info['redis_version'])}"


def _version(info: Mapping[str, Any], name: str = "redis") -> tuple[int, ...]:
    return tuple(int(part) for part in info[f"{name}_version"].split(".")[:3])


def _mended(info: Mapping[str, Any]) -> bool:
    """Whether its Lua interpreter has the fix; of servers that are neither Redis nor Valkey nothing is known."""
    name = info.get("server_name", "redis")
    if name not in _LUA_MENDED:
        return True
    mended = _LUA_MENDED[name]
    version = _version(info, name)
    line = version[:2]
    return version >= mended[line] if line in mended else line > max(mended)
