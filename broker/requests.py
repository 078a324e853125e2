"""From the messages of the wire to the engine's values, everything checked on the way. All raise `InvalidField`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from google.protobuf.duration_pb2 import Duration

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from . import validation as check
from .border.entry_counts import MOST_HELD, MOST_TASK_NAMES
from .border.errors import InvalidField
from .config.limits import Limits
from .engine.types import (
    DEFAULT_MAX_CRASHES,
    Ack,
    Begun,
    Conflict,
    Kind,
    LeaseQuery,
    Nack,
    NackReason,
    NewItem,
    Refresh,
    Retry,
    Spec,
    Until,
)
from .item_ids import completed

#: Where dead items go whose producer named no dead-letter queue.
DEAD_LETTER_QUEUE = "DEADLETTER_QUEUE"
#: Wait of a Result that names none.
_DEFAULT_RESULT_WAIT_US = 30_000_000

#: Kinds of queues, from the wire.
KINDS: dict[int, Kind] = {tpb.QUEUE_KIND_TASK: Kind.TASK, tpb.QUEUE_KIND_DATA: Kind.DATA}
_CONFLICTS: dict[int, str] = {
    pb.ON_CONFLICT_UNSPECIFIED: Conflict.KEEP.value,
    pb.ON_CONFLICT_KEEP: Conflict.KEEP.value,
    pb.ON_CONFLICT_REPLACE: Conflict.REPLACE.value,
    pb.ON_CONFLICT_FAIL: Conflict.FAIL.value,
    pb.ON_CONFLICT_REPLACE_UNLESS_RUNNING: Conflict.REPLACE_UNLESS_RUNNING.value,
}
_REASONS: dict[int, NackReason] = {
    pb.NACK_REASON_UNSPECIFIED: NackReason.FAILED,
    pb.NACK_REASON_FAILED: NackReason.FAILED,
    pb.NACK_REASON_RELEASED: NackReason.RELEASED,
    pb.NACK_REASON_CANCELLED: NackReason.CANCELLED,
    pb.NACK_REASON_REJECTED: NackReason.REJECTED,
    pb.NACK_REASON_CRASHED: NackReason.CRASHED,
    pb.NACK_REASON_NOT_BEGUN: NackReason.NOT_BEGUN,
}
#: Longest terms of an item that are remembered, in bytes.
_LONGEST_KNOWN = 1024
#: Most processes that an item may ask to be allowed to kill.
_MOST_CRASHES = 1000
_UNTIL: dict[int, Until] = {
    pb.WAIT_UNTIL_UNSPECIFIED: Until.NOW,
    pb.WAIT_UNTIL_NOW: Until.NOW,
    pb.WAIT_UNTIL_STARTED: Until.STARTED,
    pb.WAIT_UNTIL_DONE: Until.DONE,
}


@dataclass(frozen=True, slots=True)
class LeaseCall:
    """A checked LeaseRequest. `timeout_s` None: wait for ever."""

    namespace: str
    query: LeaseQuery
    max_items: int
    timeout_s: float | None
    peek: bool
    follow: bool
    heartbeats: bool


@dataclass(frozen=True, slots=True)
class ResultCall:
    """A checked ResultRequest."""

    namespace: str
    ids: Sequence[str]
    until: Until
    timeout_s: float
    bodies: bool


@dataclass(frozen=True, slots=True)
class Hello:
    """A checked WorkHello. `task_names` empty: any task."""

    namespace: str
    query: LeaseQuery
    worker_id: str
    task_names: Sequence[str]
    received_tokens: Sequence[int]


@dataclass(slots=True)
class Entries:
    """What one message settles and what it says has begun.

    `refused` are acks that never reach the engine, `refused_at` their places.
    """

    sequence: int = 0
    acks: list[Ack] = field(default_factory=list)
    nacks: list[Nack] = field(default_factory=list)
    refreshes: list[Refresh] = field(default_factory=list)
    begun: list[Begun] = field(default_factory=list)
    refused: list[tpb.EntryOutcome] = field(default_factory=list)
    refused_at: set[int] = field(default_factory=set)

    @property
    def count(self) -> int:
        """Entries for the engine."""
        return len(self.acks) + len(self.nacks) + len(self.refreshes) + len(self.begun)


def read_enqueue(request: pb.EnqueueRequest, limits: Limits) -> tuple[str, list[NewItem]]:
    """Namespace and items of an EnqueueRequest."""
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
    # What is not an item's own is remembered for the next like it.
    for item, content in zip(found, contents, strict=True):
        item.ClearField("id")
        content.ClearField("payload")
    rests = [item.SerializeToString() for item in found]
    if not all(ids):
        ids = completed(ids, request.request_id)
    return namespace, _new_items(found, ids, rests, bodies, limits)


def _new_items(
    found: Sequence[pb.EnqueueItem], ids: Sequence[str], rests: Sequence[bytes], bodies: Sequence[bytes], limits: Limits
) -> list[NewItem]:
    """Items from their ids, their bodies and the rest: as it is in `found`, and as bytes."""
    plain: dict[bytes, tuple[str, str]] = {}
    own: dict[int, NewItem] = {}
    for at, rest in enumerate(rests):
        if rest not in plain:
            item = found[at]
            try:
                if item.content.headers or item.lease_token or item.WhichOneof("due"):
                    own[at] = _read_item(item, ids[at], bodies[at], limits)
                else:
                    plain[rest] = _terms(rest, limits)
            except InvalidField as error:
                raise error.under(f"items[{at}]") from None
    return [
        NewItem._make((id, terms[0], "", terms[1], body)) if (terms := plain.get(rest)) else own[at]
        for at, (id, rest, body) in enumerate(zip(ids, rests, bodies, strict=True))
    ]


def _read_item(item: pb.EnqueueItem, id: str, body: bytes, limits: Limits) -> NewItem:
    """An item with headers, a due time or a lease token."""
    content = item.content
    check.headers(content.headers, "content.headers", limits.max_headers, limits.max_headers_bytes)
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


def check_content(content: tpb.Content, limits: Limits, *, is_task: bool) -> None:
    """Checks what an item carries. Raises `InvalidField`."""
    if is_task:
        check.task_name(content.task_name, "content.task_name", limits.max_task_name_length)
    elif content.task_name:
        raise InvalidField("content.task_name", "must be empty for a data item")
    check.payload(content.payload, "content.payload", limits.max_payload_bytes)
    check.headers(content.headers, "content.headers", limits.max_headers, limits.max_headers_bytes)


def _due(item: pb.EnqueueItem, limits: Limits) -> str:
    if item.HasField("delay"):
        return f"+{check.duration_us(item.delay, 'delay', limits.max_delay_us)}"
    due_us = check.timestamp_us(item.schedule_time, "schedule_time")
    if due_us > time.time() * 1e6 + limits.max_delay_us:
        raise InvalidField("schedule_time", f"must be at most {limits.max_delay} ahead")
    return f"@{due_us}"


@lru_cache(maxsize=4096)
def delivery_spec(queue: str, kind: int, policy: bytes, limits: Limits) -> str:
    """The engine's form of how an item is delivered; the same few come again and again."""
    check.name(queue, "queue", limits.max_name_length)
    read = _policy(tpb.DeliveryPolicy.FromString(policy), limits, leaves_open=kind == tpb.QUEUE_KIND_DATA)
    return Spec(check.choice(kind, "kind", KINDS), queue, *read).encode()


