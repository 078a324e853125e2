"""Both ends of a data queue as processes, `python -m benchmarks.dibs_data`: `put TARGET FIRST COUNT` and `take TARGET`.

Each says that it is ready, and begins when a line comes on its standard input.
"""

from __future__ import annotations

import sys
import time

import dibs

from .tally import from_environment

BATCH = 100
PAYLOAD = "x" * 100


def put(client: dibs.Dibs, first: int, count: int) -> None:
    """Put items in, numbered from `first` on."""
    queue = client.Data("bench", attempts=3, vis_timeout=60)
    queue.currently_available()
    _wait()
    for at in range(first, first + count, BATCH):
        queue.put_data([[number, PAYLOAD] for number in range(at, at + BATCH)])


def take(client: dibs.Dibs) -> None:
    """Take items out, count them, and tell when the last one was done."""
    queue = client.Data("bench", attempts=3, vis_timeout=60)
    queue.currently_available()
    tally = from_environment()
    _wait()
    last = 0.0
    for batch in queue.stream(items=BATCH, get_timeout=2):
        for number, _payload in batch.values():
            tally.hit(number)
        last = time.monotonic()
    print(last, flush=True)


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    role, target, *rest = sys.argv[1:]
    with dibs.Dibs(target) as this_client:
        if role == "put":
            put(this_client, *map(int, rest))
        else:
            take(this_client)
