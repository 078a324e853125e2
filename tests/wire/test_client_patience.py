"""What enqueues over a stream keeps to the time of its caller, and goes elsewhere when no answer comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from dibs import DeadlineExceeded, Dibs, DibsError, Task
from dibs.broker.config.limits import Limits
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc

from ..support.broker_thread import BrokerThread, serving
from ..support.proxy import between
from ..support.redis import RedisServer

#: What another connection and a busy machine take.
SLACK_S = 3.0


class Counted(grpc.aio.ServerInterceptor):
    """Counts calls by method."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        self.calls.append(details.method.rpartition("/")[2])
        return await continuation(details)


def task_of(app: Dibs) -> Task[[int], int]:
    def add(a: int) -> int:
        return a

    return app.task(name="add")(add)


def test_a_batch_leaves_a_broker_that_gives_no_answer(broker: BrokerThread) -> None:
    with between(broker.target) as proxy, Dibs(proxy.target, try_timeout=1, timeout=20) as app:
        task = task_of(app)
        with app.batch():
            for n in range(2_000):
                task.execute(n)
            proxy.swallow()
            began = time.monotonic()
            for n in range(2_000):
                task.execute(n)
        took = time.monotonic() - began
        # One attempt of a second without an answer, and what was sent goes over another connection.
        assert took < 1 + SLACK_S
        with Dibs(broker.target) as other:
            assert [ready for _, ready, _ in other.queue_sizes()] == [4_000]


def test_a_producer_that_takes_its_time_between_requests_keeps_its_stream(redis_server: RedisServer) -> None:
    counted = Counted()
    with serving(redis_server.url, counted) as broker, Dibs(broker.target, try_timeout=0.5) as app:
        task = task_of(app)
        with app.batch():
            for n in range(6_000):
                if n % 2_000 == 1_999:
                    time.sleep(1)
                task.execute(n)
        assert counted.calls == ["EnqueueStream"]


def test_a_producer_whose_stream_was_idle_for_long_uses_it_again(redis_server: RedisServer) -> None:
    counted = Counted()
    limits = Limits(heartbeat_interval=timedelta(milliseconds=100), heartbeat_timeout=timedelta(seconds=1))
    with serving(redis_server.url, counted, limits=limits) as broker, Dibs(broker.target) as app:
        task = task_of(app)
        for n in range(3):
            task.execute(n)
            time.sleep(1.5)
        assert counted.calls == ["EnqueueStream"]


class Slow(broker_pb2_grpc.BrokerServiceServicer):
    """Answers nothing, or that it is not there now and for how long.

    Args:
        retry_after_s: for how long; 0: it does not answer.
    """

    def __init__(self, retry_after_s: int = 0) -> None:
        self._retry_after_s = retry_after_s
        self.refused_at: list[float] = []
        self.taken_at: list[float] = []

    def EnqueueStream(self, request_iterator: Any, context: Any) -> Iterator[pb.EnqueueStreamResponse]:
        for _ in request_iterator:
            if not self._retry_after_s:
                threading.Event().wait(30)
            self.refused_at.append(time.monotonic())
            detail = Packed()
            detail.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=self._retry_after_s)))
            code = grpc.StatusCode.UNAVAILABLE.value[0]
            yield pb.EnqueueStreamResponse(error=status_pb2.Status(code=code, message="away", details=[detail]))

    def Enqueue(self, request: pb.EnqueueRequest, context: Any) -> pb.EnqueueResponse:
        if not self._retry_after_s:
            threading.Event().wait(30)
        self.taken_at.append(time.monotonic())
        return pb.EnqueueResponse(items=[pb.EnqueuedItem(id=item.id) for item in request.items])


@contextmanager
def answering(service: Slow) -> Iterator[str]:
    """Where it is reached, inside the with."""
    server = grpc.server(ThreadPoolExecutor(16))
    broker_pb2_grpc.add_BrokerServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


def test_a_batch_waits_as_long_as_the_broker_asks_before_its_next_attempt() -> None:
    service = Slow(retry_after_s=1)  # type: ignore[abstract]  # it needs no more
    with answering(service) as target, Dibs(target) as app:
        task = task_of(app)
        with app.batch():
            for n in range(1_001):
                task.execute(n)
    # Two requests, each of which is refused on the stream, and then taken.
    assert len(service.refused_at) == len(service.taken_at) == 2
    waits = [taken - refused for refused, taken in zip(service.refused_at, service.taken_at, strict=True)]
    assert min(waits) >= 1.0
    assert waits[0] < 1.2 + SLACK_S


@pytest.mark.parametrize("try_timeout", [0.5, 10])
def test_a_call_that_waited_for_another_takes_no_longer_than_its_own_timeout(try_timeout: float) -> None:
    took: list[float] = []

    def call(task: Task[[int], int], after: float) -> None:
        time.sleep(after)
        began = time.monotonic()
        with pytest.raises(DibsError):
            task.execute(1)
        took.append(time.monotonic() - began)

    service = Slow()  # type: ignore[abstract]  # it needs no more
    with answering(service) as target, Dibs(target, timeout=2, try_timeout=try_timeout) as app:
        task = task_of(app)
        callers = [threading.Thread(target=call, args=(task, after)) for after in (0.0, 0.3, 0.6, 0.9)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert max(took) < 2 + 0.7


def test_a_batch_takes_no_longer_than_its_timeout() -> None:
    service = Slow()  # type: ignore[abstract]  # it needs no more
    with answering(service) as target, Dibs(target, timeout=2, try_timeout=0.5) as app:
        task = task_of(app)

        def fill() -> None:
            with app.batch():
                for n in range(1_001):
                    task.execute(n)

        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            fill()
        assert time.monotonic() - began < 2 + 0.7
