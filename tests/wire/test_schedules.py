"""Schedules over the wire: put, list, delete, and fired by several brokers for workers on any of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from dibs.broker.border.drain import Drain
from dibs.broker.config.limits import Limits
from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.services import Services
from dibs.contract import cron as cron_of_dibs
from dibs.contract.cron import Effort
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import admin_pb2_grpc, broker_pb2_grpc
from dibs.v1 import broker_pb2 as bpb
from dibs.v1 import types_pb2 as tpb

from ..support.redis import RedisServer
from .conftest import AdminStub, Stub

CONTENT = tpb.Content(task_name="task", payload=b"\x00\n{}", headers={"b": "2", "a": "1"})
PERIOD_US = 50_000


def every(name: str = "s", seconds: float = 3600, *, never_skip: bool = False) -> pb.Schedule:
    schedule = pb.Schedule(name=name, queue="q", content=CONTENT, never_skip=never_skip)
    schedule.interval.FromMicroseconds(int(seconds * 1e6))
    return schedule


def cron(expression: str, time_zone: str = "", name: str = "s") -> pb.Schedule:
    return pb.Schedule(name=name, queue="q", content=CONTENT, cron=expression, time_zone=time_zone)


async def put(admin: AdminStub, *schedules: pb.Schedule, group: str = "g", replace: bool = False) -> list[str]:
    request = pb.PutSchedulesRequest(group=group, schedules=schedules, replace_group=replace)
    return list((await admin.PutSchedules(request)).removed_names)


async def listed(admin: AdminStub) -> list[pb.ScheduleInfo]:
    return list((await admin.ListSchedules(pb.ListSchedulesRequest())).schedules)


async def refused(call: object) -> tuple[grpc.StatusCode, str, str]:
    """Status, field and description of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # the asynchronous error will do
    violations = error_details_pb2.BadRequest()
    assert any(detail.Unpack(violations) for detail in status.details)
    (violation,) = violations.field_violations
    return caught.value.code(), violation.field, violation.description


async def test_a_schedule_is_listed_as_it_was_put(admin: AdminStub) -> None:
    before = datetime.now(UTC)
    policy = tpb.DeliveryPolicy(attempts=3, lease_timeout=Duration(seconds=30), use_dead_letter=True)
    schedule = cron("0 5 * * tue", "Europe/Vienna", "mod.task")
    schedule.policy.CopyFrom(policy)
    schedule.never_skip = True
    assert await put(admin, schedule, group="mod") == []
    (info,) = await listed(admin)
    assert info.schedule == schedule
    assert (info.group, info.state, info.run_id, info.runs) == ("mod", pb.SCHEDULE_STATE_PLANNED, "", 0)
    assert not info.HasField("last_start_time")
    due = info.due_time.ToDatetime(UTC)
    assert before < due
    assert due.weekday() == 1


async def test_an_unchanged_schedule_keeps_its_due_time_and_a_changed_one_does_not(admin: AdminStub) -> None:
    await put(admin, every())
    (first,) = await listed(admin)
    await put(admin, every())
    assert await listed(admin) == [first]
    await put(admin, every(seconds=7200))
    (changed,) = await listed(admin)
    assert changed.due_time.ToMicroseconds() >= first.due_time.ToMicroseconds() + 3600 * 1_000_000


async def test_what_left_its_group_and_what_is_deleted_is_gone(admin: AdminStub) -> None:
    await put(admin, every("a"), every("b"), every("c"))
    assert await put(admin, every("b"), replace=True, group="other") == []
    assert await put(admin, every("a"), replace=True) == ["c"]
    reply = await admin.DeleteSchedules(pb.DeleteSchedulesRequest(names=["b", "x", "b"]))
    assert list(reply.deleted_names) == ["b"]
    assert [info.schedule.name for info in await listed(admin)] == ["a"]
    # A module without any schedule left.
    assert await put(admin, replace=True) == ["a"]


async def test_schedules_come_in_pages_by_name(admin: AdminStub) -> None:
    names = sorted(f"näme {n}" for n in range(25))
    await put(admin, *(every(name) for name in names))
    found: list[str] = []
    token = ""
    while True:
        page = await admin.ListSchedules(pb.ListSchedulesRequest(page_size=10, page_token=token))
        found += [info.schedule.name for info in page.schedules]
        if not (token := page.next_page_token):
            break
    assert found == names
    assert await refused(admin.ListSchedules(pb.ListSchedulesRequest(page_token="made up"))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "page_token",
        "must be what the last page of the same list gave as next_page_token",
    )


async def test_namespaces_share_no_schedules(admin: AdminStub) -> None:
    await put(admin, every())
    reply = await admin.ListSchedules(pb.ListSchedulesRequest(namespace="other"))
    assert not reply.schedules


