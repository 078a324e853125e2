"""Every call to the broker as a plain value: which RPC, which request, how to read the reply.

The blocking and the asyncio transport run the same operations; nothing here waits for anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from google.protobuf.message import Message

from ..contract.limits import CONTRACT, Limits
from ..errors import AlreadyExists
from ..v1 import broker_pb2 as pb
from ..v1.types_pb2 import (
    OUTCOME_LEASE_EXPIRED,
    OUTCOME_LEASE_SUPERSEDED,
    OUTCOME_NOT_FOUND,
    OUTCOME_OK,
    Delivery,
    EntryOutcome,
    QueueKind,
)
from .defaults import NO_DEFAULTS, Defaults
from .encoding import EncodedRequest
from .repeating import is_repeatable
from .retry import Attempts
from .rpcs import ACK, CANCEL, ENQUEUE, LEASE, NACK, REFRESH, RESULT, Rpc
from .times import to_duration

T = TypeVar("T")
Until: TypeAlias = Literal["now", "started", "done"]

#: Entries of one request, by the contract.
MAX_BATCH = CONTRACT.max_batch_items

_UNTIL = {
    "now": pb.WAIT_UNTIL_NOW,
    "started": pb.WAIT_UNTIL_STARTED,
    "done": pb.WAIT_UNTIL_DONE,
}


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One call.

    Attributes:
        rpc: the method to call.
        request: what to send; that of an Enqueue may be encoded already.
        parse: makes the value of the call from the reply and from whether it took more than one attempt. The
            reply of a streaming method is the list of its messages.
        wait: seconds that the broker may deliberately take to answer, on top of the connection's timeout.
        wait_field: the field of the request that tells the broker so; another attempt waits for what is left only.
        limited: whether that wait is bounded by the broker's `max_wait`.
        most_field: the field that says how many items are wanted at most, bounded by its `max_batch_items`.
        heard: told each message of a streaming method when it arrives.
        again: told before another attempt.
        endless: whether it goes on for as long as there is work: a stream that reports how far it is. Time is up when
            nothing has come for so long. With a `wait`, for reports that come seldom, when that is over, too; a broker
            that vanishes meanwhile is noticed by the keepalive of the connection.
        entries: entries of the request, as its limit counts them.
        part: makes the same operation for some of the entries, from one place to another; None: it has no parts.
        join: the value of the whole from those of its parts, in order.
    """

    rpc: Rpc
    request: Message | EncodedRequest
    parse: Callable[[Any, bool], T]
    wait: float = 0.0
    wait_field: str = ""
    limited: bool = True
    most_field: str = ""
    heard: Callable[[Any], None] | None = None
    again: Callable[[], None] | None = None
    endless: bool = False
    entries: int = 1
    part: Callable[[int, int], Operation[T]] | None = None
    join: Callable[[Sequence[Any]], Any] = sum

    @property
    def safe(self) -> bool:
        """Whether another attempt after a lost reply can do no harm."""
        asked = self.request
        return isinstance(asked, EncodedRequest) or is_repeatable(self.rpc.name, asked)

    @property
    def prompt(self) -> bool:
        """Whether it may be given up and made again before its time is up; a long stream begins anew each time."""
        return self.safe and (self.rpc.single or not self.rpc.streams)

    @property
    def is_watched(self) -> bool:
        """Whether an attempt has no deadline, and is given up when it falls silent."""
        return self.endless and not self.wait

    @property
    def waits_for_broker(self) -> bool:
        """Whether to send it when there is a broker to send it to: it cannot be tried again, and ends in time."""
        return not self.safe and (not self.endless or self.is_watched)

    @property
    def size(self) -> int:
        """Bytes of the request."""
        asked = self.request
        return len(asked.data) if isinstance(asked, EncodedRequest) else asked.ByteSize()

    def within(self, limits: Limits) -> Operation[T]:
        """The same, waiting no longer and asking for no more items than a broker allows in one request."""
        asked = self.request
        waits = self.wait > limits.max_wait and bool(self.wait_field) and self.limited
        takes = bool(self.most_field) and getattr(asked, self.most_field) > limits.max_batch_items
        if not (waits or takes) or isinstance(asked, EncodedRequest):
            return self
        request = type(asked)()
        request.CopyFrom(asked)
        if takes:
            setattr(request, self.most_field, limits.max_batch_items)
        if waits:
            getattr(request, self.wait_field).CopyFrom(to_duration(limits.max_wait))
        return replace(self, request=request, wait=min(self.wait, limits.max_wait) if waits else self.wait)

    def limit_after(self, attempts: Attempts) -> float | None:
        """Seconds that its next attempt may take; None: it has no deadline."""
        if self.is_watched:
            return None
        return max(self.wait - attempts.elapsed(), 0.0) + attempts.timeout if self.endless else attempts.limit()

    def telling(self, attempts: Attempts) -> Operation[T]:
        """The same; if it is endless, its attempts learn of each message."""
        if not self.endless:
            return self
        heard = self.heard

        def hear(reply: Any) -> None:
            attempts.hear()
            if heard is not None:
                heard(reply)

        return replace(self, heard=hear)

    def request_after(self, seconds: float) -> Message:
        """What to send in an attempt that begins so long after the first."""
        asked = self.request
        if isinstance(asked, EncodedRequest):
            return asked.message()
        if not self.wait_field or not self.wait or not seconds:
            return asked
        request = type(asked)()
        request.CopyFrom(asked)
        getattr(request, self.wait_field).CopyFrom(to_duration(max(self.wait - seconds, 0.0)))
        return request


