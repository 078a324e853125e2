"""Engines on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis

from dibs.broker.engine.config import EngineConfig
from dibs.broker.engine.engine import Engine

from ..support.redis import RedisServer
from .helpers import Clock

MakeEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A plain client of the same Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
async def make_engine(redis_server: RedisServer) -> AsyncIterator[MakeEngine]:
    """Starts engines; takes settings that differ from the defaults, and `url` for another Redis."""
    engines = []

    async def make(*, url: str = redis_server.url, **settings: Any) -> Engine:
        # A machine that is busy with something else answers late; that is not what these tests are about.
        engine = Engine(EngineConfig(url, **{"timeout_s": 20.0, **settings}))
        engines.append(engine)
        await engine.start()
        return engine

    yield make
    for engine in engines:
        await engine.close()


@pytest.fixture
async def engine(make_engine: MakeEngine) -> Engine:
    """A started engine."""
    return await make_engine()


@pytest.fixture
async def other(make_engine: MakeEngine) -> Engine:
    """A second engine on the same Redis, as another broker has it."""
    return await make_engine()


@pytest.fixture
def clock(raw: redis.Redis) -> Clock:
    """Time for `still`, which stands until it is moved."""
    clock = Clock(raw, 1_800_000_000_000_000)
    clock.passes(0)
    return clock


@pytest.fixture
async def still(make_engine: MakeEngine, clock: Clock) -> Engine:
    """An engine whose time is `clock`, and which does time's work only when it is called."""
    engine = await make_engine(clock="clock_shifted", poll_interval_s=1e6)
    await engine._timers.close()
    return engine
