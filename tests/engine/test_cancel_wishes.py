"""Whoever runs what is cancelled is told, whether the hint arrives or not."""

from __future__ import annotations

import asyncio

import pytest
import redis

from dibs.broker.engine.cancel_wishes import CancelWishes
from dibs.broker.engine.engine import Engine

from .conftest import MakeEngine
from .helpers import NS, PREFIX, lease, lease_one, put, until


class Runner:
    """Runs something and hears of wishes."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.event = asyncio.Event()

    def tell(self, id: str, token: int) -> None:
        self.told.append((id, token))
        self.event.set()


async def deaf(make_engine: MakeEngine) -> Engine:
    """An engine that hears no hints."""
    engine = await make_engine()
    await engine.hints.close()
    return engine


async def test_a_wish_whose_hint_was_lost_is_found_within_five_seconds(make_engine: MakeEngine, engine: Engine) -> None:
    other, runner = await deaf(make_engine), Runner()
    await put(engine, "a")
    item = await lease_one(other)
    with other.cancel_wishes.on_cancelled(NS, runner.tell):
        await engine.cancel(NS, ["a"])
        await until(runner.event, within_s=5)
    assert runner.told == [("a", item.token)]


@pytest.mark.parametrize("hinted", [True, False])
async def test_a_wish_is_told_once(make_engine: MakeEngine, engine: Engine, hinted: bool) -> None:
    other, runner = await make_engine() if hinted else await deaf(make_engine), Runner()
    if hinted:
        await until(other.hints.subscribed)
    await put(engine, "a", "b c")
    items = {item.id: item.token for item in await lease(other)}
    with other.cancel_wishes.on_cancelled(NS, runner.tell):
        await engine.cancel(NS, ["a", "b c"])
        if hinted:
            async with asyncio.timeout(5):
                while len(runner.told) < 2:  # noqa: ASYNC110 - told by a callback
                    await asyncio.sleep(0.001)
        for _ in range(3):
            await other.cancel_wishes.look(NS)
        assert sorted(runner.told) == sorted(items.items())


async def test_who_comes_later_is_told_of_what_others_have_heard(make_engine: MakeEngine, engine: Engine) -> None:
    other, early, late = await deaf(make_engine), Runner(), Runner()
    await put(engine, "a")
    item = await lease_one(other)
    wishes = other.cancel_wishes
    with wishes.on_cancelled(NS, early.tell):
        await engine.cancel(NS, ["a"])
        await wishes.look(NS)
        with wishes.on_cancelled(NS, late.tell):
            await wishes.look(NS)
            assert early.told == late.told == [("a", item.token)]


async def test_wishes_are_bounded_and_end_by_themselves(engine: Engine, raw: redis.Redis) -> None:
    for start in range(0, 3000, 500):
        ids = [f"i{n}" for n in range(start, start + 500)]
        await put(engine, *ids)
        await lease(engine)
        await engine.cancel(NS, ids)
    assert raw.llen(PREFIX + "cancels") == 1000
    assert 0 < raw.pttl(PREFIX + "cancels") <= 60_000
    newest = raw.lindex(PREFIX + "cancels", 0)
    assert isinstance(newest, bytes)
    assert newest.startswith(b"i2999 ")


async def test_what_has_not_started_leaves_no_wish(engine: Engine, raw: redis.Redis) -> None:
    await put(engine, "a")
    await engine.cancel(NS, ["a", "unknown"])
    assert not raw.exists(PREFIX + "cancels")


async def test_namespaces_where_nobody_runs_anything_are_not_looked_at() -> None:
    looked = []

    async def read(namespace: str) -> list[bytes]:
        looked.append(namespace)
        return [b"", b"\xff 1", b"no token", b"a 7"]

    wishes, runner = CancelWishes(read), Runner()
    with wishes.on_cancelled("here", runner.tell):
        wishes.hear("elsewhere", "a", 7)
        await wishes.look("here")
        await wishes.look("here")
    assert runner.told == [("a", 7)]
    assert not wishes._tells