def changed(change: Callable[[pb.Schedule], object], schedule: pb.Schedule | None = None) -> pb.Schedule:
    """A good schedule made bad."""
    schedule = schedule or every()
    change(schedule)
    return schedule


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (every(""), "name"),
        (every("x" * 257), "name"),
        (every("a\nb"), "name"),
        (every("first"), "name"),
        (changed(lambda one: setattr(one, "queue", "a b")), "queue"),
        (changed(lambda one: setattr(one, "queue", "")), "queue"),
        (changed(lambda one: setattr(one.content, "task_name", "")), "content.task_name"),
        (changed(lambda one: setattr(one.content, "payload", bytes(256 * 1024 + 1))), "content.payload"),
        (changed(lambda one: setattr(one.policy, "attempts", -1)), "policy.attempts"),
        (changed(lambda one: setattr(one.policy, "dead_letter_queue", "dead")), "policy.dead_letter_queue"),
        (changed(lambda one: one.ClearField("interval")), "interval"),
        (every(seconds=0), "interval"),
        (every(seconds=0.009), "interval"),
        (every(seconds=-1), "interval"),
        (every(seconds=367 * 86400), "interval"),
        (changed(lambda one: setattr(one, "time_zone", "UTC")), "time_zone"),
        (cron(""), "cron"),
        (cron("61 * * * *"), "cron"),
        (cron("* * * *"), "cron"),
        (cron("0 0 30 2 *"), "cron"),
        (cron("* * * * *" + " " * 300), "cron"),
        (cron("* * * * *", "Mars/Olympus"), "time_zone"),
        (cron("* * * * *", "../../etc/passwd"), "time_zone"),
    ],
)
async def test_a_schedule_that_makes_no_sense_is_refused_naming_the_field(
    admin: AdminStub, schedule: pb.Schedule, field: str
) -> None:
    code, found, _ = await refused(put(admin, every("first"), schedule))
    assert (code, found) == (grpc.StatusCode.INVALID_ARGUMENT, f"schedules[1].{field}")
    # All or nothing.
    assert await listed(admin) == []


async def test_requests_that_make_no_sense_are_refused_naming_the_field(admin: AdminStub) -> None:
    for call, field in (
        (put(admin, every(), group=""), "group"),
        (put(admin, every(), group="a\tb"), "group"),
        (put(admin, *(every(f"s{n}") for n in range(1001))), "schedules"),
        (admin.PutSchedules(pb.PutSchedulesRequest(namespace="{", group="g")), "namespace"),
        (admin.DeleteSchedules(pb.DeleteSchedulesRequest()), "names"),
        (admin.DeleteSchedules(pb.DeleteSchedulesRequest(names=[""])), "names[0]"),
        (admin.ListSchedules(pb.ListSchedulesRequest(page_size=1001)), "page_size"),
        (admin.ListSchedules(pb.ListSchedulesRequest(namespace=":")), "namespace"),
    ):
        assert (await refused(call))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, field)


class Fleet:
    """Some brokers on one Redis, and what workers on them got."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stacks: list[AsyncExitStack] = []
        self.stubs: list[Stub] = []
        self.admins: list[AdminStub] = []
        #: Due times of runs, in microseconds, by the worker that got them.
        self.got: dict[int, list[int]] = defaultdict(list)
        self.ids: list[str] = []

    async def start(self) -> None:
        """Starts one more broker."""
        stack = AsyncExitStack()
        self._stacks.append(stack)
        engine = Engine(EngineConfig(self._url))
        stack.push_async_callback(engine.close)
        await engine.start()
        services = Services(engine, Limits(), Drain())
        stack.push_async_callback(services.close)
        server = grpc.aio.server()
        services.register(server)
        services.start()
        port = server.add_insecure_port("127.0.0.1:0")
        stack.push_async_callback(server.stop, None)
        await server.start()
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        self.stubs.append(cast(Stub, broker_pb2_grpc.BrokerServiceStub(channel)))
        self.admins.append(cast(AdminStub, admin_pb2_grpc.AdminServiceStub(channel)))

    async def stop(self, at: int) -> None:
        """Stops a broker; a second call does nothing."""
        await self._stacks[at].aclose()

    @property
    def due(self) -> list[int]:
        return sorted(due for got in self.got.values() for due in got)

    async def until_had(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.ids) < count:  # noqa: ASYNC110 - grows at the pace of the schedule
                await asyncio.sleep(0.01)

    async def work(self, at: int, queues: Sequence[str]) -> None:
        """A worker that knows the task and acknowledges at once."""
        up: asyncio.Queue[bpb.WorkRequest] = asyncio.Queue()
        hello = bpb.WorkHello(kind=tpb.QUEUE_KIND_TASK, worker_id=f"w{at}", task_names=["task"], queues=queues)
        up.put_nowait(bpb.WorkRequest(hello=hello, add_credit=2))

        async def requests() -> AsyncIterator[bpb.WorkRequest]:
            while True:
                yield await up.get()

        async for response in self.stubs[at].Work(requests()):
            for delivery in response.deliveries:
                assert delivery.content == CONTENT
                self.ids.append(delivery.id)
                self.got[at].append(delivery.schedule_time.ToMicroseconds())
                request = bpb.WorkRequest(sequence=len(self.got[at]), add_credit=1)
                if delivery.lease_token:
                    request.acks.add(id=delivery.id, lease_token=delivery.lease_token)
                up.put_nowait(request)


@asynccontextmanager
async def working(fleet: Fleet, *which: int, queues: Sequence[str] = ()) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Workers of these brokers inside the with."""
    tasks = [asyncio.create_task(fleet.work(at, queues)) for at in which]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def fleet(redis_server: RedisServer) -> AsyncIterator[Fleet]:
    fleet = Fleet(redis_server.url)
    for _ in range(3):
        await fleet.start()
    yield fleet
    for at in range(3):
        await fleet.stop(at)


