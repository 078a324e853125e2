"""What one consumer of a data queue holds and has to say, whatever carries its stream; see `Data.stream`.

A consumer keeps one `Work` stream open. It asks for a batch's worth of items only when its caller waits for a batch,
and takes the rest of that credit back as soon as some have come, so that it never holds more than the batch that is
being worked on (and what was on its way at that moment). What it holds it refreshes; what its caller has finished it
acknowledges, over the next stream if this one breaks.

Nothing here waits or locks: `stream` carries it with threads, `aio_stream` with asyncio.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .times import to_duration
from .v1 import broker_pb2 as pb
from .v1.types_pb2 import OUTCOME_OK, Delivery, QueueKind

_log = logging.getLogger("dibs")

#: Entries that one message may have.
_MAX_ENTRIES = 1_000
#: A lease is refreshed when this share of it has passed.
_REFRESH_AFTER = 1 / 3


class DataBatch(dict[str, Any]):
    """What a `Data.stream` gives: items by id, leased, and kept that way while the body of the loop runs.

    When the body has come to its end, what it has not marked otherwise is done. When the loop is left (``break``,
    ``return``, an exception), what it has not marked is given back at once, and no attempt is used up.
    Marking does not change the dictionary. A mark of an item that has one already, or whose lease was lost, does
    nothing.
    """

    __slots__ = ("_consumer",)

    def __init__(self, items: Iterable[tuple[str, Any]], consumer: Marks) -> None:
        super().__init__(items)
        self._consumer = consumer

    def done(self, ids: Iterable[str] | str) -> None:
        """Finish these now, whatever comes later."""
        self._consumer.mark(_listed(ids), _ack)

    def fail(self, ids: Iterable[str] | str, error: object = "", delay: float | None = None) -> None:
        """Say that these have failed: the attempt counts, and after the last one they are dead or gone.

        Args:
            ids: one id or several.
            error: why, for operators and for the next attempt.
            delay: seconds until the next attempt. Default: what would have been left of the lease.
        """
        text = str(error)

        def nack(id: str, token: int) -> pb.NackEntry:
            entry = pb.NackEntry(id=id, lease_token=token, reason=pb.NACK_REASON_FAILED, error=text)
            if delay is not None:
                entry.delay.CopyFrom(to_duration(delay))
            return entry

        self._consumer.mark(_listed(ids), nack)

    def release(self, ids: Iterable[str] | str) -> None:
        """Give these back for somebody else to take; the attempt does not count."""
        self._consumer.mark(_listed(ids), _release)

    @property
    def lost(self) -> frozenset[str]:
        """Ids of items whose leases were lost: deleted, or (after a broker could not be reached) given to others."""
        return self._consumer.lost.intersection(self)


class Marks:
    """What a batch needs of its consumer."""

    #: Ids of held items whose leases were lost, since the last batch.
    lost: frozenset[str] = frozenset()

    def mark(self, ids: Sequence[str], entry: Callable[[str, int], Entry]) -> None:
        """Settle these, as far as they are held."""
        raise NotImplementedError


Entry = pb.AckEntry | pb.NackEntry | pb.RefreshEntry


class _Held:
    """An item that is leased here."""

    __slots__ = ("length", "refreshed", "token")

    def __init__(self, delivery: Delivery, now: float) -> None:
        self.token = delivery.lease_token
        #: Of the lease, in seconds.
        self.length = delivery.lease_timeout.seconds + delivery.lease_timeout.nanos / 1e9
        #: When it was leased or refreshed last, on the monotonic clock.
        self.refreshed = now


class Holding:
    """The state of one consumer, over all of its streams.

    Args:
        namespace: namespace of the queue.
        queue: the queue.
        kind: its kind.
        lease_timeout: length of the leases in seconds, above 0.

    Attributes:
        lost: ids of items that were held and whose leases were lost, since the last batch was begun.
    """

    def __init__(self, namespace: str, queue: str, kind: QueueKind.ValueType, lease_timeout: float) -> None:
        self._hello = pb.WorkHello(
            namespace=namespace,
            queues=[queue],
            kind=kind,
            worker_id=f"{socket.gethostname()}:{os.getpid()}"[-256:],
            lease_timeout=to_duration(lease_timeout),
        )
        self.lost: frozenset[str] = frozenset()
        self._held: dict[str, _Held] = {}
        #: Received, and not in a batch yet.
        self._waiting: deque[Delivery] = deque()
        self._unsaid: deque[Entry] = deque()
        #: Said and not confirmed, by sequence.
        self._unconfirmed: deque[tuple[int, list[Entry]]] = deque()
        self._sequence = 0
        #: Items that are wanted now.
        self._wanted = 0
        #: Items that the broker may still send, as far as it was told.
        self._credit = 0
        self._batch = 0
        self._said_batch = 0
        self._left = False

    # The stream

    def begin(self) -> pb.WorkRequest:
        """The first message of a new stream; what the last one left unconfirmed will be said again."""
        for _, entries in reversed(self._unconfirmed):
            self._unsaid.extendleft(reversed(entries))
        self._unconfirmed.clear()
        self._credit = self._batch = self._said_batch = 0
        return pb.WorkRequest(hello=self._hello)

    def message(self) -> pb.WorkRequest | None:
        """What there is to say now, at most 1,000 entries of it; None: nothing."""
        request = pb.WorkRequest()
        change = max(self._wanted - len(self._waiting), 0) - self._credit
        # Below 0 it is as it should be: what was on its way when credit was taken back has come.
        if change and not (self._credit < 0 and not self._wanted):
            request.add_credit = change
            self._credit += change
        if self._batch > self._said_batch:
            request.received_batch = self._said_batch = self._batch
        if self._unsaid:
            entries = [self._unsaid.popleft() for _ in range(min(len(self._unsaid), _MAX_ENTRIES))]
            self._sequence += 1
            request.sequence = self._sequence
            for entry in entries:
                _LISTS[type(entry)](request).append(entry)
            self._unconfirmed.append((self._sequence, entries))
        return request if request.ListFields() else None

    def receive(self, response: pb.WorkResponse) -> None:
        """Take in what the broker says."""
        while self._unconfirmed and self._unconfirmed[0][0] <= response.done_sequence:
            self._unconfirmed.popleft()
        late = 0
        for outcome in response.outcomes:
            if outcome.outcome != OUTCOME_OK:
                held = self._held.get(outcome.id)
                # It may be about an earlier delivery: the broker takes back what went down a stream that broke.
                if held is not None and held.token == outcome.lease_token:
                    del self._held[outcome.id]
                    self.lost |= {outcome.id}
                else:
                    late += 1
        if late:
            _log.warning("%d items of %s were settled too late: their leases were lost", late, self._hello.queues[0])
        if response.deliveries and not self._left:  # else the broker takes back what was not received
            now = time.monotonic()
            self._batch = response.batch
            self._credit -= len(response.deliveries)
            self._waiting.extend(response.deliveries)
            for delivery in response.deliveries:
                self._held[delivery.id] = _Held(delivery, now)

    # The caller

    def want(self, items: int) -> None:
        """Ask for so many."""
        self._wanted = items

    def take(self, items: int) -> list[Delivery]:
        """A batch of what has come; once there is one, nothing more is asked for. Empty: nothing has come."""
        batch: list[Delivery] = []
        while self._waiting and len(batch) < items:
            delivery = self._waiting.popleft()
            if delivery.id in self._held:
                batch.append(delivery)
        if batch:
            self._wanted = 0
            self.lost = frozenset()
        return batch

    def mark(self, ids: Iterable[str], entry: Callable[[str, int], Entry]) -> None:
        """Settle these, as far as they are held."""
        for id in ids:
            held = self._held.pop(id, None)
            if held is not None:
                self._unsaid.append(entry(id, held.token))

    def finish(self, ids: Iterable[str]) -> None:
        """A batch is over: what is still held of it is done."""
        self.mark(ids, _ack)

    def leave(self) -> None:
        """The caller is gone: give everything back that is held."""
        self._left = True
        self._wanted = 0
        self._waiting.clear()
        self.mark(tuple(self._held), _release)

    def abandon(self) -> None:
        """Forget everything: it is another process's."""
        self._held.clear()
        self._waiting.clear()
        self._unsaid.clear()
        self._unconfirmed.clear()

    @property
    def settled(self) -> bool:
        """Whether the broker has confirmed everything that was said, and nothing is left to say."""
        return not self._unsaid and not self._unconfirmed

    # The clock

    def look(self) -> float | None:
        """Refresh what has to be; seconds until it has to be looked at again, None: nothing is held."""
        now = time.monotonic()
        soonest: float | None = None
        for id, held in self._held.items():
            after = held.length * _REFRESH_AFTER
            if now >= held.refreshed + after:
                held.refreshed = now
                self._unsaid.append(pb.RefreshEntry(id=id, lease_token=held.token))
            left = held.refreshed + after - now
            soonest = left if soonest is None else min(soonest, left)
        return soonest


_LISTS: dict[type[Entry], Callable[[pb.WorkRequest], Any]] = {
    pb.AckEntry: lambda request: request.acks,
    pb.NackEntry: lambda request: request.nacks,
    pb.RefreshEntry: lambda request: request.refreshes,
}


def _ack(id: str, token: int) -> Entry:
    return pb.AckEntry(id=id, lease_token=token)


def _release(id: str, token: int) -> Entry:
    return pb.NackEntry(id=id, lease_token=token, reason=pb.NACK_REASON_RELEASED)


def _listed(ids: Iterable[str] | str) -> list[str]:
    return [ids] if isinstance(ids, str) else list(ids)
