"""What a consumer holds and says, against a broker of a few lines, in sequences made by chance."""

from __future__ import annotations

import time
from collections import deque
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from dibs.data.batch import ack, release
from dibs.data.holding import Holding
from dibs.rpc.known_limits import KnownLimits
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

BATCH = 3
#: What ends a stream comes seldom, or nothing else would come to its end.
RARELY = st.sampled_from([False] * 15 + [True])


class Consumer(RuleBasedStateMachine):
    """The broker has a queue, leases by id, and batches that are on their way; the caller works batches off."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.clock = mock.patch.object(time, "monotonic", new=self.tell_time)
        self.clock.start()
        self.items: list[str] = []
        self.queue: deque[str] = deque()
        self.leases: dict[str, int] = {}
        self.done: set[str] = set()
        self.token = 0
        #: Items of the batches that were sent and not received, as far as the broker knows.
        self.unreceipted: dict[int, list[tuple[str, int]]] = {}
        self.batch = 0
        self.credit = 0
        self.holding = Holding("default", "q", tpb.QUEUE_KIND_DATA, 30, 1_000, KnownLimits())
        self.holding.begin()
        self.holding.receive(pb.WorkResponse())
        #: The caller's batch, and what it has not settled of it; None: it waits.
        self.body: list[str] | None = None
        self.open: set[str] = set()
        #: What the caller has worked on to its end.
        self.worked: set[str] = set()

    def teardown(self) -> None:
        self.clock.stop()

    def tell_time(self) -> float:
        return self.now

    # The broker

    @precondition(lambda self: len(self.queue) < 3)
    @rule(count=st.integers(1, 3))
    def put(self, count: int) -> None:
        for _ in range(count):
            self.items.append(f"item-{len(self.items)}")
            self.queue.append(self.items[-1])

    @rule(last=st.booleans(), most=st.integers(0, 5))
    def talk_meanwhile(self, last: bool, most: int) -> None:
        self.talk(last=last, most=most)

    def talk(self, *, last: bool, most: int) -> None:
        """The consumer says what it has to say, and the broker may answer."""
        self.hear(last=last)
        if self.credit > 0 and self.queue and most:
            self.deliver(most)

    def deliver(self, most: int) -> None:
        self.token += 1
        ids = [self.queue.popleft() for _ in range(min(most, self.credit, len(self.queue)))]
        self.credit -= len(ids)
        self.batch += 1
        self.unreceipted[self.batch] = [(id, self.token) for id in ids]
        self.leases |= dict.fromkeys(ids, self.token)
        deliveries = [tpb.Delivery(id=id, lease_token=self.token) for id in ids]
        self.holding.receive(pb.WorkResponse(batch=self.batch, deliveries=deliveries))

    def hear(self, *, last: bool) -> None:
        message = self.holding.message(last=last)
        if message is None:
            return
        self.credit += message.add_credit
        for batch in [number for number in self.unreceipted if number <= message.received_batch]:
            del self.unreceipted[batch]
        response = pb.WorkResponse(done_sequence=message.sequence)
        for entry in message.acks:
            if self.ends(entry.id, entry.lease_token, response):
                assert entry.id in self.worked, "done, and nobody has worked on it"
                self.done.add(entry.id)
        for nack in message.nacks:
            if self.ends(nack.id, nack.lease_token, response):
                self.queue.appendleft(nack.id)
        if message.sequence:
            self.holding.receive(response)

    def ends(self, id: str, token: int, response: pb.WorkResponse) -> bool:
        """Ends a lease, if it is the current one."""
        if self.leases.get(id) == token:
            del self.leases[id]
            return True
        outcome = tpb.OUTCOME_LEASE_SUPERSEDED if id in self.leases else tpb.OUTCOME_NOT_FOUND
        response.outcomes.add(id=id, outcome=outcome, lease_token=token)
        return False

    @rule(rarely=RARELY)
    def break_stream(self, rarely: bool) -> None:
        if rarely:
            self.begin_another()

    def begin_another(self) -> None:
        for items in self.unreceipted.values():
            for id, token in items:
                if self.leases.get(id) == token:
                    del self.leases[id]
                    self.queue.appendleft(id)
        self.unreceipted.clear()
        self.batch = self.credit = 0
        self.holding.begin()
        self.holding.receive(pb.WorkResponse())

    # The caller

    @precondition(lambda self: self.body is None)
    @rule(most=st.integers(0, 5))
    def wait(self, most: int) -> None:
        found = [delivery.id for delivery in self.holding.take(BATCH)]
        if not found:
            self.holding.want(BATCH)
            self.talk(last=False, most=most)
            return
        assert len(found) == len(set(found)) <= BATCH
        assert not self.done.intersection(found), "it was done before"
        self.body, self.open = found, set(found)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), good=st.booleans(), most=st.integers(0, 5))
    def mark(self, data: st.DataObject, good: bool, most: int) -> None:
        id = data.draw(st.sampled_from(sorted(self.open)))
        self.open.discard(id)
        if good:
            self.worked.add(id)
        self.holding.mark([id], ack if good else release)
        self.talk(last=False, most=most)

    @precondition(lambda self: self.body is not None)
    @rule()
    def finish(self) -> None:
        assert self.body is not None
        self.worked |= self.open
        self.holding.finish(self.body)
        self.body, self.open = None, set()

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.2, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.holding.look()

    @precondition(lambda self: self.body is None)
    @rule(rarely=RARELY)
    def leave(self, rarely: bool) -> None:
        """A consumer that leaves holds nothing, and another takes its place."""
        if not rarely:
            return
        self.holding.leave()
        while not self.holding.settled:
            self.hear(last=True)
        on_the_way = {id for items in self.unreceipted.values() for id, _ in items}
        assert self.leases.keys() <= on_the_way
        self.begin_another()
        assert not self.leases
        assert sorted([*self.done, *self.queue]) == sorted(self.items)
        self.holding = Holding("default", "q", tpb.QUEUE_KIND_DATA, 30, 1_000, KnownLimits())
        self.holding.begin()
        self.holding.receive(pb.WorkResponse())


TestConsumer = Consumer.TestCase
TestConsumer.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
