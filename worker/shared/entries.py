"""What there is to say of deliveries: acks, nacks and refreshes, gathered into messages."""

from __future__ import annotations

from collections import deque
from datetime import timedelta

from dibs.contract import error_text
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .bell import Bell
from .limits import MAX_BYTES, MAX_ENTRIES

#: What is said of a delivery that was running when its worker or process was stopped.
_STOPPED = "worker process was stopped while it ran"

#: What to say of a delivery: that it succeeded, with this result or none, or something else.
Saying = bytes | None | pb.NackEntry | pb.RefreshEntry
#: One thing to say.
Entry = tuple[tpb.Delivery, Saying]


class Entries:
    """Filled from any thread, emptied by one at a time.

    Args:
        bell: rung for what shall not wait until a slot has nothing else to do.
    """

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self._ready: deque[Entry] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._ready)

    def ack(self, delivery: tpb.Delivery, result: bytes | None = None) -> None:
        """Add a success. Does not ring: a slot that has more to do rings once for several."""
        self._ready.append((delivery, result))

    def nack(
        self,
        delivery: tpb.Delivery,
        reason: pb.NackReason.ValueType,
        error: str = "",
        *,
        delay: timedelta | None = None,
    ) -> None:
        """Add an item to be given back, if there is a lease to give back. Does not ring."""
        if delivery.lease_token:
            entry = pb.NackEntry(
                id=delivery.id, lease_token=delivery.lease_token, reason=reason, error=error_text.end(error)
            )
            if delay is not None:
                entry.delay.FromTimedelta(delay)
            self._ready.append((delivery, entry))

    def stopped(self, delivery: tpb.Delivery) -> None:
        """Add an item that ran when it was stopped, through no fault of its own: it comes again at once, if it may."""
        self.nack(delivery, pb.NACK_REASON_FAILED, _STOPPED, delay=timedelta(0))

    def refresh(self, delivery: tpb.Delivery, length_s: float | None = None) -> None:
        """Add a lease to be lengthened, to so many seconds from then on or what it had, and ring."""
        entry = pb.RefreshEntry(id=delivery.id, lease_token=delivery.lease_token)
        if length_s is not None:
            entry.lease_timeout.FromMicroseconds(round(length_s * 1_000_000))
        self._ready.append((delivery, entry))
        if self.bell.armed:
            self.bell.ring()

    def take(self) -> tuple[pb.WorkRequest, list[tpb.Delivery]]:
        """Take what fits into one message: the message, and what its entries are about."""
        request = pb.WorkRequest()
        add_ack, nacks, refreshes = request.acks.add, request.nacks, request.refreshes
        ready = self._ready
        about: list[tpb.Delivery] = []
        room = MAX_BYTES
        for _ in range(min(len(ready), MAX_ENTRIES)):
            delivery, saying = ready[0]
            if saying is None:
                add_ack(id=delivery.id, lease_token=delivery.lease_token)
            else:
                room -= len(saying) if isinstance(saying, bytes) else saying.ByteSize()
                if room < 0 and about:
                    break
                if isinstance(saying, bytes):
                    add_ack(id=delivery.id, lease_token=delivery.lease_token, result=saying)
                elif isinstance(saying, pb.NackEntry):
                    nacks.append(saying)
                else:
                    refreshes.append(saying)
            about.append(delivery)
            ready.popleft()
        return request, about
