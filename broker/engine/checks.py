"""Whether a Redis is fit to hold queues, looked at once when the engine starts."""

from __future__ import annotations

import logging

import redis.asyncio as redis_async

from .errors import UnsuitableRedis
from .faults import translate

_log = logging.getLogger(__name__)

_OLDEST = (6, 2)
#: First release of each line that mends CVE-2025-49844 (a script can run native code) and its family, for Redis;
#: from Redis's security advisory of 3 October 2025.
_LUA_MENDED = {
    (6, 2): (6, 2, 20),
    (7, 2): (7, 2, 11),
    (7, 4): (7, 4, 6),
    (8, 0): (8, 0, 4),
    (8, 2): (8, 2, 2),
}


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
    version = tuple(int(part) for part in info["redis_version"].split(".")[:3])
    name = f"{info.get('server_name', 'redis')} {info['redis_version']}"
    if version < _OLDEST:
        raise UnsuitableRedis(f"{name} is too old: Redis 6.2 or newer, or Valkey, is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        text = f"Redis may evict queued items: its maxmemory-policy is {policy}, it must be noeviction"
        if not allow_eviction:
            raise UnsuitableRedis(f"{text} (or start the broker with --allow-eviction)")
        _log.warning(text)
    if not info.get("aof_enabled"):
        _log.warning("Redis keeps no append-only file: what was enqueued last is lost if it dies (appendonly yes)")
    if info.get("server_name", "redis") == "redis" and not _mended(version):
        _log.warning(
            "%s has known faults in its Lua interpreter (CVE-2025-49844): let only trusted programs reach it",
            name,
        )
    return version


def _mended(version: tuple[int, ...]) -> bool:
    line = version[:2]
    if line in _LUA_MENDED:
        return version >= _LUA_MENDED[line]
    return line > max(_LUA_MENDED)
