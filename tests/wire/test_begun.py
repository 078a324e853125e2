"""What has started is what a worker has begun, not what it has been given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb
from dibs.worker.connector.events import EventName

from ..support.workers import Gate, Job, working
from .conftest import Stub, item
from .statuses import refused
from .streams import Worker

WAITING, STARTED = tpb.ITEM_STATE_WAITING, tpb.ITEM_STATE_STARTED
SOON = Duration(seconds=10)


async def put(stub: Stub, *ids: str) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[item(id) for id in ids]))


async def states_of(stub: Stub, *ids: str, until: pb.WaitUntil.ValueType = pb.WAIT_UNTIL_NOW) -> list[int]:
    found = await stub.Result(pb.ResultRequest(ids=ids, until=until, timeout=SOON))
    return [one.state for one in found.results]


async def test_a_broker_says_that_it_hears_what_has_begun(stub: Stub) -> None:
    worker = Worker(stub, credit=0)
    assert (await worker.hear()).hears_begun
    worker.say(says_begun=True, add_credit=5)
    await put(stub, "a", "b")
    first, _ = await worker.deliveries(2)
    assert await states_of(stub, "a", "b") == [WAITING, WAITING]
    worker.say(begun=[pb.BegunEntry(id="a", lease_token=first.lease_token)])
    assert await states_of(stub, "a", until=pb.WAIT_UNTIL_STARTED) == [STARTED]
    assert await states_of(stub, "b") == [WAITING]


async def test_with_a_worker_that_does_not_say_it_what_it_is_given_has_started(stub: Stub) -> None:
    worker = Worker(stub)
    await put(stub, "a")
    await worker.items()
    assert await states_of(stub, "a") == [STARTED]


async def test_whoever_says_it_says_so_before_it_takes_anything(stub: Stub) -> None:
    worker = Worker(stub, credit=1)
    worker.say(add_credit=1)
    worker.say(says_begun=True)
    await refused(worker.rest(), grpc.StatusCode.INVALID_ARGUMENT, field="says_begun")


async def test_what_is_said_of_leases_that_are_not_there_harms_nobody(stub: Stub) -> None:
    worker = Worker(stub, credit=0)
    worker.say(says_begun=True, add_credit=5, begun=[pb.BegunEntry(id="none", lease_token=7)])
    await put(stub, "a")
    (got,) = await worker.deliveries(1)
    worker.say(sequence=1, acks=[pb.AckEntry(id="a", lease_token=got.lease_token)])
    worker.say(begun=[pb.BegunEntry(id="a", lease_token=got.lease_token)])
    worker.say(sequence=2, acks=[pb.AckEntry(id="other", lease_token=1)])
    while (await worker.hear()).done_sequence < 2:
        pass


class Listening(broker_pb2_grpc.BrokerServiceServicer):
    """Deals one item, ends the first stream when it has heard what there is to hear, and writes down what is said.

    Args:
        hears: say that it hears what has begun.
    """

    def __init__(self, *, hears: bool) -> None:
        self.streams: list[list[pb.WorkRequest]] = []
        self.heard = asyncio.Event()
        self.heard_again = asyncio.Event()
        self._hears = hears

    async def Work(self, requests: AsyncIterator[pb.WorkRequest], context: Any) -> AsyncIterator[pb.WorkResponse]:
        said: list[pb.WorkRequest] = []
        self.streams.append(said)
        first = len(self.streams) == 1
        yield pb.WorkResponse(hears_begun=self._hears, limits=tpb.Limits(max_credit=10))
        async for request in requests:
            said.append(request)
            if first and request.add_credit:
                content = tpb.Content(task_name="task", payload=b"{}")
                delivery = tpb.Delivery(id="a", lease_token=5, content=content, lease_timeout=Duration(seconds=30))
                yield pb.WorkResponse(batch=1, deliveries=[delivery])
            if request.begun or (not self._hears and request.received_batch):
                (self.heard if first else self.heard_again).set()
            if first and self.heard.is_set():
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            if request.sequence:
                yield pb.WorkResponse(done_sequence=request.sequence)


@pytest.fixture
async def listen() -> AsyncIterator[Any]:
    servers = []

    async def start(service: Listening) -> str:
        server = grpc.aio.server()
        broker_pb2_grpc.add_BrokerServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(None)


async def test_what_may_have_been_lost_with_a_stream_is_said_on_the_next_one(listen: Any) -> None:
    gate = Gate()
    broker = Listening(hears=True)  # type: ignore[abstract]
    async with working(await listen(broker), {"task": Job("task", gate)}):
        async with asyncio.timeout(10):
            await broker.heard_again.wait()
        gate.open()
    entries = [[(one.id, one.lease_token) for request in said for one in request.begun] for said in broker.streams[:2]]
    assert entries == [[("a", 5)], [("a", 5)]]
    # Before any credit, so that the broker knows it of whatever it hands out.
    before = [[request.says_begun for request in said if request.add_credit][:1] for said in broker.streams[:1]]
    assert before == [[True]]


async def test_a_broker_that_does_not_hear_it_is_told_nothing_new(listen: Any) -> None:
    gate = Gate()
    broker = Listening(hears=False)  # type: ignore[abstract]
    async with working(await listen(broker), {"task": Job("task", gate)}) as worker:
        await worker.until(EventName.CONNECTED, 2)
        gate.open()
        await worker.until(EventName.FINISHED)
    assert not any(request.says_begun or request.begun for said in broker.streams for request in said)
