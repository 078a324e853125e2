"""What the engine must do, in plain Python: the model that a real engine is compared with.

Time is the test's own. Nothing here looks at how Redis holds things, but for two facts that show in replies: an id
that was taken out of a list leaves an entry behind that is skipped later, and time's work is done set by set in the
order of an index of due times.

``model_places.py`` has where items stand, ``model_operators.py`` what operators do, and this file what is done with
items.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

from dibs.broker.engine.quotas import UNLIMITED, Quotas
from dibs.broker.engine.types import (
    Ack,
    Cancelled,
    Enqueued,
    ItemStatus,
    Kind,
    Leased,
    LeaseQuery,
    Nack,
    NackReason,
    NewItem,
    Outcome,
    Record,
    Refresh,
    Refreshed,
    State,
    decode_spec,
)

from .model_operators import Operators
from .model_places import Item, QueueKey, Share, ShareKey, in_order, index_member


class Refused(NamedTuple):
    """A request was beyond a quota."""

    quota: str
    limit: int
    used: int


class Model(Operators):
    """A namespace, and every operation on it."""

    quotas: Quotas = UNLIMITED

    # Operations, as the engine has them.

    def enqueue(self, request_id: str, new: Sequence[NewItem]) -> list[Enqueued] | Refused:
        return self.enqueue_together([(request_id, new)])[0]

    def enqueue_together(self, calls: Sequence[tuple[str, Sequence[NewItem]]]) -> list[list[Enqueued] | Refused]:
        """Calls that share a script call: what they make ready or delay is put into place after all of them."""
        outcomes: list[list[Enqueued] | Refused] = []
        ready: dict[QueueKey, list[str]] = {}
        delayed: dict[str, int] = {}
        order = [0]
        refused: dict[str, Refused] = {}
        for request_id, new in calls:
            if request_id in refused:
                outcomes.append(refused[request_id])
                continue
            if request_id not in self.requests:
                used = self.use()
                before = copy.deepcopy((self.__dict__, ready, delayed, order))
                codes = [self._enqueue(item, ready, delayed, order) for item in new]
                refusal = self._refusal(used)
                if refusal:
                    self.__dict__, ready, delayed, order = before
                    outcomes.append(refusal)
                    if request_id:
                        refused[request_id] = refusal
                    continue
                if request_id:
                    self.requests[request_id] = codes
            outcomes.append(self.requests.get(request_id) or codes)
        for queue, ids in ready.items():
            self._append(queue, ids)
        for id, due_us in delayed.items():
            self._delay(self.items[id], due_us)
        for id in {*delayed, *(id for ids in ready.values() for id in ids)}:
            item = self.items[id]
            self._note_expiring(item, item.due_us + item.spec.expires_us)
        return outcomes

    def use(self) -> Quotas:
        """How much there is of what quotas are about."""
        return Quotas(len(self.items), sum(len(item.record) for item in self.items.values()), len(self.seen))

    def _refusal(self, before: Quotas) -> Refused | None:
        """Whether what was done must not be, by what there was before it."""
        for name in ("items", "queues", "bytes"):
            limit, used, now = (getattr(one, name) for one in (self.quotas, before, self.use()))
            if limit and now > used and now > limit:
                return Refused(name, limit, used)
        return None

    def _enqueue(
        self, new: NewItem, ready: dict[QueueKey, list[str]], delayed: dict[str, int], order: list[int]
    ) -> Enqueued:
        id, spec_text, due, conflict, body = new
        known = id in self.items or id in self.ends
        if len(conflict) > 1:
            running = self.items.get(id)
            if (
                running is None
                or id in delayed
                or any(id in ids for ids in ready.values())
                or (running.state is not State.STARTED or running.token != int(conflict[1:]))
                or (running.deadline_us <= self.now_us or running.cancel)
            ):
                return Enqueued.CONFLICT
        elif conflict == "u":
            there = self.items.get(id)
            put_now = id in delayed or any(id in ids for ids in ready.values())
            if there and not put_now and there.state is State.STARTED and there.deadline_us > self.now_us:
                return Enqueued.RUNNING
        elif known and conflict != "r":
            return Enqueued.CONFLICT if conflict == "f" else Enqueued.EXISTS
        self.ends.pop(id, None)
        self.expired.discard(id)
        if id in self.items:
            self._detach(self.items[id])
        delayed.pop(id, None)
        spec = decode_spec(spec_text.encode())
        due_us = self.now_us
        if due:
            due_us = max(self.now_us, int(due[1:]) + (self.now_us if due[0] == "+" else 0))
        item = self.items[id] = Item(id, spec, self.now_us, due_us, body)
        self.seen[item.queue] = self.seen.get(item.queue, 0) + 1
        if due_us > self.now_us:
            item.state = State.SCHEDULED
            delayed[id] = due_us + order[0]
            order[0] += 1
        else:
            ready.setdefault(item.queue, []).append(id)
        return Enqueued.REPLACED if known else Enqueued.CREATED

    def lease(self, query: LeaseQuery, wanted: int, *, note_hunger: bool) -> list[Leased]:
        self.advance()
        taken: list[tuple[Item, int]] = []
        if query.queues:
            for name in query.queues:
                if (query.kind, name) in self.paused:
                    continue
                self._take((query.kind, name), query, wanted, taken)
        else:
            for queue in self.ready_queues(query.kind):
                self._take(queue, query, wanted, taken)
        leased = []
        together: dict[ShareKey, list[Item]] = {}
        new_token = max(self.token + 1, self.now_us)
        for item, attempts in taken:
            lease_us = item.spec.lease_us if query.lease_us is None else query.lease_us
            item.used += 1
            token = 0
            if lease_us == 0 and not item.spec.keep_us and not item.spec.dead_queue:
                del self.items[item.id]
                self._count(self.done, item.queue)
            else:
                self.token = token = new_token
                item.state, item.token, item.attempts, item.lease_us = State.STARTED, token, attempts, lease_us
                item.once, item.cancel = lease_us == 0, False
                self._set_deadline(item, self.now_us + (lease_us or self.retention_us))
                together.setdefault((item.queue, token, item.deadline_us), []).append(item)
            leased.append(Leased(item.id, token, item.used, attempts, lease_us, item.error or "", item.record))
        for key, items in together.items():
            if 0 < self.share_from <= len(items):
                ids = [item.id for item in items]
                self.shares[key] = Share(ids, set(ids))
                for item in items:
                    item.share = key
        if note_hunger and len(taken) < wanted:
            self.hungry[query.kind] |= set(query.queues) or {"*"}
        return leased

    def peek(self, kind: Kind, queues: Sequence[str], wanted: int) -> list[tuple[str, Record]]:
        keys = [(kind, name) for name in queues] or self.ready_queues(kind)
        ids = dict.fromkeys(id for key in keys for id in self.ready(key))
        items = [self.items[id] for id in ids][:wanted]
        return [(item.id, Record(item.enqueued_us, item.due_us, item.spec, item.body)) for item in items]

    def restore(self, items: Sequence[Leased]) -> list[str]:
        restored: dict[QueueKey, list[str]] = {}
        for leased in items:
            if leased.id not in self.items and leased.id not in self.ends:
                head, _, body = leased.record.partition(b"\n")
                enqueued_us, due_us, spec = head.split(b" ", 2)
                item = Item(leased.id, decode_spec(spec), int(enqueued_us), int(due_us), body)
                item.used, item.error = leased.attempt - 1, leased.last_error or None
                item.token = 0 if item.used else None
                self.items[item.id] = item
                self._note_expiring(item)
                restored.setdefault(item.queue, []).append(item.id)
                self._count(self.done, item.queue, -1)
                self.seen.setdefault(item.queue, 0)
        for queue, ids in restored.items():
            self._append(queue, ids, head=True)
        return [id for ids in restored.values() for id in ids]

    def ack(self, entries: Sequence[Ack]) -> list[Outcome]:
        outcomes = []
        for id, token, result in entries:
            outcome = self._fence(id, token)
            outcomes.append(outcome)
            if outcome is Outcome.OK:
                item = self.items[id]
                self._detach(item)
                self._end(item, State.SUCCEEDED, result=result)
                self._count(self.done, item.queue)
        return outcomes

    def nack(self, entries: Sequence[Nack]) -> list[Outcome]:
        outcomes = []
        given: set[str] = set()
        back: dict[tuple[QueueKey, bool], list[str]] = {}
        for id, token, reason, delay_us, error in entries:
            outcome = Outcome.LEASE_EXPIRED if id in given else self._fence(id, token)
            outcomes.append(outcome)
            if outcome is not Outcome.OK:
                continue
            given.add(id)
            item = self.items[id]
            self._leave_leased(item)
            if reason is NackReason.CANCELLED or item.cancel:
                if reason in (NackReason.UNSEEN, NackReason.NOT_BEGUN, NackReason.RELEASED):
                    item.used -= 1
                self._end(item, State.CANCELLED)
                continue
            undone = reason in (NackReason.UNSEEN, NackReason.NOT_BEGUN) or (
                reason is NackReason.RELEASED and not item.once
            )
            again = reason is NackReason.FAILED and not item.once and item.used < item.attempts
            if not undone and not again:
                once = "released, but at-most-once items are not delivered again"
                self._bury(item, once if reason is NackReason.RELEASED else error)
                continue
            delay = delay_us or 0
            if again:
                item.error = error
                delay = self._retry_delay(item) if delay_us is None else delay_us
            else:
                item.used -= 1
            item.state = State.WAITING
            self._note_expiring(item)
            if not item.used:
                item.token = None
            if delay > 0:
                self._delay(item, self.now_us + delay)
            else:
                back.setdefault((item.queue, undone), []).append(id)
        for (queue, head), ids in back.items():
            self._append(queue, ids, head=head)
        return outcomes

    def refresh(self, entries: Sequence[Refresh]) -> list[Refreshed]:
        refreshed = []
        for id, token, lease_us in entries:
            outcome = self._fence(id, token)
            item = self.items.get(id)
            refreshed.append(Refreshed(outcome, outcome is Outcome.OK and item is not None and item.cancel))
            if outcome is Outcome.OK and item is not None and not item.once:
                item.lease_us = item.lease_us if lease_us is None else lease_us
                self._leave_leased(item)
                deadline_us = self.now_us + item.lease_us
                assert item.token is not None
                while (item.queue, item.token, deadline_us) in self.shares:
                    deadline_us += 1
                self._set_deadline(item, deadline_us)
        return refreshed

    def cancel(self, ids: Sequence[str]) -> list[Cancelled]:
        return [self._cancel(id) for id in ids]

    def lookup(self, ids: Sequence[str], *, bodies: bool) -> list[ItemStatus]:
        return [self._status(id, bodies) for id in ids]

    def advance(self) -> None:
        while self.due:
            (name, queue), time_us = min(self.due.items(), key=lambda entry: (entry[1], index_member(*entry[0])))
            if time_us > self.now_us:
                return
            if name == "expiring":
                self._advance_expiring(queue)
                continue
            entries = (self.delayed if name == "delayed" else self.leased).setdefault(queue, {})
            ids = in_order(entries) if name == "delayed" else self.leased_in_order(queue)
            ids = [id for id in ids if entries[id] <= self.now_us]
            for id in ids:
                if name == "delayed":
                    del entries[id]
                else:
                    self._leave_leased(self.items[id])
            if name == "delayed":
                self._append(queue, ids)
            else:
                again = [id for id in ids if self._expire(self.items[id])]
                for id in again:
                    self._note_expiring(self.items[id])
                self._append(queue, again)
            if entries:
                self.due[name, queue] = min(entries.values())
            else:
                del self.due[name, queue]

    def _advance_expiring(self, queue: QueueKey) -> None:
        entries = self.expiring.setdefault(queue, {})
        ids = [id for id in in_order(entries) if entries[id] <= self.now_us]
        for id in ids:
            del entries[id]
        for id in ids:
            item = self.items.get(id)
            if item is None or item.queue != queue or item.state not in (State.WAITING, State.SCHEDULED):
                continue
            if item.expires_us > self.now_us:
                self._note_expiring(item, int(item.expires_us))
            else:
                self._detach(item)
                self.items[id] = item
                self._end_expired(item)
        if entries:
            self.due["expiring", queue] = min(entries.values())
        else:
            del self.due["expiring", queue]

    # What replies are made of.

    def _take(self, queue: QueueKey, query: LeaseQuery, wanted: int, taken: list[tuple[Item, int]]) -> None:
        entries = self.lists.get(queue, [])
        chosen = {item.id for item, _ in taken}
        while entries and len(taken) < wanted:
            id = entries.pop(0)
            if not self._is_ready(id, queue) or id in chosen:
                continue
            item = self.items[id]
            self._leave_expiring(item)
            if item.expires_us <= self.now_us:
                self._end_expired(item)
                continue
            attempts = item.spec.attempts if query.attempts is None else query.attempts
            if item.used >= attempts:
                self._bury(item, "attempts used up" if item.error is None else item.error)
            else:
                taken.append((item, attempts))
                chosen.add(id)

    def _fence(self, id: str, token: int | None) -> Outcome:
        item = self.items.get(id)
        if item is None:
            return Outcome.NOT_FOUND
        if item.token is None:
            return Outcome.NOT_FOUND if token is None else Outcome.LEASE_SUPERSEDED
        if token is None and item.state is not State.STARTED:
            return Outcome.NOT_FOUND
        if token is not None and token != item.token:
            return Outcome.LEASE_SUPERSEDED
        running = item.state is State.STARTED and item.deadline_us > self.now_us
        return Outcome.OK if running else Outcome.LEASE_EXPIRED

    def _retry_delay(self, item: Item) -> int:
        retry = item.spec.retry
        if retry is None:
            return item.deadline_us - self.now_us
        return int(min(retry.initial_us * retry.factor ** (item.used - 1), retry.max_us))

    def _expire(self, item: Item) -> bool:
        """Whether it is to be delivered again."""
        if item.cancel:
            self._end(item, State.CANCELLED)
        elif item.once:
            self._bury(item, "started, but never finished")
        elif item.used >= item.attempts:
            self._bury(item, "the lease ran out" if item.error is None else item.error)
        else:
            item.state = State.WAITING
            return True
        return False

    def _cancel(self, id: str) -> Cancelled:
        end = self.ends.get(id)
        if end is not None and end.state is State.CANCELLED and not end.used:
            return Cancelled.REMOVED
        if self.ends.pop(id, None):
            return Cancelled.RESULT_DROPPED
        item = self.items.get(id)
        if item is None or item.state is State.DEAD:
            return Cancelled.NOT_FOUND
        if item.state is State.STARTED and item.deadline_us > self.now_us:
            item.cancel = True
            return Cancelled.REQUESTED
        self._detach(item)
        self._end(item, State.CANCELLED)
        return Cancelled.REMOVED

    def _status(self, id: str, bodies: bool) -> ItemStatus:
        end = self.ends.get(id)
        if end is not None:
            return ItemStatus(id, end.state, end.used, False, *end.queue, None, end.error, end.result)
        item = self.items.get(id)
        if item is None:
            return ItemStatus(id, State.UNKNOWN, 0, False, None, "", None, "", None)
        state = item.state
        if state is State.SCHEDULED and self.delayed[item.queue][id] <= self.now_us:
            state = State.LATE
        record = Record(item.enqueued_us, item.due_us, item.spec, item.body if bodies else b"")
        return ItemStatus(id, state, item.used, item.cancel, *item.queue, record, item.error or "", None)