def _policy(
    policy: tpb.DeliveryPolicy, limits: Limits, *, leaves_open: bool
) -> tuple[int, int, Retry | None, str | None, int, int, str]:
    check.integer(policy.attempts, "policy.attempts", 0, limits.max_attempts)
    lease_us = 0
    if policy.HasField("lease_timeout"):
        lease_us = _lease_us(policy.lease_timeout, "policy.lease_timeout", limits)
    dead_queue = None
    if policy.use_dead_letter:
        dead_queue = policy.dead_letter_queue or DEAD_LETTER_QUEUE
        check.name(dead_queue, "policy.dead_letter_queue", limits.max_name_length)
    elif policy.dead_letter_queue:
        raise InvalidField("policy.dead_letter_queue", "needs use_dead_letter")
    keep_us = 0
    if policy.HasField("result_ttl"):
        keep_us = check.duration_us(policy.result_ttl, "policy.result_ttl", limits.max_result_ttl_us, minimum_us=1000)
    retry = _retry(policy.retry, limits) if policy.HasField("retry") else None
    max_crashes = check.integer(policy.max_crashes, "policy.max_crashes", 0, _MOST_CRASHES) or DEFAULT_MAX_CRASHES
    left_open = ""
    if leaves_open:
        left_open = ("" if policy.attempts else "a") + ("" if policy.HasField("use_dead_letter") else "d")
    return policy.attempts or 1, lease_us, retry, dead_queue, keep_us, max_crashes, left_open


