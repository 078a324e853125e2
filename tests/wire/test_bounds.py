"""What a client may hold of a broker is bounded: connections, streams that say nothing, names that are waited for."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
import redis
from google.protobuf.duration_pb2 import Duration

from dibs import AsyncDibs
from dibs.broker.border.listening import allow_connections, most_connections
from dibs.broker.config.limits import Limits
from dibs.broker.config.settings import Settings
from dibs.broker.engine.queues import Queues
from dibs.broker.server import Server
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.redis import RedisServer
from .conftest import AdminStub, Stub
from .statuses import refused
from .test_server import settings

TASK = tpb.QUEUE_KIND_TASK


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A plain client of the same Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


async def drained(call: Any) -> None:
    async for _ in call:
        pass


async def ended(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(drained(call), 20)
    return caught.value


@pytest.mark.parametrize("limits", [Limits(hello_timeout=timedelta(milliseconds=200))], ids=["200ms"])
async def test_an_enqueue_stream_that_says_nothing_is_ended(stub: Stub) -> None:
    over = asyncio.Event()

    async def silence() -> AsyncIterator[pb.EnqueueStreamRequest]:
        await over.wait()
        yield pb.EnqueueStreamRequest()

    error = await ended(stub.EnqueueStream(silence()))
    over.set()

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "request: must come within 200ms" in (error.details() or "")


@pytest.mark.parametrize("limits", [Limits(hello_timeout=timedelta(milliseconds=200))], ids=["200ms"])
async def test_a_work_stream_that_says_nothing_is_ended(stub: Stub) -> None:
    over = asyncio.Event()

    async def silence() -> AsyncIterator[pb.WorkRequest]:
        await over.wait()
        yield pb.WorkRequest()

    error = await ended(stub.Work(silence()))
    over.set()

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.details() == "hello: must come within 200ms of the beginning of a stream"


async def test_a_work_stream_that_ends_before_its_hello_is_told_what_is_missing(stub: Stub) -> None:
    async def nothing() -> AsyncIterator[pb.WorkRequest]:
        return
        yield

    await refused(drained(stub.Work(nothing())), grpc.StatusCode.INVALID_ARGUMENT, field="hello")


async def test_a_hello_is_not_too_large(stub: Stub) -> None:
    names = [f"{n:05}" + "x" * 120 for n in range(9000)]
    hello = pb.WorkHello(kind=TASK, worker_id="w", task_names=names)
    call = stub.Work(iter([pb.WorkRequest(hello=hello)]))
    await refused(drained(call), grpc.StatusCode.INVALID_ARGUMENT, field="hello")
    assert "must have at most 1048576" in await call.details()


def waiting(stub: Stub, first: int, count: int) -> Any:
    queues = [f"q{n}" for n in range(first, first + count)]
    return stub.Lease(pb.LeaseRequest(kind=TASK, queues=queues, get_timeout=Duration(seconds=20)))


@pytest.mark.parametrize("limits", [Limits(max_priorities=10)], ids=["10"])
async def test_queues_with_a_priority_are_bounded(admin: AdminStub) -> None:
    def priority(queue: str, kind: Any = TASK, priority: float | None = 1, **fields: Any) -> Any:
        return admin.SetPriority(apb.SetPriorityRequest(queue=queue, kind=kind, priority=priority, **fields))

    for n in range(10):
        await priority(f"q{n}")
    await refused(priority("one-more"), grpc.StatusCode.FAILED_PRECONDITION, reason="TOO_MANY_PRIORITIES")
    # Those that have one may get another; other kinds and namespaces have their own.
    await priority("q9", priority=2)
    await priority("one-more", tpb.QUEUE_KIND_DATA)
    await priority("one-more", namespace="other")
    await priority("unknown", priority=None)
    await priority("q0", priority=None)
    await priority("one-more")
    queues = (await admin.ListQueues(apb.ListQueuesRequest(kind=TASK))).queues
    assert {queue.name for queue in queues} == {*(f"q{n}" for n in range(1, 10)), "one-more"}


@pytest.mark.parametrize("limits", [Limits(max_waiting_queues=1000)], ids=["1000"])
async def test_names_of_queues_that_are_waited_for_are_bounded(stub: Stub, raw: redis.Redis) -> None:
    calls = [waiting(stub, 0, 600), waiting(stub, 0, 600), waiting(stub, 600, 400)]
    served = [asyncio.create_task(call.read()) for call in calls]
    async with asyncio.timeout(20):
        while raw.scard("dibs:{default:0}:hungry:t") < 1000:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)
    error = await ended(waiting(stub, 5000, 600))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1000 names are waited for here" in (error.details() or "")
    calls[0].cancel()
    calls[1].cancel()
    # There is room again, and those that wait are served.
    await stub.Enqueue(pb.EnqueueRequest(items=[item_in("q700"), item_in("q5001")]))
    assert (await served[2]).deliveries[0].queue == "q700"
    async with asyncio.timeout(20):
        while True:
            try:
                assert (await waiting(stub, 5000, 600).read()).deliveries[0].queue == "q5001"
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)
    await asyncio.gather(*served, return_exceptions=True)


def item_in(queue: str) -> pb.EnqueueItem:
    return pb.EnqueueItem(queue=queue, kind=TASK, content=tpb.Content(task_name="t"))


@contextmanager
def connected(address: str) -> Iterator[socket.socket]:
    """A connection that says that it speaks HTTP/2, and nothing more."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 20) as link:
        link.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
        yield link