def enqueue(request: pb.EnqueueRequest | EncodedRequest) -> Operation[Sequence[pb.EnqueuedItem]]:
    """Put items into queues; the request has a request_id, so that another attempt does nothing twice."""
    return Operation(ENQUEUE, request, _enqueued)


def _enqueued(reply: pb.EnqueueResponse, _: bool) -> Sequence[pb.EnqueuedItem]:
    return reply.items


def conflict(item: pb.EnqueuedItem) -> AlreadyExists | None:
    """What to raise for an item that was not taken because of another of its id; None: it was, or is to be left."""
    if item.outcome == pb.ENQUEUE_OUTCOME_CONFLICT:
        return AlreadyExists(f"an item with the id {item.id} is known already", reason="CONFLICT")
    if item.outcome == pb.ENQUEUE_OUTCOME_RUNNING:
        return AlreadyExists(f"the item with the id {item.id} is running, or with a worker that will", reason="RUNNING")
    return None


def lease(
    namespace: str,
    queue: str,
    kind: QueueKind.ValueType,
    *,
    max_items: int,
    lease_timeout: float | None,
    get_timeout: float,
    peek: bool = False,
    attempts: int = 0,
    defaults: Defaults = NO_DEFAULTS,
) -> Operation[Sequence[Delivery]]:
    """Lease, take or peek items of one queue.

    Args:
        namespace: namespace of the queue.
        queue: the queue.
        kind: its kind.
        max_items: items wanted.
        lease_timeout: length of the leases in seconds; 0 takes at most once, None leaves it to each item.
        get_timeout: seconds to wait for a first item.
        peek: look without taking.
        attempts: deliveries that each item may have in all; 0 leaves it to each item.
        defaults: for items that are leased and whose producers said nothing.
    """
    request = pb.LeaseRequest(
        namespace=namespace, queues=[queue], kind=kind, max_items=max_items, peek=peek, attempts=attempts
    )
    if lease_timeout is not None and not peek:
        request.lease_timeout.CopyFrom(to_duration(lease_timeout))
    if lease_timeout != 0 and not peek:
        defaults.apply(request)
    if get_timeout:
        request.get_timeout.CopyFrom(to_duration(get_timeout))
    # Another attempt leases other items; those of a lost reply come back when their leases run out.
    return Operation(LEASE, request, _deliveries, wait=get_timeout, wait_field="get_timeout", most_field="max_items")


def _deliveries(replies: Sequence[pb.LeaseResponse], _: bool) -> Sequence[Delivery]:
    return replies[0].deliveries if replies else ()


