"""What a `Data.stream` gives: batches, and what can be said of their items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from ..contract import error_text
from ..rpc.times import to_duration
from ..v1 import broker_pb2 as pb

#: One thing to say of an item: that it is done (its id and the token of its lease), or something else.
Entry = tuple[str, int] | pb.NackEntry | pb.RefreshEntry


#: How long what cannot be decoded here stays away: time for others to take it, or for a key to arrive.
PUT_OFF = timedelta(seconds=30)


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
        self._consumer.mark(_listed(ids), ack)

    def fail(self, ids: Iterable[str] | str, error: object = "", delay: float | None = None) -> None:
        """Say that these have failed: the attempt counts, and after the last one they are dead or gone.

        Args:
            ids: one id or several.
            error: why, for operators and for the next attempt; cut off after 8 KiB.
            delay: seconds until the next attempt. Default: what would have been left of the lease.
        """
        text = error_text.beginning(str(error))

        def nack(id: str, token: int) -> pb.NackEntry:
            entry = pb.NackEntry(id=id, lease_token=token, reason=pb.NACK_REASON_FAILED, error=text)
            if delay is not None:
                entry.delay.CopyFrom(to_duration(delay))
            return entry

        self._consumer.mark(_listed(ids), nack)

    def release(self, ids: Iterable[str] | str) -> None:
        """Give these back for somebody else to take; the attempt does not count."""
        self._consumer.mark(_listed(ids), release)

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


def ack(id: str, token: int) -> Entry:
    """Says that an item is done."""
    return id, token


def release(id: str, token: int) -> Entry:
    """Give an item back."""
    return pb.NackEntry(id=id, lease_token=token, reason=pb.NACK_REASON_RELEASED)


def put_off(id: str, token: int) -> pb.NackEntry:
    """Give an item back that cannot be decoded here, for a while; its attempt does not count."""
    entry = pb.NackEntry(id=id, lease_token=token, reason=pb.NACK_REASON_RELEASED)
    entry.delay.FromTimedelta(PUT_OFF)
    return entry


def _listed(ids: Iterable[str] | str) -> list[str]:
    return [ids] if isinstance(ids, str) else list(ids)
