"""A broker goes away while clients wait: they wait on, at another one, and notice nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from dibs import AsyncDibs, Dibs

from ..support.broker_thread import BrokerThread
from ..support.by_hand import finish, take
from ..support.redis import RedisServer

#: What a call that does not end holds up its broker for.
GRACE_S = 10.0


class Arrivals(grpc.aio.ServerInterceptor):
    """Tells when a call of a method has come."""

    def __init__(self) -> None:
        self._calls: dict[str, threading.Semaphore] = {}

    def of(self, method: str) -> threading.Semaphore:
        return self._calls.setdefault(method, threading.Semaphore(0))

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        self.of(handler_call_details.method.rpartition("/")[2]).release()
        return await continuation(handler_call_details)


class Pair:
    """A broker that clients are connected to, and the one that takes over on the same address."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._arrivals = Arrivals()
        self.broker = self._make(0)

    def take_over(self, method: str) -> None:
        """Ends the broker when the call has come, and starts another; returns when the call has come there."""
        arrived = self._arrivals.of(method)
        assert arrived.acquire(timeout=20)
        began = time.monotonic()
        self.broker.stop()
        assert time.monotonic() - began < GRACE_S, "the call held the broker up"
        self.broker = self._make(self.broker.port)
        assert arrived.acquire(timeout=20)

    def _make(self, port: int) -> BrokerThread:
        broker = BrokerThread(self._url, port, (self._arrivals,), grace_s=GRACE_S)
        broker.start()
        return broker


@pytest.fixture
def pair(redis_server: RedisServer) -> Iterator[Pair]:
    pair = Pair(redis_server.url)
    yield pair
    pair.broker.stop()


@pytest.fixture
def app(pair: Pair) -> Iterator[Dibs]:
    with Dibs(pair.broker.target, timeout=20) as app:
        yield app


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor() as pool:
        yield pool.submit


def test_a_result_is_waited_for(pair: Pair, app: Dibs, background: Callable[..., Future[Any]]) -> None:
    @app.task(name="add", save_results=60, vis_timeout=30)
    def add(a: int, b: int) -> int:
        return a + b

    handle = add.execute(1, 2)
    result = background(handle.get, 60)
    pair.take_over("Result")
    finish(app, take(app)[0], 3)
    assert result.result(20) == 3


def test_a_time_limit_still_counts(pair: Pair, app: Dibs, background: Callable[..., Future[Any]]) -> None:
    @app.task(name="never")
    def never() -> None: ...

    began = time.monotonic()
    waiting = background(never.execute().wait, 1.0)
    pair.take_over("Result")
    assert waiting.result(20) is False
    assert time.monotonic() - began >= 1.0


def test_data_is_waited_for(pair: Pair, app: Dibs, background: Callable[..., Future[Any]]) -> None:
    data = app.Data("q")
    got = background(data.get_data, 1, get_timeout=60)
    pair.take_over("Lease")
    data.put_data("here")
    assert list(got.result(20).values()) == ["here"]


def test_dead_letters_are_waited_for(pair: Pair, app: Dibs, background: Callable[..., Future[Any]]) -> None:
    data, dead = app.Data("q", attempts=1, vis_timeout=0.05, use_dead=True), app.Data(b"DEADLETTER_QUEUE")
    got = background(dead.get_data, 1, get_timeout=60)
    pair.take_over("TakeDeadLetters")
    data.put_data("gone")
    assert len(data.get_data(1)) == 1
    assert len(got.result(20)) == 1


def test_a_flush_goes_on(pair: Pair, app: Dibs, background: Callable[..., Future[Any]]) -> None:
    @app.task(name="add", vis_timeout=30)
    def add(a: int, b: int) -> int:
        return a + b

    id = add.execute(1, 2).taskid
    flushed = background(app.flush_tasks, timeout=60)
    pair.take_over("Flush")
    take(app)
    assert flushed.result(20) == ([id], [], [])


async def test_so_does_the_asyncio_client(pair: Pair, background: Callable[..., Future[Any]]) -> None:
    async with AsyncDibs(pair.broker.target, timeout=20) as app:
        taking = background(pair.take_over, "Lease")
        assert await app.Data("q").get_data(1, get_timeout=1.0) == {}
        taking.result(20)
