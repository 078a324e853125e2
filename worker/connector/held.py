"""What a connector knows of the items that a lane has: batches, as bytes, until every item of them is reported."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..shared.begun import BEGUN, RING
from ..shared.leases import lease_seconds, limit_seconds
from ..shared.memory import Table
from .condition import Overdue, RunsLong

#: How much of what a process says is kept until an item is reported; more can only be refreshes of long tasks.
_MOST_SAID = 1000


class Terms(NamedTuple):
    """What is said of an item and looked at while it runs.

    Attributes:
        lease_s: length of its lease in seconds; 0: none.
        renew: the lease is to be renewed.
        limit_s: how long the run may take in seconds; 0: as long as it likes.
        task_name: of the item.
        id: likewise.
        token: of the lease.
    """

    lease_s: float
    renew: bool
    limit_s: float
    task_name: str
    id: str
    token: int


class Running(NamedTuple):
    """An item that runs.

    Attributes:
        batch: that it came in.
        position: its position.
        terms: what is said of it.
    """

    batch: Batch
    position: int
    terms: Terms


class Batch:
    """Items that came together.

    Attributes:
        raw: the `WorkResponse` that they came in.
        count: how many.
        arrived: when, on the monotonic clock; earlier if their lease is older than that (see `dating`).
        first: position of the first of them; the others follow.
        left: how many are not reported.
    """

    __slots__ = ("_terms", "arrived", "count", "first", "left", "raw")

    def __init__(self, raw: bytes, count: int, arrived: float) -> None:
        self.raw = raw
        self.count = self.left = count
        self.arrived = arrived
        self.first = 0
        self._terms: list[Terms] | None = None

    @classmethod
    def of(cls, deliveries: Sequence[tpb.Delivery], arrived: float) -> Batch:
        """A batch of these."""
        return cls(pb.WorkResponse(deliveries=deliveries).SerializeToString(), len(deliveries), arrived)

    @property
    def deliveries(self) -> Sequence[tpb.Delivery]:
        """The items, read anew each time: only when something has gone wrong."""
        return pb.WorkResponse.FromString(self.raw).deliveries

    @property
    def terms(self) -> Sequence[Terms]:
        """Those of each item; read once."""
        if self._terms is None:
            self._terms = [
                Terms(lease_seconds(one), one.renew, limit_seconds(one), one.content.task_name, one.id, one.lease_token)
                for one in self.deliveries
            ]
        return self._terms


#: What has been here for less is not looked at: nearly all items are done sooner.
_LONG_S = 0.25
_ZEROS = memoryview(bytes(8 * RING)).cast("d")


class Saying(Protocol):
    """What a process has said of items; see `Part`."""

    about: Sequence[Batch]


class Held:
    """Batches of one lane, and which of their items are not reported. Nothing here is done for each item.

    Args:
        table: what is known of items, by their positions; shared with who runs them.

    Attributes:
        count: items that are not reported.
        reported: items that are, in all.
    """

    def __init__(self, table: Table) -> None:
        self.count = 0
        self.reported = 0
        self._marks, self._ends = table
        #: 1 for each position in use.
        self._used = bytearray(RING)
        self._owners: list[Batch | None] = [None] * RING
        self._batches: dict[Batch, None] = {}
        self._next = 0
        self._said: deque[Saying] = deque(maxlen=_MOST_SAID)
        #: Positions of items that had begun at the last look, and of those that have been told.
        self._seen_begun: set[int] = set()
        #: Of what ran at the last look at it the batch and about when it began, by position; and when that look was.
        self._seen_running: dict[int, tuple[Batch, float]] = {}
        self._looked_at = 0.0
        self._told_begun: set[int] = set()

    def place(self, batch: Batch) -> list[Batch]:
        """Give a batch its positions; in pieces where long tasks have left no room for all of it at once."""
        count = batch.count
        free = bytes(count)
        first = self._used.find(free, self._next)
        if first < 0:
            first = self._used.find(free)
        if first < 0:
            deliveries = batch.deliveries
            assert count > 1, "a process holds more items than there are positions"
            halves = deliveries[: count // 2], deliveries[count // 2 :]
            return [piece for half in halves for piece in self.place(Batch.of(half, batch.arrived))]
        end = first + count
        self._next = end
        self._used[first:end] = b"\1" * count
        self._marks[first:end] = free
        self._ends[first:end] = _ZEROS[:count]
        self._owners[first:end] = [batch] * count
        batch.first = first
        self._batches[batch] = None
        self.count += count
        return [batch]

    def said(self, saying: Saying) -> None:
        """Note what the process has said, as a rule of items that it reports next."""
        self._said.append(saying)

    def report(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Note that items are done: first positions and counts. What was said is about the batches that they were of.

        Raises:
            ValueError: a position is not in use.
        """
        touched: dict[Batch, None] = {}
        for first, count in ranges:
            while count > 0:
                batch = self._owners[first] if first < RING else None
                if batch is None:
                    raise ValueError(f"no item is at position {first}")
                here = min(count, batch.first + batch.count - first)
                owners = self._owners[first : first + here]
                if owners.count(batch) != here:
                    # Another batch has one of its positions by now.
                    here = next(at for at, owner in enumerate(owners) if owner is not batch)
                end = first + here
                self._used[first:end] = bytes(here)
                self._owners[first:end] = [None] * here
                if self._told_begun:
                    self._told_begun.difference_update(range(first, end))
                self.count -= here
                self.reported += here
                batch.left -= here
                if not batch.left:
                    del self._batches[batch]
                touched[batch] = None
                count -= here
                first = end
        about = list(touched)
        while self._said:
            self._said.popleft().about = about

    def newly_begun(self) -> list[tuple[str, int]]:
        """Ids and lease tokens of items that had begun at the last look, too, and have not been told before.

        What is done between two looks needs no word of its beginning; batches are read only for what is new.
        """
        seen: set[int] = set()
        found: list[tuple[str, int]] = []
        for batch in self._batches:
            fresh = [position for position in self._begun_of(batch) if position not in self._told_begun]
            new = [position for position in fresh if position in self._seen_begun]
            seen.update(fresh)
            if new:
                deliveries = batch.deliveries
                self._told_begun.update(new)
                items = (deliveries[position - batch.first] for position in new)
                found += [(item.id, item.lease_token) for item in items if item.lease_token]
        self._seen_begun = seen
        return found

    def forget_told(self) -> None:
        """Has `newly_begun` tell everything again."""
        self._told_begun.clear()

    def running(self, now: float) -> Iterator[Running]:
        """What runs, and came a while ago. Batches are read, once, if something of them runs for long."""
        for batch in self._batches:
            if now - batch.arrived >= _LONG_S:
                for position in self._begun_of(batch):
                    yield Running(batch, position, batch.terms[position - batch.first])

    def end_of(self, one: Running) -> float:
        """When the lease of an item that has one ends, on the monotonic clock."""
        return self._ends[one.position] or one.batch.arrived + one.terms.lease_s

    def runs(self, one: Running) -> bool:
        """Whether an item that did still runs."""
        return self._owners[one.position] is one.batch and self._marks[one.position] == BEGUN

    def set_end(self, one: Running, end: float) -> None:
        """Note when the lease of an item that runs ends; who runs it sees that."""
        self._ends[one.position] = end

    def overdue(self, now: float) -> tuple[Overdue, ...]:
        """What runs although its lease is over."""
        return tuple(
            Overdue(end, one.terms.task_name, one.terms.id)
            for one in self.running(now)
            if one.terms.lease_s and (end := self.end_of(one)) < now
        )

    def runs_long(self, now: float) -> tuple[RunsLong, ...]:
        """What runs and did at an earlier look, a second ago or so. To be called now and then; dated by these looks."""
        before, looked_at = self._seen_running, self._looked_at
        self._looked_at = now
        self._seen_running = {}
        found: list[RunsLong] = []
        for one in self.running(now):
            known = before.get(one.position)
            if known is not None and known[0] is one.batch:
                found.append(RunsLong(known[1], one.terms.task_name, one.terms.id))
            else:
                known = one.batch, max(one.batch.arrived, looked_at)
            self._seen_running[one.position] = known
        return tuple(found)

    def _begun_of(self, batch: Batch) -> Iterator[int]:
        marks = bytes(self._marks[batch.first : batch.first + batch.count])
        at = marks.find(BEGUN)
        while at >= 0:
            position = batch.first + at
            # Another batch may have the position by now.
            if self._owners[position] is batch:
                yield position
            at = marks.find(BEGUN, at + 1)

    def unreported(self) -> Iterator[tuple[tpb.Delivery, int]]:
        """Each item that is not reported, and its mark; reads all of them."""
        for batch in self._batches:
            for position, delivery in enumerate(batch.deliveries, batch.first):
                # Another batch may have the position by now.
                if self._owners[position] is batch:
                    yield delivery, self._marks[position]
