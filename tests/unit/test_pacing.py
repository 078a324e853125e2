"""Large requests are begun in turn, with room between them."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest

from dibs.broker.border.pacing import Pacer


async def begun(pacer: Pacer, *callers: str, busy_s: float = 0.0) -> list[str]:
    """Callers in the order in which their requests are begun, each of which holds the loop up for so long."""
    order: list[str] = []

    async def request(caller: str) -> None:
        await pacer.turn(caller)
        order.append(caller)
        time.sleep(busy_s)

    async with asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(request(caller))
    return order


async def test_a_request_alone_is_begun_at_once() -> None:
    pacer = Pacer()
    turn = pacer.turn("a")

    try:
        turn.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")


async def test_callers_have_turns_and_each_its_own_order() -> None:
    order = await begun(Pacer(), *["a 1", "a 2", "a 3"], "b 1", "b 2")
    assert order == ["a 1", "a 2", "a 3", "b 1", "b 2"]

    assert await begun(Pacer(), *["a"] * 5, "b", "c", "b") == ["a", "a", "b", "c", "a", "b", "a", "a"]


async def test_what_is_small_gets_on_between_two_of_them() -> None:
    rounds = 0
    seen: list[int] = []

    async def small() -> None:
        nonlocal rounds
        while len(seen) < 5:
            rounds += 1
            await asyncio.sleep(0)

    pacer = Pacer()

    async def large() -> None:
        await pacer.turn("a")
        seen.append(rounds)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(small())
        for _ in range(5):
            tasks.create_task(large())

    assert all(after - before >= 5 for before, after in itertools.pairwise(seen))


async def test_where_namespaces_share_the_broker_a_caller_has_a_quarter_of_the_time() -> None:
    began = time.monotonic()
    assert await begun(Pacer(lambda: True), *["a"] * 10, busy_s=0.005) == ["a"] * 10
    took = time.monotonic() - began

    # Ten of 5 ms, and nine pauses of three times that.
    assert took >= 0.05 + 9 * 0.015


async def test_others_do_not_wait_for_whoever_has_had_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    pacer = Pacer(lambda: True)
    order: list[str] = []

    async def request(caller: str) -> None:
        nonlocal now
        await pacer.turn(caller)
        order.append(caller)
        # The last of the others lets the pause of the first one go by.
        now += 1.0 if caller == "d" else 0.001

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for caller in "aabcd":
            tasks.create_task(request(caller))

    assert order == ["a", "b", "c", "d", "a"]


async def test_where_one_namespace_is_alone_nothing_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    call_at, waits = loop.call_at, []

    def noted(when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        waits.append(when)
        return call_at(when, *args, **kwargs)

    monkeypatch.setattr(loop, "call_at", noted)
    await begun(Pacer(lambda: False), *["a"] * 10, busy_s=0.002)
    assert waits == []

    await begun(Pacer(lambda: True), *["a"] * 10, busy_s=0.002)
    assert waits != []


async def test_whoever_gives_up_in_line_is_passed_over() -> None:
    pacer = Pacer()
    await pacer.turn("a")
    waiting = [asyncio.create_task(pacer.turn("a")) for _ in range(5)]
    await asyncio.sleep(0)
    for one in waiting[:4]:
        one.cancel()

    await asyncio.wait_for(waiting[4], 5)

    assert await begun(pacer, "b") == ["b"]


async def test_the_end_of_a_pause_is_no_end_of_the_line() -> None:
    pacer = Pacer(lambda: True)
    await begun(pacer, "a", busy_s=0.005)
    # In its pause.
    assert await asyncio.wait_for(begun(pacer, "a", "b"), 5) == ["b", "a"]
    await asyncio.sleep(0.05)
    assert await asyncio.wait_for(begun(pacer, "a"), 5) == ["a"]
