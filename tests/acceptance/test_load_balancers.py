"""Brokers behind nginx and HAProxy, with the configurations that deploy/ ships."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dibs import Dibs
from dibs.errors import DibsError
from dibs.tasks.task import Task
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb
from dibs.worker.runtime import Worker
from dibs.worker.shared.settings import WorkerSettings

from ..support import redis as redis_support
from ..support.balancers import Balancer, accepts, running_balancer
from ..support.fleet import Fleet, Member

#: Longer than HAProxy takes to notice that a broker is leaving, on a machine with time to spare.
DRAIN_DELAY = "2500ms"
#: The same on any machine; what deploy/ uses.
LONG_DRAIN_DELAY = "5s"
#: Such as a lease that a killed broker took with it, before it runs out.
PATIENCE_S = 30.0


@pytest.fixture(params=["nginx", "haproxy"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which balancer."""
    name: str = request.param
    return name


@pytest.fixture
def redis_url() -> Iterator[str]:
    """The newest Redis on this machine."""
    programs = redis_support.found_programs()
    with redis_support.running(programs[max(programs)]) as server:
        yield server.url


@dataclass
class Crew:
    """Workers behind a balancer, in this process, and the two tasks that they run.

    Attributes:
        ran: arguments of all calls that ran.
        again: a task that is delivered at least once.
        once: a task that is delivered at most once.
    """

    dibs: Dibs
    ran: list[str] = field(default_factory=list)
    again: Task[[str], None] = field(init=False)
    once: Task[[str], None] = field(init=False)

    def __post_init__(self) -> None:
        def run(key: str) -> None:
            self.ran.append(key)

        self.again = self.dibs.task(queue="q", attempts=20, vis_timeout=2, save_results=300, name="again")(run)
        self.once = self.dibs.task(queue="q", name="once")(run)

    def twice(self) -> list[str]:
        """Calls that ran more than once although they must not."""
        return [key for key, times in Counter(self.ran).items() if times > 1 and key.startswith("once")]


@asynccontextmanager
async def working(target: str, workers: int) -> AsyncIterator[Crew]:
    """Workers that are connected at the target."""
    with Dibs(target) as dibs:
        crew = Crew(dibs)
        find, names = dibs.registry.find, dibs.registry.names()
        running = [Worker(dibs.connection, find, names, WorkerSettings(worker_id=f"w{n}")) for n in range(workers)]
        async with asyncio.TaskGroup() as group:
            for worker in running:
                group.create_task(worker.run())
            try:
                yield crew
            finally:
                for worker in running:
                    worker.stop()


@dataclass
class Produced:
    """What a producer got a reply for, and what it did not."""

    again: list[str] = field(default_factory=list)
    once: list[str] = field(default_factory=list)
    errors: list[DibsError] = field(default_factory=list)


@contextmanager
def producing(crew: Crew, prefix: str) -> Iterator[Produced]:
    """A producer in a thread of its own, as long as the with lasts."""
    produced = Produced()
    over = threading.Event()

    def produce() -> None:
        number = 0
        while not over.wait(0.002):
            number += 1
            for task, done in ((crew.again, produced.again), (crew.once, produced.once)):
                key = f"{task.name}-{prefix}-{number}"
                try:
                    task.execute(key)
                    done.append(key)
                except DibsError as error:
                    produced.errors.append(error)

    thread = threading.Thread(target=produce, name="producer")
    thread.start()
    try:
        yield produced
    finally:
        over.set()
        thread.join()


