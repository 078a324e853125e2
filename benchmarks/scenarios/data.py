"""A data queue: put, get, done; each item comes out exactly once."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc

import dibs

from ..callers import rate, unary_echo
from ..dibs_data import BATCH, PAYLOAD
from ..measure import Figure, repeated
from ..peers import commands
from ..stack import ROOT, bench_env, process, running_redis, running_stack, wait_until
from ..tally import Tally

_PRODUCERS, _CONSUMERS = 4, 2
_ALONE = "put + get + done, batches of 100, one blocking caller"
_TOGETHER = f"put + get + done, batches of 100, {_PRODUCERS} producers and {_CONSUMERS} consumers at a time"


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Batches by processes side by side and by one caller, beside rpqueue's own; single items beside a bare echo."""
    count = 40_000 if quick else 100_000
    alone = together = ""
    if peers:
        alone, together = "rpqueue Data, one caller", "rpqueue Data, side by side"
        yield Figure(alone, "items/s", repeated(runs, lambda: _rpqueue_alone(20_000)), _ALONE)
        yield Figure(together, "items/s", repeated(runs, lambda: _rpqueue_together(count)), _TOGETHER)
    yield Figure("dibs Data, one caller", "items/s", repeated(runs, lambda: _alone(count, BATCH)), _ALONE, alone)
    values = repeated(runs, lambda: _together(count))
    yield Figure("dibs Data, side by side", "items/s", values, f"{_TOGETHER} (Data.stream)", together)
    echo = "bare unary echo, one caller"
    echoes, singles = [], []
    for _ in range(runs):
        echoes.append(_echo())
        singles.append(_alone(2_000, 1) * 3)
    yield Figure(echo, "calls/s", echoes)
    yield Figure("dibs Data, single items", "calls/s", singles, "put, get and done, three calls an item", against=echo)


def _alone(count: int, batch: int) -> float:
    with running_stack() as (_, target), dibs.Dibs(target) as client:
        queue = client.Data("bench", attempts=3, vis_timeout=60)
        queue.put_data([[-1, PAYLOAD]])
        queue.done_data(queue.get_data(1))
        seen = bytearray(count)
        started = time.perf_counter()
        for at in range(0, count, batch):
            queue.put_data([[number, PAYLOAD] for number in range(at, at + batch)])
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


def _together(count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder, running_stack() as (server, target):
        tally = Tally(f"{folder}/tally", count)
        program = [sys.executable, "-m", "benchmarks.dibs_data"]
        producers = [[*program, "put", target, str(first), str(share)] for first, share in _shares(count)]
        consumers = [[*program, "take", target]] * _CONSUMERS
        with server.client() as client:
            # Until the broker has settled the last ack, of which a consumer does not hear.
            took = _race(
                producers,
                consumers,
                bench_env(Path(folder) / "tally"),
                lambda: not client.exists("dibs:{default:0}:item"),
            )
        tally.check()
        return count / took


def _rpqueue_together(count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder, running_redis() as server:
        tally = Tally(f"{folder}/tally", count)
        producers = [commands.rpqueue_put(first, share) for first, share in _shares(count)]
        consumers = [commands.rpqueue_take()] * _CONSUMERS
        took = _race(producers, consumers, bench_env(Path(folder) / "tally", server))
        tally.check()
        return count / took


def _shares(count: int) -> list[tuple[int, int]]:
    """First item and number of items of each producer."""
    share = count // _PRODUCERS
    return [(first, share) for first in range(0, count, share)]


def _race(
    producers: Sequence[Sequence[str]],
    consumers: Sequence[Sequence[str]],
    env: dict[str, str],
    settled: Callable[[], bool] | None = None,
) -> float:
    """Seconds from the moment in which all of the programs may begin until the last item is done and settled."""
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    program,
                    cwd=ROOT,
                    env={**os.environ, **env},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    bufsize=1,
                )
            )
            for program in [*producers, *consumers]
        ]
        for child in children:
            if _output(child) != "ready\n":
                raise RuntimeError(f"{child.args!r} did not begin")
        started = time.monotonic()
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
        for child in children[: len(producers)]:
            if child.wait():
                raise RuntimeError(f"{child.args!r} has failed")
        ends = []
        if settled is not None:
            wait_until(settled, 120)
            ends.append(time.monotonic())
        ends += [float(_output(child)) for child in children[len(producers) :]]
        return max(ends) - started


def _output(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


def _echo() -> float:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder:
        ready = Path(folder) / "ready"
        with process([sys.executable, "-m", "benchmarks.echo", str(ready)]):
            wait_until(ready.exists)
            with grpc.insecure_channel(ready.read_text()) as channel:
                return rate(unary_echo(channel, len(PAYLOAD)), 1)


def _rpqueue_alone(count: int) -> float:
    with tempfile.TemporaryDirectory(prefix="dibs-bench-") as folder, running_redis() as server:
        env = bench_env(Path(folder) / "tally", server)
        result = subprocess.run(
            commands.rpqueue_data(count), env={**os.environ, **env}, capture_output=True, check=True, text=True
        )
        return count / float(result.stdout.split()[-1])
