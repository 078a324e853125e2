"""What `dibs top` has seen: the last look at the broker and the rates of the last minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..v1.admin_pb2 import GetServerInfoResponse, QueueInfo, WorkerInfo
from .calls import Calls
from .queues import Key, Rates, key, rates

#: Length of the curves.
KEPT_SECONDS = 60.0


@dataclass(frozen=True)
class Look:
    """One look at the broker.

    Attributes:
        at: when, on this process's monotonic clock.
        latency: seconds that the broker took to answer GetServerInfo.
    """

    at: float
    info: GetServerInfoResponse
    latency: float
    queues: Sequence[QueueInfo]
    workers: Sequence[WorkerInfo]


def look(calls: Calls) -> Look:
    """Look now.

    Raises:
        BrokerError: the broker or its Redis is away.
    """
    began = time.monotonic()
    info = calls.server_info()
    latency = time.monotonic() - began
    queues = calls.queues()
    at = time.monotonic()
    return Look(at, info, latency, queues, calls.workers())


@dataclass
class History:
    """The last look and the curves that lead to it. Of one thread.

    Args:
        interval: seconds between looks.

    Attributes:
        last: the last look.
        moving: rates of each queue between the last two looks; empty before there are two.
        error: why the last attempt to look failed; empty when it did not.
    """

    interval: float
    last: Look | None = None
    moving: dict[Key, Rates] = field(default_factory=dict)
    error: str = ""

    def __post_init__(self) -> None:
        """Begin the curves."""
        #: Points of a curve.
        self.length = max(2, round(KEPT_SECONDS / self.interval))
        self.put = self._curve()
        self.done = self._curve()
        self.depth = self._curve()
        self.latency = self._curve()
        #: Items taken out of each queue, a second.
        self.done_of: dict[Key, deque[float]] = {}

    def _curve(self) -> deque[float]:
        return deque(maxlen=self.length)

    def add(self, seen: Look) -> None:
        """A new look."""
        before, self.last, self.error = self.last, seen, ""
        self.latency.append(seen.latency)
        self.depth.append(sum(queue.ready for queue in seen.queues))
        if before is None:
            return
        self.moving = rates(before.queues, seen.queues, max(seen.at - before.at, 1e-3))
        self.put.append(sum(at.put for at in self.moving.values()))
        self.done.append(sum(at.done for at in self.moving.values()))
        for one, at in self.moving.items():
            self.done_of.setdefault(one, self._curve()).append(at.done)
        for gone in self.done_of.keys() - self.moving.keys():
            del self.done_of[gone]

    def fail(self, sentence: str) -> None:
        """An attempt to look that failed; what was seen before stays."""
        self.error = sentence

    def busiest(self, most: int) -> list[QueueInfo]:
        """The queues in which most happened in the last minute, in the order in which they are served."""
        if self.last is None:
            return []
        queues = list(self.last.queues)
        if len(queues) > most:
            chosen = sorted(queues, key=lambda queue: (-sum(self.done_of.get(key(queue), ())), -queue.ready))[:most]
            kept = {key(queue) for queue in chosen}
            queues = [queue for queue in queues if key(queue) in kept]
        return queues
