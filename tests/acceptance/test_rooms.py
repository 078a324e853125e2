"""Replies fit into messages, whatever the settings, and nothing is removed that does not arrive."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs import Dibs
from dibs.errors import DeadlineExceeded, Unavailable
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc, lock_pb2, lock_pb2_grpc
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support import redis as redis_support
from ..support.processes import running_broker
from ..support.proxy import between

DATA, TASK = tpb.QUEUE_KIND_DATA, tpb.QUEUE_KIND_TASK
ONCE = tpb.DeliveryPolicy()
LEASED = tpb.DeliveryPolicy(attempts=5, lease_timeout=Duration(seconds=60))
MORTAL = tpb.DeliveryPolicy(attempts=1, lease_timeout=Duration(seconds=60), use_dead_letter=True)


@dataclass(frozen=True)
class Wire:
    """A broker, spoken to by bare stubs with gRPC's own limits; `most` bytes is its largest message."""

    target: str
    broker: broker_pb2_grpc.BrokerServiceStub
    admin: admin_pb2_grpc.AdminServiceStub
    lock: lock_pb2_grpc.LockServiceStub

    def put(self, count: int, policy: tpb.DeliveryPolicy, *, size: int, queue: str = "q", at_a_time: int = 50) -> None:
        item = pb.EnqueueItem(queue=queue, kind=DATA, content=tpb.Content(payload=b"x" * size), policy=policy)
        for at in range(0, count, at_a_time):
            self.broker.Enqueue(pb.EnqueueRequest(items=[item] * min(at_a_time, count - at)))

    def bury(self, count: int, *, size: int, error: str, at_a_time: int = 50) -> None:
        """Has so many items die of that error."""
        self.put(count, MORTAL, size=size, at_a_time=at_a_time)
        left = count
        while left:
            items = self.lease(min(at_a_time, left))
            entries = [pb.NackEntry(id=one.id, lease_token=one.lease_token, error=error) for one in items]
            self.broker.Nack(pb.NackRequest(entries=entries))
            left -= len(items)

    def lease(self, most: int, queue: str = "q") -> list[tpb.Delivery]:
        request = pb.LeaseRequest(queues=[queue], kind=DATA, max_items=most)
        return [one for reply in self.broker.Lease(request) for one in reply.deliveries]

    def take(self, most: int = 1000, *, id: str = "", received: str = "") -> list[str]:
        request = apb.TakeDeadLettersRequest(kind=DATA, max_items=most, request_id=id, received_request_id=received)
        return [item.id for item in self.admin.TakeDeadLetters(request, timeout=20).items]

    def dead(self) -> int:
        return sum(queue.size for queue in self.admin.ListDeadLetterQueues(apb.ListDeadLetterQueuesRequest()).queues)


@contextmanager
def wire(programs: Mapping[int, str], *options: str) -> Iterator[Wire]:
    with (
        redis_support.running(programs[max(programs)]) as redis,
        running_broker("--redis", redis.url, *options) as broker,
        grpc.insecure_channel(broker.address) as channel,
    ):
        yield Wire(
            broker.address,
            broker_pb2_grpc.BrokerServiceStub(channel),
            admin_pb2_grpc.AdminServiceStub(channel),
            lock_pb2_grpc.LockServiceStub(channel),
        )


@pytest.fixture(scope="module")
def usual(redis_programs: Mapping[int, str]) -> Iterator[Wire]:
    with wire(redis_programs) as found:
        yield found


@pytest.fixture(scope="module")
def small(redis_programs: Mapping[int, str]) -> Iterator[Wire]:
    with wire(redis_programs, "--max-payload-bytes", "1KiB", "--max-message-bytes", "128KiB") as found:
        yield found


def test_a_thousand_dead_letters_with_long_errors_all_arrive(usual: Wire) -> None:
    usual.bury(1000, size=100, error="e" * 6000, at_a_time=250)
    taken: list[str] = []
    while some := usual.take():
        taken += some
    assert (len(taken), len(set(taken)), usual.dead()) == (1000, 1000, 0)


@pytest.mark.parametrize("policy", [ONCE, LEASED], ids=["once", "leased"])
def test_where_messages_are_small_every_item_is_delivered_all_the_same(small: Wire, policy: tpb.DeliveryPolicy) -> None:
    small.put(400, policy, size=1000)
    got: list[str] = []
    while some := small.lease(400):
        got += [one.id for one in some]
    assert (len(got), len(set(got))) == (400, 400)


def test_a_work_stream_delivers_them_too_and_says_first_what_it_takes(small: Wire) -> None:
    small.put(400, ONCE, size=1000, queue="worked")

    def requests() -> Iterator[pb.WorkRequest]:
        hello = pb.WorkHello(queues=["worked"], kind=DATA, worker_id="w")
        yield pb.WorkRequest(hello=hello, add_credit=1000)
        while not done:
            yield pb.WorkRequest()

    done: list[bool] = []
    got: list[str] = []
    call = small.broker.Work(requests())
    first = next(call)
    assert (first.limits.max_message_bytes, first.limits.max_credit) == (128 * 1024, 10_000)
    while len(got) < 400:
        got += [one.id for one in next(call).deliveries]
    done.append(True)
    call.cancel()
    assert len(set(got)) == 400


