"""From the call of execute to the start of the task, on an idle system; beside a bare echo as seldom called.

On a machine that has gone to sleep between two calls waking it up is most of what there is to measure, so the echo says
what the machine itself takes.
"""

from __future__ import annotations

import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

import dibs

from ..callers import stream_echo
from ..dibs_tasks import stamp
from ..measure import Figure, percentile
from ..stack import process, running_stack, running_worker, wait_until


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Percentiles over all runs."""
    halves, most, echoes = [], [], []
    for _ in range(runs):
        echoes.append(percentile(_echoes(100), 0.5) * 1000)
        found = _latencies(100 if quick else 300)
        halves.append(percentile(found, 0.5) * 1000)
        most.append(percentile(found, 0.99) * 1000)
    echo = "bare echo on an open stream, there and back, p50"
    yield Figure(echo, "ms", echoes, "idle system")
    yield Figure("execute to start of the task, p50", "ms", halves, "idle system", against=echo)
    yield Figure("execute to start of the task, p99", "ms", most, "idle system")


def _times(stamps: Path) -> tuple[float, ...]:
    """When each task started; 0: not yet."""
    return tuple(at for (at,) in struct.iter_unpack("<d", stamps.read_bytes()))


def _echoes(count: int) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder:
        ready = Path(folder) / "ready"
        with process([sys.executable, "-m", "benchmarks.echo", str(ready)]):
            wait_until(ready.exists)
            with grpc.insecure_channel(ready.read_text()) as channel:
                call = stream_echo(channel, 100)
                took = []
                for _ in range(count):
                    time.sleep(0.02)
                    started = time.perf_counter()
                    call()
                    took.append(time.perf_counter() - started)
                return took[10:]


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
            # The last one counts as started before it has written its time down.
            wait_until(lambda: all(_times(stamps)))
        started = _times(stamps)
        # The first ones open streams and connections.
        return [at - since for at, since in zip(started, called, strict=True)][10:]
