"""Items on their way down one `Work` stream: leased and not written, written and not received."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from .dispatch import Lease, returnable
from .engine.engine import MAX_BATCH
from .engine.types import ITEM_OVERHEAD, Leased


class Outgoing:
    """What a stream has to write, in messages of bounded size, and what goes back if it breaks.

    Args:
        most_unreceived: items whose receipt is waited for, at most. A worker that sends no receipts has taken what it
            took long ago; should it be otherwise, older ones wait for their leases to run out.
        room: bytes of the items of one message; a single item may have more.

    Attributes:
        batch: number of the last batch that was taken to be written.
    """

    def __init__(self, most_unreceived: int, room: int) -> None:
        self.batch = 0
        self._room = room
        self._most_unreceived = most_unreceived
        self._unwritten: deque[Leased] = deque()
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

    def add(self, items: Sequence[Leased]) -> None:
        """Has these written."""
        self._unwritten.extend(items)
        self._bytes += _size(items)

    def take_unwritten(self) -> tuple[Leased, ...]:
        """Everything that was not written, which is not to be written any more."""
        items = tuple(self._unwritten)
        self._unwritten.clear()
        self._bytes = 0
        return items

    def take_batch(self) -> Sequence[Leased]:
        """As many items as fit into one message; from now on they are received or not."""
        if len(self._unwritten) <= MAX_BATCH and not self.full:
            items: Sequence[Leased] = self.take_unwritten()
        else:
            items = self._take_some()
        self.batch += 1
        leases = returnable(items)
        self._unreceived.append((self.batch, leases))
        self._unreceived_count += len(leases)
        while self._unreceived_count > self._most_unreceived:
            self._forget_oldest()
        return items

    def received(self, batch: int) -> None:
        """Everything up to that batch has arrived."""
        while self._unreceived and self._unreceived[0][0] <= batch:
            self._forget_oldest()

    def unreceived(self) -> list[Lease]:
        """What goes back when the stream has broken."""
        return [lease for _, leases in self._unreceived for lease in leases]

    def _take_some(self) -> list[Leased]:
        unwritten = self._unwritten
        items: list[Leased] = []
        size = 0
        while unwritten and len(items) < MAX_BATCH:
            more = _size((unwritten[0],))
            if items and size + more > self._room:
                break
            size += more
            items.append(unwritten.popleft())
        self._bytes -= size
        return items

    def _forget_oldest(self) -> None:
        _, leases = self._unreceived.popleft()
        self._unreceived_count -= len(leases)


def _size(items: Iterable[Leased]) -> int:
    """Bytes that items take of a message."""
    size = 0
    for item in items:
        size += len(item.id) + len(item.record) + ITEM_OVERHEAD
        if item.last_error:
            size += len(item.last_error.encode())
    return size