def assert_consecutive(due: list[int]) -> None:
    assert due == [due[0] + n * PERIOD_US for n in range(len(due))]


@pytest.mark.parametrize("lease_s", [0, 30])
async def test_three_brokers_and_three_workers_run_each_due_time_once(fleet: Fleet, lease_s: int) -> None:
    schedule = every(seconds=PERIOD_US / 1e6, never_skip=True)
    schedule.policy.lease_timeout.FromSeconds(lease_s)
    async with working(fleet, 0, 1, 2):
        # As three workers do when they start.
        await asyncio.gather(*(put(admin, schedule, group="mod", replace=True) for admin in fleet.admins))
        await fleet.until_had(20)
    assert len(set(fleet.ids)) == len(fleet.ids)
    assert_consecutive(fleet.due)
    (info,) = await listed(fleet.admins[0])
    assert info.runs >= 20
    assert info.last_start_time.ToMicroseconds() >= fleet.due[-2]
    assert info.run_id.startswith("schedule:s:")


async def test_no_due_time_is_missed_or_run_twice_though_workers_and_brokers_come_and_go(fleet: Fleet) -> None:
    schedule = every(seconds=PERIOD_US / 1e6, never_skip=True)
    schedule.policy.CopyFrom(tpb.DeliveryPolicy(attempts=10, lease_timeout=Duration(seconds=1)))
    async with working(fleet, 0, 1, 2) as workers:
        await put(fleet.admins[0], schedule, group="mod", replace=True)
        await fleet.until_had(5)
        workers[1].cancel()
        # The worker starts anew.
        await put(fleet.admins[1], schedule, group="mod", replace=True)
        async with working(fleet, 1):
            await fleet.until_had(10)
            await fleet.stop(2)
            await fleet.until_had(20)
    # What was on its way to those who left came once more.
    assert len(fleet.ids) - len(set(fleet.ids)) <= 4
    assert_consecutive(sorted(set(fleet.due)))


async def test_a_schedule_waits_for_a_worker_that_knows_its_task_on_any_broker(fleet: Fleet) -> None:
    await put(fleet.admins[0], every(seconds=0.05))
    async with asyncio.timeout(10):
        while (info := (await listed(fleet.admins[0]))[0]).state != pb.SCHEDULE_STATE_NO_WORKER:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    due_us = info.due_time.ToMicroseconds()
    async with working(fleet, 1):
        await fleet.until_had(2)
    # It was due all the time, once.
    assert fleet.due[0] == due_us
    assert fleet.due[1] > due_us + PERIOD_US


async def test_a_pending_run_holds_the_next_up_and_goes_with_its_schedule(fleet: Fleet) -> None:
    stub, admin = fleet.stubs[1], fleet.admins[0]
    # It knows the task, and does not take from the queue.
    async with working(fleet, 0, queues=["other"]):
        await put(admin, every(seconds=0.02, never_skip=True))
        async with asyncio.timeout(10):
            while (info := (await listed(admin))[0]).state != pb.SCHEDULE_STATE_PENDING:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        # Several periods.
        await asyncio.sleep(0.1)
        (later,) = await listed(admin)
        assert later == info
        peek = bpb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, peek=True, max_items=10)
        found = [delivery.id async for response in stub.Lease(peek) for delivery in response.deliveries]
        assert found == [info.run_id]
        await admin.DeleteSchedules(pb.DeleteSchedulesRequest(names=["s"]))
        (result,) = (await stub.Result(bpb.ResultRequest(ids=[info.run_id]))).results
        assert result.state == tpb.ITEM_STATE_UNKNOWN


async def test_a_batch_of_rare_expressions_is_refused_before_it_takes_long(
    admin: AdminStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[datetime] = []
    match = cron_of_dibs._match

    def counting(expression: str, wall: datetime, effort: Effort | None) -> datetime:
        looks.append(wall)
        return match(expression, wall, effort)

    monkeypatch.setattr(cron_of_dibs, "_match", counting)
    many = [cron("0 0 29 2 mon#5", "Africa/Casablanca", f"s{n}") for n in range(1000)]

    code, field, description = await refused(put(admin, *many))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert field.startswith("schedules[")
    assert field.endswith("].cron")
    assert "put fewer such schedules at a time" in description
    assert len(looks) < 1500
    assert await listed(admin) == []


async def test_a_full_batch_of_yearly_ones_is_taken(admin: AdminStub) -> None:
    yearly = [cron(f"{n % 60} {n % 24} {1 + n % 28} {1 + n % 12} *", "Europe/Vienna", f"s{n:03}") for n in range(1000)]
    await put(admin, *yearly)
    found = await admin.ListSchedules(pb.ListSchedulesRequest(page_size=1000))
    assert len(found.schedules) == 1000
