"""When namespaces are looked at."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable

import pytest

from dibs.broker.engine.errors import Unavailable
from dibs.broker.engine.timers import Timers

MS = 1_000


class Looks:
    """Plays Redis: its clock is the loop's, in microseconds."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.fails: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}
        self.again: dict[str, int] = {}
        self._changed = asyncio.Condition()

    async def __call__(self, namespace: str) -> tuple[int, int]:
        async with self._changed:
            self.seen.append(namespace)
            self._changed.notify_all()
        if namespace in self.held:
            await self.held[namespace].wait()
        if namespace in self.fails:
            self.fails.discard(namespace)
            raise Unavailable("no Redis")
        return self.again.pop(namespace, -1), now_us()

    async def until(self, condition: Callable[[list[str]], bool]) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: condition(self.seen))


def now_us() -> int:
    return int(time.monotonic() * 1e6)


@pytest.fixture
async def looks() -> Looks:
    return Looks()


@pytest.fixture
async def timers(looks: Looks) -> AsyncIterator[Timers]:
    timers = Timers(looks, lambda _: math.inf)
    timers.see_clock(now_us())
    timers.start()
    yield timers
    await timers.close()


async def test_namespaces_are_looked_at_in_the_order_of_their_times(timers: Timers, looks: Looks) -> None:
    due = now_us()
    for number in (3, 1, 4, 2):
        timers.due(f"ns{number}", due + number * 20 * MS)
    await looks.until(lambda seen: len(seen) == 4)
    assert looks.seen == ["ns1", "ns2", "ns3", "ns4"]


async def test_a_time_that_was_brought_forward_many_times_makes_one_look(timers: Timers, looks: Looks) -> None:
    due = now_us()
    # More than are kept as void, so that they are cleared away in between.
    for sooner in range(1_000):
        timers.due("a", due + 50 * MS - sooner)
    timers.due("b", due + 80 * MS)
    await looks.until(lambda seen: "b" in seen)
    assert looks.seen == ["a", "b"]


async def test_a_later_time_changes_nothing(timers: Timers, looks: Looks) -> None:
    due = now_us()
    timers.due("a", due + 10 * MS)
    timers.due("a", due + 10_000 * MS)
    await looks.until(lambda seen: seen == ["a"])


async def test_a_look_tells_when_the_next_one_is_due(timers: Timers, looks: Looks) -> None:
    looks.again["a"] = now_us() + 20 * MS
    timers.add("a")
    await looks.until(lambda seen: seen == ["a", "a"])


async def test_a_slow_look_does_not_hold_up_those_that_are_due_with_it(timers: Timers, looks: Looks) -> None:
    slow = looks.held["slow"] = asyncio.Event()
    timers.add("slow")
    timers.add("quick")
    await looks.until(lambda seen: set(seen) == {"slow", "quick"})
    assert not slow.is_set()
    slow.set()


async def test_a_look_that_fails_ends_nothing(timers: Timers, looks: Looks) -> None:
    looks.fails.add("a")
    timers.add("a")
    await looks.until(lambda seen: seen == ["a"])
    timers.due("a", now_us())
    await looks.until(lambda seen: seen == ["a", "a"])


async def test_whoever_is_not_looked_after_is_not_hastened(timers: Timers, looks: Looks) -> None:
    timers.hasten("stranger")
    timers.add("a")
    await looks.until(lambda seen: bool(seen))
    assert looks.seen == ["a"]
