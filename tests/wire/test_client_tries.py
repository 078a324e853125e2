"""A call that gets no answer is made again on another connection; what else is under way on the old one is not cut."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from dibs import AsyncDibs, DeadlineExceeded, Dibs, DibsError
from dibs.rpc.retry import Attempts
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import admin_pb2_grpc


class Silent(admin_pb2_grpc.AdminServiceServicer):
    """Says nothing on the first connection that it hears of, but for what it is asked to flush, when it is let."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        self.redriven: list[str] = []
        self.flushing = threading.Event()
        self.let = threading.Event()
        self.over = threading.Event()

    def _hang(self, context: Any) -> None:
        context.add_callback(self.over.set)
        self.over.wait(20)

    def ListQueues(self, request: pb.ListQueuesRequest, context: Any) -> pb.ListQueuesResponse:
        self.peers.append(context.peer())
        if context.peer() == self.peers[0]:
            self._hang(context)
        return pb.ListQueuesResponse()

    def RedriveDeadLetters(self, request: Any, context: Any) -> Iterator[pb.RedriveDeadLettersResponse]:
        self.redriven.append(context.peer())
        self._hang(context)
        yield pb.RedriveDeadLettersResponse()

    def Flush(self, request: pb.FlushRequest, context: Any) -> Iterator[pb.FlushResponse]:
        self.flushing.set()
        self.let.wait(20)
        yield pb.FlushResponse(items=[pb.FlushedItem(id="flushed", state=pb.FLUSH_STATE_DONE)])


@pytest.fixture
def silent() -> Iterator[tuple[Silent, str]]:
    server = grpc.server(ThreadPoolExecutor(4))
    service = Silent()  # type: ignore[abstract]  # it needs no more
    admin_pb2_grpc.add_AdminServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_try_that_ran_out_is_made_again_on_a_new_connection(silent: tuple[Silent, str]) -> None:
    service, target = silent
    with Dibs(target, timeout=10, try_timeout=0.3) as app:
        began = time.monotonic()
        assert app.known_queues() == []
        assert 0.3 <= time.monotonic() - began < 3
    assert len(set(service.peers)) == len(service.peers) == 2


async def test_the_same_in_asyncio(silent: tuple[Silent, str]) -> None:
    service, target = silent
    async with AsyncDibs(target, timeout=10, try_timeout=0.3) as app:
        assert await app.known_queues() == []
    assert len(set(service.peers)) == len(service.peers) == 2


def test_what_must_not_be_repeated_is_not(silent: tuple[Silent, str]) -> None:
    service, target = silent
    with Dibs(target, timeout=1, try_timeout=0.1) as app, pytest.raises(DeadlineExceeded):
        app.Data("DEADLETTER_QUEUE", is_dead=True).redrive()
    assert len(service.redriven) == 1


def test_others_go_on_with_the_connection_that_was_left(silent: tuple[Silent, str]) -> None:
    service, target = silent
    with Dibs(target, timeout=0.6, try_timeout=0.2) as app, ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(app.flush_tasks, timeout=20)
        assert service.flushing.wait(10)
        app.known_queues()
        transport = app.transport
        assert (transport.generation, len(transport._left)) == (1, 1)
        time.sleep(0.7)  # longer than the old connection is kept for those that are not known to need it
        app.known_queues()
        assert len(transport._left) == 1
        service.let.set()
        assert flushed.result()[0] == ["flushed"]
        app.known_queues()
        assert transport._left == []


async def test_others_go_on_with_it_in_asyncio_too(silent: tuple[Silent, str]) -> None:
    service, target = silent
    async with AsyncDibs(target, timeout=0.6, try_timeout=0.2) as app:
        flushing = asyncio.create_task(app.flush_tasks(timeout=20))
        assert await asyncio.to_thread(service.flushing.wait, 10)
        await app.known_queues()
        (closing,) = app.transport._closing
        await asyncio.sleep(0.7)
        assert not closing.done()
        service.let.set()
        assert (await flushing)[0] == ["flushed"]
        await asyncio.wait_for(closing, 10)


async def test_close_ends_what_goes_on_with_a_connection_that_was_left(silent: tuple[Silent, str]) -> None:
    service, target = silent
    app = AsyncDibs(target, timeout=30, try_timeout=0.3)
    flushing = asyncio.create_task(app.flush_tasks(timeout=20))
    assert await asyncio.to_thread(service.flushing.wait, 10)
    transport = app.transport
    transport.leave_channel(transport.generation)  # at once, so that nothing has begun yet that would close it
    await app.close()
    with pytest.raises((DibsError, asyncio.CancelledError)):
        await asyncio.wait_for(flushing, 10)
    service.let.set()


def test_a_try_that_ran_out_makes_room_for_a_longer_one() -> None:
    attempts = Attempts(30.0, 5.0)
    limits = []
    for _ in range(3):
        limits.append(attempts.limit())
        attempts.pause_after(DeadlineExceeded("no answer"))
    assert limits == [5.0, 10.0, 20.0]
    assert 29 < attempts.limit() <= 30


def test_the_wait_that_a_call_asks_for_comes_on_top() -> None:
    assert Attempts(30.0, 5.0, 8.0).limit() == 13.0
    assert 37 < Attempts(30.0, None, 8.0).limit() <= 38


def test_a_try_must_have_some_time() -> None:
    with pytest.raises(ValueError, match="try_timeout must be above 0"):
        Dibs("localhost:1", try_timeout=0)
