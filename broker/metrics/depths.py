"""How full queues are, read from Redis when somebody asks for metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..engine.engine import Engine
from ..engine.errors import EngineError
from ..engine.queues import QueueCounts
from ..engine.types import Kind

#: Seconds for which what was read is good enough for whoever asks again.
_FRESH_S = 2.0
#: Seconds that reading may take; a broker that does not come to it tells of no queues.
_WITHIN_S = 8.0
#: Namespaces that are looked through.
_MOST_NAMESPACES = 1000

_KINDS = {Kind.TASK: "task", Kind.DATA: "data"}


class Depth(NamedTuple):
    """One queue, where it is."""

    namespace: str
    kind: Kind
    counts: QueueCounts


class Depths(NamedTuple):
    """Queues as they were found, and how many there are besides."""

    queues: list[Depth]
    untold: int
    now_us: int


class Standing(NamedTuple):
    """What this broker has at the moment.

    Attributes:
        workers: `Work` streams here, by namespace, and the credit of all of them.
        hints: hints heard from Redis.
        connects: connections made to it.
    """

    workers: Iterable[tuple[str, int, int]]
    hints: int
    connects: int


async def read_depths(engine: Engine, most: int) -> Depths:
    """The first queues, by namespace, kind and the order in which they are served. Raises `EngineError`."""
    found: list[Depth] = []
    untold = 0
    for namespace in await engine.namespaces(_MOST_NAMESPACES):
        for kind in _KINDS:
            names = [name for _, name in await engine.queues.names(namespace, kind)]
            told = names[: most - len(found)]
            untold += len(names) - len(told)
            for counts in await engine.queues.describe(namespace, kind, told):
                if counts is not None:
                    found.append(Depth(namespace, kind, counts))
    return Depths(found, untold, engine.redis_now_us())


class DepthCollector(Collector):
    """Puts depths into metrics. Asked in threads of its own; reads on the broker's loop, once for all who ask.

    Args:
        engine: is asked.
        most: queues that are told.
        standing: what else there is to tell.
    """

    def __init__(self, engine: Engine, most: int, standing: Callable[[], Standing]) -> None:
        self._engine = engine
        self._most = most
        self._standing = standing
        self._loop = asyncio.get_running_loop()
        self._reading = asyncio.Lock()
        self._read: tuple[float, Depths | None] = (-_FRESH_S, None)

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is is known when it is asked for."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Everything, as it is now or was a moment ago."""
        asked = asyncio.run_coroutine_threadsafe(self._ask(), self._loop)
        try:
            depths, standing = asked.result(_WITHIN_S)
        except TimeoutError:
            asked.cancel()
            return
        yield GaugeMetricFamily("dibs_redis_up", "Whether Redis answered just now.", float(depths is not None))
        if depths is not None:
            yield from _queue_metrics(depths)
        yield from _standing_metrics(standing)

    async def _ask(self) -> tuple[Depths | None, Standing]:
        async with self._reading:
            read_at, depths = self._read
            if self._loop.time() - read_at >= _FRESH_S:
                try:
                    depths = await read_depths(self._engine, self._most)
                except EngineError:
                    depths = None  # the log of the broker says why, and `dibs_redis_up` that it is so
                self._read = self._loop.time(), depths
        return depths, self._standing()


def _queue_metrics(depths: Depths) -> Iterator[Metric]:
    labels = ("namespace", "kind", "queue")
    items = GaugeMetricFamily(
        "dibs_queue_items",
        "Items in a queue, by state; of all brokers together. Parked ones wait for a worker that knows their task.",
        labels=(*labels, "state"),
    )
    oldest = GaugeMetricFamily(
        "dibs_queue_oldest_ready_seconds", "Since the first of those that are ready was put in.", labels=labels
    )
    put = CounterMetricFamily("dibs_queue_put_items", "Items that have come into a queue.", labels=labels)
    done = CounterMetricFamily("dibs_queue_done_items", "Items of a queue that have come to an end.", labels=labels)
    paused = GaugeMetricFamily("dibs_queue_paused", "1: nothing is served from it.", labels=labels)
    for namespace, kind, counts in depths.queues:
        where = (namespace, _KINDS[kind], counts.name)
        parked = sum(task.items for task in counts.parked)
        states = {
            "ready": counts.ready - parked,
            "parked": parked,
            "delayed": counts.delayed,
            "leased": counts.leased,
            "dead": counts.dead,
            "set_aside": counts.set_aside,
        }
        for state, number in states.items():
            items.add_metric((*where, state), number)
        if counts.oldest_ready_us is not None:
            oldest.add_metric(where, max(depths.now_us - counts.oldest_ready_us, 0) / 1e6)
        put.add_metric(where, counts.seen)
        done.add_metric(where, counts.done)
        paused.add_metric(where, float(counts.paused))
    yield items
    yield put
    yield done
    yield oldest
    yield paused
    yield GaugeMetricFamily("dibs_queues_untold", "Queues beyond those that are told.", depths.untold)


def _standing_metrics(standing: Standing) -> Iterator[Metric]:
    workers = GaugeMetricFamily("dibs_workers", "Work streams of this broker.", labels=("namespace",))
    credit = GaugeMetricFamily("dibs_credit", "Items that its workers would take now.", labels=("namespace",))
    for namespace, count, free in standing.workers:
        workers.add_metric((namespace,), count)
        credit.add_metric((namespace,), free)
    yield workers
    yield credit
    yield CounterMetricFamily("dibs_redis_hints", "Wake-ups that were heard from Redis.", standing.hints)
    yield CounterMetricFamily("dibs_redis_connects", "Connections made to Redis.", standing.connects)
