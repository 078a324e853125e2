"""The worker runtime against the real services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs import Dibs
from dibs.broker.border.drain import Drain
from dibs.broker.config.limits import Limits
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.types import Begun
from dibs.broker.services import Services
from dibs.errors import InvalidArgument
from dibs.tasks.context import CURRENT_TASK
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.connector.events import EventName

from ..support.redis import RedisServer
from ..support.workers import Gate, Job, working
from .conftest import AdminStub, Stub


@dataclass
class Broker:
    """One of the brokers of a test."""

    port: int
    server: grpc.aio.Server
    drain: Drain
    stub: Stub
    admin: AdminStub
    streams: Streams

    @property
    def works(self) -> bool:
        """Whether a worker has a stream here."""
        return self.streams.work > 0


class Streams(grpc.aio.ServerInterceptor):
    """Counts the Work streams that were opened."""

    def __init__(self) -> None:
        self.work = 0

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        self.work += handler_call_details.method.endswith("/Work")
        return await continuation(handler_call_details)


StartBroker = Callable[[], Awaitable[Broker]]


@pytest.fixture
async def start_broker(redis_server: RedisServer) -> AsyncIterator[StartBroker]:
    """Starts brokers on the same Redis."""
    async with AsyncExitStack() as stack:

        async def start() -> Broker:
            engine = Engine(EngineConfig(redis_server.url))
            await engine.start()
            stack.push_async_callback(engine.close)
            drain = Drain()
            services = Services(engine, Limits(), drain)
            stack.push_async_callback(services.close)
            streams = Streams()
            server = grpc.aio.server(interceptors=[streams])
            services.register(server)
            services.start()
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, 1)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            stub = cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel))
            admin = cast(AdminStub, admin_pb2_grpc.AdminServiceStub(channel))
            return Broker(port, server, drain, stub, admin, streams)

        yield start


@pytest.fixture
async def broker(start_broker: StartBroker) -> Broker:
    return await start_broker()


def target_of(*brokers: Broker) -> str:
    return "ipv4:" + ",".join(f"127.0.0.1:{broker.port}" for broker in brokers)


def jobs(**functions: Callable[..., Any]) -> dict[str, Job]:
    return {name: Job(name, function, asyncio.iscoroutinefunction(function)) for name, function in functions.items()}


async def put(
    broker: Broker,
    *ids: str,
    task: str = "task",
    lease_s: float = 30,
    attempts: int = 2,
    keep_s: int = 60,
    payload: bytes = b'{"args":[],"kwargs":{}}',
    dead: bool = False,
) -> None:
    policy = tpb.DeliveryPolicy(attempts=attempts, use_dead_letter=dead)
    policy.lease_timeout.FromMicroseconds(round(lease_s * 1e6))
    if keep_s:
        policy.result_ttl.FromSeconds(keep_s)
    content = tpb.Content(task_name=task, payload=payload)
    items = [pb.EnqueueItem(id=id, queue="q", kind=tpb.QUEUE_KIND_TASK, content=content, policy=policy) for id in ids]
    await broker.stub.Enqueue(pb.EnqueueRequest(items=items))


async def result(broker: Broker, id: str, *, wait_s: float = 10) -> pb.ItemResult:
    """How the item stands when it has ended, or the wait is over."""
    timeout = Duration()
    timeout.FromMicroseconds(round(wait_s * 1e6))
    request = pb.ResultRequest(ids=[id], until=pb.WAIT_UNTIL_DONE, timeout=timeout)
    return (await broker.stub.Result(request)).results[0]


async def started(broker: Broker, id: str, *, wait_s: int = 10) -> pb.ItemResult:
    """How the item stands when it has started, or the wait is over."""
    request = pb.ResultRequest(ids=[id], until=pb.WAIT_UNTIL_STARTED, timeout=Duration(seconds=wait_s))
    return (await broker.stub.Result(request)).results[0]


async def test_tasks_of_both_sorts_run_and_their_results_are_kept(broker: Broker) -> None:
    async def later(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    def now(a: int, b: int) -> int:
        return a * b

    async with working(target_of(broker), jobs(later=later, now=now)):
        await put(broker, "later", task="later", payload=b'{"args":[2,3]}')
        await put(broker, "now", task="now", payload=b'{"args":[2],"kwargs":{"b":3}}')
        await put(broker, "once", task="now", payload=b'{"args":[4,4]}', lease_s=0)
        assert [(await result(broker, id)).result for id in ("later", "now", "once")] == [b"5", b"6", b"16"]


async def test_many_items_each_run_once(broker: Broker) -> None:
    ran: list[int] = []
    ids = [f"i{n}" for n in range(1000)]
    await put(broker, *ids, keep_s=0)
    await put(broker, *(f"o{n}" for n in range(1000)), keep_s=0, lease_s=0)
    async with working(target_of(broker), jobs(task=lambda: ran.append(1)), threads=3) as worker:
        await worker.until(EventName.FINISHED, 2000)
        assert await worker.stopped() == 0
    assert len(ran) == 2000
    assert (await result(broker, "i999", wait_s=0)).state == tpb.ITEM_STATE_UNKNOWN


async def test_a_failed_attempt_carries_its_traceback_and_the_next_one_comes(broker: Broker) -> None:
    def task() -> int:
        running = CURRENT_TASK.task
        assert running is not None
        if running.attempt == 1:
            raise LookupError("not yet")
        assert "LookupError: not yet" in running.last_error
        return running.attempt

    policy = tpb.DeliveryPolicy(
        attempts=2,
        lease_timeout=Duration(seconds=30),
        result_ttl=Duration(seconds=60),
        retry=tpb.RetryPolicy(initial_delay=Duration(nanos=1_000_000)),
    )
    content = tpb.Content(task_name="task", payload=b"{}")
    item = pb.EnqueueItem(id="a", queue="q", kind=tpb.QUEUE_KIND_TASK, content=content, policy=policy)
    async with working(target_of(broker), jobs(task=task)):
        await broker.stub.Enqueue(pb.EnqueueRequest(items=[item]))
        assert (await result(broker, "a")).result == b"2"


@pytest.mark.parametrize(
    ("payload", "function", "error"),
    [
        (b"no json", lambda: None, "not JSON"),
        (b'{"args":[]}', lambda: object(), "the result of task task cannot be written as JSON"),
        (b'{"args":[]}', lambda: "x" * 300_000, "the result of task task is 300,002 bytes"),
        (b'{"args":[]}', lambda: "x" * 4_000_000, "takes no result of that size"),
        (b'{"args":[1]}', lambda: None, "takes 0 positional arguments but 1 was given"),
        (b'{"args":[]}', lambda: exit(3), "SystemExit: 3"),
    ],
    ids=["payload", "no JSON", "too large for the broker", "too large for a message", "arguments", "exit"],
)
async def test_what_cannot_work_fails_and_says_why(
    broker: Broker, payload: bytes, function: Callable[..., Any], error: str
) -> None:
    async with working(target_of(broker), jobs(task=function)):
        await put(broker, "a", payload=payload, attempts=1)
        failed = await result(broker, "a")
        assert failed.state == tpb.ITEM_STATE_FAILED
        assert error in failed.error


def add_days(day: date, count: int) -> date:
    return day if count < 0 else day + timedelta(days=count) if count else cast(date, "no date")


async def add_days_later(day: date, count: int) -> date:
    return add_days(day, count)


@pytest.mark.parametrize("function", [add_days, add_days_later])
@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b'{"args":["2026-11-30",2]}', ""),
        (b'{"args":["soon",2]}', "argument 'day' of task is not date: Invalid RFC3339"),
        (b'{"args":[],"kwargs":{"day":5,"count":2}}', "argument 'day' of task is not date: Expected `date`, got `int`"),
        (b'{"args":["2026-11-30",0]}', "the result of task is not date: Invalid RFC3339"),
    ],
    ids=["good", "argument", "by name", "result"],
)
async def test_arguments_and_results_of_annotated_types_are_converted_or_rejected_at_once(
    broker: Broker, function: Callable[..., Any], payload: bytes, error: str
) -> None:
    task = Dibs("127.0.0.1:1").task(name="task", save_results=60)(function)

    async with working(target_of(broker), {"task": cast(Job, task)}):
        await put(broker, "a", payload=payload, attempts=3)
        found = await result(broker, "a")

    assert (found.result, found.error) == (b"" if error else b'"2026-12-02"', error and found.error)
    assert error in found.error
    assert found.attempt == 1


async def test_a_result_that_an_annotation_would_write_says_so(broker: Broker) -> None:
    async with working(target_of(broker), jobs(task=lambda: date(2026, 1, 1))):
        await put(broker, "a", attempts=3)
        found = await result(broker, "a")

    assert "cannot be written as JSON: Object of type date" in found.error
    assert "annotate what the function returns" in found.error


async def test_a_running_coroutine_is_cancelled_and_a_running_function_is_told(broker: Broker) -> None:
    gate = Gate()

    def function() -> bool:
        gate()
        running = CURRENT_TASK.task
        assert running is not None
        return running.cancelled

    async def endless() -> None:
        await asyncio.Event().wait()

    async with working(target_of(broker), jobs(function=function, endless=endless), threads=2):
        await put(broker, "function", task="function")
        await put(broker, "endless", task="endless")
        await gate.begun()
        assert (await started(broker, "endless")).state == tpb.ITEM_STATE_STARTED
        await broker.stub.Cancel(pb.CancelRequest(ids=["function", "endless"]))
        assert (await result(broker, "endless")).state == tpb.ITEM_STATE_CANCELLED
        gate.open()
        assert (await result(broker, "function")).state == tpb.ITEM_STATE_CANCELLED


async def test_what_waits_behind_another_task_has_not_started(broker: Broker) -> None:
    gate = Gate()
    async with working(target_of(broker), jobs(task=gate, quick=lambda: None), stale_after=60) as worker:
        # Quick ones first, so that some are held ahead.
        await put(broker, *(f"quick{n}" for n in range(200)), task="quick", keep_s=0)
        await worker.until(EventName.FINISHED, 200)
        received = worker.count(EventName.RECEIVED)
        await put(broker, "runs", "waits")
        await worker.until(EventName.RECEIVED, received + 2)
        assert (await started(broker, "runs")).state == tpb.ITEM_STATE_STARTED
        assert (await result(broker, "waits", wait_s=0)).state == tpb.ITEM_STATE_WAITING
        flush = broker.admin.Flush(apb.FlushRequest(timeout=Duration(nanos=1_000_000)))
        (last,) = [report async for report in flush if report.finished]
        assert (last.done, last.started, last.waiting) == (0, 0, 1)
        asked = apb.ListItemsRequest(queue="q", kind=tpb.QUEUE_KIND_TASK, section=apb.ITEM_SECTION_LEASED)
        listed = (await broker.admin.ListItems(asked)).items
        assert {one.id: one.state for one in listed} == {
            "runs": tpb.ITEM_STATE_STARTED,
            "waits": tpb.ITEM_STATE_WAITING,
        }
        gate.open()
        await worker.until(EventName.FINISHED, 202)


async def test_of_what_is_done_at_once_nobody_says_that_it_has_begun(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Begun] = []
    begun = Engine.begun

    async def counted(engine: Engine, namespace: str, entries: Sequence[Begun]) -> Sequence[None]:
        told.extend(entries)
        return await begun(engine, namespace, entries)

    monkeypatch.setattr(Engine, "begun", counted)
    async with working(target_of(broker), jobs(task=lambda: None)) as worker:
        await put(broker, *(f"i{n}" for n in range(1000)))
        await worker.until(EventName.FINISHED, 1000)
    # Some that were held up by whatever else this machine does may be among them.
    assert len(told) <= 50


async def test_a_retried_task_reports_nothing_of_its_old_self(broker: Broker) -> None:
    outcome: list[str] = []

    def task() -> None:
        running = CURRENT_TASK.task
        assert running is not None
        running.retried = True
        outcome.append(running.taskid)

    async with working(target_of(broker), jobs(task=task)) as worker:
        await put(broker, "a")
        await worker.until(EventName.FINISHED)
        await worker.stopped()
    assert outcome == ["a"]
    found = await result(broker, "a", wait_s=0)
    # Whether it was told that it began depends on how long it took.
    assert found.state in (tpb.ITEM_STATE_STARTED, tpb.ITEM_STATE_WAITING)
    assert (found.attempt, found.HasField("result"), found.error) == (1, False, "")


async def test_a_stop_releases_what_has_not_begun_and_runs_what_cannot_go_back(broker: Broker) -> None:
    gate = Gate()
    async with working(target_of(broker), jobs(task=gate, quick=lambda: None), stale_after=60) as worker:
        # Quick ones first, so that some are held ahead.
        await put(broker, *(f"quick{n}" for n in range(200)), task="quick", keep_s=0)
        await worker.until(EventName.FINISHED, 200)
        received = worker.count(EventName.RECEIVED)
        await put(broker, "running", "waiting", "last")
        await put(broker, "once", lease_s=0)
        await gate.begun()
        await worker.until(EventName.RECEIVED, received + 4)
        worker.worker.stop()
        await worker.until(EventName.RELEASED, 2)
        await worker.until(EventName.DISCONNECTED)
        assert (await result(broker, "waiting", wait_s=0)).state == tpb.ITEM_STATE_WAITING
        gate.open()
        assert await worker.stopped() == 0
    assert gate.calls == 2
    assert [(await result(broker, id, wait_s=0)).state for id in ("running", "once", "waiting", "last")] == [
        tpb.ITEM_STATE_SUCCEEDED,
        tpb.ITEM_STATE_SUCCEEDED,
        tpb.ITEM_STATE_WAITING,
        tpb.ITEM_STATE_WAITING,
    ]
    # A release uses no attempt.
    assert (await result(broker, "waiting", wait_s=0)).attempt == 0


async def test_what_still_runs_when_the_wait_is_over_goes_to_another_worker_if_it_may(broker: Broker) -> None:
    gate = Gate()
    async with working(target_of(broker), jobs(task=gate), wait=0.05, threads=3) as worker:
        await put(broker, "again")
        await put(broker, "last", attempts=1)
        await put(broker, "once", lease_s=0)
        for _ in range(3):
            await gate.begun()
        assert await worker.stopped() == 3
    gate.open()
    again, last, once = [await result(broker, id, wait_s=0) for id in ("again", "last", "once")]
    assert (again.state, again.attempt) == (tpb.ITEM_STATE_WAITING, 1)
    assert last.state == once.state == tpb.ITEM_STATE_FAILED
    assert last.error == once.error == "worker process was stopped while it ran"


async def test_items_that_wait_for_a_slot_too_long_go_to_another_worker(broker: Broker) -> None:
    gate = Gate()
    both = jobs(task=gate, quick=lambda: None)
    async with working(target_of(broker), both, stale_after=0.2) as one:
        await put(broker, *(f"quick{n}" for n in range(200)), task="quick", keep_s=0)
        await one.until(EventName.FINISHED, 200)
        await put(broker, "blocking", "waiting")
        await gate.begun()
        await one.until(EventName.RELEASED)
        async with working(target_of(broker), both) as two:
            await gate.begun()
            gate.open()
            assert (await result(broker, "waiting")).attempt == 1
            assert two.count(EventName.RECEIVED) == 1


async def test_items_whose_task_is_not_known_wait_for_a_worker_that_knows_it(broker: Broker) -> None:
    async with working(target_of(broker), jobs(other=lambda: "no")):
        # An at-most-once item above all: a worker without its code could not give it back.
        await put(broker, "once", lease_s=0)
        async with working(target_of(broker), jobs(task=lambda: "yes")):
            assert (await result(broker, "once")).result == b'"yes"'


async def test_a_late_ack_changes_nothing_and_is_told(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    async with working(target_of(broker), jobs(task=gate)) as slow:
        await put(broker, "a", lease_s=0.1, attempts=1000)
        await gate.begun()
        async with working(target_of(broker), jobs(task=lambda: "second")):
            assert (await result(broker, "a")).result == b'"second"'
        with caplog.at_level(logging.WARNING, "dibs.worker"):
            gate.open()
            await slow.until(EventName.CONFIRMED)
        await slow.stopped()
    assert (await result(broker, "a")).result == b'"second"'
    assert "an ack came too late and changes nothing task=task id=a" in caplog.text


async def test_a_worker_leaves_a_draining_broker_and_settles_on_another(start_broker: StartBroker) -> None:
    one, two = await start_broker(), await start_broker()
    gate = Gate()
    async with working(target_of(one, two), jobs(task=gate)) as worker:
        await put(one, "a")
        await gate.begun()
        gone, there = (one, two) if one.works else (two, one)
        gone.drain.begin()
        await worker.until(EventName.DISCONNECTED)
        await worker.until(EventName.CONNECTED, 2)
        gate.open()
        assert (await result(there, "a")).state == tpb.ITEM_STATE_SUCCEEDED
        await put(there, "b")
        assert (await result(there, "b")).state == tpb.ITEM_STATE_SUCCEEDED
    ended = next(event for event in worker.events if event.name is EventName.DISCONNECTED)
    assert ended.details["error"] is False


async def test_a_worker_goes_on_with_another_broker_when_its_own_is_gone(start_broker: StartBroker) -> None:
    one, two = await start_broker(), await start_broker()
    gate = Gate()
    async with working(target_of(one, two), jobs(task=gate)) as worker:
        await put(one, "a")
        await gate.begun()
        gone, there = (one, two) if one.works else (two, one)
        await gone.server.stop(None)
        await worker.until(EventName.DISCONNECTED)
        gate.open()
        assert (await result(there, "a")).state == tpb.ITEM_STATE_SUCCEEDED
        await put(there, "b")
        assert (await result(there, "b")).state == tpb.ITEM_STATE_SUCCEEDED


async def test_a_worker_that_no_broker_takes_on_says_why(broker: Broker) -> None:
    async with working(target_of(broker), jobs(task=lambda: None), queues=("no{braces}",)) as worker:
        with pytest.raises(InvalidArgument, match="queues"):
            await asyncio.wait_for(asyncio.shield(worker.run), 10)


async def test_a_stop_without_any_broker_ends_at_once() -> None:
    async with working("127.0.0.1:1", jobs(task=lambda: None)) as worker:
        await worker.until(EventName.DISCONNECTED)
        assert await worker.stopped() == 0


async def test_a_stop_twice_and_before_the_start_is_fine(broker: Broker) -> None:
    async with working(target_of(broker), jobs(task=lambda: None)) as worker:
        worker.worker.stop()
        worker.worker.stop()
        assert await worker.stopped() == 0
