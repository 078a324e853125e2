"""How much slower a quiet tenant's calls become by a greedy one on the same broker; both in one run.

The greedy one is stopped and goes on in turns (SIGSTOP, SIGCONT), so that both kinds of seconds are from the same
minute.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import dibs

from ..measure import Figure, percentile
from ..stack import running_stack

_HOWS = {
    "items": "4 callers that put in, lease and finish 1,000 items at a time",
    "names": "32 callers whose leases name 1,000 empty queues",
    "queues": "4 callers that list 100,000 queues",
}
#: What a second of either kind begins with: the other kind's calls end, a list of 100,000 queues among them.
_SETTLING_S = 1.0


def run(runs: int, quick: bool, peers: bool) -> Iterator[Figure]:
    """A round of put, get and done of one item; p50 and p99."""
    for how, note in _HOWS.items():
        alone: list[list[float]] = []
        beside: list[list[float]] = []
        for _ in range(runs):
            found = _rounds(how, 3 if quick else 8)
            alone.append(found[0])
            beside.append(found[1])
        for share in (0.5, 0.99):
            name = f"quiet tenant, {how}, p{share * 100:.0f}"
            yield Figure(f"{name}, greedy one stopped", "ms", [percentile(times, share) for times in alone])
            yield Figure(
                name, "ms", [percentile(times, share) for times in beside], note, f"{name}, greedy one stopped"
            )


def _rounds(how: str, turns: int) -> tuple[list[float], list[float]]:
    """Milliseconds of rounds without and with the greedy one."""
    with running_stack() as (_, target), dibs.Dibs(target, namespace="quiet") as client:
        queue = client.Data("bench", attempts=3, vis_timeout=60)
        command = [sys.executable, "-m", "benchmarks.greedy", target, how]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as greedy:
            try:
                assert greedy.stdout is not None
                greedy.stdout.readline()
                alone: list[float] = []
                beside: list[float] = []
                for _ in range(turns):
                    greedy.send_signal(signal.SIGSTOP)
                    alone += _second(queue)
                    greedy.send_signal(signal.SIGCONT)
                    beside += _second(queue)
                if greedy.poll() is not None:
                    raise RuntimeError("the greedy tenant gave up")
            finally:
                greedy.kill()
    return alone, beside


def _second(queue: dibs.Data) -> list[float]:
    time.sleep(_SETTLING_S)
    end = time.monotonic() + 1
    times = []
    while time.monotonic() < end:
        started = time.perf_counter()
        queue.put_data(["x"])
        queue.done_data(list(queue.get_data(1)))
        times.append((time.perf_counter() - started) * 1000)
        time.sleep(0.005)
    return times
