"""How fast a producer puts tasks in: in batches, and one blocking call at a time beside a bare echo."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

import dibs

from ..callers import rate, stream_echo, unary_echo
from ..dibs_tasks import again, once
from ..measure import Figure, repeated
from ..peers import commands
from ..stack import bench_env, process, running_redis, running_stack, wait_until

#: About what one enqueued task of the benchmark has on the wire.
_SIZE = 100


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Batches, single calls, the echo, the peers."""
    count = 50_000 if quick else 200_000
    for name, task in (("at most once", once), ("at least once", again)):
        values = repeated(runs, lambda task=task: _batch(task, count))  # type: ignore[misc]
        yield Figure(f"with batch(): execute, {name}", "tasks/s", values, f"{count} tasks, one caller")
    yield Figure("put_data", "items/s", repeated(runs, lambda: _put(count)), f"{count} items of 100 bytes")
    yield from _single(runs)
    if peers:
        for peer in commands.WORKERS:
            values = repeated(runs, lambda peer=peer: _peer(peer, 5_000))  # type: ignore[misc]
            yield Figure(f"{peer.name}: enqueue", "tasks/s", values, "one blocking caller")


def _batch(task: dibs.Task[[int], None], count: int) -> float:
    with running_stack() as (server, target), dibs.Dibs(target) as producer:
        bound = task.on(producer)
        bound.execute(-1)
        started = time.perf_counter()
        with producer.batch():
            for item in range(count):
                bound.execute(item)
        took = time.perf_counter() - started
        with server.client() as client:
            assert client.hlen("dibs:{default:0}:item") == count + 1
        return count / took


def _put(count: int) -> float:
    with running_stack() as (server, target), dibs.Dibs(target) as producer:
        queue = producer.Data("bench", attempts=3, vis_timeout=60)
        items = [f"{number:0100}" for number in range(count)]
        queue.put_data(["first"])
        started = time.perf_counter()
        queue.put_data(items, chunksize=1000)
        took = time.perf_counter() - started
        with server.client() as client:
            assert client.hlen("dibs:{default:0}:item") == count + 1
        return count / took


def _single(runs: int) -> Iterator[Figure]:
    with running_stack() as (_, target), tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder:
        ready = Path(folder) / "ready"
        with process([sys.executable, "-m", "benchmarks.echo", str(ready)]):
            wait_until(ready.exists)
            with grpc.insecure_channel(ready.read_text()) as channel, dibs.Dibs(target) as producer:
                task = once.on(producer)
                one, echo_one, many, echo_many = [], [], [], []
                for _ in range(runs):
                    # Interleaved, so that whatever else the machine does falls on both.
                    echo_one.append(rate(stream_echo(channel, _SIZE), 1))
                    one.append(rate(lambda: task.execute(1), 1))
                    echo_many.append(rate(unary_echo(channel, _SIZE), 64))
                    many.append(rate(lambda: task.execute(1), 64))
                yield Figure("bare echo on an open stream, 1 caller", "calls/s", echo_one)
                yield Figure("execute, 1 caller", "calls/s", one, against="bare echo on an open stream, 1 caller")
                yield Figure("bare unary echo, 64 callers", "calls/s", echo_many)
                yield Figure("execute, 64 callers", "calls/s", many, against="bare unary echo, 64 callers")


def _peer(peer: commands.PeerWorker, count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder, running_redis() as server:
        env = bench_env(Path(folder) / "tally", server) | peer.env
        result = subprocess.run(
            peer.enqueue(count), env={**os.environ, **env}, capture_output=True, check=True, text=True
        )
        return count / float(result.stdout.split()[-1])
