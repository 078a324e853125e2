"""Schedules with several brokers that look, plan and die at random moments, and workers that start at others."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.schedules import NewSchedule, ScheduleState, StartedRun
from dibs.broker.engine.types import Ack, Leased, Nack, NackReason, decode_record
from dibs.broker.engine.workers import ANY_TASK, WorkerReport
from dibs.broker.messages.recurrence import Every

from .conftest import MakeEngine
from .helpers import KEPT, LEASED, NS, ONCE, PREFIX, SECOND_US, Clock, lease

SPECS = (ONCE, LEASED, KEPT)


@dataclass
class World:
    """A few brokers, a worker, and what was seen of each schedule."""

    engines: list[Engine]
    clock: Clock
    raw: redis.Redis
    chance: random.Random
    every: dict[str, Every] = field(default_factory=dict)
    #: What was delivered and is not finished.
    held: list[Leased] = field(default_factory=list)
    #: Of each schedule, due times and starts of its runs in the order of their deliveries.
    runs: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    #: Of runs that have started, what a broker has been told and may not have acted upon.
    unplanned: list[StartedRun] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        return self.chance.choice(self.engines)

    async def put(self) -> None:
        """As workers do at each of their starts."""
        schedules = [
            NewSchedule(name, SPECS[at % 3].encode(), "task", repr(every).encode(), b"", every.first(self.clock.now_us))
            for at, (name, every) in enumerate(self.every.items())
        ]
        await self.engine.schedules.put(NS, "g", schedules, replace_group=True)

    async def connect(self) -> None:
        await self.engine.workers.report(NS, [WorkerReport("w", ANY_TASK, b"")])

    async def look(self) -> None:
        """A broker looks; if it does not die right then, it plans, at once or later."""
        names = self.chance.sample(list(self.every), self.chance.randint(0, 2))
        found = await self.engine.schedules.look(NS, names)
        if self.chance.random() < 0.8:
            self.unplanned += found.started

    async def plan(self) -> None:
        runs = [run for run in self.unplanned if self.chance.random() < 0.7]
        plans = [(run, self.every[run.name].following(run.due_us, run.start_us)) for run in runs]
        await self.engine.schedules.plan(NS, plans)
        if self.chance.random() < 0.8:
            self.unplanned = [run for run in self.unplanned if run not in runs]

    async def start(self) -> None:
        for item in await lease(self.engine, self.chance.randint(1, 3)):
            name, due_us = item.id.removeprefix("schedule:").split(":")
            assert decode_record(item.record).due_us == int(due_us) <= self.clock.now_us
            if item.token and self.chance.random() < 0.2:
                # Before anybody can have planned what comes next.
                await self.engine.nack(NS, [Nack(item.id, item.token, NackReason.RELEASED)])
                continue
            self.runs[name].append((int(due_us), self.clock.now_us))
            if item.token:
                self.held.append(item)
            # The hint, unless it is lost.
            if self.chance.random() < 0.7:
                self.unplanned += (await self.engine.schedules.look(NS, [name])).started

    async def finish(self) -> None:
        if self.held:
            item = self.held.pop(self.chance.randrange(len(self.held)))
            await self.engine.ack(NS, [Ack(item.id, item.token, b"")])

    async def passes(self) -> None:
        self.clock.passes(self.chance.choice([1000, 100_000, SECOND_US, 7 * SECOND_US]))

    async def check(self) -> None:
        unstarted = self.raw.lrange(PREFIX + "queue:t:q", 0, -1)
        names = [str(id).split(":")[1] for id in unstarted]
        assert len(set(names)) == len(names), "two runs of one schedule are pending"


@pytest.mark.parametrize("seed", range(5))
async def test_every_due_time_has_one_run_and_one_run_is_pending_at_most(
    make_engine: MakeEngine, raw: redis.Redis, clock: Clock, seed: int
) -> None:
    engines = [await make_engine(clock="clock_shifted", poll_interval_s=1e6) for _ in range(3)]
    for engine in engines:
        await engine._timers.close()
    world = World(engines, clock, raw, random.Random(seed))
    for n, never_skip in enumerate((False, True) * 3):
        world.every[f"s{n}"] = Every((n + 1) * SECOND_US, never_skip)
        world.runs[f"s{n}"] = []
    begun_us = clock.now_us
    await world.put()
    steps = [world.look, world.look, world.plan, world.plan, world.start, world.start, world.finish, world.passes]
    steps += [world.connect, world.put]
    for _ in range(400):
        await world.chance.choice(steps)()
        await world.check()
    ended_us = clock.now_us
    for _ in range(400):
        clock.passes(SECOND_US // 10)
        await world.connect()
        for step in (world.look, world.plan, world.start):
            await step()
        await world.check()
    for name, every in world.every.items():
        runs = world.runs[name]
        assert len(runs) > 5
        assert len({due for due, _ in runs}) == len(runs)
        expected_us = begun_us + every.interval_us
        for due_us, start_us in runs:
            if every.never_skip:
                assert due_us == expected_us
            else:
                assert due_us >= expected_us
            expected_us = (due_us if every.never_skip else start_us) + every.interval_us
        # All that was missed has come.
        assert expected_us > ended_us
    stored, _ = await engines[0].schedules.page(NS, 10, 10**6)
    for one in stored:
        # One may be pending, or have started unnoticed.
        assert one.runs - len(world.runs[one.name]) in ((0, 1) if one.state is ScheduleState.PENDING else (0,))
