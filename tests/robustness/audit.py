"""After the faults: let everything drain, then have the broker say what became of each item."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .calls import PATIENCE_S, Brokers
from .cluster import Cluster
from .history import Event, Flags, read
from .invariants import Violation
from .letters import take_letters

#: Every lease, retry and delay of a run is over by then, with time to spare on a busy machine.
_DRAIN_S = 60.0
_CALL_S = 20.0


def drained(cluster: Cluster) -> Iterator[Violation]:
    """Wait until no item waits, is delayed or leased; then end the consumers."""
    brokers = cluster.direct
    end = time.monotonic() + _DRAIN_S
    while left := _left(brokers):
        if time.monotonic() > end:
            yield Violation("I1", f"not drained after {_DRAIN_S:g} s: {'; '.join(left)}")
            break
        time.sleep(0.2)
    cluster.flags.wave(Flags.STOP_CONSUMING)


def _queues(brokers: Brokers) -> list[apb.QueueInfo]:
    request = apb.ListQueuesRequest(page_size=1_000)
    reply = brokers.call(lambda broker: broker.admin.ListQueues(request, timeout=PATIENCE_S), _CALL_S)
    assert reply is not None, "no broker tells the queues"
    return list(reply.queues)


def _left(brokers: Brokers) -> list[str]:
    """What still is in queues, a text for each."""
    left = []
    for queue in _queues(brokers):
        leased = _leased(brokers, queue) if queue.leased else 0
        if queue.ready or queue.delayed or leased:
            left.append(f"{queue.name}: {queue.ready} ready, {queue.delayed} delayed, {leased} leased")
    return left


def _leased(brokers: Brokers, queue: apb.QueueInfo) -> int:
    """How many items of a queue have leases that end: at-most-once items that were lost stay started for a day."""
    request = apb.ListItemsRequest(queue=queue.name, kind=queue.kind, section=apb.ITEM_SECTION_LEASED, page_size=1_000)
    reply = brokers.call(lambda broker: broker.admin.ListItems(request, timeout=PATIENCE_S), _CALL_S)
    if reply is None:
        return queue.leased
    return sum(item.policy.lease_timeout.ToNanoseconds() > 0 for item in reply.items)


def audit(cluster: Cluster) -> Iterator[Violation]:
    """Note every dead letter that is left and the state of every item; nothing may have been set aside."""
    brokers = cluster.direct
    for kind in (tpb.QUEUE_KIND_TASK, tpb.QUEUE_KIND_DATA):
        while take_letters(brokers, cluster.note, kind):
            pass
    names = {event.id: event for event in read(cluster.events) if event.id}
    for ids in _thousands(list(names)):
        for result in _results(brokers, ids):
            state = tpb.ItemState.Name(result.state).removeprefix("ITEM_STATE_")
            known = names[result.id]
            said = Event(what="state", uid=known.uid, kind=known.kind, id=result.id, text=f"{state}: {result.error}")
            cluster.note(said)
    for queue in _queues(brokers):
        if queue.set_aside:
            yield Violation("I1", f"{queue.set_aside} items of {queue.name} were set aside")


def _thousands(ids: list[str]) -> Iterator[list[str]]:
    """As many ids as one request may name, at a time."""
    return (ids[start : start + 1_000] for start in range(0, len(ids), 1_000))


def _results(brokers: Brokers, ids: list[str]) -> Iterator[pb.ItemResult]:
    request = pb.ResultRequest(ids=ids, until=pb.WAIT_UNTIL_NOW)
    reply = brokers.call(lambda broker: broker.items.Result(request, timeout=PATIENCE_S), _CALL_S)
    assert reply is not None, "no broker tells the states of items"
    yield from reply.results
