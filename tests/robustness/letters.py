"""Taking dead letters so that a lost answer costs none: under a request id, asked again until the answer is there."""

from __future__ import annotations

import json
import time
import uuid

from dibs.v1 import admin_pb2 as apb
from dibs.v1 import types_pb2 as tpb

from .calls import PATIENCE_S, Brokers
from .history import Event
from .putting import Write

_WITHIN_S = 60.0


def take_letters(brokers: Brokers, write: Write, kind: tpb.QueueKind.ValueType) -> int:
    """Take up to 50 dead letters of a kind and note them; how many there were."""
    request = apb.TakeDeadLettersRequest(kind=kind, max_items=50, request_id=str(uuid.uuid4()))
    since = time.monotonic()
    reply = brokers.call(lambda broker: broker.admin.TakeDeadLetters(request, timeout=PATIENCE_S), _WITHIN_S)
    if reply is None:
        return 0
    for letter in reply.items:
        payload = json.loads(letter.content.payload)
        event = Event(
            what="letter",
            uid=payload["args"][0] if kind == tpb.QUEUE_KIND_TASK else payload["uid"],
            kind=letter.content.task_name or payload["kind"],
            id=letter.id,
            attempt=letter.attempt,
            since=since,
            text=letter.last_error,
        )
        write(event)
    return len(reply.items)
