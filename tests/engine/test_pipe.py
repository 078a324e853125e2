"""One connection that many calls share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dibs.broker.engine.connections import Pipe

from ..support.redis import RedisServer
from ..support.waiting import until


@pytest.fixture
async def pipe(redis_server: RedisServer) -> AsyncIterator[Pipe]:
    pipe = Pipe(redis_server.url, connect_timeout_s=5, timeout_s=5)
    yield pipe
    await pipe.close()


def others(raw: redis.Redis) -> int:
    """Clients of Redis beside the one that asks."""
    return len(raw.client_list()) - 1


async def test_every_call_gets_its_own_reply(pipe: Pipe) -> None:
    found = await asyncio.gather(*(pipe.call("ECHO", f"{n}") for n in range(1000)))
    assert found == [b"%d" % n for n in range(1000)]


async def test_all_calls_share_one_connection(pipe: Pipe, raw: redis.Redis) -> None:
    await asyncio.gather(*(pipe.call("PING") for _ in range(100)))
    assert others(raw) == 1


@pytest.mark.parametrize("argument", ["", "text", "Ärger", b"", b"\0\r\n\xff", 0, -5, 2**60, b"x" * 300_000])
async def test_arguments_arrive_as_they_are(pipe: Pipe, argument: str | bytes | int) -> None:
    expected = argument if isinstance(argument, bytes) else str(argument).encode()
    assert await pipe.call("ECHO", argument) == expected


async def test_an_error_reply_is_for_its_own_call_only(pipe: Pipe) -> None:
    found = await asyncio.gather(
        pipe.call("ECHO", "a"), pipe.call("NONSENSE"), pipe.call("ECHO", "b"), return_exceptions=True
    )
    assert found[0] == b"a"
    assert isinstance(found[1], ResponseError)
    assert found[2] == b"b"


@pytest.mark.parametrize("bad", [None, object(), "\ud800", 1.5j])
async def test_an_argument_that_cannot_be_sent_shifts_no_replies(pipe: Pipe, bad: Any) -> None:
    found = await asyncio.gather(
        pipe.call("ECHO", "a"), pipe.call("ECHO", bad), pipe.call("ECHO", "b"), return_exceptions=True
    )
    assert isinstance(found[1], Exception)
    assert [found[0], found[2], await pipe.call("ECHO", "c")] == [b"a", b"b", b"c"]


async def test_a_caller_that_gives_up_shifts_no_replies(pipe: Pipe) -> None:
    for rounds in range(20):
        callers = [asyncio.create_task(pipe.call("ECHO", f"{n}")) for n in range(20)]
        for _ in range(rounds % 5):
            await asyncio.sleep(0)
        for caller in callers[::3]:
            caller.cancel()
        found = await asyncio.gather(*callers, return_exceptions=True)
        for n, one in enumerate(found):
            assert one == b"%d" % n or (n % 3 == 0 and isinstance(one, asyncio.CancelledError))


async def test_a_caller_that_gives_up_while_connecting_leaves_the_others_their_connection(
    redis_server: RedisServer, raw: redis.Redis
) -> None:
    for rounds in range(10):
        pipe = Pipe(redis_server.url, connect_timeout_s=5, timeout_s=5)
        callers = [asyncio.create_task(pipe.call("ECHO", f"{n}")) for n in range(5)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        callers[0].cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert [caller.result() for caller in callers[1:]] == [b"1", b"2", b"3", b"4"]
        await pipe.close()


async def test_an_unanswered_call_fails_in_time_and_the_next_connects_anew(
    redis_server: RedisServer, raw: redis.Redis
) -> None:
    pipe = Pipe(redis_server.url, connect_timeout_s=5, timeout_s=0.2)
    found = await asyncio.gather(pipe.call("BLPOP", "nothing", 0), pipe.call("ECHO", "behind"), return_exceptions=True)
    assert {type(one) for one in found} <= {RedisTimeoutError, RedisConnectionError}
    assert await pipe.call("ECHO", "next") == b"next"
    await pipe.close()


async def test_a_connection_that_is_cut_fails_what_is_in_flight_and_is_made_anew(pipe: Pipe, raw: redis.Redis) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        number = await pipe.call("CLIENT", "ID")
        waiting = asyncio.create_task(pipe.call("BLPOP", "nothing", 0))
        await asyncio.sleep(0)
        raw.client_kill_filter(_id=str(number))
        with pytest.raises(RedisConnectionError):
            await waiting
        assert await pipe.call("ECHO", "next") == b"next"
    assert others(raw) == 1
    # Broken connections are closed, not left to the garbage collector.
    assert len(os.listdir("/proc/self/fd")) <= before + 2


async def test_a_connection_that_is_cut_while_idle_is_made_anew(pipe: Pipe, raw: redis.Redis) -> None:
    for _ in range(10):
        number = await pipe.call("CLIENT", "ID")
        raw.client_kill_filter(_id=str(number))
        async with asyncio.timeout(5):
            while True:
                try:
                    assert await pipe.call("ECHO", "next") == b"next"
                except RedisConnectionError:
                    continue
                break


async def test_closing_fails_what_is_in_flight(pipe: Pipe, raw: redis.Redis) -> None:
    await pipe.call("PING")
    waiting = asyncio.create_task(pipe.call("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    await pipe.close()
    with pytest.raises(RedisConnectionError):
        await waiting
    await pipe.close()
    # The event loop closes the socket a turn later.
    await asyncio.to_thread(until, lambda: others(raw) == 0)


async def test_nothing_is_left_running_after_closing(redis_server: RedisServer) -> None:
    pipe = Pipe(redis_server.url, connect_timeout_s=5, timeout_s=5)
    await pipe.call("PING")
    await pipe.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
