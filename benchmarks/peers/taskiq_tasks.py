"""The no-op task for taskiq; worker: `taskiq worker taskiq_tasks:broker`, producer: `python taskiq_tasks.py`."""

import asyncio
import os
import sys
import time

from tally import from_environment
from taskiq_redis import ListQueueBroker, RedisStreamBroker

#: On lists it delivers at most once, on streams with an acknowledgement.
_kind = RedisStreamBroker if os.environ.get("DIBS_BENCH_TASKIQ") == "stream" else ListQueueBroker
broker = _kind(f"redis://127.0.0.1:{os.environ['DIBS_BENCH_REDIS_PORT']}", queue_name="bench")
_tallies = []


@broker.task(task_name="once")
async def once(item: int) -> None:
    if not _tallies:
        _tallies.append(from_environment())
    _tallies[0].hit(item)


async def enqueue(count: int) -> float:
    await broker.startup()
    started = time.perf_counter()
    for item in range(count):
        await once.kiq(item)
    took = time.perf_counter() - started
    await broker.shutdown()
    return took


if __name__ == "__main__":
    print(asyncio.run(enqueue(int(sys.argv[2]))))
