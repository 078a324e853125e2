"""All faults by name, and the one that mixes them."""

from __future__ import annotations

import time
from itertools import chain

from .client_faults import CLIENT_FAULTS
from .cluster import Cluster
from .expectation import Expectation
from .faults import Fault
from .network_faults import NETWORK_FAULTS
from .process_faults import PROCESS_FAULTS
from .redis_faults import REDIS_FAULTS

_PAUSE_S = 1.0
_SHORT_S = 3.0
#: What can follow on anything else, in any order.
_MIXABLE = (
    "kill-worker", "kill-task-process", "kill-broker", "kill-redis", "stop-worker", "stop-task-process", "stop-broker",
    "stop-redis", "client-cut", "client-reset", "client-truncate", "client-stall", "client-mute", "client-delay",
    "worker-cut", "worker-reset", "worker-truncate", "worker-stall", "worker-mute", "worker-delay", "redis-cut",
    "redis-reset", "redis-truncate", "redis-stall", "redis-mute", "redis-delay", "redis-slow", "script-flush",
    "client-kill", "maxmemory",
)  # fmt: skip


def _mixed(cluster: Cluster, seconds: float) -> None:
    """Faults of all kinds one after the other, chosen by the seed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fault = FAULTS[cluster.chance.choice(_MIXABLE)]
        print(f"mixed: {fault.name}", flush=True)
        fault.happen(cluster, _SHORT_S)
        time.sleep(_PAUSE_S)


_MIXED = Fault(
    "mixed",
    _mixed,
    Expectation(
        recovery_s=30.0,
        lost_once=400,
        uncounted=4,
        unseen_tasks=3,
        unseen_data=2,
        because="each of the faults may cost what it may cost alone, and the next one may hit its recovery",
    ),
    seconds=30.0,
)

FAULTS = {fault.name: fault for fault in chain(PROCESS_FAULTS, NETWORK_FAULTS, REDIS_FAULTS, CLIENT_FAULTS, (_MIXED,))}