def _retry(retry: tpb.RetryPolicy, limits: Limits) -> Retry:
    most = limits.max_delay_us
    initial = check.duration_us(retry.initial_delay, "policy.retry.initial_delay", most)
    if retry.HasField("max_delay"):
        most = check.duration_us(retry.max_delay, "policy.retry.max_delay", most)
    multiplier = check.number(retry.multiplier or 1.0, "policy.retry.multiplier", 1, 100)
    return Retry(initial, multiplier, most, check.number(retry.jitter, "policy.retry.jitter", 0, 1))


def _lease_us(duration: Duration, field_name: str, limits: Limits) -> int:
    """0 (at most once), or 1 ms and more."""
    most = limits.max_lease_timeout_us
    return check.duration_us(duration, field_name, most, minimum_us=1000, zero_allowed=True)


def read_lease(request: pb.LeaseRequest, limits: Limits) -> LeaseCall:
    """A LeaseRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    most = 2**31 - 1 if request.follow else limits.max_batch_items
    check.integer(request.max_items, "max_items", 0, most, limit="max_batch_items")
    if request.peek and request.follow:
        raise InvalidField("peek", "does not go with follow")
    if request.peek and request.heartbeats:
        raise InvalidField("heartbeats", "does not go with peek")
    check.integer(request.attempts, "attempts", 0, limits.max_attempts)
    timeout_s: float | None = None if request.follow else 0.0
    if request.HasField("get_timeout"):
        timeout_s = check.wait_us(request.get_timeout, "get_timeout", limits.max_wait_us) / 1e6
    lease_us = None
    if request.HasField("lease_timeout"):
        lease_us = _lease_us(request.lease_timeout, "lease_timeout", limits)
    query = LeaseQuery(
        check.choice(request.kind, "kind", KINDS),
        _queues(request.queues, "queues", limits),
        lease_us,
        request.attempts or None,
        *_defaults(request, "", limits),
    )
    return LeaseCall(
        namespace,
        query,
        request.max_items or 1,
        timeout_s,
        peek=request.peek,
        follow=request.follow,
        heartbeats=request.heartbeats,
    )


def _defaults(found: pb.LeaseRequest | pb.WorkHello, path: str, limits: Limits) -> tuple[int | None, str | None]:
    """Attempts and dead-letter queue for items whose producers left them open."""
    attempts = check.integer(found.default_attempts, f"{path}default_attempts", 0, limits.max_attempts)
    dead_queue = found.default_dead_letter_queue
    if dead_queue:
        check.name(dead_queue, f"{path}default_dead_letter_queue", limits.max_name_length)
    return attempts or None, dead_queue or None


def _queues(names: Sequence[str], field_name: str, limits: Limits) -> tuple[str, ...]:
    if len(names) > limits.max_queues_per_lease:
        most = limits.max_queues_per_lease
        raise InvalidField(field_name, f"must be at most {most}", ("max_queues_per_lease", most))
    # Each once: the first place counts.
    queues = tuple(dict.fromkeys(names))
    for at, name in enumerate(queues):
        check.name(name, f"{field_name}[{at}]", limits.max_name_length)
    return queues


def read_hello(request: pb.WorkRequest, limits: Limits) -> Hello:
    """Who a worker is and what it wants, from the first message of its stream."""
    if not request.HasField("hello"):
        raise InvalidField("hello", "must come in the first message of a stream")
    hello = request.hello
    if hello.ByteSize() > limits.max_hello_bytes:
        raise InvalidField("hello", f"has {hello.ByteSize()} bytes, must have at most {limits.max_hello_bytes}")
    namespace = check.namespace(hello.namespace, limits.max_name_length, "hello.namespace")
    lease_us = None
    if hello.HasField("lease_timeout"):
        lease_us = _lease_us(hello.lease_timeout, "hello.lease_timeout", limits)
    query = LeaseQuery(
        check.choice(hello.kind, "hello.kind", KINDS),
        _queues(hello.queues, "hello.queues", limits),
        lease_us,
        None,
        *_defaults(hello, "hello.", limits),
    )
    check.text(hello.worker_id, "hello.worker_id", 256)
    if len(hello.task_names) > MOST_TASK_NAMES:
        raise InvalidField("hello.task_names", f"must be at most {MOST_TASK_NAMES}")
    for at, name in enumerate(hello.task_names):
        check.task_name(name, f"hello.task_names[{at}]", limits.max_task_name_length)
    if len(hello.received_tokens) > MOST_HELD:
        raise InvalidField("hello.received_tokens", f"must be at most {MOST_HELD}")
    for at, token in enumerate(hello.received_tokens):
        check.lease_token(token, f"hello.received_tokens[{at}]")
    return Hello(
        namespace, query, hello.worker_id, tuple(dict.fromkeys(hello.task_names)), tuple(hello.received_tokens)
    )


def read_entries(request: pb.WorkRequest, limits: Limits) -> Entries:
    """What a worker's message settles."""
    count = len(request.acks) + len(request.nacks) + len(request.refreshes)
    most = limits.batch_items
    if count > most:
        told = ("max_batch_items", most)
        raise InvalidField("acks", f"with nacks and refreshes must be at most {most} entries", told)
    if len(request.begun) > most:
        raise InvalidField("begun", f"must be at most {most} entries", ("max_batch_items", most))
    entries = Entries(request.sequence)
    _read_acks(request.acks, "acks", entries, limits)
    entries.nacks = [_nack(entry, "nacks", at, limits) for at, entry in enumerate(request.nacks)]
    entries.refreshes = [_refresh(entry, "refreshes", at, limits) for at, entry in enumerate(request.refreshes)]
    entries.begun = [_begun(entry, at, limits) for at, entry in enumerate(request.begun)]
    return entries


