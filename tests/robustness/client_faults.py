"""Clients that behave unusually, and are allowed to."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from . import history, kinds
from .calls import Brokers
from .cluster import Cluster, target
from .faults import Fault
from .pacing import rounds

#: Producers that fork, one after the other.
_FORKERS = 4


def fork(cluster: Cluster, seconds: float) -> None:
    """Tasks that fork, and producers that fork while their threads enqueue, half of them beside an AsyncDibs."""
    own = {history.ROLE: "forker", "DIBS_TARGET": target([broker.for_clients for broker in cluster.brokers])}
    each = seconds / _FORKERS
    for turn in range(_FORKERS):
        # What goes wrong in forks goes wrong in fresh processes.
        command = [sys.executable, "-m", "tests.robustness.forker", str(each), *(["asyncio"] if turn % 2 else [])]
        forker = cluster.extra_process(f"forker{turn}", command, own)
        forker.start()
        for part in rounds(each, 0.5):
            cluster.put(kinds.FORKING, 4, f"turn{turn}.{part}.")
        forker.finish(each + 60)


def slow_reader(cluster: Cluster, seconds: float) -> None:
    """Two consumers open streams over many large items, read nothing of them, and go away."""
    cluster.put(kinds.DATA_SLOW, 600)
    brokers = Brokers([broker.for_clients.address for broker in cluster.brokers])
    over = threading.Event()

    def ask() -> Iterator[pb.WorkRequest]:
        hello = pb.WorkHello(kind=tpb.QUEUE_KIND_DATA, queues=[kinds.SLOW_DATA], worker_id="does not read")
        yield pb.WorkRequest(hello=hello, add_credit=1_000)
        over.wait()

    request = pb.LeaseRequest(queues=[kinds.SLOW_DATA], kind=tpb.QUEUE_KIND_DATA, max_items=1_000, follow=True)
    following = brokers.present.items.Lease(request)
    brokers.move_on()
    working = brokers.present.items.Work(ask())
    time.sleep(seconds)
    over.set()
    following.cancel()
    working.cancel()
    brokers.close()


CLIENT_FAULTS = (Fault("fork", fork), Fault("slow-reader", slow_reader))