def until_closed(link: socket.socket) -> bytes:
    """What came before the other side closed it."""
    heard = b""
    while part := link.recv(4096):
        heard += part
    return heard


async def test_connections_beyond_the_most_are_closed_at_once(redis_server: RedisServer) -> None:
    async with Server(settings(redis_server.url, max_connections=3)) as server:
        address = server.addresses[0]
        with ExitStack() as stack:
            links = [stack.enter_context(connected(address)) for _ in range(3)]
            for link in links:
                assert await asyncio.to_thread(link.recv, 9)
            with connected(address) as fourth:
                assert await asyncio.to_thread(until_closed, fourth) == b""
        async with AsyncDibs(address) as app:
            assert await app.known_queues() == []


async def test_connections_without_calls_are_closed_after_a_while(redis_server: RedisServer) -> None:
    async with (
        Server(settings(redis_server.url, max_connection_idle="1s")) as server,
        AsyncDibs(server.addresses[0]) as app,
    ):
        assert await app.known_queues() == []
        with connected(server.addresses[0]) as link:
            assert await asyncio.to_thread(until_closed, link)
        assert await app.known_queues() == []


def test_connections_leave_room_for_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert most_connections(Settings(listen=("127.0.0.1:0",))) == 960
    assert most_connections(Settings(listen=("127.0.0.1:0", "127.0.0.1:0"))) == 480
    assert most_connections(Settings(listen=("127.0.0.1:0",), max_connections=7)) == 7


@pytest.mark.parametrize(("hard", "allowed"), [(4096, 4096), (100_000, 10_064), (resource.RLIM_INFINITY, 10_064)])
def test_a_broker_may_open_as_many_files_as_the_system_lets_it(
    monkeypatch: pytest.MonkeyPatch, hard: int, allowed: int
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    allow_connections(Settings(listen=("127.0.0.1:0",)))
    assert given == [(allowed, hard)]


async def test_a_list_of_queues_is_read_and_sorted_once_for_all_its_pages(
    stub: Stub, admin: AdminStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    names = Queues.names

    async def counted(*given: Any) -> Any:
        nonlocal reads
        reads += 1
        return await names(*given)

    monkeypatch.setattr(Queues, "names", counted)
    for first in range(0, 2000, 1000):
        items = [item_in(f"q{n:04}") for n in range(first, first + 1000)]
        await stub.Enqueue(pb.EnqueueRequest(items=items))

    found: list[str] = []
    token = ""
    while True:
        page = await admin.ListQueues(apb.ListQueuesRequest(kind=TASK, page_size=100, page_token=token))
        found += [queue.name for queue in page.queues]
        token = page.next_page_token
        if not token:
            break

    assert found == [f"q{n:04}" for n in range(2000)]
    assert reads == 1
    one = await admin.ListQueues(apb.ListQueuesRequest(kind=TASK, names=["q0007", "q0003"]))
    assert [queue.name for queue in one.queues] == ["q0003", "q0007"]
    assert reads == 1


async def test_a_first_page_shows_what_is_there_now(stub: Stub, admin: AdminStub) -> None:
    await stub.Enqueue(pb.EnqueueRequest(items=[item_in("b"), item_in("c")]))
    await admin.ListQueues(apb.ListQueuesRequest(kind=TASK, page_size=1))
    await stub.Enqueue(pb.EnqueueRequest(items=[item_in("a")]))
    page = await admin.ListQueues(apb.ListQueuesRequest(kind=TASK, page_size=1))
    assert [queue.name for queue in page.queues] == ["a"]
