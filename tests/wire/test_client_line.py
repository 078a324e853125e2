"""Single calls from many threads, which share requests on one stream."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from dibs import AlreadyExists, Dibs, InvalidArgument, Task, Unavailable

from ..support.broker_thread import BrokerThread, serving
from ..support.by_hand import take
from ..support.redis import RedisServer


@pytest.fixture
def add(app: Dibs) -> Task[[int], int]:
    @app.task(name="add")
    def add(a: int) -> int:
        return a

    return add


def test_a_refused_call_fails_alone(app: Dibs, add: Task[[int], int]) -> None:
    def call(n: int) -> str:
        try:
            add.execute(n, _queue="no:colons" if n % 10 == 0 else "q")
        except InvalidArgument as error:
            return error.field
        return "done"

    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(call, range(200)))

    assert done == ["done" if n % 10 else "items[0].queue" for n in range(200)]
    assert len(take(app, 1_000, "q")) == 180


def test_one_of_many_with_the_same_id_is_enqueued(app: Dibs, add: Task[[int], int]) -> None:
    once = add.options(taskid="mine", on_conflict="fail")

    def call(n: int) -> bool:
        try:
            once.execute(n)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(call, range(50))) == 1


class _NoStreams(grpc.aio.ServerInterceptor):
    """A broker of before enqueue streams."""

    def __init__(self) -> None:
        self.asked = 0

    async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        if details.method.endswith("/EnqueueStream"):
            self.asked += 1
            return None
        return await continuation(details)


def test_a_broker_without_streams_is_asked_for_one_once(redis_server: RedisServer) -> None:
    old = _NoStreams()
    with serving(redis_server.url, old) as broker, Dibs(broker.target) as app:
        task: Task[[], None] = app.task(name="t")(lambda: None)
        for _ in range(3):
            task.execute()
        assert old.asked == 1
        assert len(take(app, 10)) == 3


def test_calls_go_on_when_the_broker_comes_back(redis_server: RedisServer, broker: BrokerThread) -> None:
    with Dibs(broker.target) as app:
        task: Task[[], None] = app.task(name="t")(lambda: None)
        task.execute()
        broker.stop()
        waiting = threading.Thread(target=task.execute)
        waiting.start()
        again = BrokerThread(redis_server.url, port=broker.port)
        again.start()
        try:
            waiting.join()
            task.execute()
            assert len(take(app, 10)) == 3
        finally:
            again.stop()


def test_a_broker_that_is_away_is_told_in_time() -> None:
    with Dibs("127.0.0.1:1", timeout=0.3) as app:
        task: Task[[], None] = app.task(name="t")(lambda: None)
        with pytest.raises(Unavailable) as caught:
            task.execute()
        assert isinstance(caught.value, ConnectionError)


def test_a_client_that_was_closed_opens_again(app: Dibs, add: Task[[int], int]) -> None:
    add.execute(1)
    app.close()
    app.close()
    add.execute(2)

    assert len(take(app, 10)) == 2
