"""What the Python client and the worker do where a broker asks who calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

import dibs
from dibs.admin.registration import registration
from dibs.rpc.aio_transport import AioTransport
from dibs.rpc.connection import Connection
from dibs.v1 import admin_pb2 as pb_admin
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.runtime import Worker
from dibs.worker.shared.settings import WorkerSettings

from ..support.auth import bearer, grant, token_of
from ..support.guarded import Guarded, guarded
from ..support.redis import RedisServer
from ..support.waiting import until
from ..support.workers import Job

PRINCIPALS = {
    "web": [grant("shop", "produce")],
    "worker": [grant("shop", "consume")],
    "reader": [grant("shop", "read")],
    "ops": [grant("*", "admin")],
}
LONGEST_S = 20.0


@pytest.fixture
async def shop(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Guarded]:
    async with guarded(redis_server, tmp_path, PRINCIPALS) as broker:
        yield broker


def client(shop: Guarded, who: str, **others: Any) -> dibs.Dibs:
    given = {"namespace": "shop", "timeout": LONGEST_S, **others}
    return dibs.Dibs(shop.server.addresses[0], token=token_of(who) if who else None, **given)


async def test_each_does_what_it_may_with_its_token(shop: Guarded) -> None:
    def calls() -> None:
        with client(shop, "web") as web, client(shop, "worker") as worker:
            for at in range(3):
                web.Data("box").put_data(at)
            box = worker.Data("box")
            assert [value for _ in range(3) for value in (box.get_data() or {}).values()] == [0, 1, 2]

    await asyncio.to_thread(calls)


def put_twenty(app: dibs.Dibs) -> None:
    with app.batch():
        for at in range(20):
            app.Data("box").put_data(at)


@pytest.mark.parametrize(
    ("who", "namespace", "error", "reason"),
    [
        ("", "shop", dibs.Unauthenticated, "TOKEN_MISSING"),
        ("nobody", "shop", dibs.Unauthenticated, "TOKEN_UNKNOWN"),
        ("web", "other", dibs.PermissionDenied, "MISSING_ROLE"),
        ("worker", "shop", dibs.PermissionDenied, "MISSING_ROLE"),
    ],
)
async def test_a_call_that_may_not_be_made_fails_at_once_and_says_why(
    shop: Guarded, who: str, namespace: str, error: type[dibs.BrokerError], reason: str
) -> None:
    def calls() -> None:
        with client(shop, who, namespace=namespace) as app:
            # The second goes the way of an open stream, and many go in one request.
            for _ in range(3):
                with pytest.raises(error) as caught:
                    app.Data("box").put_data(1)
                assert caught.value.reason == reason
            with pytest.raises(error) as caught:
                put_twenty(app)
            assert caught.value.reason == reason
            if reason == "MISSING_ROLE":
                assert caught.value.metadata == {"namespace": namespace, "role": "produce"}

    async with asyncio.timeout(LONGEST_S):
        await asyncio.to_thread(calls)


async def test_a_token_that_is_taken_away_fails_the_next_call_on_an_open_stream(shop: Guarded) -> None:
    with client(shop, "web") as app:
        box = app.Data("box")
        for at in range(3):
            await asyncio.to_thread(box.put_data, at)
        await shop.take({"ops": PRINCIPALS["ops"]})
        with pytest.raises(dibs.Unauthenticated) as caught:
            await asyncio.to_thread(box.put_data, 4)
        assert caught.value.reason == "TOKEN_UNKNOWN"
        await shop.take(PRINCIPALS)
        await asyncio.to_thread(box.put_data, 5)


async def test_a_result_that_may_not_be_seen_is_no_none(shop: Guarded) -> None:
    with client(shop, "web") as web, client(shop, "reader") as reader:

        @web.task(name="add", save_results=60, queue="q")
        def add(a: int, b: int) -> int:
            return a + b

        handle = await asyncio.to_thread(add.execute, 2, 3)
        assert handle is not None
        lease = pb.LeaseRequest(namespace="shop", queues=["q"], kind=tpb.QUEUE_KIND_TASK)
        [delivery] = (await shop.broker.Lease(lease, metadata=bearer("worker")).read()).deliveries
        entry = pb.AckEntry(id=delivery.id, lease_token=delivery.lease_token, result=b"5")
        await shop.broker.Ack(pb.AckRequest(namespace="shop", entries=[entry]), metadata=bearer("worker"))

        assert await asyncio.to_thread(web.result, handle.taskid) == 5
        with pytest.raises(dibs.PermissionDenied, match="role produce, consume or content"):
            await asyncio.to_thread(reader.result, handle.taskid)


class Work:
    """A worker of one task in a thread's stead, and what its task has done."""

    def __init__(self, shop: Guarded, who: str) -> None:
        self.done: asyncio.Queue[int] = asyncio.Queue()
        connection = Connection(target=shop.server.addresses[0], namespace="shop", token=token_of(who))
        jobs = {"note": Job("note", self._note, is_async=True)}
        self.worker = Worker(connection, jobs.get, jobs, WorkerSettings(queues=("q",)))

    async def _note(self, number: int) -> None:
        self.done.put_nowait(number)


