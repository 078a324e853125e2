"""Putting items in over bare stubs: under a request id, so that a lost reply is asked for again and changes nothing."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .calls import PATIENCE_S, Brokers
from .history import Event
from .kinds import Kind, duration

#: Appends an event to the history.
Write = Callable[[Event], None]


def put(brokers: Brokers, write: Write, items: Sequence[tuple[str, Kind]], within_s: float) -> bool:
    """Enqueue items in one request; whether that was confirmed.

    Args:
        brokers: where.
        write: notes what was asked and what was answered.
        items: uid and kind of each. Ids are made by the broker, so that a request that is carried out twice would show.
        within_s: seconds after which the outcome is given up as not known.
    """
    request = pb.EnqueueRequest(request_id=str(uuid.uuid4()), items=[_item(*item) for item in items])
    since, now = time.monotonic(), time.time()
    for uid, kind in items:
        write(Event(what="asked", uid=uid, kind=kind.name, due=now + kind.delay_s if kind.delay_s else 0.0))
    reply = brokers.call(lambda broker: broker.items.Enqueue(request, timeout=PATIENCE_S), within_s)
    if reply is None:
        for uid, kind in items:
            write(Event(what="gave up", uid=uid, kind=kind.name, since=since))
        return False
    for (uid, kind), put_in in zip(items, reply.items, strict=True):
        write(Event(what="enqueued", uid=uid, kind=kind.name, id=put_in.id, since=since))
    return True


def _item(uid: str, kind: Kind) -> pb.EnqueueItem:
    payload = (
        {"args": [uid], "kwargs": {}}
        if kind.is_task
        else {"uid": uid, "kind": kind.name, "padding": "x" * kind.padding}
    )
    item = pb.EnqueueItem(
        queue=kind.queue,
        kind=kind.queue_kind,
        content=tpb.Content(task_name=kind.name if kind.is_task else "", payload=json.dumps(payload).encode()),
        policy=kind.policy,
    )
    if kind.delay_s:
        item.delay.CopyFrom(duration(kind.delay_s))
    return item