async def until(holds: Callable[[], bool], what: str) -> None:
    """Returns when it holds; the other end of it is in another process, which does not tell."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def more(crew: Crew, count: int) -> None:
    """Returns when that many more calls have run."""
    goal = len(crew.ran) + count
    await until(lambda: len(crew.ran) >= goal, f"only {len(crew.ran)} of {goal} calls ran")


async def in_service(balancer: Balancer) -> None:
    """Returns when the balancer knows that both brokers are there; nginx finds that out as it goes."""
    if balancer.kind == "haproxy":
        await until(lambda: set(balancer.states().values()) == {"UP"}, "HAProxy does not see both brokers")


async def test_a_drained_and_a_killed_broker_lose_nothing_and_repeat_nothing(kind: str, redis_url: str) -> None:
    with Fleet(redis_url, "--drain-delay", DRAIN_DELAY) as fleet:
        first, second = fleet.members
        fleet.start()
        with running_balancer(kind, fleet.addresses) as balancer:
            await in_service(balancer)
            async with working(balancer.target, workers=3) as crew:
                with producing(crew, "drain") as drained:
                    await more(crew, 200)
                    first.broker.terminate()
                    assert await asyncio.to_thread(first.broker.wait) == 0
                    await more(crew, 200)
                    await asyncio.to_thread(first.start)
                    await in_service(balancer)
                # Nobody was cut off, so the calls that are delivered at most once have all run, too.
                expected = {*drained.again, *drained.once}
                await until(lambda: expected <= set(crew.ran), f"lost: {sorted(expected - set(crew.ran))[:9]}")
                with producing(crew, "kill") as killed:
                    await more(crew, 200)
                    second.broker.kill()
                    await more(crew, 400)
                    await asyncio.to_thread(second.start)
                    await in_service(balancer)
                    await more(crew, 200)
                await until(lambda: set(killed.again) <= set(crew.ran), "a call is lost")
                assert crew.twice() == []
                assert [*drained.errors, *killed.errors] == []


async def test_who_waits_for_a_result_does_not_notice_that_the_broker_dies(kind: str, redis_url: str) -> None:
    with Fleet(redis_url) as fleet:
        first, second = fleet.members
        first.start()
        with running_balancer(kind, fleet.addresses) as balancer, Dibs(balancer.target) as waiting_dibs:
            handle = Crew(waiting_dibs).again.execute("again")
            waiting = asyncio.create_task(asyncio.to_thread(handle.wait, PATIENCE_S, "done"))
            # Nothing tells from outside that the call has arrived; if it has not, that is no harm.
            await asyncio.sleep(0.3)
            await asyncio.to_thread(second.start)
            first.broker.kill()
            async with working(balancer.target, workers=1):
                assert await waiting


async def test_haproxy_takes_a_broker_out_while_it_still_serves(redis_url: str) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(redis_url, "--drain-delay", LONG_DRAIN_DELAY))
        fleet.start()
        leaving = fleet.members[0]
        balancer = stack.enter_context(running_balancer("haproxy", fleet.addresses))
        await in_service(balancer)
        channel = stack.enter_context(grpc.insecure_channel(leaving.address))
        # Its typing lacks the methods.
        health: Any = health_pb2_grpc.HealthStub(channel)
        producer = stack.enter_context(grpc.insecure_channel(balancer.target))

        def serving() -> bool:
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        assert serving()
        with plain_calls(producer) as errors:
            leaving.broker.terminate()
            await until(lambda: not serving(), "health goes on to say SERVING")
            await until(lambda: balancer.states()["broker-1"] == "DOWN", "HAProxy does not notice")
            # Out of service by now, and yet it takes whatever comes.
            enqueue(channel)
            assert accepts(leaving.address)
            assert await asyncio.to_thread(leaving.broker.wait) == 0
            assert not accepts(leaving.address)
            for _ in range(20):
                enqueue(producer)
        assert errors == []


@contextmanager
def plain_calls(channel: grpc.Channel) -> Iterator[list[grpc.RpcError]]:
    """Enqueues without any retry, all the time."""
    errors: list[grpc.RpcError] = []
    over = threading.Event()

    def call() -> None:
        while not over.wait(0.002):
            try:
                enqueue(channel)
            except grpc.RpcError as error:
                errors.append(error)

    thread = threading.Thread(target=call, name="caller")
    thread.start()
    try:
        yield errors
    finally:
        over.set()
        thread.join()


def enqueue(channel: grpc.Channel, *, payload: bytes = b"[]") -> str:
    """One call, without a retry; answers the item's id."""
    item = pb.EnqueueItem(queue="plain", kind=tpb.QUEUE_KIND_DATA, content=tpb.Content(payload=payload))
    item.policy.lease_timeout.FromSeconds(30)
    stub = broker_pb2_grpc.BrokerServiceStub(channel)
    return stub.Enqueue(pb.EnqueueRequest(items=[item]), timeout=10).items[0].id


async def test_streams_spread_over_a_broker_that_came_back_when_their_connections_are_of_age(
    kind: str, redis_url: str
) -> None:
    age = ("--max-connection-age", "2s", "--max-connection-age-grace", "500ms")
    with Fleet(redis_url, *age) as fleet:
        alone, late = fleet.members
        alone.start()
        with running_balancer(kind, fleet.addresses) as balancer:
            if kind == "haproxy":
                await until(lambda: balancer.states()["broker-2"] == "DOWN", "HAProxy sees a broker that is not there")
            async with working(balancer.target, workers=4) as crew:
                with producing(crew, "age") as produced:
                    await more(crew, 100)
                await asyncio.to_thread(late.start)
                await in_service(balancer)

                def spread() -> list[int]:
                    if kind == "haproxy":
                        return list(balancer.open_calls().values())
                    return [connections_of(member) for member in fleet.members]

                # Nothing but their age moves them: the broker that they are on is well.
                await until(lambda: min(spread()) >= 2, f"the streams are spread as {spread()}")
                await until(lambda: set(produced.again) <= set(crew.ran), "a call is lost")
                assert crew.twice() == []
                assert produced.errors == []


