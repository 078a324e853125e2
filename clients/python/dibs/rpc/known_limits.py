"""What the brokers behind one connection take, as far as they have said: at first, the numbers of the contract."""

from __future__ import annotations

import re

from ..contract.limits import CONTRACT, Limits
from ..errors import BrokerError, InvalidArgument, LimitExceeded
from ..v1 import types_pb2 as tpb

#: Below this no broker goes.
_LEAST_MESSAGE_BYTES = 64 * 1024

#: How gRPC says what was too large: "(5000000 vs. 4194304)".
_SIZES = re.compile(r"\(\d+ vs\. (\d+)\)")

#: Lists of requests; an error of one as a whole, not of an entry, means that it has too many.
_LISTS = frozenset({"items", "entries", "ids", "names", "tasks", "schedules", "acks"})


class KnownLimits:
    """The limits that are kept to. Safe to use from any thread: each change replaces what was known.

    Attributes:
        now: what a broker takes, as far as is known.
        batch_items: entries that one request may have.
        entry_bytes: bytes of entries that one request may carry.
    """

    __slots__ = ("batch_items", "entry_bytes", "now")

    def __init__(self) -> None:
        self._know(CONTRACT)

    def hear(self, limits: tpb.Limits) -> None:
        """Keep to what a broker has announced."""
        self._know(self.now.with_message(limits))

    def hear_refusal(self, error: BrokerError, size: int = 0) -> bool:
        """Learn from a refusal.

        Args:
            error: what a broker answered.
            size: bytes of the message that it refused; 0: not known.

        Returns:
            Whether something else than before is kept to from now on.
        """
        before = self.now
        if (limit := told_limit(error)) is not None:
            self._know(before.with_told({limit: float(error.metadata["value"])}))
        elif is_too_large(error):
            told = _SIZES.search(str(error))
            most = int(told[1]) if told else (size or before.max_message_bytes) // 2
            self._know(before.with_told({"max_message_bytes": max(most, _LEAST_MESSAGE_BYTES)}))
        elif is_too_much(error):
            self._know(before.with_told({"max_batch_items": max(before.max_batch_items // 2, 1)}))
        return self.now != before

    def _know(self, limits: Limits) -> None:
        self.now = limits
        self.batch_items = limits.batch_items
        self.entry_bytes = limits.entry_bytes


def told_limit(error: BrokerError) -> str | None:
    """Name of the limit that a request was beyond. What a namespace may hold in all is none of a request."""
    return error.metadata.get("limit") if isinstance(error, InvalidArgument) else None


def is_too_much(error: BrokerError) -> bool:
    """Whether a request was refused, with nothing done, for what a smaller one would not be."""
    return is_too_large(error) or (
        isinstance(error, InvalidArgument)
        and (error.metadata.get("limit") == "max_batch_items" or error.field in _LISTS)
    )


def is_too_large(error: BrokerError) -> bool:
    """Whether the other side did not even read the message, because of its size. gRPC says so, in words only."""
    text = str(error)
    return (
        isinstance(error, LimitExceeded)
        and not error.reason
        and "eceived message larger than max" in text
        and "CLIENT" not in text
    )
