"""Schedulers, as brokers have them, on the real clock: they fire in time, once, and whatever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import EngineError
from dibs.broker.engine.schedules import NewSchedule, ScheduleState
from dibs.broker.engine.types import Kind, Spec, decode_record
from dibs.broker.engine.workers import ANY_TASK, WorkerReport
from dibs.broker.upkeep.scheduler import Scheduler
from dibs.v1 import admin_pb2 as pb

from ..support.outages import fragile
from .conftest import MakeEngine
from .helpers import LEASED, NS, ONCE, PREFIX, SECOND_US, TASKS, script_calls, until

MakeScheduler = Callable[[Engine], Awaitable[Scheduler]]
PERIOD_US = 50_000
#: Far more than it takes, on a machine that is busy with something else.
GENEROUS_US = 2 * SECOND_US


@pytest.fixture
async def make_scheduler() -> AsyncIterator[MakeScheduler]:
    """Starts schedulers; close one to make its broker go away."""
    schedulers = []

    async def make(engine: Engine) -> Scheduler:
        await until(engine.hints.subscribed)
        scheduler = Scheduler(engine)
        scheduler.start()
        schedulers.append(scheduler)
        return scheduler

    yield make
    for scheduler in schedulers:
        await scheduler.close()


def every(period_us: int, *, never_skip: bool = False) -> bytes:
    schedule = pb.Schedule(never_skip=never_skip)
    schedule.interval.FromMicroseconds(period_us)
    return schedule.SerializeToString()


async def put(engine: Engine, definition: bytes, name: str = "s", spec: Spec = ONCE, first_us: int = PERIOD_US) -> int:
    """Puts a schedule that a connected worker knows the task of; answers its first due time."""
    await engine.workers.report(NS, [WorkerReport("w", ANY_TASK, b"")])
    due_us = await engine.schedules.now_us(NS) + first_us
    await engine.schedules.put(NS, name, [NewSchedule(name, spec.encode(), "task", definition, b"", due_us)])
    return due_us


async def deliveries(engine: Engine) -> AsyncIterator[tuple[int, int]]:
    """Due times of runs, and when they were delivered, as a consumer gets them that waits for hints."""
    ready = asyncio.Event()
    with engine.hints.on_ready(NS, Kind.TASK, (), ready.set):
        while True:
            ready.clear()
            try:
                reply = await engine.lease(NS, TASKS, 10, note_hunger=True)
            except EngineError:
                await asyncio.sleep(0.05)
                continue
            for item in reply.items:
                yield decode_record(item.record).due_us, reply.now_us
            if reply.drained:
                await ready.wait()


async def take(engine: Engine, count: int) -> list[tuple[int, int]]:
    found = []
    async with asyncio.timeout(20):
        async for delivery in deliveries(engine):
            found.append(delivery)
            if len(found) == count:
                break
    return found


@asynccontextmanager
async def consuming(*engines: Engine) -> AsyncIterator[list[tuple[int, int]]]:
    """Consumers on each of the engines inside the with, and what they got."""
    found: list[tuple[int, int]] = []

    async def consume(engine: Engine) -> None:
        async for delivery in deliveries(engine):
            found.append(delivery)

    tasks = [asyncio.create_task(consume(engine)) for engine in engines]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_had(found: list[tuple[int, int]], count: int) -> None:
    async with asyncio.timeout(30):
        while len(found) < count:  # noqa: ASYNC110 - grows at the pace of the schedule
            await asyncio.sleep(0.01)


def assert_consecutive(found: list[tuple[int, int]], first_us: int, period_us: int = PERIOD_US) -> None:
    due = sorted(due_us for due_us, _ in found)
    assert due == [first_us + n * period_us for n in range(len(found))]


async def test_runs_come_in_time_and_each_a_period_after_the_start_of_the_last(
    make_engine: MakeEngine, make_scheduler: MakeScheduler
) -> None:
    # So slow a poll that only the knowledge of what is due, and hints of what has started, can be in time.
    engine = await make_engine(poll_interval_s=60)
    await make_scheduler(engine)
    first_us = await put(engine, every(PERIOD_US))
    found = await take(engine, 6)
    assert found[0][0] == first_us
    for (_, start_us), (due_us, delivered_us) in pairwise(found):
        # The start is seen a moment later than it is.
        assert start_us + PERIOD_US <= due_us <= start_us + PERIOD_US + GENEROUS_US
        assert due_us <= delivered_us <= due_us + GENEROUS_US


async def test_a_schedule_that_never_skips_makes_up_for_what_was_missed(
    make_engine: MakeEngine, make_scheduler: MakeScheduler
) -> None:
    engine = await make_engine(poll_interval_s=60)
    await make_scheduler(engine)
    first_us = await put(engine, every(PERIOD_US, never_skip=True), first_us=-20 * PERIOD_US)
    found = await take(engine, 25)
    assert_consecutive(found, first_us)
    assert found[19][1] < found[24][0] + GENEROUS_US


async def test_three_brokers_fire_once_for_each_due_time_though_two_go_away(
    make_engine: MakeEngine, make_scheduler: MakeScheduler
) -> None:
    engines = [await make_engine(poll_interval_s=0.1) for _ in range(3)]
    schedulers = [await make_scheduler(engine) for engine in engines]
    first_us = await put(engines[0], every(PERIOD_US, never_skip=True))
    async with consuming(*engines) as found:
        await until_had(found, 10)
        await schedulers[0].close()
        await until_had(found, 20)
        await schedulers[1].close()
        await until_had(found, 30)
    assert_consecutive(found, first_us)


async def test_runs_go_on_after_redis_was_killed(redis_program: str, make_engine: MakeEngine) -> None:
    with fragile(redis_program) as server:
        engines = [await make_engine(url=server.url, poll_interval_s=0.1, timeout_s=0.5) for _ in range(2)]
        schedulers = [Scheduler(engine) for engine in engines]
        for scheduler in schedulers:
            scheduler.start()
        first_us = await put(engines[0], every(PERIOD_US, never_skip=True), spec=LEASED)
        async with consuming(*engines) as found:
            await until_had(found, 5)
            server.kill()
            server.start()
            await until_had(found, 15)
        # A reply that was lost with Redis took its delivery along until the lease runs out: nothing came twice.
        due = [due_us for due_us, _ in found]
        assert len(set(due)) == len(due)
        assert set(due) <= {first_us + n * PERIOD_US for n in range(len(due) + 5)}
        for scheduler in schedulers:
            await scheduler.close()
        for engine in engines:
            await engine.close()


async def test_forgotten_scripts_do_not_stop_it(
    make_engine: MakeEngine, make_scheduler: MakeScheduler, raw: redis.Redis
) -> None:
    engine = await make_engine()
    await make_scheduler(engine)
    first_us = await put(engine, every(PERIOD_US, never_skip=True))
    async with consuming(engine) as found:
        for n in range(5):
            await until_had(found, n + 1)
            raw.script_flush()
    assert_consecutive(found, first_us)


async def test_another_broker_takes_over_what_one_left_pending(
    make_engine: MakeEngine, make_scheduler: MakeScheduler
) -> None:
    gone, heir = await make_engine(), await make_engine(poll_interval_s=0.05)
    scheduler = await make_scheduler(gone)
    first_us = await put(gone, every(PERIOD_US, never_skip=True), first_us=-PERIOD_US)
    await until_state(heir, ScheduleState.PENDING)
    await scheduler.close()
    await make_scheduler(heir)
    assert_consecutive(await take(heir, 3), first_us)


async def until_state(engine: Engine, state: ScheduleState) -> None:
    async with asyncio.timeout(10):
        while True:
            (one,), _ = await engine.schedules.page(NS, 1, 1)
            if one.state is state:
                return
            await asyncio.sleep(0.005)


async def test_workers_that_come_set_off_what_waited_for_them(
    make_engine: MakeEngine, make_scheduler: MakeScheduler
) -> None:
    engine = await make_engine(poll_interval_s=60)
    scheduler = await make_scheduler(engine)
    now_us = await engine.schedules.now_us(NS)
    await engine.schedules.put(NS, "g", [NewSchedule("s", ONCE.encode(), "task", every(SECOND_US), b"", now_us)])
    await until_state(engine, ScheduleState.NO_WORKER)
    await engine.workers.report(NS, [WorkerReport("w", ANY_TASK, b"")])
    scheduler.workers_came(NS)
    ((due_us, delivered_us),) = await take(engine, 1)
    assert due_us == now_us
    assert delivered_us <= now_us + GENEROUS_US


async def test_a_definition_that_cannot_be_read_holds_up_no_other(
    make_engine: MakeEngine, make_scheduler: MakeScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await make_engine()
    await make_scheduler(engine)
    await put(engine, pb.Schedule(cron="0 0 1 1 *", time_zone="Gone/Away").SerializeToString(), "bad")
    await put(engine, every(PERIOD_US), "good")
    await take(engine, 4)
    assert "schedule bad in namespace ns cannot go on" in caplog.text


async def test_schedules_that_wait_cost_nothing(
    make_engine: MakeEngine, make_scheduler: MakeScheduler, raw: redis.Redis
) -> None:
    engine = await make_engine(poll_interval_s=60)
    await make_scheduler(engine)
    await engine.workers.report(NS, [WorkerReport("w", ANY_TASK, b"")])
    now_us = await engine.schedules.now_us(NS)
    # In one call each: the first must not be due for a look again before the last is there.
    for name, first_us in (("later", 3600 * SECOND_US), ("pending", 0)):
        await engine.schedules.put(
            NS,
            name,
            [
                NewSchedule(f"{name}{n}", ONCE.encode(), "task", every(3600 * SECOND_US), b"", now_us + first_us)
                for n in range(50)
            ],
        )
    async with asyncio.timeout(10):
        while raw.llen(PREFIX + "queue:t:q") < 50:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)
    raw.config_resetstat()
    # A span of time is what is measured here; pending runs are looked at every 3.75 to 5 s.
    await asyncio.sleep(0.5)
    assert script_calls(raw) == 0


async def test_starting_and_closing_are_harmless_at_any_time(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    scheduler = Scheduler(engine)
    await scheduler.close()
    scheduler.start()
    await scheduler.close()
    await scheduler.close()
    assert engine.schedules.on_due is None