def _begun(entry: pb.BegunEntry, at: int, limits: Limits) -> Begun:
    return Begun(entry.id, _token(entry.id, entry.lease_token, False, "begun", at, limits) or 0)


def read_ack(request: pb.AckRequest, limits: Limits) -> tuple[str, Entries]:
    """An AckRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.batch(len(request.entries), "entries", limits.batch_items)
    entries = Entries()
    _read_acks(request.entries, "entries", entries, limits)
    return namespace, entries


def _read_acks(found: Iterable[pb.AckEntry], field_name: str, entries: Entries, limits: Limits) -> None:
    # Column by column: this runs for every task that is done.
    acks = list(found)
    ids = [entry.id for entry in acks]
    check.identifiers(ids, field_name + "[{}].id", limits.max_id_length)
    fenced = [0 if entry.unfenced else entry.lease_token for entry in acks]
    tokens: Sequence[int | None] = fenced
    if min(fenced, default=1) <= 0:
        tokens = [
            _token(entry.id, entry.lease_token, entry.unfenced, field_name, at, limits) for at, entry in enumerate(acks)
        ]
    results = [entry.result if entry.HasField("result") else None for entry in acks]
    if max((len(result) for result in results if result is not None), default=0) <= limits.max_payload_bytes:
        entries.acks += map(Ack._make, zip(ids, tokens, results, strict=True))
        return
    for at, (id, token, result) in enumerate(zip(ids, tokens, results, strict=True)):
        if result is not None and len(result) > limits.max_payload_bytes:
            entries.refused.append(
                tpb.EntryOutcome(id=id, outcome=tpb.OUTCOME_RESULT_TOO_LARGE, lease_token=token or 0)
            )
            entries.refused_at.add(at)
        else:
            entries.acks.append(Ack(id, token, result))


def _token(id: str, token: int, unfenced: bool, field_name: str, at: int, limits: Limits) -> int | None:
    try:
        check.identifier(id, "id", limits.max_id_length)
        if unfenced:
            return None
        return check.lease_token(token, "lease_token")
    except InvalidField as error:
        raise error.under(f"{field_name}[{at}]") from None


def read_refresh(request: pb.RefreshRequest, limits: Limits) -> tuple[str, list[Refresh]]:
    """A RefreshRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.batch(len(request.entries), "entries", limits.batch_items)
    return namespace, [_refresh(entry, "entries", at, limits) for at, entry in enumerate(request.entries)]


