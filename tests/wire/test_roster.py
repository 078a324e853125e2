"""Workers on the roster of one broker are seen by all, and are gone when their broker or stream is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.workers import ANY_TASK, NO_TASK
from dibs.broker.upkeep import roster as module
from dibs.broker.upkeep.roster import Roster
from dibs.v1 import admin_pb2 as pb

from ..support.outages import fragile
from ..support.redis import RedisServer

NS = "ns"


class Worker:
    """Says what it is told to."""

    def __init__(self, name: str) -> None:
        self.credit = 1
        self._name = name

    def info(self) -> pb.WorkerInfo:
        return pb.WorkerInfo(worker_id=self._name, credit=self.credit)


@pytest.fixture
async def engine(redis_server: RedisServer) -> AsyncIterator[Engine]:
    engine = Engine(EngineConfig(redis_server.url, timeout_s=20.0))
    await engine.start()
    yield engine
    await engine.close()


class Arrivals:
    """Awaits reports of new workers."""

    def __init__(self) -> None:
        self._came = asyncio.Event()

    def __call__(self, namespace: str) -> None:
        assert namespace == NS
        self._came.set()

    async def next(self) -> None:
        async with asyncio.timeout(10):
            await self._came.wait()
        self._came.clear()


async def names(engine: Engine) -> list[str]:
    return [worker.name.partition(" ")[0] for worker in (await engine.workers.page(NS, 100))[0]]


async def test_workers_come_and_go(engine: Engine) -> None:
    came = Arrivals()
    roster = Roster(engine, "broker", came)
    with roster.on(NS, Worker("w1"), ["a"]):
        await came.next()
        with roster.on(NS, Worker("w2"), ["a"]), roster.on(NS, Worker("w3"), []), roster.on(NS, Worker("w4"), None):
            await came.next()
            found, _ = await engine.workers.page(NS, 100)
            infos = [pb.WorkerInfo.FromString(worker.info) for worker in found]
            assert [info.worker_id for info in infos] == ["w1", "w2", "w3", "w4"]
            assert {info.broker_id for info in infos} == {"broker"}
            assert found[0].skills == found[1].skills
            assert [worker.skills for worker in found[2:]] == [ANY_TASK, NO_TASK]
            assert await engine.workers.count(NS, ["a", "b"]) == [3, 1]
    await roster.close()
    assert await names(engine) == []
    assert await engine.workers.count(NS, ["a", "b"]) == [0, 0]


async def test_workers_are_reported_again_and_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPORT_S", 0.05)
    came, worker = Arrivals(), Worker("w")
    roster = Roster(engine, "broker", came)
    with roster.on(NS, worker, ["a"]):
        await came.next()
        worker.credit = 7
        async with asyncio.timeout(10):
            while True:
                ((_, _, _, info),), _ = await engine.workers.page(NS, 1)
                if pb.WorkerInfo.FromString(info).credit == 7:
                    break
                await asyncio.sleep(0.01)
    await roster.close()


async def test_an_outage_is_made_up_for(redis_program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPORT_S", 0.05)
    with fragile(redis_program) as server:
        engine = Engine(EngineConfig(server.url, timeout_s=0.3))
        await engine.start()
        came = Arrivals()
        roster = Roster(engine, "broker", came)
        server.kill()
        with roster.on(NS, Worker("w"), ["a"]):
            await asyncio.sleep(0.1)
            server.start()
            await came.next()
            assert await names(engine) == ["w"]
            assert await engine.known_by_workers(NS, ["a"]) == {"a"}
        await roster.close()
        assert await names(engine) == []
        await engine.close()