def connections_of(member: Member) -> int:
    """How many connections a broker has; nginx makes one for every call."""
    port = int(member.address.rpartition(":")[2])
    found = psutil.Process(member.broker.process.pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in found)


def test_one_stream_carries_more_than_proxies_take_for_one_request(kind: str, redis_url: str) -> None:
    # Unless told otherwise nginx ends a request after 1 MiB.
    payload = b'"' + b"x" * 200_000 + b'"'
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(redis_url))
        fleet.start()
        balancer = stack.enter_context(running_balancer(kind, fleet.addresses))
        channel = stack.enter_context(grpc.insecure_channel(balancer.target))
        stub = broker_pb2_grpc.BrokerServiceStub(channel)
        item = pb.EnqueueItem(queue="big", kind=tpb.QUEUE_KIND_DATA, content=tpb.Content(payload=payload))
        request = pb.EnqueueStreamRequest(request=pb.EnqueueRequest(items=[item]))
        replies = list(stub.EnqueueStream(iter([request] * 20), timeout=30))
        assert [len(reply.response.items) for reply in replies] == [1] * 20
        lease = pb.LeaseRequest(kind=tpb.QUEUE_KIND_DATA, queues=["big"], max_items=20, follow=True)
        leased = [delivery for batch in stub.Lease(lease, timeout=30) for delivery in batch.deliveries]
        assert [len(delivery.content.payload) for delivery in leased] == [len(payload)] * 20


def test_what_was_on_its_way_to_a_worker_that_vanished_comes_back_at_once(kind: str, redis_url: str) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(redis_url))
        fleet.start()
        balancer = stack.enter_context(running_balancer(kind, fleet.addresses))
        channel = stack.enter_context(grpc.insecure_channel(balancer.target))
        stub = broker_pb2_grpc.BrokerServiceStub(channel)
        id = enqueue(channel)
        hello = pb.WorkHello(kind=tpb.QUEUE_KIND_DATA, worker_id="vanishing")
        silent = threading.Event()

        def requests() -> Iterator[pb.WorkRequest]:
            yield pb.WorkRequest(hello=hello, add_credit=1)
            silent.wait()

        work = stub.Work(requests())
        assert next(work).HasField("limits")
        assert [delivery.id for delivery in next(work).deliveries] == [id]
        work.cancel()
        silent.set()
        # Well before its lease of 30 s runs out.
        lease = pb.LeaseRequest(kind=tpb.QUEUE_KIND_DATA, get_timeout=Duration(seconds=10))
        assert [(delivery.id, delivery.attempt) for delivery in next(stub.Lease(lease)).deliveries] == [(id, 1)]


def test_without_a_broker_calls_end_as_unavailable(kind: str, redis_url: str) -> None:
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet(redis_url))
        balancer = stack.enter_context(running_balancer(kind, fleet.addresses))
        channel = stack.enter_context(grpc.insecure_channel(balancer.target))
        with pytest.raises(grpc.RpcError) as caught:
            enqueue(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_clients_that_know_all_brokers_need_no_balancer(redis_url: str) -> None:
    with Fleet(redis_url) as fleet:
        fleet.start()
        target = f"ipv4:{','.join(fleet.addresses)}"
        async with working(target, workers=2) as crew:
            with producing(crew, "list") as produced:
                await more(crew, 100)
                fleet.members[0].broker.kill()
                await more(crew, 200)
                await asyncio.to_thread(fleet.members[0].start)
                fleet.members[1].broker.kill()
                await more(crew, 200)
            await until(lambda: set(produced.again) <= set(crew.ran), "a call is lost")
            assert crew.twice() == []
            assert produced.errors == []


def test_producers_spread_their_calls_when_asked_to(redis_url: str) -> None:
    with Fleet(redis_url) as fleet:
        fleet.start()
        with Dibs(
            f"ipv4:{','.join(fleet.addresses)}",
            channel_options=[("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')],
        ) as dibs:
            for number in range(10):
                dibs.call_task("task", "q", number)
            assert [connections_of(member) for member in fleet.members] == [1, 1]
