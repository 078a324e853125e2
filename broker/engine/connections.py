"""Connections to Redis."""

from __future__ import annotations

import redis.asyncio as redis_async


def connect(url: str, *, connect_timeout_s: float, timeout_s: float | None, max_connections: int) -> redis_async.Redis:
    """A client with a bounded pool; it connects when first used.

    Args:
        url: redis://, rediss:// or unix://, as redis-py reads it.
        connect_timeout_s: seconds until an attempt to connect fails.
        timeout_s: seconds until an unanswered call fails; None: never, as a subscription needs.
        max_connections: calls beyond this number wait for a free connection.
    """
    network = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = redis_async.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=connect_timeout_s,
        protocol=2,
        **network,
    )
    return redis_async.Redis.from_pool(pool)
