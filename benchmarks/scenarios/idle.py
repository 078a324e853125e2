"""What streams cost that wait: 1,000 idle streams with heartbeats on one broker, of consumers and of workers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import psutil

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.v1.broker_pb2_grpc import BrokerServiceStub

from ..measure import Figure
from ..stack import running_stack

_STREAMS = 1_000

#: Opens one stream and keeps it up; does not end by itself.
Keep = Callable[[Any], Awaitable[None]]


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Share of a core, and memory a stream."""
    # One event loop for all runs: grpc.aio does not part from the first one that it was used in.
    with asyncio.Runner() as runner:
        for name, keep in (("lease", _consume), ("work", _work)):
            shares, sizes = [], []
            for _ in range(runs):
                share, size = runner.run(_idle(keep, 3.0 if quick else 10.0))
                shares.append(share)
                sizes.append(size)
            yield Figure(f"broker with 1,000 idle {name} streams", "% of a core", shares)
            yield Figure("broker's memory for each of them", "KiB", sizes)


async def _consume(stub: Any) -> None:
    request = pb.LeaseRequest(queues=["bench"], kind=tpb.QUEUE_KIND_DATA, follow=True, max_items=10, heartbeats=True)
    async for _ in stub.Lease(request):
        pass


async def _work(stub: Any) -> None:
    """As a worker does it: the first message announces the rhythm, and both sides keep to it."""
    call = stub.Work()
    hello = pb.WorkHello(kind=tpb.QUEUE_KIND_TASK, queues=["bench"], worker_id="idle", task_names=["nothing"])
    await call.write(pb.WorkRequest(hello=hello, add_credit=10))
    interval_s = (await call.read()).heartbeats.interval.ToTimedelta().total_seconds()

    async def beat() -> None:
        # Spread, as workers are that did not start together.
        await asyncio.sleep(random.uniform(0, interval_s))
        while True:
            await call.write(pb.WorkRequest(heartbeats=True))
            await asyncio.sleep(interval_s)

    async with asyncio.TaskGroup() as both:
        both.create_task(beat())
        while await call.read() is not grpc.aio.EOF:
            pass


async def _idle(keep: Keep, seconds: float) -> tuple[float, float]:
    with running_stack() as (_, target):
        broker = next(
            child for child in psutil.Process().children() if "broker" in child.cmdline() and "dibs" in child.cmdline()
        )
        before = broker.memory_info().rss
        async with grpc.aio.insecure_channel(target) as channel, _kept(keep, BrokerServiceStub(channel)):
            await asyncio.sleep(8)  # until every stream has its heartbeats
            used, started = broker.cpu_times(), time.perf_counter()
            await asyncio.sleep(seconds)
            after = broker.cpu_times()
            share = (after.user + after.system - used.user - used.system) / (time.perf_counter() - started)
            size = (broker.memory_info().rss - before) / _STREAMS / 1024
        return share * 100, size


@asynccontextmanager
async def _kept(keep: Keep, stub: Any) -> AsyncIterator[None]:
    """Streams that are kept up inside the with; one that ends before is an error: it would cost nothing."""
    tasks = [asyncio.ensure_future(keep(stub)) for _ in range(_STREAMS)]
    try:
        yield
        ended = [task for task in tasks if task.done()]
        if ended:
            raise RuntimeError(f"{len(ended)} of {_STREAMS} streams have ended") from ended[0].exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
