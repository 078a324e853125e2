"""Another Redis becomes the primary, and the address leads to it while old connections stay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import EngineError, ReadOnly

from ..support.ports import free_port
from ..support.proxy import Proxy, between
from ..support.redis import running
from .conftest import MakeEngine
from .helpers import lease, put, until

CHANNEL = "dibs:hints"


class Pair:
    """A primary, its replica, and an address that leads to the primary."""

    def __init__(self, primary: redis.Redis, replica: redis.Redis, new: str, proxy: Proxy) -> None:
        self.primary = primary
        self.replica = replica
        self.proxy = proxy
        self.url = f"redis://{proxy.target}"
        self._new = new

    def exchange(self) -> None:
        """An orderly failover; the address still leads to the old primary, which has become a replica."""
        self.primary.execute_command("FAILOVER", "TIMEOUT", "10000")  # type: ignore[no-untyped-call]
        until_true(lambda: self.replica.info("replication")["role"] == "master")
        until_true(lambda: self.primary.info("replication")["role"] == "slave")

    def move(self) -> None:
        """New connections lead to the new primary; old ones stay."""
        self.proxy.lead_to(self._new)


def until_true(holds: Callable[[], bool]) -> None:
    """Waits for what Redis tells nobody."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def pair(redis_program: str) -> Iterator[Pair]:
    first, second = str(free_port()), str(free_port())
    with (
        running(redis_program, "--port", first) as old,
        running(redis_program, "--port", second, "--replicaof", "127.0.0.1", first) as new,
        redis.Redis.from_url(old.url) as primary,
        redis.Redis.from_url(new.url) as replica,
        between(f"127.0.0.1:{first}") as proxy,
    ):
        until_true(lambda: primary.info("replication").get("slave0", {}).get("state") == "online")
        yield Pair(primary, replica, f"127.0.0.1:{second}", proxy)


async def until_served(engine: Engine, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while True:
            try:
                await engine.ready()
            except EngineError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_broker_works_again_by_itself_when_its_old_connections_stay(
    make_engine: MakeEngine, pair: Pair
) -> None:
    engine = await make_engine(url=pair.url, timeout_s=2, poll_interval_s=0.2)
    await until(engine.hints.subscribed)
    await put(engine, "a")
    await asyncio.to_thread(pair.exchange)
    with pytest.raises(ReadOnly, match="read-only"):
        await engine.ready()
    pair.move()
    await until_served(engine, 5)
    await put(engine, "b")
    assert [item.id for item in await lease(engine)] == ["a", "b"]
    async with asyncio.timeout(10):
        while dict(pair.replica.pubsub_numsub(CHANNEL))[CHANNEL.encode()] != 1:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.05)
    await until(engine.hints.subscribed)
    await engine.close()


async def test_a_replica_costs_one_connection_a_second(make_engine: MakeEngine, pair: Pair) -> None:
    engine = await make_engine(url=pair.url, timeout_s=2, poll_interval_s=0.2)
    await asyncio.to_thread(pair.exchange)
    before = pair.primary.info("stats")["total_connections_received"]
    begun = time.monotonic()
    while time.monotonic() < begun + 2.5:
        with pytest.raises(EngineError):
            await engine.ready()
    # The pipe's, and those of the subscription that goes with it.
    assert pair.primary.info("stats")["total_connections_received"] - before <= 8
    await engine.close()
