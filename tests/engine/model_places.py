"""Where items stand, in the model of the engine (see ``model.py``): lists, sets, leases that stand together, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dibs.broker.engine.types import Enqueued, Kind, Spec, State

#: Score of queues without a priority.
NO_PRIORITY = 10**15

QueueKey = tuple[Kind, str]


@dataclass
class Item:
    """One item; `state` is WAITING, SCHEDULED (whether due or not), STARTED or DEAD."""

    id: str
    spec: Spec
    enqueued_us: int
    due_us: int
    body: bytes
    state: State = State.WAITING
    token: int | None = None
    used: int = 0
    attempts: int = 0
    lease_us: int = 0
    deadline_us: int = 0
    once: bool = False
    cancel: bool = False
    error: str | None = None
    share: ShareKey | None = None

    @property
    def queue(self) -> QueueKey:
        return self.spec.kind, self.spec.queue

    @property
    def expires_us(self) -> float:
        """Until when it may be delivered."""
        return self.due_us + self.spec.expires_us if self.spec.expires_us else float("inf")

    @property
    def record(self) -> bytes:
        return f"{self.enqueued_us} {self.due_us} {self.spec.encode()}\n".encode() + self.body


#: The queue, the token and the deadline of leases that stand together.
ShareKey = tuple[QueueKey, int, int]


@dataclass
class Share:
    """Leases that stand together: the ids in their order, and those that still are leased so."""

    ids: list[str]
    left: set[str]


@dataclass
class End:
    """How an item ended, while that is kept."""

    state: State
    used: int
    queue: QueueKey
    result: bytes | None = None
    error: str = ""


@dataclass
class Places:
    """A namespace.

    Attributes:
        now_us: the time.
        retention_us: how long a started at-most-once item may stay unfinished.
        share_from: from how many on leases stand together; 0: never.
        lists: ids in the order in which they became ready, also those that are ready no more.
        due: the index of due times: (set, queue) → time of its first entry or earlier.
        told: items that were cancelled while running.
    """

    now_us: int
    retention_us: int
    share_from: int = 0
    token: int = 0
    items: dict[str, Item] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)
    requests: dict[str, list[Enqueued]] = field(default_factory=dict)
    lists: dict[QueueKey, list[str]] = field(default_factory=dict)
    delayed: dict[QueueKey, dict[str, int]] = field(default_factory=dict)
    leased: dict[QueueKey, dict[str, int]] = field(default_factory=dict)
    shares: dict[ShareKey, Share] = field(default_factory=dict)
    due: dict[tuple[str, QueueKey], int] = field(default_factory=dict)
    #: Items that may wait only so long, and when that is looked at; of those that wait, and stale ones.
    expiring: dict[QueueKey, dict[str, int]] = field(default_factory=dict)
    #: Ids of which nothing is kept because they have expired.
    expired: set[str] = field(default_factory=set)
    dead: dict[QueueKey, dict[str, int]] = field(default_factory=dict)
    deaths: dict[QueueKey, int] = field(default_factory=dict)
    seen: dict[QueueKey, int] = field(default_factory=dict)
    done: dict[QueueKey, int] = field(default_factory=dict)
    priority: dict[QueueKey, int] = field(default_factory=dict)
    paused: set[QueueKey] = field(default_factory=set)
    hungry: dict[Kind, set[str]] = field(default_factory=lambda: {kind: set() for kind in Kind})

    def leased_in_order(self, queue: QueueKey) -> list[str]:
        """Ids in the order in which their leases end."""

        def place(id: str) -> tuple[int, bytes, int]:
            item = self.items[id]
            if item.share is None:
                return item.deadline_us, id.encode(), 0
            _, token, deadline_us = item.share
            return deadline_us, f"*{token}.{deadline_us}".encode(), self.shares[item.share].ids.index(id)

        return sorted(self.leased.get(queue, {}), key=place)

    def ready(self, queue: QueueKey) -> list[str]:
        """Ids in the order in which they would be leased."""
        return [id for id in dict.fromkeys(self.lists.get(queue, ())) if self._is_ready(id, queue)]

    def ready_queues(self, kind: Kind) -> list[QueueKey]:
        """Queues, but for paused ones, whose list holds something, ready or not any more, by priority, then by name."""
        found = [queue for queue, ids in self.lists.items() if queue[0] is kind and ids and queue not in self.paused]
        return sorted(found, key=lambda queue: (self.priority.get(queue, NO_PRIORITY), queue[1]))

    def _is_ready(self, id: str, queue: QueueKey) -> bool:
        item = self.items.get(id)
        return item is not None and item.state is State.WAITING and item.queue == queue

    # Changes.

    def _append(self, queue: QueueKey, ids: Sequence[str], *, head: bool = False) -> None:
        if not ids:
            return
        for id in ids:
            self.items[id].state = State.WAITING
        entries = self.lists.setdefault(queue, [])
        if not entries and queue not in self.paused:
            self.hungry[queue[0]] -= {queue[1], "*"}
        entries[:] = [*ids, *entries] if head else [*entries, *ids]

    def _delay(self, item: Item, due_us: int) -> None:
        item.state = State.SCHEDULED
        self.delayed.setdefault(item.queue, {})[item.id] = due_us
        self._index("delayed", item.queue, due_us)

    def _note_expiring(self, item: Item, time_us: int | None = None) -> None:
        """Have it looked whether an item that waits has waited too long: now, or at a time."""
        if item.spec.expires_us:
            time_us = self.now_us if time_us is None else time_us
            self.expiring.setdefault(item.queue, {})[item.id] = time_us
            self._index("expiring", item.queue, time_us)

    def _leave_expiring(self, item: Item) -> None:
        if item.spec.expires_us:
            self.expiring.get(item.queue, {}).pop(item.id, None)

    def _end_expired(self, item: Item) -> None:
        if not (item.spec.keep_us or item.spec.dead_queue):
            self.expired.add(item.id)
        if item.spec.dead_queue and item.token is None:
            item.token = 0  # a dead letter has a run
        seconds = item.spec.expires_us / 1e6
        self._bury(item, f"expired: not begun within {seconds:.15g} s of its due time", State.EXPIRED)

    def _set_deadline(self, item: Item, deadline_us: int) -> None:
        item.deadline_us = deadline_us
        self.leased.setdefault(item.queue, {})[item.id] = deadline_us
        self._index("leased", item.queue, deadline_us)

    def _leave_leased(self, item: Item) -> None:
        self.leased.get(item.queue, {}).pop(item.id, None)
        if item.share is not None:
            left = self.shares[item.share].left
            left.discard(item.id)
            if not left:
                del self.shares[item.share]
            item.share = None

    def _index(self, name: str, queue: QueueKey, time_us: int) -> None:
        self.due[name, queue] = min(time_us, self.due.get((name, queue), time_us))

    def _count(self, counts: dict[QueueKey, int], queue: QueueKey, by: int = 1) -> None:
        counts[queue] = counts.get(queue, 0) + by

    def _detach(self, item: Item) -> None:
        """Takes an item out of the sets; what it leaves in a list is skipped later."""
        del self.items[item.id]
        self._leave_leased(item)
        self._leave_expiring(item)
        self.delayed.get(item.queue, {}).pop(item.id, None)
        if item.state is State.DEAD:
            assert item.spec.dead_queue is not None
            del self.dead[item.spec.kind, item.spec.dead_queue][item.id]
            self.deaths[item.queue] -= 1

    def _end(self, item: Item, state: State, *, result: bytes | None = None, error: str = "") -> None:
        self.items.pop(item.id, None)
        if item.spec.keep_us:
            self.ends[item.id] = End(state, item.used, item.queue, result, error)

    def _bury(self, item: Item, failure: str, state: State = State.FAILED) -> None:
        if item.spec.dead_queue is None:
            self._end(item, state, error=failure)
            return
        item.state, item.cancel, item.error = State.DEAD, False, failure
        self.dead.setdefault((item.spec.kind, item.spec.dead_queue), {})[item.id] = self.now_us
        self.deaths[item.queue] = self.deaths.get(item.queue, 0) + 1


def index_member(name: str, queue: QueueKey) -> bytes:
    """How the index of due times calls a set; equal times are ordered by it."""
    return f"{name}:{queue[0].value}:{queue[1]}".encode()


def in_order(entries: dict[str, int]) -> list[str]:
    """Ids by time, then by id."""
    return sorted(entries, key=lambda id: (entries[id], id.encode()))
