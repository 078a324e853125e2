"""Brokers look who else is there, and write nothing that one of them cannot read."""

from __future__ import annotations

import redis

from dibs.broker.engine import keys
from dibs.broker.engine.engine import Engine

from .conftest import MakeEngine
from .helpers import PREFIX, lease, put, until


async def met(*engines: Engine) -> list[bool]:
    """What each finds when all listen."""
    for engine in engines:
        await until(engine.hints.subscribed)
    for engine in engines:
        await engine.peers.look()
    for engine in engines:
        await engine.peers.look()
    return [engine.peers.current for engine in engines]


async def shares(engine: Engine, raw: redis.Redis) -> int:
    """How many leases stand together when many items are leased."""
    await put(engine, *(f"i{n}" for n in range(50)))
    assert len(await lease(engine)) == 50
    return int(raw.hlen(PREFIX + "shareleft:t:q"))


async def test_brokers_of_this_version_lease_by_share(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine, other = await make_engine(), await make_engine()
    assert await met(engine, other) == [True, True]
    assert await shares(engine, raw) == 1


async def test_a_broker_that_only_listens_is_of_an_earlier_version(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine()
    assert await met(engine) == [True]
    with raw.pubsub() as old:  # type: ignore[no-untyped-call]
        old.subscribe(keys.hints_channel("dibs"))
        old.get_message(timeout=5)
        assert await met(engine) == [False]
        assert await shares(engine, raw) == 0


async def test_a_broker_that_died_does_not_hide_one_of_an_earlier_version(
    make_engine: MakeEngine, raw: redis.Redis
) -> None:
    engine, dead = await make_engine(), await make_engine()
    assert await met(engine, dead) == [True, True]
    # As if killed: its subscription ends, and it says goodbye to nobody.
    await dead.hints.close()
    with raw.pubsub() as old:  # type: ignore[no-untyped-call]
        old.subscribe(keys.hints_channel("dibs"))
        old.get_message(timeout=5)
        await engine.peers.look()
        assert not engine.peers.current


async def test_a_broker_that_died_is_not_missed(make_engine: MakeEngine) -> None:
    engine, dead = await make_engine(), await make_engine()
    assert await met(engine, dead) == [True, True]
    await dead.hints.close()
    await engine.peers.look()
    assert engine.peers.current


async def test_lost_data_is_told_of_once_by_every_broker(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine, other = await make_engine(), await make_engine()
    told: list[str] = []
    with (
        engine.peers.on_data_lost(lambda: told.append("engine")),
        other.peers.on_data_lost(lambda: told.append("other")),
    ):
        await put(engine, "a")
        await met(engine, other)
        assert told == []
        raw.flushall()
        await met(engine, other)
        assert sorted(told) == ["engine", "other"]
        # The namespace is one that is in use again when something is done there.
        await put(engine, "a")
        assert await engine.namespaces(10) == ["ns"]


async def test_brokers_that_come_and_go_are_no_loss(make_engine: MakeEngine, raw: redis.Redis) -> None:
    engine = await make_engine()
    told: list[str] = []
    with engine.peers.on_data_lost(lambda: told.append("engine")):
        await met(engine)
        await met(engine, await make_engine())
    assert told == []


async def test_who_does_not_listen_itself_cannot_tell(make_engine: MakeEngine) -> None:
    engine = await make_engine()
    assert await met(engine) == [True]
    engine.hints.subscribed.clear()
    await engine.peers.look()
    assert not engine.peers.current
