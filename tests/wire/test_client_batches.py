"""`with batch():` against a real broker."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import grpc
import pytest

from dibs import AsyncDibs, Dibs, InvalidArgument, Task, Unavailable
from dibs.v1 import broker_pb2 as pb

from ..support.broker_thread import BrokerThread, serving
from ..support.by_hand import take
from ..support.proxy import between
from ..support.redis import RedisServer


@pytest.fixture
def add(app: Dibs) -> Task[[int], int]:
    @app.task(name="add")
    def add(a: int) -> int:
        return a

    return add


def waiting(app: Dibs, queue: str = "default") -> list[str]:
    """Ids of what waits, in order; takes it."""
    found: list[str] = []
    while batch := take(app, 1_000, queue, wait=0):
        found += [delivery.id for delivery in batch]
    return found


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 7_500])
def test_everything_arrives_in_order(app: Dibs, add: Task[[int], int], count: int) -> None:
    with app.batch():
        handles = [add.execute(n) for n in range(count)]

    assert waiting(app) == [handle.taskid for handle in handles]


def test_calls_of_several_tasks_and_with_options_are_gathered(app: Dibs, add: Task[[int], int]) -> None:
    @app.task(name="other", queue="other")
    def other() -> None: ...

    with app.batch():
        add.execute(1)
        other.execute()
        late = add.execute(2, delay=60)
        app.call_task("far.away", "far", 1)

    assert len(waiting(app)) == len(waiting(app, "other")) == len(waiting(app, "far")) == 1
    assert late.status == "early"


def test_nothing_goes_before_the_batch_is_full_or_over(app: Dibs, add: Task[[int], int]) -> None:
    with Dibs(app.connection.target) as other, app.batch():
        first = add.execute(0)
        assert other.handle(first.taskid).state.name == "UNKNOWN"
        for n in range(1, 1_001):
            add.execute(n)
        assert take(other)[0].id == first.taskid


def test_asking_a_handle_sends_what_has_gathered(app: Dibs, add: Task[[int], int]) -> None:
    with app.batch():
        handle = add.execute(1)
        assert handle.status == "waiting"
        assert add.execute(2).status == "waiting"
    assert len(waiting(app)) == 2


def test_large_payloads_make_smaller_requests(app: Dibs) -> None:
    task: Task[[str], None] = app.task(name="large")(lambda _: None)
    with app.batch():
        handles = [task.execute(str(n % 10) * 200_000) for n in range(60)]

    assert waiting(app) == [handle.taskid for handle in handles]


def test_a_batch_inside_of_a_batch_joins_it(app: Dibs, add: Task[[int], int]) -> None:
    with Dibs(app.connection.target) as other, app.batch():
        with app.batch():
            handle = add.execute(1)
        assert other.handle(handle.taskid).state.name == "UNKNOWN"
        with other.batch():
            moved = add.on(other).execute(1)
        assert other.handle(moved.taskid).status == "waiting"
    assert set(waiting(app)) == {handle.taskid, moved.taskid}


def test_other_threads_are_not_in_the_batch(app: Dibs, add: Task[[int], int]) -> None:
    found: list[str] = []
    with app.batch():
        thread = threading.Thread(target=lambda: found.append(add.execute(1).status))
        thread.start()
        thread.join()
        assert found == ["waiting"]


def test_a_context_that_is_taken_to_another_thread_leaves_the_batch_behind(app: Dibs, add: Task[[int], int]) -> None:
    found: list[str] = []
    with app.batch():
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: found.append(context.run(add.execute, 1).status))
        thread.start()
        thread.join()
        assert found == ["waiting"]


def test_calls_by_name_are_gathered_too(app: Dibs, add: Task[[int], int]) -> None:
    with Dibs(app.connection.target) as other, app.batch():
        app.call_task("far.away", None)
        handles = [app.call_task("far.away", None), app.call_task("add", None, 1)]
        assert {other.handle(handle.taskid).state.name for handle in handles} == {"UNKNOWN"}
    assert len(waiting(app)) == 3


def test_a_context_that_outlives_the_batch_enqueues_by_itself(app: Dibs, add: Task[[int], int]) -> None:
    with app.batch():
        context = contextvars.copy_context()
    assert context.run(add.execute, 1).status == "waiting"


@pytest.mark.parametrize("count", [5, 3_000])
def test_a_refused_call_surfaces_at_the_with_and_the_others_are_enqueued(
    app: Dibs, add: Task[[int], int], count: int
) -> None:
    with pytest.raises(InvalidArgument) as caught, app.batch():  # noqa: PT012 - the with raises
        handles = [add.execute(n) for n in range(count)]
        add.execute(0, _queue="no:colons")
        add.execute(0, _queue="nor {braces}")
        handles += [add.execute(n) for n in range(count)]

    assert caught.value.field.endswith(".queue")
    assert caught.value.__notes__ == ["and 1 more calls of the batch were refused"]
    assert sorted(waiting(app)) == sorted(handle.taskid for handle in handles)


def test_what_was_called_before_the_body_raised_is_enqueued(app: Dibs, add: Task[[int], int]) -> None:
    with pytest.raises(KeyError), app.batch():  # noqa: PT012 - the with raises
        add.execute(1)
        raise KeyError
    assert len(waiting(app)) == 1


def test_a_broker_that_is_away_surfaces_at_the_with() -> None:
    with Dibs("127.0.0.1:1", timeout=0.3) as app:
        task: Task[[], None] = app.task(name="t")(lambda: None)
        with pytest.raises(Unavailable), app.batch():  # noqa: PT012 - the with raises
            for _ in range(3):
                task.execute()
        with pytest.raises(Unavailable), app.batch():  # noqa: PT012 - the with raises
            for _ in range(20_000):
                task.execute()


class _LosesReplies(grpc.aio.ServerInterceptor):
    """There is no stream, and the first replies to Enqueue are lost after the work is done."""

    def __init__(self) -> None:
        self.lost = 0

    async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        handler = await continuation(details)
        if details.method.endswith("/EnqueueStream"):
            return None
        if not details.method.endswith("/Enqueue"):
            return handler

        async def enqueue(request: pb.EnqueueRequest, context: grpc.aio.ServicerContext) -> pb.EnqueueResponse:  # type: ignore[type-arg]
            reply: pb.EnqueueResponse = await handler.unary_unary(request, context)
            if self.lost < 2:
                self.lost += 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
            return reply

        return grpc.unary_unary_rpc_method_handler(
            enqueue,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def test_a_lost_reply_enqueues_nothing_twice(redis_server: RedisServer) -> None:
    fault = _LosesReplies()
    with serving(redis_server.url, fault) as broker, Dibs(broker.target) as app:
        task: Task[[], None] = app.task(name="t")(lambda: None)
        with app.batch():
            for _ in range(10):
                task.execute()
        assert fault.lost == 2
        assert len(waiting(app)) == 10


def test_a_connection_that_breaks_in_the_middle_loses_and_doubles_nothing(broker: BrokerThread) -> None:
    with between(broker.target) as proxy, Dibs(proxy.target) as app:
        task: Task[[int], None] = app.task(name="t")(lambda _: None)
        handles = [task.execute(-1)]  # the connection is there
        cutter = threading.Thread(target=proxy.cut_when_swallowed)
        cutter.start()
        with app.batch():
            for n in range(6_000):
                if n == 2_500:
                    proxy.swallow()
                handles.append(task.execute(n))
        cutter.join()
        assert proxy.swallowed.is_set()
        assert sorted(waiting(app)) == sorted(handle.taskid for handle in handles)


def test_a_single_call_whose_reply_is_lost_is_enqueued_once(broker: BrokerThread) -> None:
    with between(broker.target) as proxy, Dibs(proxy.target) as app:
        task: Task[[int], None] = app.task(name="t")(lambda _: None)
        task.execute(0)
        proxy.swallow()
        cutter = threading.Thread(target=proxy.cut_when_swallowed)
        cutter.start()
        task.execute(1)
        cutter.join()
        assert len(waiting(app)) == 2


def test_coroutines_share_the_batch_around_them(app: Dibs, add: Task[[int], int]) -> None:
    async def body() -> set[str]:
        async with AsyncDibs(of=app) as adibs, adibs.batch():
            moved = add.on(adibs)
            return {handle.taskid for handle in await asyncio.gather(*(moved.execute(n) for n in range(9_500)))}

    ids = asyncio.run(body())
    assert len(ids) == 9_500
    assert set(waiting(app)) == ids


def test_asyncio_batches_do_the_same(app: Dibs, add: Task[[int], int]) -> None:
    async def body() -> list[str]:
        async with AsyncDibs(of=app) as adibs:
            moved = add.on(adibs)
            async with adibs.batch():
                handles = [await moved.execute(n) for n in range(3_500)]
                async with adibs.batch():
                    assert await (await moved.execute(0, taskid="inner")).status == "waiting"
            with pytest.raises(InvalidArgument):  # noqa: PT012 - the with raises
                async with adibs.batch():
                    await moved.execute(1, taskid="good")
                    await moved.execute(1, _queue="no:colons")
            return [handle.taskid for handle in handles]

    ids = asyncio.run(body())
    assert sorted(waiting(app)) == sorted([*ids, "inner", "good"])
