"""What is finished and not yet known to the broker: messages of task processes, as bytes.

The stream takes as many as fit into a message; until the broker confirms the message they stay here, and go to the next
stream, of whichever broker, when theirs breaks.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from dibs.contract.limits import Limits
from dibs.v1 import broker_pb2 as pb

from ..shared.bell import LoopBell
from ..shared.entries import Entries
from ..shared.logs import Said
from .dividing import Entry, fitting, joined
from .held import Batch

_log = logging.getLogger("dibs.worker")

#: An entry that ended this many streams as invalid, alone in its message, is given up.
_MAX_REFUSALS = 3


class Part:
    """Entries that were written together, as bytes of a `WorkRequest`.

    Attributes:
        data: the bytes.
        count: how many entries.
        about: batches of the items that the entries are about, as far as they are known. For log lines only.
        again: it was on a stream before, so some of it may be settled already.
        refusals: streams that the broker ended as invalid, or as too large, while this was unsettled.
    """

    __slots__ = ("about", "again", "count", "data", "refusals")

    def __init__(self, data: bytes, count: int) -> None:
        self.data = data
        self.count = count
        self.about: Sequence[Batch] = ()
        self.again = False
        self.refusals = 0

    def sent(self) -> None:
        """To be called when it goes into a message."""

    def settled(self) -> None:
        """To be called when the broker has settled it; of what ended otherwise than OK `refused` was called before."""

    def refused(self, entry: Entry, why: str) -> bool:
        """To be called of an entry that the broker did not carry out; whether that has been dealt with.

        Args:
            entry: of the part.
            why: in words.
        """
        return False

    def entries(self) -> Iterator[Entry]:
        """What was said; reads all of it."""
        request = pb.WorkRequest.FromString(self.data)
        yield from request.acks
        yield from request.nacks
        yield from request.refreshes

    def divided(self, limits: Limits) -> list[Part]:
        """The same in parts that a broker with these limits takes; reads all of it."""
        return [self.some(entries) for entries in fitting(self.entries(), limits)]

    def halves(self) -> list[Part]:
        """The same in two parts; reads all of it."""
        entries = list(self.entries())
        middle = (len(entries) + 1) // 2
        return [self.some(entries[:middle]), self.some(entries[middle:])]

    def some(self, entries: Sequence[Entry]) -> Part:
        """A part of these of its entries."""
        return self._like(Part(joined(entries), len(entries)))

    def _like(self, part: Part) -> Part:
        part.about, part.again, part.refusals = self.about, self.again, self.refusals
        return part


class Outbox:
    """Parts on their way to the broker. For the stream's loop only, but for `entries`.

    Attributes:
        bell: rings in the loop.
        entries: what the connector itself has to say, or slots in its own process.
        collect: called before it is looked whether there is anything; brings what is still elsewhere.
        unsettled: entries sent and not settled.
    """

    def __init__(self) -> None:
        self.bell = LoopBell()
        self.entries = Entries(self.bell)
        self.collect: Callable[[], None] = self._collect_own
        self.unsettled = 0
        self._parts: deque[Part] = deque()

    def pending(self) -> bool:
        """Whether there is something to send."""
        self.collect()
        return bool(self._parts)

    def add(self, data: bytes, count: int) -> Part:
        """Add entries that somebody has written."""
        part = Part(data, count)
        self.put(part)
        return part

    def put(self, part: Part) -> None:
        """Add a part."""
        self._parts.append(part)

    def take(self, limits: Limits) -> list[Part] | None:
        """Take what fits into one message to a broker with these limits; None if there is nothing."""
        self.collect()
        parts = self._parts
        if not parts:
            return None
        part = parts.popleft()
        if part.count > limits.batch_items or len(part.data) > limits.entry_bytes:
            part, *others = part.divided(limits)
            parts.extendleft(reversed(others))
        taken = [part]
        count, size = part.count, len(part.data)
        # What was refused goes alone, so that it takes nothing else with it.
        while parts and not part.refusals and not parts[0].refusals:
            count += parts[0].count
            size += len(parts[0].data)
            if count > limits.batch_items or size > limits.entry_bytes:
                break
            taken.append(parts.popleft())
        self.unsettled += sum(one.count for one in taken)
        for one in taken:
            one.sent()
        return taken

    def settled(self, parts: Sequence[Part]) -> None:
        """Forgets parts that the broker has settled."""
        self._forget(parts)
        for part in parts:
            part.settled()

    def _forget(self, parts: Iterable[Part]) -> None:
        self.unsettled -= sum(part.count for part in parts)

    def give_back(self, unsettled: Sequence[Sequence[Part]], *, refused: bool) -> None:
        """Take messages back whose stream has ended before they were settled; they go first on the next one.

        Args:
            unsettled: in the order in which they were sent.
            refused: the broker called something on that stream invalid, or too large. Which message it was is not
                known: what was sent goes again alone, then in halves, and an entry that is refused alone is given up
                in the end.
        """
        for parts in reversed(unsettled):
            self._forget(parts)
            for part in reversed(parts):
                part.again = True
                self._parts.extendleft(reversed(_refused(part) if refused else [part]))

    def _collect_own(self) -> None:
        while self.entries:
            request, about = self.entries.take()
            part = self.add(request.SerializeToString(), len(about))
            part.about = [Batch.of(about, 0.0)]


def _refused(part: Part) -> list[Part]:
    """What goes again of a part that was on a stream which the broker refused."""
    part.refusals += 1
    if part.refusals > 1 and part.count > 1:
        return part.halves()
    if part.refusals < _MAX_REFUSALS:
        return [part]
    for entry in part.entries():
        _log.error(Said("brokers refuse what is said of a task, giving it up; its lease runs out", id=entry.id))
    return []
