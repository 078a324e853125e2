"""Items on their way down one `Work` stream: leased and not written, written and not received."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..engine.engine import MAX_BATCH
from ..engine.types import ITEM_OVERHEAD, Leased
from ..leasing.returns import Lease, returnable, tokens_of


class _Share(NamedTuple):
    """Items that were leased together for this stream, and go in one message: one receipt is for all of them."""

    items: Sequence[Leased]
    size: int
    leased_at_us: int


class Outgoing:
    """What a stream has to write, in messages of bounded size, and what goes back if it breaks.

    Args:
        most_unreceived: items whose receipt is waited for, at most. A worker that sends no receipts has taken what it
            took long ago; should it be otherwise, older ones wait for their leases to run out.
        room: bytes of the items of one message; a single item may have more.

    Attributes:
        batch: number of the last batch that was taken to be written.
        leased_at_us: when the oldest lease of that batch was given, on Redis's clock.
    """

    def __init__(self, most_unreceived: int, room: int) -> None:
        self.batch = 0
        self.leased_at_us = 0
        self._room = room
        self._most_unreceived = most_unreceived
        self._unwritten: deque[_Share] = deque()
        self._bytes = 0
        #: By batch.
        self._unreceived: deque[tuple[int, list[Lease]]] = deque()
        self._unreceived_count = 0

    def __bool__(self) -> bool:
        """Whether there is something to write."""
        return bool(self._unwritten)

    @property
    def full(self) -> bool:
        """Whether enough waits to be written: a slow reader's items had better wait in Redis."""
        return self._bytes > self._room

    def add(self, items: Sequence[Leased], leased_at_us: int) -> None:
        """Take a share to be written, no more than one lease gives, and when it was leased, on Redis's clock."""
        if items:
            share = _Share(items, _size(items), leased_at_us)
            self._unwritten.append(share)
            self._bytes += share.size

    def take_unwritten(self) -> list[Leased]:
        """Everything that was not written, which is not to be written any more."""
        items = [item for share in self._unwritten for item in share.items]
        self._unwritten.clear()
        self._bytes = 0
        return items

    def take_batch(self) -> Sequence[Leased]:
        """As many shares as fit into one message; from now on they are received or not."""
        first = self._unwritten.popleft()
        items, size, self.leased_at_us = first
        more: list[Leased] = []
        while self._unwritten:
            following, its_size, _ = self._unwritten[0]
            if size + its_size > self._room or len(items) + len(more) + len(following) > MAX_BATCH:
                break
            more += following
            size += its_size
            self._unwritten.popleft()
        self._bytes -= size
        if more:
            items = [*items, *more]
        self.batch += 1
        leases = returnable(items)
        if leases:
            self._unreceived.append((self.batch, leases))
            self._unreceived_count += len(leases)
        while self._unreceived_count > self._most_unreceived:
            self._forget_oldest()
        return items

    def received(self, batch: int) -> set[int]:
        """Everything up to that batch has arrived; answers the tokens of the shares that it was."""
        tokens: set[int] = set()
        while self._unreceived and self._unreceived[0][0] <= batch:
            tokens |= tokens_of(self._forget_oldest())
        return tokens

    def unreceived(self) -> list[Lease]:
        """What goes back when the stream has broken."""
        return [lease for _, leases in self._unreceived for lease in leases]

    def _forget_oldest(self) -> list[Lease]:
        _, leases = self._unreceived.popleft()
        self._unreceived_count -= len(leases)
        return leases


def _size(items: Iterable[Leased]) -> int:
    """Bytes that items take of a message."""
    size = 0
    for item in items:
        size += len(item.id) + len(item.record) + ITEM_OVERHEAD
        if item.last_error:
            size += len(item.last_error.encode())
    return size
