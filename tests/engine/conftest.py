"""An engine on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dibs.broker.engine.engine import Engine, EngineConfig

from ..support.redis import RedisServer


@pytest.fixture
async def engine(redis_server: RedisServer) -> AsyncIterator[Engine]:
    """A started engine."""
    engine = Engine(EngineConfig(redis_server.url))
    await engine.start()
    yield engine
    await engine.close()