def ack(
    namespace: str,
    entries: Sequence[pb.AckEntry],
    settled: Callable[[Sequence[EntryOutcome]], None] | None = None,
) -> Operation[int]:
    """Finish leased items; the value is how many are done. Over a retry, "not found" means done before.

    Args:
        namespace: namespace of the items.
        entries: the items.
        settled: told what became of each.
    """

    def done(reply: pb.AckResponse, retried: bool) -> int:
        if settled is not None:
            settled(reply.outcomes)
        good = (OUTCOME_OK, OUTCOME_NOT_FOUND) if retried else (OUTCOME_OK,)
        return sum(outcome.outcome in good for outcome in reply.outcomes)

    def part(start: int, stop: int) -> Operation[int]:
        return ack(namespace, entries[start:stop], settled)

    return Operation(ACK, pb.AckRequest(namespace=namespace, entries=entries), done, entries=len(entries), part=part)


def nack(namespace: str, entries: Sequence[pb.NackEntry]) -> Operation[int]:
    """Give leased items back; the value is how many of the leases were still ours."""

    def given(reply: pb.NackResponse, retried: bool) -> int:
        lost = (OUTCOME_NOT_FOUND, OUTCOME_LEASE_EXPIRED, OUTCOME_LEASE_SUPERSEDED)
        return sum(retried or outcome.outcome not in lost for outcome in reply.outcomes)

    def part(start: int, stop: int) -> Operation[int]:
        return nack(namespace, entries[start:stop])

    request = pb.NackRequest(namespace=namespace, entries=entries)
    return Operation(NACK, request, given, entries=len(entries), part=part)


def refresh(namespace: str, entries: Sequence[pb.RefreshEntry]) -> Operation[list[str]]:
    """Restart the clock of leases; the value is the ids of those that were refreshed."""

    def refreshed(reply: pb.RefreshResponse, _: bool) -> list[str]:
        return [outcome.id for outcome in reply.outcomes if outcome.outcome == OUTCOME_OK]

    def part(start: int, stop: int) -> Operation[list[str]]:
        return refresh(namespace, entries[start:stop])

    request = pb.RefreshRequest(namespace=namespace, entries=entries)
    return Operation(REFRESH, request, refreshed, entries=len(entries), part=part, join=one_after_another)


def cancel(namespace: str, ids: Sequence[str]) -> Operation[Sequence[pb.CancelledItem]]:
    """Cancel items; the value is what was found of each."""

    def outcomes(reply: pb.CancelResponse, _: bool) -> Sequence[pb.CancelledItem]:
        return reply.items

    def part(start: int, stop: int) -> Operation[Sequence[pb.CancelledItem]]:
        return cancel(namespace, ids[start:stop])

    request = pb.CancelRequest(namespace=namespace, ids=ids)
    return Operation(CANCEL, request, outcomes, entries=len(ids), part=part, join=one_after_another)


def result(
    namespace: str,
    ids: Sequence[str],
    *,
    until: Until = "now",
    timeout: float = 0.0,
    include_content: bool = False,
) -> Operation[Sequence[pb.ItemResult]]:
    """State and result of items.

    Args:
        namespace: namespace of the items.
        ids: one id or more.
        until: what to wait for.
        timeout: seconds to wait; the broker may end the wait earlier.
        include_content: whether to send the content of items that are not finished.
    """

    def part(start: int, stop: int) -> Operation[Sequence[pb.ItemResult]]:
        return result(namespace, ids[start:stop], until=until, timeout=timeout, include_content=include_content)

    request = pb.ResultRequest(namespace=namespace, ids=ids, until=_UNTIL[until], include_content=include_content)
    if until != "now":
        request.timeout.CopyFrom(to_duration(timeout))
    return Operation(
        RESULT,
        request,
        _results,
        wait=timeout if until != "now" else 0.0,
        wait_field="timeout" if until != "now" else "",
        entries=len(ids),
        part=part,
        join=one_after_another,
    )


def _results(reply: pb.ResultResponse, _: bool) -> Sequence[pb.ItemResult]:
    return reply.results


def one_after_another(values: Sequence[Sequence[Any]]) -> list[Any]:
    """The values of all parts in one list."""
    return [value for part in values for value in part]
