"""Tasks processed per second by one worker process, all of them waiting when it starts; beside the peers.

A clock runs from the start of the first task to that of the last, and for dibs on until the broker has settled the
last ack: the peers need not say when theirs are.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dibs

from ..dibs_tasks import again, kept, once
from ..measure import Figure, repeated
from ..peers import commands
from ..stack import Redis, bench_env, process, running_broker, running_redis, running_worker, wait_until
from ..tally import Tally

_TASKS = {"once": once, "again": again, "kept": kept}
_NAMES = {
    "once": "at most once",
    "again": "at least once (lease, token, ack)",
    "kept": "with save_results",
}


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Figures of dibs, then of the peers."""
    count = 20_000
    best = ""
    if peers:
        found = [
            Figure(peer.name, "tasks/s", repeated(runs, lambda peer=peer: _peer(peer, count)), f"{count} tasks")  # type: ignore[misc]
            for peer in commands.WORKERS
        ]
        best = max(found, key=lambda figure: figure.median).name
        yield from found
    for name, title in _NAMES.items():
        for number in (count,) if quick else (count, 100_000):
            values = repeated(runs, lambda name=name, number=number: _dibs(name, number))  # type: ignore[misc]
            yield Figure(f"dibs {title}", "tasks/s", values, f"{number} tasks", against=best)


def _dibs(name: str, count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder, running_redis() as server:
        tally = Tally(f"{folder}/tally", count)
        with running_broker(server) as target:
            with dibs.Dibs(target) as producer, producer.batch():
                task = _TASKS[name].on(producer)
                for item in range(count):
                    task.execute(item)
            with running_worker(target, Path(folder) / "tally"):
                last = _settled(server, tally)
        tally.check()
        return count / (last - tally.first)


def _settled(server: Redis, tally: Tally) -> float:
    """When the last task had come out and Redis had nothing unfinished left."""
    wait_until(lambda: tally.last > 0, 120)
    with server.client() as client:
        wait_until(lambda: not client.exists("dibs:{default:0}:item"), 60)
    return time.monotonic()


def _peer(peer: commands.PeerWorker, count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder, running_redis() as server:
        tally = Tally(f"{folder}/tally", count)
        env = bench_env(Path(folder) / "tally", server) | peer.env
        with process(peer.enqueue(count), env) as producer:
            if producer.wait(300):
                sys.exit(f"{peer.name} cannot enqueue")
        with process(peer.work, env):
            wait_until(lambda: tally.last > 0, 300)
        tally.check()
        return count / (tally.last - tally.first)
