"""Redis goes away and comes back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import EngineError, NotSent, Unavailable
from dibs.broker.engine.types import Enqueued, Kind, Outcome, Refresh, State, Until

from ..support.outages import FragileRedis, fragile
from .conftest import MakeEngine
from .helpers import HOUR_US, KEPT, LEASED, NS, TASKS, ack, ids_of, lease, lease_one, new, put, state_of, until

TIMEOUT_S = 1.0


@pytest.fixture
def server(redis_program: str) -> Iterator[FragileRedis]:
    with fragile(redis_program) as server:
        yield server


@pytest.fixture
async def engine(make_engine: MakeEngine, server: FragileRedis) -> AsyncIterator[Engine]:
    """An engine on the fragile server."""
    yield await make_engine(url=server.url, timeout_s=TIMEOUT_S, poll_interval_s=0.1)
    # So that it closes without waiting.
    server.kill()


async def until_available(engine: Engine) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await engine.ready()
            except Unavailable:
                await asyncio.sleep(0.01)
            else:
                return


def operations(engine: Engine) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "ready": engine.ready,
        "enqueue": lambda: put(engine, "new"),
        "lease": lambda: engine.lease(NS, TASKS, 1, note_hunger=True),
        "peek": lambda: engine.peek(NS, Kind.TASK, (), 1),
        "refresh": lambda: engine.refresh(NS, [Refresh("a", None)]),
        "cancel": lambda: engine.cancel(NS, ["a"]),
        "lookup": lambda: engine.lookup(NS, ["a"]),
        "waiting lookup": lambda: engine.lookup(NS, ["a"], until=Until.DONE, timeout_s=60),
        "new namespace": lambda: engine.lease("elsewhere", TASKS, 1),
    }


async def test_forgotten_scripts_are_loaded_again(make_engine: MakeEngine, server: FragileRedis) -> None:
    engine = await make_engine(url=server.url)
    with redis.Redis.from_url(server.url) as raw:
        for n in range(5):
            raw.script_flush()
            await put(engine, f"i{n}", spec=KEPT)
            raw.script_flush()
            item = await lease_one(engine)
            raw.script_flush()
            assert await ack(engine, item, b"result") is Outcome.OK
            raw.script_flush()
            assert await state_of(engine, f"i{n}") is State.SUCCEEDED


async def test_scripts_forgotten_amid_many_calls_fail_none_of_them(
    make_engine: MakeEngine, server: FragileRedis
) -> None:
    engine = await make_engine(url=server.url)
    with redis.Redis.from_url(server.url) as raw:
        for n in range(20):
            calls = [engine.enqueue(f"ns{m}", "", [new(f"i{n}")]) for m in range(20)]
            raw.script_flush()
            assert await asyncio.gather(*calls) == [[Enqueued.CREATED]] * 20


async def test_nothing_confirmed_is_lost_when_redis_is_killed(engine: Engine, server: FragileRedis) -> None:
    await put(engine, *(f"i{n}" for n in range(100)), spec=KEPT)
    items = await lease(engine, 60)
    for item in items[:30]:
        assert await ack(engine, item, b"result") is Outcome.OK
    await put(engine, "delayed", due=f"+{HOUR_US}")
    server.kill()
    server.start()
    await until_available(engine)
    states = [await state_of(engine, f"i{n}") for n in range(100)]
    assert states == [State.SUCCEEDED] * 30 + [State.STARTED] * 30 + [State.WAITING] * 40
    assert await state_of(engine, "delayed") is State.SCHEDULED
    # Leases outlive the outage, and tokens grow on.
    assert await ack(engine, items[30]) is Outcome.OK
    assert (await lease_one(engine)).token > items[-1].token


async def test_calls_fail_while_redis_is_dead_and_work_when_it_is_back(engine: Engine, server: FragileRedis) -> None:
    await put(engine, "a")
    server.kill()
    for call in operations(engine).values():
        with pytest.raises(Unavailable):
            await call()
    server.start()
    await until_available(engine)
    for name, call in operations(engine).items():
        if name != "waiting lookup":
            await call()


async def test_a_request_repeated_after_an_outage_is_done_once(engine: Engine, server: FragileRedis) -> None:
    assert await engine.enqueue(NS, "request", [new("a")]) == [Enqueued.CREATED]
    server.kill()
    with pytest.raises(Unavailable):
        await engine.enqueue(NS, "request", [new("a")])
    server.start()
    await until_available(engine)
    assert await engine.enqueue(NS, "request", [new("a")]) == [Enqueued.CREATED]
    assert ids_of(await lease(engine)) == ["a"]


async def test_hints_and_time_come_back_with_redis(engine: Engine, server: FragileRedis) -> None:
    await until(engine.hints.subscribed)
    woken = asyncio.Event()
    with engine.hints.on_ready(NS, Kind.TASK, ("q",), woken.set):
        server.kill()
        server.start()
        # Whatever happened meanwhile: everybody looks for themselves.
        await until(woken)
        await until_available(engine)
        woken.clear()
        await engine.lease(NS, TASKS, 1, note_hunger=True)
        await put(engine, "a", due="+20000")
        await until(woken)
    assert ids_of(await lease(engine)) == ["a"]


async def test_an_outage_is_a_line_a_second_at_most_and_one_at_its_end(
    make_engine: MakeEngine, server: FragileRedis, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await make_engine(url=server.url, timeout_s=TIMEOUT_S, poll_interval_s=0.1, idle_poll_interval_s=0.1)
    await until(engine.hints.subscribed)
    caplog.set_level(logging.INFO)
    over = asyncio.Event()

    def look(record: logging.LogRecord) -> bool:
        if record.getMessage() == "every namespace advances again":
            over.set()
        return True

    caplog.handler.addFilter(look)
    for n in range(50):
        await engine.enqueue(f"ns{n}", "", [new("a")])
    server.kill()
    await asyncio.sleep(2.5)
    server.start()
    await until(over)
    lines = [one.getMessage().partition(":")[0] for one in caplog.records if one.name.startswith("dibs.broker.engine.")]
    assert 1 <= len([one for one in lines if one.startswith("could not advance")]) <= 3
    assert 1 <= len([one for one in lines if one.startswith("hints subscription lost")]) <= 3
    caplog.handler.removeFilter(look)
    server.kill()


async def test_a_lookup_that_waits_fails_with_redis(engine: Engine, server: FragileRedis) -> None:
    await put(engine, "a")
    waiting = asyncio.create_task(engine.lookup(NS, ["a"], until=Until.DONE, timeout_s=60))
    await engine.ready()
    server.kill()
    with pytest.raises(Unavailable):
        async with asyncio.timeout(10):
            await waiting


async def test_calls_to_a_frozen_redis_fail_in_time_and_work_when_it_goes_on(
    engine: Engine, server: FragileRedis
) -> None:
    await put(engine, "a")
    server.freeze()
    for call in operations(engine).values():
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await call()
        assert time.monotonic() - begun < TIMEOUT_S + 1
    server.thaw()
    await until_available(engine)
    await put(engine, "b")
    assert await state_of(engine, "b") is State.WAITING


async def test_many_calls_to_a_frozen_redis_fail_together(engine: Engine, server: FragileRedis) -> None:
    await put(engine, "a")
    server.freeze()
    begun = time.monotonic()
    calls = [engine.lookup(NS, ["a"]) for _ in range(100)] + [engine.lookup(f"ns{n}", ["a"]) for n in range(100)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    # Of those that were still in line it is known that they were not done.
    assert {type(one) for one in found} == {Unavailable, NotSent}
    assert time.monotonic() - begun < TIMEOUT_S + 1
    server.thaw()
    await until_available(engine)
    found = await asyncio.gather(*(engine.lookup(NS, ["a"]) for _ in range(100)), return_exceptions=True)
    assert not [one for one in found if isinstance(one, EngineError)]


async def test_a_lease_nobody_heard_of_runs_out(engine: Engine, server: FragileRedis) -> None:
    await put(engine, "a", spec=LEASED._replace(lease_us=200_000))
    server.freeze()
    with pytest.raises(Unavailable):
        await engine.lease(NS, TASKS, 1)
    server.thaw()
    ready = asyncio.Event()
    with engine.hints.on_ready(NS, Kind.TASK, ("q",), ready.set):
        await until(ready)
        while not (items := await lease(engine)):
            ready.clear()
            await until(ready)
    assert ids_of(items) == ["a"]
    assert await ack(engine, items[0]) is Outcome.OK
