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

from dibs.broker.engine.connections import NotConnected, NoTurn, Pipe
from dibs.broker.engine.turns import WINDOW

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


async def hold_up(pipe: Pipe) -> asyncio.Task[Any]:
    """Has as much under way as may be, until something is pushed to the list `gate`."""
    await pipe.call("PING")
    held = asyncio.create_task(pipe.call("BLPOP", "gate", 0, tenant="held", cost=WINDOW))
    await asyncio.sleep(0)
    return held


async def test_calls_of_one_tenant_are_carried_out_in_their_order_also_in_line(pipe: Pipe, raw: redis.Redis) -> None:
    held = await hold_up(pipe)
    calls = [asyncio.create_task(pipe.call("RPUSH", "log", n, tenant="a", cost=200)) for n in range(200)]
    await asyncio.sleep(0)

    raw.rpush("gate", "open")

    await asyncio.gather(held, *calls)
    assert raw.lrange("log", 0, -1) == [b"%d" % n for n in range(200)]


async def test_a_quiet_tenant_overtakes_what_a_greedy_one_has_waiting(pipe: Pipe, raw: redis.Redis) -> None:
    held = await hold_up(pipe)
    greedy = [asyncio.create_task(pipe.call("RPUSH", "log", "greedy", tenant="a", cost=300)) for _ in range(500)]
    await asyncio.sleep(0)
    quiet = asyncio.create_task(pipe.call("RPUSH", "log", "quiet", tenant="b", cost=30))
    await asyncio.sleep(0)

    raw.rpush("gate", "open")

    await asyncio.gather(held, quiet, *greedy)
    assert b"quiet" in raw.lrange("log", 0, 10)


async def test_what_takes_nobodys_turn_does_not_line_up(pipe: Pipe, raw: redis.Redis) -> None:
    calls = [asyncio.create_task(pipe.call("ECHO", "x", tenant="a", cost=WINDOW)) for _ in range(100)]
    await asyncio.sleep(0)

    assert await pipe.call("ECHO", "now") == b"now"

    assert sum(call.done() for call in calls) < 100
    await asyncio.gather(*calls)


async def test_callers_that_give_up_in_line_shift_no_replies_and_are_not_carried_out(
    pipe: Pipe, raw: redis.Redis
) -> None:
    for _ in range(20):
        raw.flushall()
        held = await hold_up(pipe)
        callers = [asyncio.create_task(pipe.call("RPUSH", "log", n, tenant="a", cost=200)) for n in range(50)]
        await asyncio.sleep(0)
        for caller in callers[::3]:
            caller.cancel()
        await asyncio.sleep(0)

        raw.rpush("gate", "open")

        found = await asyncio.gather(*callers, return_exceptions=True)
        await held
        kept = [n for n in range(50) if n % 3]
        assert raw.lrange("log", 0, -1) == [b"%d" % n for n in kept]
        assert [found[n] for n in kept] == list(range(1, len(kept) + 1))
    assert pipe._turns._under_way == 0


async def test_who_gets_no_turn_in_time_was_not_sent_for_certain(redis_server: RedisServer, raw: redis.Redis) -> None:
    pipe = Pipe(redis_server.url, connect_timeout_s=5, timeout_s=5)
    held = await hold_up(pipe)
    before = asyncio.create_task(pipe.call("BLPOP", "gate", 0, tenant="b", cost=WINDOW))
    await asyncio.sleep(0)
    pipe._timeout_s = 0.5
    late = asyncio.create_task(pipe.call("RPUSH", "log", "late", tenant="a", cost=30))
    await asyncio.sleep(0)
    pipe._timeout_s = 5

    # The first one ends, and the second goes.
    raw.rpush("gate", "open")
    await held
    with pytest.raises(NoTurn):
        await late

    raw.rpush("gate", "open")
    await before
    assert await pipe.call("LLEN", "log") == 0
    assert await pipe.call("RPUSH", "log", "in time", tenant="a", cost=30) == 1
    await pipe.close()


async def test_a_redis_that_answers_nothing_is_no_crowd(redis_server: RedisServer, raw: redis.Redis) -> None:
    pipe = Pipe(redis_server.url, connect_timeout_s=5, timeout_s=5)
    held = await hold_up(pipe)
    pipe._timeout_s = 0.2

    with pytest.raises(NotConnected) as caught:
        await pipe.call("RPUSH", "log", "late", tenant="a", cost=30)

    assert not isinstance(caught.value, NoTurn)
    raw.rpush("gate", "open")
    await held
    await pipe.close()


async def test_what_is_in_line_when_the_connection_is_cut_was_not_sent_for_certain(
    pipe: Pipe, raw: redis.Redis
) -> None:
    number = await pipe.call("CLIENT", "ID")
    held = await hold_up(pipe)
    calls = [asyncio.create_task(pipe.call("RPUSH", "log", n, tenant="a", cost=200)) for n in range(20)]
    await asyncio.sleep(0)

    raw.client_kill_filter(_id=str(number))

    found = await asyncio.gather(held, *calls, return_exceptions=True)
    assert isinstance(found[0], RedisConnectionError)
    assert not isinstance(found[0], NotConnected)
    assert {type(one) for one in found[1:]} == {NotConnected}
    assert await pipe.call("RPUSH", "log", "next", tenant="a", cost=200) == 1
    assert pipe._turns._under_way == 0