def test_large_items_do_not_stop_small_ones(redis_programs: Mapping[int, str]) -> None:
    with wire(redis_programs, "--max-message-bytes", "1MiB") as tight:
        tight.put(12, LEASED, size=250_000, at_a_time=3)
        tight.put(12, LEASED, size=10)
        got: list[str] = []
        while some := tight.lease(1000):
            got += [one.id for one in some]
        assert (len(got), len(set(got))) == (24, 24)


def test_a_lost_reply_can_be_asked_for_again_and_is_gone_when_it_has_arrived(usual: Wire) -> None:
    usual.bury(5, size=10, error="why")
    id = uuid.uuid4().hex
    with between(usual.target) as proxy, grpc.insecure_channel(proxy.target) as channel:
        grpc.channel_ready_future(channel).result(10)
        proxy.swallow()
        request = apb.TakeDeadLettersRequest(kind=DATA, max_items=3, request_id=id)
        with pytest.raises(grpc.RpcError):
            admin_pb2_grpc.AdminServiceStub(channel).TakeDeadLetters(request, timeout=1)
    assert usual.dead() == 2
    first = usual.take(3, id=id)
    assert len(first) == 3
    assert usual.take(1000, id=id) == first
    # Only says that it has arrived: takes nothing.
    assert usual.take(0, received=id) == []
    assert usual.take(3, id=id) == []
    assert usual.dead() == 2
    assert len(set(usual.take(1000, id="next") + first)) == 5
    assert usual.take(0, received="next") == []


def test_the_python_client_gets_what_an_earlier_call_took_and_lost(usual: Wire) -> None:
    usual.bury(4, size=10, error="why")
    with between(usual.target) as proxy, Dibs(proxy.target, timeout=1) as app:
        dead = app.Data("DEADLETTER_QUEUE", is_dead=True)
        assert dead.currently_available() == (4, 0)
        proxy.swallow()
        with pytest.raises((DeadlineExceeded, Unavailable)):
            dead.get_data(items=4)
        assert usual.dead() == 0
        proxy.cut()
        assert len(dead.get_data(items=4)) == 4
        assert dead.get_data(items=4) == {}


def test_every_page_of_every_list_fits(small: Wire) -> None:
    long = "n" * 110
    for n in range(400):
        content = tpb.Content(payload=b"x" * 900)
        item = pb.EnqueueItem(queue=f"{long}{n}", kind=DATA, content=content, policy=MORTAL, id=f"{long}{n}")
        small.broker.Enqueue(pb.EnqueueRequest(items=[item]))
        lock = lock_pb2.AcquireRequest(name=f"{long}{n}", owner="o" * 120, duration=Duration(seconds=60))
        small.lock.Acquire(lock)
    names = {f"{long}{n}" for n in range(400)}

    queues: set[str] = set()
    token = ""
    while True:
        page = small.admin.ListQueues(apb.ListQueuesRequest(kind=DATA, page_size=1000, page_token=token))
        queues |= {queue.name for queue in page.queues}
        token = page.next_page_token
        if not token:
            break
    assert names <= queues

    locks: set[str] = set()
    while True:
        held = small.lock.ListLocks(lock_pb2.ListLocksRequest(page_size=1000, page_token=token))
        locks |= {lock.name for lock in held.locks}
        token = held.next_page_token
        if not token:
            break
    assert locks == names

    limits = small.admin.GetServerInfo(apb.GetServerInfoRequest()).limits
    assert (limits.max_message_bytes, limits.max_batch_items) == (128 * 1024, 326)
    ids = sorted(names)[: limits.max_batch_items]
    found = small.broker.Result(pb.ResultRequest(ids=ids, include_content=True)).results
    assert [one.state for one in found] == [tpb.ITEM_STATE_WAITING] * len(ids)
    whole = [one.id for one in found if not one.truncated]
    assert 0 < len(whole) < len(ids)

    for n in range(130):
        tasks = [apb.TaskDefinition(name=f"{n}-{m}-{'t' * 200}", queue="q", description="d" * 900) for m in range(2)]
        small.admin.RegisterTasks(apb.RegisterTasksRequest(tasks=tasks))
    count = 0
    while True:
        known = small.admin.ListTasks(apb.ListTasksRequest(page_size=1000, page_token=token))
        count += len(known.tasks)
        token = known.next_page_token
        if not token:
            break
    assert count == 260


def test_too_many_entries_are_refused_naming_the_limit(small: Wire) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        small.broker.Cancel(pb.CancelRequest(ids=["i"] * 327))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "ids: has 327 entries, must have 1 to 326"
