"""`Enqueue`: items that are put into queues, and what became of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

from dibs.contract.headers import PRINCIPAL
from dibs.contract.wire import field as encoded_field
from dibs.contract.wire import id_entry, tag
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..border.encoded import Encoded
from ..border.errors import InvalidField
from ..border.item_ids import completed
from ..config.limits import Limits
from ..engine.types import Conflict, Enqueued, NewItem
from . import validation as check
from .delivery_policy import check_content, delivery_spec

#: What follows the id in an `EnqueuedItem`.
_ENQUEUED = {
    outcome: pb.EnqueuedItem(outcome=value).SerializeToString()
    for outcome, value in (
        (Enqueued.CREATED, pb.ENQUEUE_OUTCOME_CREATED),
        (Enqueued.EXISTS, pb.ENQUEUE_OUTCOME_EXISTS),
        (Enqueued.REPLACED, pb.ENQUEUE_OUTCOME_REPLACED),
        (Enqueued.CONFLICT, pb.ENQUEUE_OUTCOME_CONFLICT),
        (Enqueued.RUNNING, pb.ENQUEUE_OUTCOME_RUNNING),
    )
}
_ENQUEUED_ITEMS = tag(pb.EnqueueResponse.DESCRIPTOR, "items")
_RESPONSE = tag(pb.EnqueueStreamResponse.DESCRIPTOR, "response")


def enqueue_response(items: Sequence[NewItem], outcomes: Sequence[Enqueued]) -> Encoded:
    """Reply of Enqueue."""
    entries = [
        id_entry(_ENQUEUED_ITEMS, item.id, _ENQUEUED[outcome]) for item, outcome in zip(items, outcomes, strict=True)
    ]
    return Encoded(b"".join(entries))


def enqueue_stream_response(response: Encoded) -> Encoded:
    """One reply on an enqueue stream, from that of Enqueue."""
    return Encoded(encoded_field(_RESPONSE, response))


_CONFLICTS: dict[int, str] = {
    pb.ON_CONFLICT_UNSPECIFIED: Conflict.KEEP.value,
    pb.ON_CONFLICT_KEEP: Conflict.KEEP.value,
    pb.ON_CONFLICT_REPLACE: Conflict.REPLACE.value,
    pb.ON_CONFLICT_FAIL: Conflict.FAIL.value,
    pb.ON_CONFLICT_REPLACE_UNLESS_RUNNING: Conflict.REPLACE_UNLESS_RUNNING.value,
}
#: Longest terms of an item that are remembered, in bytes.
_LONGEST_KNOWN = 1024


def read_enqueue(request: pb.EnqueueRequest, limits: Limits, principal: str = "") -> tuple[str, list[NewItem]]:
    """Namespace and items of an EnqueueRequest, which `principal` has sent; "": it is not known who."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    if request.request_id:
        check.identifier(request.request_id, "request_id", limits.max_id_length)
    check.batch(len(request.items), "items", limits.batch_items)
    # Column by column: this runs for every item that is put.
    found = list(request.items)
    ids = [item.id for item in found]
    check.identifiers(ids, "items[{}].id", limits.max_id_length, optional=True)
    contents = [item.content for item in found]
    check.payloads([content.payload for content in contents], "items[{}].content.payload", limits.max_payload_bytes)
    bodies = [content.SerializeToString() for content in contents]
    if principal:
        # Of two headers of a name the last counts, so this is what is read, whatever was sent.
        producer = _producer(principal)
        bodies = [body + producer for body in bodies]
    # What is not an item's own is remembered for the next like it.
    for item, content in zip(found, contents, strict=True):
        item.ClearField("id")
        content.ClearField("payload")
    rests = [item.SerializeToString() for item in found]
    if not all(ids):
        ids = completed(ids, request.request_id)
    return namespace, _new_items(found, ids, rests, bodies, limits, principal)


def _new_items(
    found: Sequence[pb.EnqueueItem],
    ids: Sequence[str],
    rests: Sequence[bytes],
    bodies: Sequence[bytes],
    limits: Limits,
    principal: str,
) -> list[NewItem]:
    """Items from their ids, their bodies and the rest: as it is in `found`, and as bytes."""
    plain: dict[bytes, tuple[str, str]] = {}
    own: dict[int, NewItem] = {}
    for at, rest in enumerate(rests):
        if rest not in plain:
            item = found[at]
            try:
                if item.content.headers or item.lease_token or item.WhichOneof("due"):
                    own[at] = _read_item(item, ids[at], bodies[at], limits, principal)
                else:
                    plain[rest] = _terms(rest, limits)
            except InvalidField as error:
                raise error.under(f"items[{at}]") from None
    return [
        NewItem._make((id, terms[0], "", terms[1], body)) if (terms := plain.get(rest)) else own[at]
        for at, (id, rest, body) in enumerate(zip(ids, rests, bodies, strict=True))
    ]


@lru_cache(maxsize=1024)
def _producer(principal: str) -> bytes:
    """What is added to the body of an item to say who has put it."""
    return tpb.Content(headers={PRINCIPAL: principal}).SerializeToString()


def _read_item(item: pb.EnqueueItem, id: str, body: bytes, limits: Limits, principal: str) -> NewItem:
    """An item with headers, a due time or a lease token."""
    content = item.content
    check.headers(content.headers, "content.headers", limits.max_headers, limits.max_headers_bytes)
    if PRINCIPAL in content.headers and not principal:
        # Nobody knows who it was.
        body += _producer("")
    content.ClearField("headers")
    token = item.lease_token
    item.ClearField("lease_token")
    due = ""
    which = item.WhichOneof("due")
    if which:
        due = _due(item, limits)
        item.ClearField(which)
    spec, conflict = _terms(item.SerializeToString(), limits)
    if token:
        if conflict != Conflict.REPLACE:
            raise InvalidField("lease_token", "needs ON_CONFLICT_REPLACE")
        conflict += str(check.lease_token(token, "lease_token"))
    return NewItem(id, spec, due, conflict, body)


def _terms(rest: bytes, limits: Limits) -> tuple[str, str]:
    """Spec and conflict of an item without what is its own; the same few come again and again."""
    return _known_terms(rest, limits) if len(rest) <= _LONGEST_KNOWN else _read_terms(rest, limits)


def _read_terms(rest: bytes, limits: Limits) -> tuple[str, str]:
    item = pb.EnqueueItem.FromString(rest)
    spec = delivery_spec(item.queue, item.kind, item.policy.SerializeToString(), limits)
    check_content(item.content, limits, is_task=item.kind == tpb.QUEUE_KIND_TASK)
    return spec, check.choice(item.on_conflict, "on_conflict", _CONFLICTS)


#: Remembers only what was accepted: nothing is kept of a call that raises.
_known_terms = lru_cache(maxsize=4096)(_read_terms)


def _due(item: pb.EnqueueItem, limits: Limits) -> str:
    if item.HasField("delay"):
        return f"+{check.duration_us(item.delay, 'delay', limits.max_delay_us)}"
    due_us = check.timestamp_us(item.schedule_time, "schedule_time")
    if due_us > time.time() * 1e6 + limits.max_delay_us:
        raise InvalidField("schedule_time", f"must be at most {limits.max_delay} ahead")
    return f"@{due_us}"
