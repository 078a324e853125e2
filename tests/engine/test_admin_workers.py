"""Which workers are connected, and what they can run."""

from __future__ import annotations

import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.workers import ANY_TASK, LIFETIME_US, NO_TASK, WorkerReport, skill_set

from .helpers import NS, PREFIX, Clock

AB = skill_set(["a", "b"])
TASKS = {AB: ["a", "b"]}


def report(name: str, skills: str = AB) -> WorkerReport:
    return WorkerReport(name, skills, f"info of {name}".encode())


async def names(engine: Engine) -> list[str]:
    return [worker.name for worker in (await engine.workers.page(NS, 1000))[0]]


async def test_a_reported_worker_is_listed_and_its_tasks_are_known(still: Engine, other: Engine, clock: Clock) -> None:
    await still.workers.report(NS, [report("one")], tasks=TASKS)
    (worker,), _ = await still.workers.page(NS, 10)
    assert worker == ("one", AB, clock.now_us, b"info of one")
    assert await still.known_by_workers(NS, ["a", "b", "c"]) == {"a", "b"}
    assert await still.workers.tasks_of(NS, AB, 10) == ["a", "b"]


async def test_a_worker_that_is_not_reported_again_is_gone(still: Engine, clock: Clock) -> None:
    await still.workers.report(NS, [report("one")], tasks=TASKS)
    clock.passes(LIFETIME_US - 1)
    await still.workers.report(NS, [report("two")], tasks=TASKS)
    assert await still.workers.count(NS, ["a"]) == [2]
    clock.passes(1)
    assert await names(still) == ["two"]
    assert await still.workers.count(NS, ["a"]) == [1]
    clock.passes(LIFETIME_US)
    assert await names(still) == []
    assert await still.known_by_workers(NS, ["a"]) == set()


async def test_a_worker_that_disconnected_is_gone_at_once(still: Engine, raw: redis.Redis) -> None:
    await still.workers.report(NS, [report("one"), report("two", ANY_TASK)], tasks=TASKS)
    assert await still.known_by_workers(NS, ["a", "whatever"]) == {"a", "whatever"}
    await still.workers.report(NS, [], ["two"])
    assert await still.known_by_workers(NS, ["a", "whatever"]) == {"a"}
    await still.workers.report(NS, [], ["one", "never there"])
    assert await names(still) == []
    assert await still.known_by_workers(NS, ["a"]) == set()
    assert raw.zcard(PREFIX + "skills") == 0


async def test_workers_without_tasks_know_none(still: Engine) -> None:
    await still.workers.report(NS, [report("one", NO_TASK)])
    assert await names(still) == ["one"]
    assert await still.known_by_workers(NS, ["a"]) == set()


async def test_names_of_tasks_that_redis_forgot_are_taught_again(still: Engine, raw: redis.Redis) -> None:
    await still.workers.report(NS, [report("one")], tasks=TASKS)
    raw.delete(f"{PREFIX}skills:{AB}")
    await still.workers.report(NS, [report("one")], tasks=TASKS)
    assert await still.known_by_workers(NS, ["a"]) == {"a"}


async def test_workers_are_listed_by_name_in_pages(still: Engine) -> None:
    all_names = sorted(f"w{n}" for n in range(1201))
    await still.workers.report(NS, [report(name) for name in reversed(all_names)], tasks=TASKS)
    found, after = [], ""
    while True:
        page, after = await still.workers.page(NS, 500, after)
        found += [worker.name for worker in page]
        if not after:
            break
    assert found == all_names
    assert await still.workers.count(NS, ["b"]) == [1201]
