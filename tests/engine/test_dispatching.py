"""What stands between the engine and the streams, on a real Redis: names of lease calls, receipts, the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
import redis

from dibs.broker.engine.engine import Engine
from dibs.broker.engine.errors import LateCall
from dibs.broker.engine.types import Leased
from dibs.broker.leasing.callers import Callers
from dibs.broker.leasing.dispatch import Dispatch
from dibs.broker.leasing.returns import Returns

from ..support.proxy import Proxy, between
from ..support.redis import RedisServer
from .conftest import MakeEngine
from .helpers import LEASED, NS, ONCE, PREFIX, SECOND_US, TASKS, Clock, ack, ids_of, lease, put, script_calls


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    """Between an engine and Redis."""
    with between("unix:" + redis_server.url.removeprefix("unix://")) as proxy:
        yield proxy


async def test_after_a_step_of_redis_clock_a_lease_is_late_once(still: Engine, clock: Clock) -> None:
    still._timers.see_clock(clock.now_us)
    caller = Callers(still).take(NS)
    await put(still, "a", "b")
    assert ids_of((await caller.lease(TASKS, (1,))).items) == ["a"]
    clock.passes(120 * SECOND_US)
    with pytest.raises(LateCall):
        await caller.lease(TASKS, (1,))
    assert ids_of((await caller.lease(TASKS, (1,))).items) == ["b"]


async def test_receipts_ride_on_acks(still: Engine, raw: redis.Redis, clock: Clock) -> None:
    still._timers.see_clock(clock.now_us)
    caller = Callers(still).take(NS)
    await put(still, "a", "b", "c")
    first, second, third = (await caller.lease(TASKS, (1, 1, 1))).items
    await ack(still, first)
    await still.receipts.tell(NS)
    raw.config_resetstat()
    still.receipts.received(NS, [third.token])
    await ack(still, second)
    # A span of time in which it would have gone alone.
    await asyncio.sleep(0.05)
    assert raw.zrange(PREFIX + "unreceived", 0, -1) == [str(item.token).encode() for item in (first, second)]
    assert script_calls(raw) == 1


async def test_what_two_streams_lease_together_has_a_token_for_each(engine: Engine) -> None:
    dispatch = Dispatch(engine)
    two, three = Stream(2), Stream(3)
    with dispatch.serve(NS, TASKS, two), dispatch.serve(NS, TASKS, three):
        await put(engine, *"abcde")
        async with asyncio.timeout(5):
            await asyncio.gather(two.full.wait(), three.full.wait())
    tokens = [{item.token for item in stream.got} for stream in (two, three)]
    assert not tokens[0] & tokens[1]
    await dispatch.close(5)


async def test_what_nobody_takes_any_more_is_there_for_the_next(engine: Engine) -> None:
    dispatch = Dispatch(engine)
    await put(engine, "a", spec=LEASED._replace(attempts=1))
    await put(engine, "b", spec=ONCE)
    with dispatch.serve(NS, TASKS, Stream(10)):
        await asyncio.sleep(0)  # it has asked
    await dispatch.close(5)
    found = await lease(engine)
    assert sorted((item.id, item.attempt) for item in found) == [("a", 1), ("b", 1)]


async def test_a_client_that_does_not_wait_for_its_lease_leaves_nothing_leased(engine: Engine) -> None:
    dispatch = Dispatch(engine)
    await put(engine, "a", spec=LEASED._replace(attempts=1))
    await put(engine, "b", spec=ONCE)
    asking = asyncio.create_task(dispatch.lease(NS, TASKS, 10))
    await asyncio.sleep(0)  # it has asked
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await dispatch.close(5)
    assert sorted(ids_of(await lease(engine))) == ["a", "b"]


async def test_items_that_are_put_back_twice_since_the_answer_was_lost_come_once(
    make_engine: MakeEngine, engine: Engine, proxy: Proxy
) -> None:
    lossy = await make_engine(url=f"redis://{proxy.target}", timeout_s=1.0)
    await put(lossy, "warm", spec=ONCE)
    await lossy.restore(NS, await lease(lossy), name="warm")
    await lease(lossy)
    await put(lossy, "a", "b", spec=ONCE)
    items = await lease(lossy)
    returns = Returns(lossy)
    proxy.swallow()
    returns.unseen(NS, items)
    # The first try has put them back, and is not known to have.
    async with asyncio.timeout(5):
        while not (found := await lease(engine)):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.005)
    assert ids_of(found) == ["a", "b"]
    await returns.close(5)
    assert proxy.swallowed.is_set()
    assert await lease(engine) == []


async def test_a_fault_while_dealing_out_is_told_and_does_not_end_it(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    dispatch = Dispatch(engine)
    stream = Faulty(1)
    with dispatch.serve(NS, TASKS, stream):
        await put(engine, "a")
        async with asyncio.timeout(5):
            await stream.failed.wait()
        await put(engine, "b")
        async with asyncio.timeout(5):
            await stream.full.wait()
    assert ids_of(stream.got) == ["b"]
    assert "on purpose" in caplog.text
    await dispatch.close(5)


class Stream:
    """Takes as many items as it has credit.

    Attributes:
        full: set when it takes no more.
    """

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.got: list[Leased] = []
        self.full = asyncio.Event()

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        self.credit -= len(items)
        self.got += items
        if not self.credit:
            self.full.set()

    def note_unknown(self, names: Sequence[str]) -> None:
        raise AssertionError(names)


class Faulty(Stream):
    """Cannot take the first items that it gets."""

    def __init__(self, credit: int) -> None:
        super().__init__(credit)
        self.failed = asyncio.Event()

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        if not self.failed.is_set():
            self.failed.set()
            raise RuntimeError("on purpose")
        super().deliver(items, now_us)
