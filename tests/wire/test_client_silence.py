"""Streams of consumers on which nothing comes any more, and those on which there is just nothing to say."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta

import pytest

from dibs import AsyncDibs, Dibs
from dibs.broker.config.limits import Limits

from ..support.broker_thread import BrokerThread, serving
from ..support.proxy import between
from ..support.redis import RedisServer

#: Who has heard nothing for so long looks for another broker; pings would take half a minute.
SILENCE_S = 2.0
#: What opening another stream takes, on a busy machine.
SLACK_S = 6.0
LIMITS = Limits(heartbeat_interval=timedelta(milliseconds=200), heartbeat_timeout=timedelta(seconds=SILENCE_S))
SAID = f"the stream of a data queue broke, opening another: nothing was heard for {SILENCE_S:g} s"


@pytest.fixture
def broker(redis_server: RedisServer) -> Iterator[BrokerThread]:
    with serving(redis_server.url, limits=LIMITS) as broker:
        yield broker


def test_a_blocking_consumer_opens_a_stream_on_a_new_channel(
    broker: BrokerThread, caplog: pytest.LogCaptureFixture
) -> None:
    with between(broker.target) as proxy, Dibs(proxy.target) as app, Dibs(broker.target) as other:
        same = other.Data("q", vis_timeout=60)
        consuming = threading.Event()

        def consume() -> list[object]:
            found: list[object] = []
            for batch in app.Data("q", vis_timeout=60).stream(items=1, get_timeout=30):
                found += batch.values()
                consuming.set()
                if len(found) == 2:
                    break
            return found

        with ThreadPoolExecutor(1) as pool:
            consumed = pool.submit(consume)
            same.put_data("before")
            assert consuming.wait(10)
            time.sleep(1)  # so that both have agreed on heartbeats
            proxy.swallow()
            began = time.monotonic()
            same.put_data("after")
            assert consumed.result(20) == ["before", "after"]
            assert time.monotonic() - began < SILENCE_S + SLACK_S
    assert caplog.messages.count(SAID) == 1


def test_an_asyncio_consumer_opens_a_stream_on_a_new_channel(
    broker: BrokerThread, caplog: pytest.LogCaptureFixture
) -> None:
    async def consume() -> float:
        with between(broker.target) as proxy, Dibs(broker.target) as other:
            same = other.Data("q", vis_timeout=60)
            same.put_data("before")
            async with (
                AsyncDibs(proxy.target) as app,
                aclosing(app.Data("q", vis_timeout=60).stream(items=1, get_timeout=30)) as batches,
            ):
                assert list((await anext(batches)).values()) == ["before"]
                following = asyncio.ensure_future(anext(batches))
                await asyncio.sleep(1)  # so that both have agreed on heartbeats
                proxy.swallow()
                began = time.monotonic()
                await asyncio.to_thread(same.put_data, "after")
                assert list((await following).values()) == ["after"]
                return time.monotonic() - began

    assert asyncio.run(consume()) < SILENCE_S + SLACK_S
    assert caplog.messages.count(SAID) == 1


def test_consumers_that_wait_for_long_keep_their_streams(
    broker: BrokerThread, caplog: pytest.LogCaptureFixture
) -> None:
    async def consume() -> list[object]:
        async with AsyncDibs(broker.target) as app:
            return [batch async for batch in app.Data("q", vis_timeout=60).stream(get_timeout=2 * SILENCE_S)]

    with Dibs(broker.target) as app, ThreadPoolExecutor(1) as pool, caplog.at_level(logging.INFO):
        blocking = pool.submit(list, app.Data("q", vis_timeout=60).stream(get_timeout=2 * SILENCE_S))
        assert asyncio.run(consume()) == []
        assert blocking.result() == []
    assert [message for message in caplog.messages if "stream" in message] == []


def test_a_body_that_holds_up_the_loop_for_long_costs_a_stream_and_no_item(
    broker: BrokerThread, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker hears nothing meanwhile; what is held stays held, and what was not received comes again."""

    async def consume() -> list[object]:
        found: list[object] = []
        async with AsyncDibs(broker.target) as app:
            queue = app.Data("q", vis_timeout=60)
            await queue.put_data([1, 2, 3], is_one=False)
            async with aclosing(queue.stream(items=1, get_timeout=1)) as batches:
                async for batch in batches:
                    found += batch.values()
                    if len(found) == 1:
                        await asyncio.sleep(1)  # so that both have agreed on heartbeats
                        time.sleep(SILENCE_S + 1)
            assert await queue.currently_available() == (0, 0)
        return found

    assert asyncio.run(consume()) == [1, 2, 3]
    # The consumer has not blamed the broker for it.
    assert SAID not in caplog.messages
