"""The items of one namespace of a broker in memory, and how they go from state to state.

`docs/states.md` draws it; the tests of this kit do the same to this and to a real broker.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration

from ...contract import error_text
from ...contract.names import DEADLETTER_QUEUE
from ...v1 import admin_pb2 as apb
from ...v1 import broker_pb2 as pb
from ...v1 import types_pb2 as tpb
from .clock import Clock

T = TypeVar("T")

#: What is said of an item that its consumer gives back although it may be delivered once only.
_RELEASED_ONCE = "released, but at-most-once items are not delivered again"


@dataclass(slots=True, eq=False)
class Item:
    """One item.

    Attributes:
        id: its id.
        queue: its queue.
        kind: of the queue.
        content: what it carries.
        policy: how it is delivered.
        enqueued: when it came.
        due: when it may be delivered first, and after a failed attempt next.
        scheduled: when it was due first.
        used: deliveries so far.
        token: of the lease that it is under, or was last.
        deadline: when that ends; None: it is under none.
        cancel: somebody wants it cancelled.
        error: text of the last failed attempt.
        died: when it became a dead letter; None: it is none.
    """

    id: str
    queue: str
    kind: tpb.QueueKind.ValueType
    content: tpb.Content
    policy: tpb.DeliveryPolicy
    enqueued: float
    due: float
    scheduled: float
    used: int = 0
    token: int = 0
    deadline: float | None = None
    cancel: bool = False
    error: str = ""
    died: float | None = None

    @property
    def lease_s(self) -> float:
        """Length of its leases; 0: it is delivered at most once."""
        return seconds(self.policy.lease_timeout)

    @property
    def keep_s(self) -> float:
        """How long its end is kept."""
        return seconds(self.policy.result_ttl)

    @property
    def attempts(self) -> int:
        """Deliveries in all."""
        return self.policy.attempts or 1

    @property
    def dead_queue(self) -> str:
        """Its dead-letter queue; "": none."""
        return (self.policy.dead_letter_queue or DEADLETTER_QUEUE) if self.policy.use_dead_letter else ""

    @property
    def expires(self) -> float:
        """Until when it may be delivered."""
        return (
            self.scheduled + seconds(self.policy.expire_after) if self.policy.HasField("expire_after") else float("inf")
        )

    @property
    def waits(self) -> bool:
        """Whether nobody has it, and it is no dead letter."""
        return self.deadline is None and self.died is None

    def retry_wait(self, now: float) -> float:
        """Seconds from a failed attempt to the next."""
        if not self.policy.HasField("retry"):
            return max((self.deadline or now) - now, 0.0)
        retry = self.policy.retry
        most = seconds(retry.max_delay) if retry.HasField("max_delay") else float("inf")
        wait = min(seconds(retry.initial_delay) * (retry.multiplier or 1.0) ** (self.used - 1), most)
        return min(wait * random.uniform(1 - retry.jitter, 1 + retry.jitter), most)


@dataclass(slots=True)
class End:
    """How an item ended, kept for its result_ttl.

    Attributes:
        state: succeeded, failed, cancelled or expired.
        item: as it was.
        until: when it is forgotten.
        result: what it returned; None: nothing.
    """

    state: tpb.ItemState.ValueType
    item: Item
    until: float
    result: bytes | None = None


@dataclass(eq=False)
class Counts:
    """Of one queue, ever.

    Attributes:
        seen: items put in.
        done: items that ended well.
        priority: None: it has none.
        paused: nothing is delivered from it.
    """

    seen: int = 0
    done: int = 0
    priority: float | None = None
    paused: bool = False


@dataclass
class Items:
    """All of them, in the order in which they came.

    Attributes:
        clock: what time it is.
        there: items by id.
        ends: of items that are no more, by id.
        queues: by kind and name.
    """

    clock: Clock
    there: dict[str, Item] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)
    queues: dict[tuple[tpb.QueueKind.ValueType, str], Counts] = field(default_factory=dict)
    _tokens: int = 0

    def put(self, entry: pb.EnqueueItem) -> pb.EnqueueOutcome.ValueType:
        """Put one in."""
        self._forget_old()
        now = self.clock.now()
        before = self.there.get(entry.id)
        known = before is not None or entry.id in self.ends
        conflict = entry.on_conflict
        if entry.lease_token:
            if before is None or not self._is_out(before, now) or before.token != entry.lease_token or before.cancel:
                return pb.ENQUEUE_OUTCOME_CONFLICT
        elif known and conflict in (pb.ON_CONFLICT_UNSPECIFIED, pb.ON_CONFLICT_KEEP):
            return pb.ENQUEUE_OUTCOME_EXISTS
        elif known and conflict == pb.ON_CONFLICT_FAIL:
            return pb.ENQUEUE_OUTCOME_CONFLICT
        elif before is not None and conflict == pb.ON_CONFLICT_REPLACE_UNLESS_RUNNING and self._is_out(before, now):
            return pb.ENQUEUE_OUTCOME_RUNNING
        self.ends.pop(entry.id, None)
        self.there.pop(entry.id, None)
        due = now
        if entry.HasField("delay"):
            due = now + seconds(entry.delay)
        elif entry.HasField("schedule_time"):
            due = max(now, entry.schedule_time.ToNanoseconds() / 1e9)
        item = Item(entry.id, entry.queue, entry.kind, entry.content, entry.policy, now, due, due)
        # Tokens of an id only grow.
        item.token = before.token if before is not None else 0
        self.there[item.id] = item
        self.counts(item.kind, item.queue).seen += 1
        return pb.ENQUEUE_OUTCOME_REPLACED if known else pb.ENQUEUE_OUTCOME_CREATED

    def lease(self, request: pb.LeaseRequest, wanted: Callable[[Item], bool] = lambda item: True) -> list[tpb.Delivery]:
        """Lease, take or peek what can be, of those that are wanted."""
        self.end_leases()
        now = self.clock.now()
        found = [item for item in self._ready(request, now) if wanted(item)][: request.max_items or 1]
        return [self._deliver(item, request, now) for item in found]

    def _ready(self, request: pb.LeaseRequest, now: float) -> list[Item]:
        ready = [item for item in self.there.values() if item.waits and item.due <= now and item.kind == request.kind]
        ready = [item for item in ready if not self.counts(item.kind, item.queue).paused]
        if request.queues:
            order = {name: place for place, name in enumerate(request.queues)}
            return sorted((one for one in ready if one.queue in order), key=lambda one: (order[one.queue], one.due))
        return sorted(ready, key=lambda one: (self._rank(one.kind, one.queue), one.due))

    def _rank(self, kind: tpb.QueueKind.ValueType, queue: str) -> tuple[bool, float, str]:
        priority = self.counts(kind, queue).priority
        return priority is None, priority or 0.0, queue

    def _deliver(self, item: Item, request: pb.LeaseRequest, now: float) -> tpb.Delivery:
        lease_s = seconds(request.lease_timeout) if request.HasField("lease_timeout") else item.lease_s
        attempts = request.attempts or item.policy.attempts or request.default_attempts or 1
        delivery = tpb.Delivery(
            id=item.id,
            content=item.content,
            queue=item.queue,
            attempt=item.used + 1,
            attempts=attempts,
            last_error=item.error,
            keep_result=item.keep_s > 0,
        )
        delivery.enqueue_time.FromNanoseconds(round(item.enqueued * 1e9))
        delivery.schedule_time.FromNanoseconds(round(item.scheduled * 1e9))
        if item.policy.HasField("retry"):
            delivery.retry.CopyFrom(item.policy.retry)
        if item.policy.HasField("run_timeout"):
            delivery.run_timeout.CopyFrom(item.policy.run_timeout)
        delivery.renew = item.policy.renew
        if lease_s:
            delivery.lease_timeout.FromNanoseconds(round(lease_s * 1e9))
            delivery.renew = item.policy.renew
        if item.policy.HasField("run_timeout"):
            delivery.run_timeout.CopyFrom(item.policy.run_timeout)
        if request.peek:
            return delivery
        if not item.policy.HasField("use_dead_letter") and lease_s and request.default_dead_letter_queue:
            item.policy.use_dead_letter = True
            item.policy.dead_letter_queue = request.default_dead_letter_queue
        item.policy.attempts = attempts
        item.used += 1
        if not lease_s and not item.keep_s and not item.dead_queue:
            del self.there[item.id]
            self.counts(item.kind, item.queue).done += 1
            return delivery
        self._tokens = max(self._tokens, item.token) + 1
        item.token = delivery.lease_token = self._tokens
        item.deadline = now + lease_s if lease_s else float("inf")
        return delivery

    def ack(self, entry: pb.AckEntry) -> tpb.Outcome.ValueType:
        """Finish one."""
        item, outcome = self._fenced(entry.id, entry.lease_token, entry.unfenced)
        if item is not None:
            self.counts(item.kind, item.queue).done += 1
            self._end(item, tpb.ITEM_STATE_SUCCEEDED, entry.result if entry.HasField("result") else None)
        return outcome

    def nack(self, entry: pb.NackEntry) -> tpb.Outcome.ValueType:
        """Take one back."""
        item, outcome = self._fenced(entry.id, entry.lease_token, False)
        if item is None:
            return outcome
        now = self.clock.now()
        once = item.deadline == float("inf")
        unused = entry.reason in (pb.NACK_REASON_RELEASED, pb.NACK_REASON_NOT_BEGUN)
        error = error_text.end(entry.error)
        delay = seconds(entry.delay) if entry.HasField("delay") else None
        if entry.reason == pb.NACK_REASON_CANCELLED or item.cancel:
            item.used -= unused
            self._end(item, tpb.ITEM_STATE_CANCELLED)
        elif unused and (not once or entry.reason == pb.NACK_REASON_NOT_BEGUN):
            item.used -= 1
            self._give_back(item, now + (delay or 0.0))
        elif entry.reason != pb.NACK_REASON_REJECTED and not unused and not once and item.used < item.attempts:
            item.error = error
            self._give_back(item, now + (item.retry_wait(now) if delay is None else delay))
        else:
            self._bury(item, _RELEASED_ONCE if unused else error)
        return outcome

    def refresh(self, entry: pb.RefreshEntry) -> tpb.Outcome.ValueType:
        """Lengthen a lease."""
        item, outcome = self._fenced(entry.id, entry.lease_token, entry.unfenced)
        if item is not None and item.deadline != float("inf"):
            length_s = seconds(entry.lease_timeout) if entry.HasField("lease_timeout") else item.lease_s
            item.deadline = self.clock.now() + length_s
        return outcome

    def cancel(self, id: str) -> pb.CancelOutcome.ValueType:
        """Cancel one."""
        self._forget_old()
        end, item = self.ends.get(id), self.there.get(id)
        if end is not None:
            if end.state == tpb.ITEM_STATE_CANCELLED and not end.item.used:
                return pb.CANCEL_OUTCOME_REMOVED
            del self.ends[id]
            return pb.CANCEL_OUTCOME_RESULT_DROPPED
        if item is None or item.died is not None:
            return pb.CANCEL_OUTCOME_NOT_FOUND
        if item.deadline is not None:
            item.cancel = True
            return pb.CANCEL_OUTCOME_REQUESTED
        self._end(item, tpb.ITEM_STATE_CANCELLED)
        return pb.CANCEL_OUTCOME_REMOVED

    def remove(self, items: Iterable[Item]) -> int:
        """Remove items for good; those that ask for it end as cancelled."""
        found = list(items)
        for item in found:
            self._end(item, tpb.ITEM_STATE_CANCELLED)
        return len(found)

    def state_of(self, item: Item) -> tpb.ItemState.ValueType:
        """Where an item that is there is in its life."""
        if item.died is not None:
            return tpb.ITEM_STATE_DEAD
        if item.deadline is not None:
            return tpb.ITEM_STATE_STARTED
        return tpb.ITEM_STATE_SCHEDULED if item.due > self.clock.now() else tpb.ITEM_STATE_WAITING

    def look_up(self, id: str, *, include_content: bool = False) -> pb.ItemResult:
        """What is known of one."""
        self._forget_old()
        end, item = self.ends.get(id), self.there.get(id)
        known = item or (end.item if end is not None else None)
        if known is None:
            return pb.ItemResult(id=id, state=tpb.ITEM_STATE_UNKNOWN)
        found = pb.ItemResult(id=id, attempt=known.used, queue=known.queue, kind=known.kind, error=known.error)
        if end is not None:
            found.state = end.state
            if end.result is not None:
                found.result = end.result
        else:
            found.state = self.state_of(known)
            found.cancel_requested = known.cancel
            if include_content:
                found.content.CopyFrom(known.content)
        found.enqueue_time.FromNanoseconds(round(known.enqueued * 1e9))
        found.schedule_time.FromNanoseconds(round(known.scheduled * 1e9))
        return found

    def info(self, item: Item, *, include_content: bool) -> apb.ItemInfo:
        """One that is there, as an operator sees it."""
        info = apb.ItemInfo(
            id=item.id,
            queue=item.queue,
            kind=item.kind,
            state=self.state_of(item),
            attempt=item.used,
            policy=item.policy,
            last_error=item.error,
            cancel_requested=item.cancel,
            content=item.content if include_content else tpb.Content(task_name=item.content.task_name),
        )
        info.enqueue_time.FromNanoseconds(round(item.enqueued * 1e9))
        info.schedule_time.FromNanoseconds(round(item.scheduled * 1e9))
        if item.died is not None:
            info.death_time.FromNanoseconds(round(item.died * 1e9))
        return info

    def counts(self, kind: tpb.QueueKind.ValueType, queue: str) -> Counts:
        """Of a queue, which there is from now on."""
        return self.queues.setdefault((kind, queue), Counts())

    def of(self, kind: tpb.QueueKind.ValueType, queue: str) -> list[Item]:
        """The items of a queue, dead ones too."""
        return [item for item in self.there.values() if item.kind == kind and item.queue == queue]

    def dead(self, kind: tpb.QueueKind.ValueType, name: str) -> list[Item]:
        """Dead letters, the oldest death first."""
        name = name or DEADLETTER_QUEUE
        found = [one for one in self.there.values() if one.died is not None and one.kind == kind]
        return sorted((one for one in found if one.dead_queue == name), key=lambda one: one.died or 0.0)

    def redrive(self, items: Iterable[Item]) -> int:
        """Send dead letters back, as new."""
        found = list(items)
        for item in found:
            item.died, item.used, item.error = None, 0, ""
            item.scheduled = self.clock.now()
            self._give_back(item, self.clock.now())
        return len(found)

    def take(self, items: Iterable[Item]) -> None:
        """Take dead letters out."""
        for item in items:
            del self.there[item.id]

    def next_time(self) -> float | None:
        """When something changes by itself; None: never."""
        now = self.clock.now()
        times = [one.due for one in self.there.values() if one.waits and one.due > now]
        times += [one.expires for one in self.there.values() if one.waits and one.expires != float("inf")]
        times += [one.deadline for one in self.there.values() if one.deadline not in (None, float("inf"))]
        return min(times, default=None)

    def end_leases(self) -> None:
        """End the leases that have run out, and what has waited too long."""
        now = self.clock.now()
        for item in list(self.there.values()):
            if item.deadline is not None and item.deadline <= now:
                if item.cancel:
                    self._end(item, tpb.ITEM_STATE_CANCELLED)
                elif item.used < item.attempts:
                    item.error = "the lease ran out"
                    self._give_back(item, item.deadline)
                else:
                    self._bury(item, "the lease ran out")
            if item.id in self.there and item.waits and item.expires <= now:
                waited = seconds(item.policy.expire_after)
                text = f"expired: not begun within {waited:g} s of its due time"
                self._bury(item, text, tpb.ITEM_STATE_EXPIRED)

    def _is_out(self, item: Item, now: float) -> bool:
        return item.deadline is not None and item.deadline > now

    def _fenced(self, id: str, token: int, unfenced: bool) -> tuple[Item | None, tpb.Outcome.ValueType]:
        """The item, if that lease is current."""
        self.end_leases()
        item = self.there.get(id)
        if item is None or item.died is not None:
            return None, tpb.OUTCOME_NOT_FOUND
        if item.deadline is None:
            return None, tpb.OUTCOME_LEASE_EXPIRED
        if not unfenced and token != item.token:
            return None, tpb.OUTCOME_LEASE_SUPERSEDED
        return item, tpb.OUTCOME_OK

    def _give_back(self, item: Item, due: float) -> None:
        item.deadline, item.due = None, due

    def _bury(self, item: Item, error: str, state: tpb.ItemState.ValueType = tpb.ITEM_STATE_FAILED) -> None:
        item.error = error
        if item.dead_queue:
            item.deadline, item.died = None, self.clock.now()
        else:
            self._end(item, state)

    def _end(self, item: Item, state: tpb.ItemState.ValueType, result: bytes | None = None) -> None:
        del self.there[item.id]
        item.deadline = None
        if item.keep_s:
            self.ends[item.id] = End(state, item, self.clock.now() + item.keep_s, result)

    def _forget_old(self) -> None:
        now = self.clock.now()
        for id in [id for id, end in self.ends.items() if end.until <= now]:
            del self.ends[id]

    def __iter__(self) -> Iterator[Item]:
        """Those that are there."""
        return iter(tuple(self.there.values()))


def seconds(duration: Duration) -> float:
    """A duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def page(items: Sequence[T], size: int, token: str) -> tuple[Sequence[T], str]:
    """A page of them, and what the next one begins with."""
    start, size = int(token or 0), size or 100
    return items[start : start + size], str(start + size) if start + size < len(items) else ""
