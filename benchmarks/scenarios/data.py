"""A data queue: put, get, done."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dibs

from ..measure import Figure, repeated
from ..peers import commands
from ..stack import bench_env, running_redis, running_stack

_BATCH = 100
_PAYLOAD = "x" * 100


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Batches of 100, single items, and rpqueue's own."""
    count = 20_000 if quick else 100_000
    against = ""
    if peers:
        against = "rpqueue Data"
        yield Figure(against, "items/s", repeated(runs, lambda: _rpqueue(20_000)), "put + get + done, batches of 100")
    values = repeated(runs, lambda: _batches(count, _BATCH))
    yield Figure("dibs Data", "items/s", values, "put + get + done, batches of 100", against=against)
    values = repeated(runs, lambda: _batches(2_000, 1))
    yield Figure("dibs Data, single items", "items/s", values, "three blocking round trips an item")


def _batches(count: int, batch: int) -> float:
    with running_stack() as (_, target), dibs.Dibs(target) as client:
        queue = client.Data("bench", attempts=3, vis_timeout=60)
        queue.put_data([[-1, _PAYLOAD]])
        queue.done_data(queue.get_data(1))
        seen = bytearray(count)
        started = time.perf_counter()
        for at in range(0, count, batch):
            queue.put_data([[number, _PAYLOAD] for number in range(at, at + batch)])
        for _ in range(0, count, batch):
            found = queue.get_data(batch)
            for number, _payload in found.values():
                seen[number] += 1
            if queue.done_data(found) != batch:
                raise AssertionError("items were not ours")
        took = time.perf_counter() - started
        if seen != b"\x01" * count or any(queue.currently_available()):
            raise AssertionError("items did not come out once each")
        return count / took


def _rpqueue(count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder, running_redis() as server:
        env = bench_env(Path(folder) / "tally", server)
        result = subprocess.run(
            commands.rpqueue_data(count), env={**os.environ, **env}, capture_output=True, check=True, text=True
        )
        return count / float(result.stdout.split()[-1])
