"""Waking those who wait, wherever they are, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis
from redis.asyncio.client import PubSub

from dibs.broker.engine import hints as hints_module
from dibs.broker.engine.connections import connect
from dibs.broker.engine.engine import Engine
from dibs.broker.engine.hints import Hints
from dibs.broker.engine.types import Kind, LeaseQuery, NackReason, State, Until

from ..support.proxy import between
from ..support.redis import RedisServer
from .conftest import MakeEngine
from .helpers import (
    HOUR_US,
    KEPT,
    LEASED,
    NS,
    ONCE,
    PREFIX,
    TASKS,
    ack,
    lease,
    lease_one,
    nack,
    new,
    put,
    until,
    until_watched,
)

CHANNEL = "dibs:hints"


def subscriptions(raw: redis.Redis) -> list[tuple[str, str]]:
    """Id and last command of each connection that is subscribed to something."""
    return [(one["id"], one["cmd"]) for one in raw.client_list() if one["sub"] != "0"]


async def until_hungry(raw: redis.Redis) -> None:
    """Waits until somebody has found a queue of tasks empty and waits."""
    async with asyncio.timeout(10):
        while not raw.exists(PREFIX + "hungry:t"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.001)


class Ear:
    """What is published on the hints channel."""

    def __init__(self, raw: redis.Redis) -> None:
        self._raw = raw
        self._pubsub = raw.pubsub()  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(CHANNEL)
        assert self._pubsub.get_message(timeout=5)["type"] == "subscribe"

    def heard(self) -> list[str]:
        """Everything that was published up to now."""
        self._raw.publish(CHANNEL, "s end end")
        found: list[str] = []
        while True:
            message = self._pubsub.get_message(timeout=5)
            assert message is not None
            text = message["data"].decode()
            if text == "s end end":
                return found
            found.append(text)

    def close(self) -> None:
        self._pubsub.close()


@pytest.fixture
def ear(raw: redis.Redis) -> Any:
    ear = Ear(raw)
    yield ear
    ear.close()


@pytest.fixture
async def quiet(make_engine: MakeEngine) -> Engine:
    """An engine that polls so slowly that only hints can wake it."""
    engine = await make_engine(poll_interval_s=60)
    await until(engine.hints.subscribed)
    return engine


async def by_enqueue(engine: Engine) -> None:
    await put(engine, "a")


async def by_promotion(engine: Engine) -> None:
    await put(engine, "a", due="+20000")


async def by_release(engine: Engine) -> None:
    await nack(engine, await lease_one(engine), NackReason.RELEASED)


async def by_failure(engine: Engine) -> None:
    await nack(engine, await lease_one(engine))


async def by_retry(engine: Engine) -> None:
    await nack(engine, await lease_one(engine), delay_us=20_000)


async def by_expiry(engine: Engine) -> None:
    await lease(engine, 1, LeaseQuery(Kind.TASK, lease_us=500_000))


async def by_restoring(engine: Engine) -> None:
    await engine.restore(NS, await lease(engine, 1, LeaseQuery(Kind.TASK, lease_us=0)))


@pytest.mark.parametrize("queues", [("never", "q"), ()], ids=["named", "any"])
@pytest.mark.parametrize("wake", [by_enqueue, by_promotion])
async def test_who_waits_elsewhere_is_woken_by_new_items(
    quiet: Engine, engine: Engine, wake: Callable[[Engine], Coroutine[Any, Any, None]], queues: tuple[str, ...]
) -> None:
    woken = asyncio.Event()
    query = LeaseQuery(Kind.TASK, queues)
    with quiet.hints.on_ready(NS, Kind.TASK, queues, woken.set):
        assert (await quiet.lease(NS, query, 1, note_hunger=True)).drained
        await wake(engine)
        await until(woken)
    await lease_one(quiet, query)


@pytest.mark.parametrize("queues", [("q",), ()], ids=["named", "any"])
@pytest.mark.parametrize("wake", [by_release, by_failure, by_retry, by_expiry, by_restoring])
async def test_who_waits_elsewhere_is_woken_by_items_that_come_back(
    quiet: Engine, engine: Engine, wake: Callable[[Engine], Coroutine[Any, Any, None]], queues: tuple[str, ...]
) -> None:
    woken = asyncio.Event()
    query = LeaseQuery(Kind.TASK, queues)
    # The item is on its way when the other begins to wait.
    await put(engine, "a")
    lent: asyncio.Event = asyncio.Event()
    back = engine.lease

    async def lease_and_tell(*args: Any, **kwargs: Any) -> Any:
        reply = await back(*args, **kwargs)
        assert (await quiet.lease(NS, query, 1, note_hunger=True)).drained
        lent.set()
        return reply

    engine.lease = lease_and_tell  # type: ignore[method-assign]
    with quiet.hints.on_ready(NS, Kind.TASK, queues, woken.set):
        await wake(engine)
        await until(lent)
        await until(woken)
    await lease_one(quiet, query)


async def test_nothing_is_published_while_nobody_waits(engine: Engine, ear: Ear) -> None:
    for n in range(3):
        await put(engine, f"a{n}", f"b{n}", spec=KEPT)
        await put(engine, f"c{n}", spec=ONCE)
        await put(engine, f"d{n}", due=f"+{HOUR_US}")
        await engine.cancel(NS, [f"d{n}"])
        items = await lease(engine)
        await nack(engine, items[0])
        await ack(engine, items[1])
        await engine.lookup(NS, [f"a{n}", f"b{n}"])
        await engine._advance(NS)
    assert ear.heard() == []


async def test_one_hint_is_enough_until_somebody_waits_again(engine: Engine, ear: Ear) -> None:
    query = LeaseQuery(Kind.TASK, ("q", "other"))
    await engine.lease(NS, query, 1, note_hunger=True)
    await put(engine, "a")
    await put(engine, "b")
    assert ear.heard() == [f"r ns t q {engine.hints.origin}"]
    assert not (await engine.lease(NS, query, 2, note_hunger=True)).drained
    await put(engine, "c")
    assert ear.heard() == []
    await engine.lease(NS, query, 2, note_hunger=True)
    await put(engine, "d", spec=LEASED._replace(queue="other"))
    assert ear.heard() == [f"r ns t other {engine.hints.origin}"]


async def test_who_waits_at_the_same_engine_is_woken_once(engine: Engine, ear: Ear) -> None:
    woken = []
    query = LeaseQuery(Kind.TASK)
    await engine.enqueue("another", "", [new("a")])  # by now Redis knows the script
    with engine.hints.on_ready(NS, Kind.TASK, (), lambda: woken.append("any")):
        await engine.lease(NS, query, 1, note_hunger=True)
        woken.clear()
        await put(engine, "a")
        assert len(ear.heard()) == 1
        # Whatever is published later comes later.
        await engine.lease(NS, query, 2, note_hunger=True)
        with engine.hints.on_cancelled(lambda *_: woken.append("cancelled")):
            await put(engine, "b", spec=LEASED)
            (item,) = await lease(engine)
            await engine.cancel(NS, [item.id])
            async with asyncio.timeout(10):
                while "cancelled" not in woken:  # noqa: ASYNC110 - told by a callback
                    await asyncio.sleep(0.001)
    assert woken == ["any", "any", "cancelled"]


async def test_other_queues_wake_nobody(engine: Engine, ear: Ear) -> None:
    await engine.lease(NS, LeaseQuery(Kind.TASK, ("q",)), 1, note_hunger=True)
    await engine.lease(NS, LeaseQuery(Kind.DATA), 1, note_hunger=True)
    await put(engine, "a", spec=LEASED._replace(queue="other"))
    assert ear.heard() == []


async def test_who_has_enough_does_not_wait(engine: Engine, ear: Ear) -> None:
    await put(engine, "a")
    await engine.lease(NS, TASKS, 1, note_hunger=True)
    await put(engine, "b")
    assert ear.heard() == []


async def test_all_engines_hear_of_a_cancelled_item_that_runs(quiet: Engine, engine: Engine) -> None:
    heard: list[tuple[str, str, int]] = []
    event = asyncio.Event()

    def note(namespace: str, id: str, token: int) -> None:
        heard.append((namespace, id, token))
        event.set()

    with quiet.hints.on_cancelled(note):
        await put(engine, "a")
        item = await lease_one(engine)
        await engine.cancel(NS, ["a"])
        await until(event)
    assert heard == [(NS, "a", item.token)]


@pytest.mark.parametrize(
    "strange", [b"", b"r", b"r ns", b"r ns t", b"\xff \xff \xff", b"x y z", b"s ns \0", b"c ns a", b"c ns a x"]
)
async def test_strange_messages_do_no_harm(quiet: Engine, engine: Engine, raw: redis.Redis, strange: bytes) -> None:
    woken = asyncio.Event()
    with quiet.hints.on_ready(NS, Kind.TASK, (), woken.set):
        raw.publish(CHANNEL, strange)
        await quiet.lease(NS, TASKS, 1, note_hunger=True)
        await put(engine, "a")
        await until(woken)


async def test_everybody_is_told_when_the_subscription_had_been_lost(quiet: Engine, raw: redis.Redis) -> None:
    woken, told = asyncio.Event(), asyncio.Event()
    with (
        quiet.hints.on_ready(NS, Kind.TASK, ("q",), woken.set),
        quiet.hints.on_changed(NS, ["a"], lambda _: told.set()),
    ):
        assert raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1  # type: ignore[no-untyped-call]
        await until(woken)
        await until(told)


async def test_a_subscription_that_goes_silent_is_noticed_within_ten_seconds(
    make_engine: MakeEngine, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with between(redis_server.url.replace("unix://", "unix:")) as proxy:
        engine = await make_engine(url=f"redis://{proxy.target}", poll_interval_s=60, timeout_s=1)
        await until(engine.hints.subscribed)
        woken = asyncio.Event()
        with engine.hints.on_ready(NS, Kind.TASK, ("q",), woken.set):
            proxy.swallow()
            await until(woken, within_s=10)
        assert engine.hints.subscribed.is_set()
        assert [one.message for one in caplog.records if "hints" in one.message] == [
            "hints subscription lost: no sign of life from Redis for 8 s"
        ]
        await engine.close()


async def test_a_subscription_without_hints_is_kept(
    quiet: Engine, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints_module, "_QUIET_S", 0.01)
    raw.publish(CHANNEL, "s ns a")
    before = subscriptions(raw)
    async with asyncio.timeout(10):
        while not (now := subscriptions(raw)) or now[0][1] != "ping":  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert [id for id, _ in subscriptions(raw)] == [id for id, _ in before]


async def test_waiters_are_forgotten_when_they_leave(quiet: Engine, engine: Engine) -> None:
    woken, stays = asyncio.Event(), asyncio.Event()
    with quiet.hints.on_ready(NS, Kind.TASK, (), stays.set):
        with quiet.hints.on_ready(NS, Kind.TASK, ("q",), woken.set):
            await quiet.lease(NS, TASKS, 1, note_hunger=True)
        await put(engine, "a")
        await until(stays)
    assert not woken.is_set()


@pytest.mark.parametrize("wanted", [Until.STARTED, Until.DONE])
async def test_a_lookup_is_woken_by_what_another_engine_does(
    quiet: Engine, engine: Engine, raw: redis.Redis, wanted: Until
) -> None:
    await put(engine, "a", "b", spec=KEPT)
    waiting = asyncio.create_task(quiet.lookup(NS, ["a", "b"], until=wanted, timeout_s=60))
    await until_watched(raw, "a", "b")
    # Well before the lookup would look again by itself.
    async with asyncio.timeout(3):
        for item in await lease(engine):
            if wanted is Until.DONE:
                await ack(engine, item, b"result")
        found = await waiting
    assert {status.state for status in found} == {State.STARTED if wanted is Until.STARTED else State.SUCCEEDED}
    assert [status.id for status in found] == ["a", "b"]


async def test_two_lookups_wait_for_one_item(quiet: Engine, engine: Engine, other: Engine, raw: redis.Redis) -> None:
    await put(engine, "a", spec=KEPT)
    waiting = [
        asyncio.create_task(one.lookup(NS, ["a"], until=Until.DONE, timeout_s=60)) for one in (quiet, other, quiet)
    ]
    await until_watched(raw, "a")
    async with asyncio.timeout(3):
        await ack(engine, await lease_one(engine), b"result")
        for found in await asyncio.gather(*waiting):
            assert found[0].result == b"result"


@pytest.mark.parametrize("end", ["cancelled", "dead", "gone", "dropped"])
async def test_a_lookup_is_woken_by_every_end(quiet: Engine, engine: Engine, raw: redis.Redis, end: str) -> None:
    spec = {"gone": ONCE, "dead": LEASED._replace(dead_queue="dead")}.get(end, LEASED)
    await put(engine, "a", spec=spec)
    waiting = asyncio.create_task(quiet.lookup(NS, ["a"], until=Until.DONE, timeout_s=60))
    await until_watched(raw, "a")
    async with asyncio.timeout(3):
        if end == "cancelled":
            await engine.cancel(NS, ["a"])
        else:
            item = await lease_one(engine)
            if end != "gone":
                await nack(engine, item, NackReason.REJECTED)
        (found,) = await waiting
    assert found.state is (State.DEAD if end == "dead" else State.UNKNOWN)


async def test_a_lookup_answers_how_things_stand_when_its_time_is_up(engine: Engine) -> None:
    await put(engine, "a", "b", spec=KEPT)
    await ack(engine, (await lease(engine, 1))[0])
    found = await engine.lookup(NS, ["b", "a", "unknown"], until=Until.DONE, timeout_s=0.05)
    assert [status.state for status in found] == [State.WAITING, State.SUCCEEDED, State.UNKNOWN]


async def test_a_lookup_of_what_is_done_does_not_wait(engine: Engine) -> None:
    await put(engine, "a", spec=KEPT)
    await ack(engine, await lease_one(engine))
    async with asyncio.timeout(3):
        assert len(await engine.lookup(NS, ["a", "a", "unknown"], until=Until.DONE, timeout_s=60)) == 3


@pytest.mark.parametrize("options", ["", "?socket_timeout=5"])
async def test_the_subscription_ends_at_once_at_whatever_step_of_its_beginning(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, options: str
) -> None:
    """redis-py writes inside of asyncio.wait_for if it is let, which may swallow the cancellation."""
    for steps in range(40):
        client = connect(redis_server.url + options, connect_timeout_s=5)
        hints = Hints(client, CHANNEL, f"{CHANNEL}:1", lambda _: None)
        hints.start()
        for _ in range(steps):
            await asyncio.sleep(0)
        await hints.close()
        await client.aclose()
    assert "slow to end" not in caplog.text
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("method", ["subscribe", "get_message"])
async def test_the_subscription_ends_even_if_its_cancellation_gets_lost(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    genuine = getattr(PubSub, method)
    begun, lost = asyncio.Event(), asyncio.Event()

    async def deaf(self: PubSub, *args: Any, **kwargs: Any) -> Any:
        call = asyncio.ensure_future(genuine(self, *args, **kwargs))
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        return await call

    monkeypatch.setattr(PubSub, method, deaf)
    client = connect(redis_server.url, connect_timeout_s=5)
    hints = Hints(client, CHANNEL, f"{CHANNEL}:1", lambda _: None)
    hints.start()
    await until(begun)
    async with asyncio.timeout(5):
        await hints.close()
    assert lost.is_set()
    await client.aclose()
    assert len(asyncio.all_tasks()) == 1


async def test_those_who_wait_here_are_woken_though_redis_has_forgotten_the_scripts(
    make_engine: MakeEngine, raw: redis.Redis
) -> None:
    engine = await make_engine(poll_interval_s=60)
    woken = asyncio.Event()

    async def consume() -> list[str]:
        while True:
            woken.clear()
            if items := (await engine.lease(NS, TASKS, 1, note_hunger=True)).items:
                return [item.id for item in items]
            await woken.wait()

    with engine.hints.on_ready(NS, Kind.TASK, ["q"], woken.set):
        consuming = asyncio.create_task(consume())
        await until_hungry(raw)
        # Of enqueueing alone: its first call is in vain, and the lease behind it finds nothing.
        raw.script_flush()
        await engine.lease("another", TASKS, 1)
        await put(engine, "a", spec=LEASED)
        async with asyncio.timeout(5):
            assert await consuming == ["a"]
