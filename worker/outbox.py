"""What is finished and not yet known to the broker.

Slots put entries in, from their threads. The stream takes as many as fit into a message; until the broker confirms
the message its entries stay here, and go to the next stream, of whichever broker, when theirs breaks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from dibs import error_text
from dibs.contract.limits import ENTRY_OVERHEAD, Limits
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .logs import Said

_log = logging.getLogger("dibs.worker")

#: An entry that ended this many streams as invalid, alone in its message, is given up.
_MAX_REFUSALS = 3

#: What to say of a delivery: that it succeeded, with this result or none, or something else.
Saying = bytes | None | pb.NackEntry | pb.RefreshEntry
#: One thing to say. The delivery stays with it, for the log line when the broker does not take it.
Entry = tuple[tpb.Delivery, Saying]


@dataclass(slots=True)
class Sent:
    """A message with entries, from when it is made until the broker has settled it.

    Attributes:
        entries: what it is made of.
        again: it was on a stream before, so some of it may be settled already.
        refusals: streams that the broker ended as invalid while this was unsettled.
    """

    entries: list[Entry]
    again: bool = False
    refusals: int = 0

    def request(self) -> pb.WorkRequest:
        """What is sent, without a sequence."""
        request = pb.WorkRequest()
        add_ack, nacks, refreshes = request.acks.add, request.nacks, request.refreshes
        for delivery, saying in self.entries:
            if saying is None:
                add_ack(id=delivery.id, lease_token=delivery.lease_token)
            elif isinstance(saying, bytes):
                add_ack(id=delivery.id, lease_token=delivery.lease_token, result=saying)
            elif isinstance(saying, pb.NackEntry):
                nacks.append(saying)
            else:
                refreshes.append(saying)
        return request


class Bell:
    """Wakes the stream's loop from the slots' threads, once for however many entries have gathered.

    `armed` is written by both sides: the loop arms the bell before it looks for entries a last time and sleeps, a
    slot that has put an entry in and finds it armed disarms and rings it. A ring too many does no harm.
    """

    def __init__(self) -> None:
        self.armed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: Callable[[], None] = _nobody

    def connect(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        """Says what to call, in which loop."""
        self._loop = loop
        self._wake = wake

    def ring(self) -> None:
        """Wakes the loop. From any thread."""
        self.armed = False
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)


class Outbox:
    """Entries on their way to the broker.

    Attributes:
        bell: rung when there is something to send.
        unsettled: entries that were taken for a message and are not settled. For the loop only.
    """

    def __init__(self) -> None:
        self.bell = Bell()
        self.unsettled = 0
        #: Filled by slots, emptied by the loop.
        self._ready: deque[Entry] = deque()
        #: Messages of streams that broke. For the loop only.
        self._again: deque[Sent] = deque()

    def __bool__(self) -> bool:
        """Whether there is something to send."""
        return bool(self._ready or self._again)

    def ack(self, delivery: tpb.Delivery, result: bytes | None = None) -> None:
        """Adds a success. Does not ring: a slot that has more to do rings once for several."""
        self._ready.append((delivery, result))

    def nack(
        self,
        delivery: tpb.Delivery,
        reason: pb.NackReason.ValueType,
        error: str = "",
        *,
        delay: timedelta | None = None,
    ) -> None:
        """Adds an item to be given back, if there is a lease to give back. Does not ring."""
        if delivery.lease_token:
            entry = pb.NackEntry(
                id=delivery.id, lease_token=delivery.lease_token, reason=reason, error=error_text.end(error)
            )
            if delay is not None:
                entry.delay.FromTimedelta(delay)
            self._ready.append((delivery, entry))

    def refresh(self, delivery: tpb.Delivery, length_s: float | None = None) -> None:
        """Adds a lease to be lengthened, to so many seconds from then on or what it had, and rings."""
        entry = pb.RefreshEntry(id=delivery.id, lease_token=delivery.lease_token)
        if length_s is not None:
            entry.lease_timeout.FromMicroseconds(round(length_s * 1_000_000))
        self._ready.append((delivery, entry))
        if self.bell.armed:
            self.bell.ring()

    def take(self, limits: Limits) -> Sent | None:
        """Takes what fits into one message to a broker with these limits; None if there is nothing."""
        if self._again:
            sent = self._again.popleft()
            left = deque(sent.entries)
            sent.entries = _fitting(left, limits)
            if left:
                self._again.appendleft(Sent(list(left), again=True))
        elif self._ready:
            sent = Sent(_fitting(self._ready, limits))
        else:
            return None
        self.unsettled += len(sent.entries)
        return sent

    def settled(self, sent: Sent) -> None:
        """Forgets a message that the broker has settled."""
        self.unsettled -= len(sent.entries)

    def give_back(self, unsettled: list[Sent], *, refused: bool) -> None:
        """Takes messages back whose stream has ended before they were settled; they go first on the next one.

        Args:
            unsettled: in the order in which they were sent.
            refused: the broker called something on that stream invalid, or too large. Which message it was is not
                known: each goes again in halves, and an entry that is refused alone is given up in the end.
        """
        for sent in reversed(unsettled):
            self.unsettled -= len(sent.entries)
            middle = (len(sent.entries) + 1) // 2
            if refused and len(sent.entries) > 1:
                self._again.appendleft(Sent(sent.entries[middle:], again=True))
                self._again.appendleft(Sent(sent.entries[:middle], again=True))
                continue
            sent.again = True
            sent.refusals += refused
            if sent.refusals < _MAX_REFUSALS:
                self._again.appendleft(sent)
                continue
            for delivery, _ in sent.entries:
                said = Said(
                    "brokers refuse what is said of a task, giving it up; its lease runs out",
                    task=delivery.content.task_name,
                    id=delivery.id,
                )
                _log.error(said)


def _fitting(ready: deque[Entry], limits: Limits) -> list[Entry]:
    """Takes out as many of the first entries as fit into one message, at least one."""
    entries: list[Entry] = []
    room = limits.entry_bytes
    for _ in range(min(len(ready), limits.batch_items)):
        delivery, saying = entry = ready[0]
        room -= ENTRY_OVERHEAD + len(delivery.id)
        if saying is not None:
            if isinstance(saying, bytes) and len(saying) > limits.max_payload_bytes:
                saying = _refusal(delivery, saying)
                entry = delivery, saying
            room -= len(saying) if isinstance(saying, bytes) else saying.ByteSize()
        if room < 0 and entries:
            break
        ready.popleft()
        entries.append(entry)
    return entries


def _refusal(delivery: tpb.Delivery, result: bytes) -> pb.NackEntry:
    """What to say instead of a result that the broker would not take."""
    error = too_large(delivery, result)
    _log.error(Said("task has a bad result", task=delivery.content.task_name, id=delivery.id, error=error))
    return pb.NackEntry(
        id=delivery.id, lease_token=delivery.lease_token, reason=pb.NACK_REASON_FAILED, error=error_text.end(error)
    )


def too_large(delivery: tpb.Delivery, result: bytes) -> str:
    """Why a task failed whose result is too large."""
    name = delivery.content.task_name
    return f"the result of task {name} is {len(result):,} bytes; the broker takes no result of that size"


def _nobody() -> None:
    """Nobody listens yet."""
