"""What operators see of a running worker and tell it, through brokers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from dibs import Dibs, FailedPrecondition, InvalidArgument, NotFound
from dibs.admin.infos import WorkerInfo
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.v1.broker_pb2_grpc import BrokerServiceStub

from ..support.broker_thread import BrokerThread, serving
from ..support.redis import RedisServer
from ..support.waiting import until
from ..support.workers import Gate, Job, working

LONG_S = 20.0


@pytest.fixture
def elsewhere(redis_server: RedisServer) -> Iterator[Dibs]:
    """A client of another broker on the same Redis."""
    with serving(redis_server.url) as broker, Dibs(broker.target, timeout=20, try_timeout=20) as app:
        yield app


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def workers(app: Dibs) -> list[WorkerInfo]:
    return list(app.admin.workers())


async def there(app: Dibs, name: str) -> None:
    """Return when a worker takes commands by that name."""
    await asyncio.to_thread(until, lambda: any(one.worker == name for one in workers(app)), name, LONG_S)


async def test_a_worker_is_stopped_through_a_broker_that_it_is_not_connected_to(
    broker: BrokerThread, elsewhere: Dibs
) -> None:
    async with working(broker.target, {"task": Job("task", lambda: None)}, worker_id="web 1") as worker:
        await there(elsewhere, "web 1")
        await asyncio.to_thread(elsewhere.admin.stop_worker, "web 1")
        async with asyncio.timeout(LONG_S):
            assert await worker.run == 0
        await asyncio.to_thread(until, lambda: not workers(elsewhere), "it is gone", LONG_S)


async def test_only_the_worker_of_that_name_in_that_namespace_is_told(broker: BrokerThread, app: Dibs) -> None:
    jobs = {"task": Job("task", lambda: None)}
    async with working(broker.target, jobs, worker_id="one") as one, working(broker.target, jobs, worker_id="two"):
        await there(app, "one")
        await there(app, "two")
        with Dibs(broker.target, namespace="other") as other, pytest.raises(NotFound, match="'one' is not known"):
            await asyncio.to_thread(other.admin.stop_worker, "one")
        await asyncio.to_thread(app.admin.stop_worker, "one")
        async with asyncio.timeout(LONG_S):
            await one.run
        assert [info.worker for info in await asyncio.to_thread(workers, app)] == ["two"]


async def test_a_worker_without_processes_says_that_it_cannot_be_resized(
    broker: BrokerThread, app: Dibs, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dibs.worker"):
        async with working(broker.target, {"task": Job("task", lambda: None)}, worker_id="one"):
            await there(app, "one")
            await asyncio.to_thread(app.admin.resize_worker, "one", 4)
            await asyncio.to_thread(until, lambda: "what this worker cannot do" in caplog.text, "it is said", LONG_S)


@pytest.mark.parametrize("worker", ["old", "old-3"])
def test_a_worker_that_takes_no_commands_is_not_said_to_be_gone(broker: BrokerThread, app: Dibs, worker: str) -> None:
    over: Any = asyncio.Event

    def messages() -> Iterator[pb.WorkRequest]:
        yield pb.WorkRequest(hello=pb.WorkHello(worker_id="old-3/threads", kind=tpb.QUEUE_KIND_TASK))
        until(lambda: over is None, "the end", LONG_S)

    with grpc.insecure_channel(broker.target) as channel:
        stream = BrokerServiceStub(channel).Work(messages())
        next(iter(stream))
        until(lambda: workers(app), "it is reported", LONG_S)
        with pytest.raises(FailedPrecondition, match="takes no commands") as refused:
            app.admin.stop_worker(worker)
        assert refused.value.reason == "TAKES_NO_COMMANDS"
        over = None


@pytest.mark.parametrize("processes", [0, -1, 1001])
def test_a_number_of_processes_out_of_range_is_refused(app: Dibs, processes: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        app.admin.resize_worker("one", processes)
    assert refused.value.field == "command.processes"


async def test_what_a_worker_runs_is_told_and_for_how_long(broker: BrokerThread, app: Dibs, gate: Gate) -> None:
    task = app.task(name="task", vis_timeout=60, save_results=60)(lambda: None)
    async with working(broker.target, {"task": Job("task", gate)}):
        handle = await asyncio.to_thread(task.execute)
        await gate.begun()

        def running() -> list[Any]:
            return [item for info in workers(app) for item in info.running]

        await asyncio.to_thread(until, running, "it is told", LONG_S)
        (item,) = await asyncio.to_thread(running)
        assert (item.task_name, item.id) == ("task", handle.taskid)
        assert item.running.total_seconds() >= 1
        assert [info.running_count for info in await asyncio.to_thread(workers, app)] == [1]
        gate.open()
        await asyncio.to_thread(until, lambda: not running(), "it has ended", LONG_S)