def _refresh(entry: pb.RefreshEntry, field_name: str, at: int, limits: Limits) -> Refresh:
    token = _token(entry.id, entry.lease_token, entry.unfenced, field_name, at, limits)
    lease_us = None
    if entry.HasField("lease_timeout"):
        lease_us = check.duration_us(
            entry.lease_timeout, f"{field_name}[{at}].lease_timeout", limits.max_lease_timeout_us, minimum_us=1000
        )
    return Refresh(entry.id, token, lease_us)


def read_nack(request: pb.NackRequest, limits: Limits) -> tuple[str, list[Nack]]:
    """A NackRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.batch(len(request.entries), "entries", limits.batch_items)
    return namespace, [_nack(entry, "entries", at, limits) for at, entry in enumerate(request.entries)]


def _nack(entry: pb.NackEntry, field_name: str, at: int, limits: Limits) -> Nack:
    token = _token(entry.id, entry.lease_token, False, field_name, at, limits)
    reason = check.choice(entry.reason, f"{field_name}[{at}].reason", _REASONS)
    delay_us = None
    if entry.HasField("delay"):
        delay_us = check.duration_us(entry.delay, f"{field_name}[{at}].delay", limits.max_delay_us)
    return Nack(entry.id, token or 0, reason, delay_us, check.cut(entry.error, limits.max_error_bytes))


def read_cancel(request: pb.CancelRequest, limits: Limits) -> tuple[str, Sequence[str]]:
    """A CancelRequest."""
    return check.namespace(request.namespace, limits.max_name_length), read_ids(request.ids, limits)


def read_result(request: pb.ResultRequest, limits: Limits) -> ResultCall:
    """A ResultRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    until = check.choice(request.until, "until", _UNTIL)
    timeout_us = min(_DEFAULT_RESULT_WAIT_US, limits.max_wait_us)
    if request.HasField("timeout"):
        timeout_us = check.wait_us(request.timeout, "timeout", limits.max_wait_us)
    return ResultCall(namespace, read_ids(request.ids, limits), until, timeout_us / 1e6, request.include_content)


def read_ids(found: Sequence[str], limits: Limits) -> Sequence[str]:
    """A batch of item ids."""
    check.batch(len(found), "ids", limits.batch_items)
    for at, id in enumerate(found):
        check.identifier(id, f"ids[{at}]", limits.max_id_length)
    return list(found)
