"""What streams cost that wait: 1,000 idle Lease streams with heartbeats on one broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import grpc.aio
import psutil

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.v1.broker_pb2_grpc import BrokerServiceStub

from ..measure import Figure
from ..stack import running_stack

_STREAMS = 1_000


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """Share of a core, and memory a stream."""
    shares, sizes = [], []
    # One event loop for all runs: grpc.aio does not part from the first one that it was used in.
    with asyncio.Runner() as runner:
        for _ in range(runs):
            share, size = runner.run(_idle(3.0 if quick else 10.0))
            shares.append(share)
            sizes.append(size)
    yield Figure("broker with 1,000 idle lease streams", "% of a core", shares)
    yield Figure("broker's memory for each of them", "KiB", sizes)


async def _idle(seconds: float) -> tuple[float, float]:
    with running_stack() as (_, target):
        broker = next(
            child for child in psutil.Process().children() if "broker" in child.cmdline() and "dibs" in child.cmdline()
        )
        before = broker.memory_info().rss
        async with grpc.aio.insecure_channel(target) as channel:
            request = pb.LeaseRequest(
                queues=["bench"], kind=tpb.QUEUE_KIND_DATA, follow=True, max_items=10, heartbeats=True
            )
            calls = [BrokerServiceStub(channel).Lease(request) for _ in range(_STREAMS)]
            await asyncio.sleep(2)
            used, started = broker.cpu_times(), time.perf_counter()
            await asyncio.sleep(seconds)
            after = broker.cpu_times()
            share = (after.user + after.system - used.user - used.system) / (time.perf_counter() - started)
            size = (broker.memory_info().rss - before) / _STREAMS / 1024
            for call in calls:
                call.cancel()
        return share * 100, size
