"""Whether a long backlog slows a lease down, and what an item takes in Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dibs

from ..measure import Figure, percentile
from ..stack import running_stack

_PAYLOAD = "x" * 118


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Latency of single leases with few and with many items waiting; memory."""
    few, many, memory = [], [], []
    for _ in range(runs):
        few.append(_lease_ms(1_000)[0])
        found = _lease_ms(100_000 if quick else 1_000_000)
        many.append(found[0])
        memory.append(found[1])
    yield Figure("lease of one item, 1,000 waiting, p50", "ms", few)
    yield Figure("lease of one item, many waiting, p50", "ms", many, against="lease of one item, 1,000 waiting, p50")
    yield Figure("memory in Redis beyond a payload of 120 bytes", "bytes/item", memory)


def _lease_ms(waiting: int) -> tuple[float, float]:
    with running_stack() as (server, target), dibs.Dibs(target) as client, server.client() as redis:
        queue = client.Data("bench", attempts=3, vis_timeout=600)
        before = redis.info("memory")["used_memory"]
        queue.put_data([_PAYLOAD] * waiting, chunksize=1000)
        beyond = (redis.info("memory")["used_memory"] - before) / waiting - len(_PAYLOAD) - 2
        times = []
        for _ in range(500):
            started = time.perf_counter()
            queue.get_data(1)
            times.append((time.perf_counter() - started) * 1000)
        return percentile(times[50:], 0.5), beyond
