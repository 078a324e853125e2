"""What is counted while it happens: calls, items, and what Redis is asked."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dibs.contract.metrics_page import Names

from ..engine.types import Enqueued, Outcome

#: Bounds of times that are short unless something is wrong, in seconds.
_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
#: Bounds of times that may be long, in seconds.
_LONG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Bounds of how late something was, in seconds.
_LATE = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)


class Meters:
    """Everything that this broker counts.

    Args:
        registry: where it is found.
        most_names: names of tasks, and of principals, that are told apart.
    """

    def __init__(self, registry: CollectorRegistry, most_names: int) -> None:
        self._tasks = Names(most_names)
        self._principals = Names(most_names)
        self._calls = Counter("dibs_rpcs", "Calls that have ended.", ("method", "code"), registry=registry)
        self._call_seconds = Histogram(
            "dibs_rpc_seconds", "How long calls took.", ("method",), registry=registry, buckets=_LONG
        )
        self._under_way = Gauge("dibs_rpcs_in_progress", "Calls and streams now.", ("method",), registry=registry)
        self._enqueued = Counter(
            "dibs_enqueued_items",
            "Items that clients put into queues, by what became of each; data has no task.",
            ("task", "outcome"),
            registry=registry,
        )
        self._produced = Counter(
            "dibs_produced_items", "Items that principals have put into queues.", ("principal",), registry=registry
        )
        self._settled = Counter(
            "dibs_settled_items",
            "Leased items that consumers have settled: how, and what became of that.",
            ("how", "outcome"),
            registry=registry,
        )
        self._scripts = Histogram(
            "dibs_redis_script_seconds",
            "From asking Redis to run a script to its answer.",
            ("script",),
            registry=registry,
            buckets=_SHORT,
        )
        self._script_failures = Counter(
            "dibs_redis_script_failures", "Scripts without a good answer.", ("script", "error"), registry=registry
        )
        self._late = Histogram(
            "dibs_schedule_late_seconds",
            "From when a run of a schedule was due to when a worker had begun it.",
            registry=registry,
            buckets=_LATE,
        )

    def calls_of(self, method: str) -> CallMeter:
        """Hears of the calls of a method."""
        return CallMeter(method, self._calls, self._call_seconds, self._under_way)

    def enqueued(self, tasks: Iterable[str], outcomes: Sequence[Enqueued], principal: str = "") -> None:
        """Items were put, or not; tasks in the order of the outcomes."""
        if principal:
            new = sum(outcome in (Enqueued.CREATED, Enqueued.REPLACED) for outcome in outcomes)
            self._produced.labels(self._principals.label(principal)).inc(new)
        for (task, outcome), count in Tally(zip(tasks, outcomes, strict=True)).items():
            self._enqueued.labels(self._tasks.label(task), outcome.name.lower()).inc(count)

    def settled(self, how: str, outcomes: Sequence[Outcome]) -> None:
        """Consumers have settled items: "ack", or the reason of a nack."""
        for outcome, count in Tally(outcomes).items():
            self._settled.labels(how, outcome.name.lower()).inc(count)

    def script(self, name: str, seconds: float, error: Exception | None) -> None:
        """Redis was asked to run a script."""
        self._scripts.labels(name).observe(seconds)
        if error is not None:
            self._script_failures.labels(name, type(error).__name__).inc()

    def late(self, seconds: float) -> None:
        """A run of a schedule has been begun so long after it was due."""
        self._late.observe(max(seconds, 0.0))


class CallMeter:
    """Counts the calls of one method. What is never called is not shown."""

    def __init__(self, method: str, calls: Counter, seconds: Histogram, under_way: Gauge) -> None:
        self._method = method
        self._calls = calls
        # Looking one up takes longer than counting.
        self._seconds = cache(lambda: seconds.labels(method))
        self._under_way = cache(lambda: under_way.labels(method))
        self._by_code: dict[str, Any] = {}

    def began(self) -> None:
        """One has come in."""
        self._under_way().inc()

    def ended(self, code: str, seconds: float) -> None:
        """One is over."""
        self._under_way().dec()
        self._seconds().observe(seconds)
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._calls.labels(self._method, code)
        counter.inc()
