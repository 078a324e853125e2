"""From the call of execute to the start of the task, on an idle system."""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dibs

from ..dibs_tasks import stamp
from ..measure import Figure, percentile
from ..stack import running_stack, running_worker


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Percentiles over all runs."""
    halves, most = [], []
    for _ in range(runs):
        found = _latencies(100 if quick else 300)
        halves.append(percentile(found, 0.5) * 1000)
        most.append(percentile(found, 0.99) * 1000)
    yield Figure("execute to start of the task, p50", "ms", halves, "idle system")
    yield Figure("execute to start of the task, p99", "ms", most, "idle system")


def _latencies(count: int) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder, running_stack() as (_, target):
        stamps = Path(folder) / "stamps"
        stamps.write_bytes(bytes(8 * count))
        with running_worker(target, stamps), dibs.Dibs(target) as producer:
            task = stamp.on(producer)
            called = []
            for item in range(count):
                called.append(time.monotonic())
                handle = task.execute(item)
                if not handle.wait(10):
                    raise TimeoutError("a task did not start")
                # Idle means idle: nothing of the last one is still under way.
                time.sleep(0.02)
            time.sleep(0.2)
        started = struct.unpack(f"<{count}d", stamps.read_bytes())
        # The first ones open streams and connections.
        return [at - since for at, since in zip(started, called, strict=True)][10:]