async def test_a_worker_that_nobody_knows_ends_and_says_why(shop: Guarded) -> None:
    for who, error in (("nobody", dibs.Unauthenticated), ("web", dibs.PermissionDenied)):
        with pytest.raises(error) as caught:
            await asyncio.wait_for(Work(shop, who).worker.run(), LONGEST_S)
        assert caught.value.reason in ("TOKEN_UNKNOWN", "MISSING_ROLE")


async def test_a_worker_whose_token_is_taken_away_goes_on_when_it_is_given_back(
    shop: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(shop, "worker")
    running = asyncio.create_task(work.worker.run())
    with client(shop, "ops") as app:
        note = app.task(name="note", queue="q", vis_timeout=30)(lambda number: None)
        await asyncio.to_thread(note.execute, 1)
        async with asyncio.timeout(LONGEST_S):
            assert await work.done.get() == 1

        await shop.take({"ops": PRINCIPALS["ops"]})
        await asyncio.to_thread(note.execute, 2)
        await asyncio.to_thread(until, lambda: "no stream to a broker, trying again" in caplog.text)
        assert "UNAUTHENTICATED" in caplog.text
        assert "nobody has this token, or has it any longer" in caplog.text
        assert work.done.empty()

        await shop.take(PRINCIPALS)
        async with asyncio.timeout(LONGEST_S):
            assert await work.done.get() == 2
    work.worker.stop()
    async with asyncio.timeout(LONGEST_S):
        await running


async def test_a_worker_for_some_queues_registers_what_is_of_those(redis_server: RedisServer, tmp_path: Path) -> None:
    principals = {
        "mailer": [grant("shop", "consume", queues=["mail"])],
        "biller": [grant("shop", "consume", queues=["bills"])],
        "ops": [grant("*", "admin")],
    }
    queues = {"letter": "mail", "bill": "bills"}
    tasks = [pb_admin.TaskDefinition(name=name, queue=queue) for name, queue in queues.items()]
    content = tpb.Content(task_name="t")
    schedules = [
        pb_admin.Schedule(name=name, queue=queue, content=content, interval=Duration(seconds=3600))
        for name, queue in queues.items()
    ]
    async with guarded(redis_server, tmp_path, principals) as shop:
        for who, other in (("mailer", "bill"), ("biller", "letter"), ("mailer", "bill")):
            connection = Connection(target=shop.server.addresses[0], namespace="shop", token=token_of(who))
            transport = AioTransport(connection)
            done = await transport.carry(registration("shop", tasks, schedules, "module"))
            await transport.close()
            assert (done.tasks, done.schedules, list(done.refused)) == (1, 1, [other])
            assert f"for queue '{queues[other]}'" in done.refused[other]

        listed = await shop.admin.ListTasks(pb_admin.ListTasksRequest(namespace="shop"), metadata=bearer("ops"))
        assert {task.definition.name for task in listed.tasks} == set(queues)
        there = await shop.admin.ListSchedules(pb_admin.ListSchedulesRequest(namespace="shop"), metadata=bearer("ops"))
        assert {info.schedule.name for info in there.schedules} == set(queues)

        connection = Connection(target=shop.server.addresses[0], namespace="shop", token=token_of("mailer"))
        transport = AioTransport(connection)
        done = await transport.carry(registration("shop", tasks[1:], schedules[1:], "another module"))
        await transport.close()
        assert (done.tasks, done.schedules, list(done.refused)) == (0, 0, ["bill"])


async def test_whoever_may_put_calls_learns_how_tasks_are_delivered_whose_code_is_elsewhere(shop: Guarded) -> None:
    policy = tpb.DeliveryPolicy(attempts=4, lease_timeout=Duration(seconds=60))
    task = pb_admin.TaskDefinition(name="far", queue="mail", policy=policy)
    request = pb_admin.RegisterTasksRequest(namespace="shop", tasks=[task])
    await shop.admin.RegisterTasks(request, metadata=bearer("worker"))

    def put() -> dibs.EnqueuedTask[Any]:
        with client(shop, "web") as web:
            return web.call_task("far", None, 1)

    assert (await asyncio.to_thread(put)).queue == "mail"
