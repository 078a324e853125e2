"""The news that the broker is going away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dibs.broker.border.drain import Drain
from dibs.broker.border.errors import Draining


class Requests:
    """A request stream that the test feeds."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[int | None] = asyncio.Queue()
        self.asked = asyncio.Event()
        self.taken = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        self.asked.set()
        value = await self.queue.get()
        self.taken.set()
        if value is None:
            raise StopAsyncIteration
        return value


async def handle(drain: Drain, source: Requests, handled: list[int], gate: asyncio.Event | None = None) -> str:
    async for request in drain.requests(source):
        if gate is not None:
            await gate.wait()
        handled.append(request)
    return "ended"


async def test_requests_come_until_the_client_ends_them() -> None:
    drain, source, handled = Drain(), Requests(), list[int]()
    for value in (1, 2, None):
        source.queue.put_nowait(value)

    assert await handle(drain, source, handled) == "ended"
    assert handled == [1, 2]


async def test_a_drain_ends_the_wait_for_the_next_request() -> None:
    drain, source, handled = Drain(), Requests(), list[int]()
    task = asyncio.create_task(handle(drain, source, handled))
    await source.asked.wait()

    drain.begin()

    assert await task == "ended"
    assert task.cancelling() == 0


async def test_a_request_that_is_being_handled_is_finished() -> None:
    drain, source, handled, gate = Drain(), Requests(), list[int](), asyncio.Event()
    source.queue.put_nowait(1)
    source.queue.put_nowait(2)
    task = asyncio.create_task(handle(drain, source, handled, gate))
    await source.taken.wait()

    drain.begin()
    gate.set()

    assert await task == "ended"
    assert handled == [1]


async def test_nothing_is_taken_after_the_drain_began() -> None:
    drain, source, handled = Drain(), Requests(), list[int]()
    source.queue.put_nowait(1)
    drain.begin()

    assert await handle(drain, source, handled) == "ended"
    assert handled == []


async def test_a_cancelled_call_stays_cancelled_even_while_draining() -> None:
    drain, source, handled = Drain(), Requests(), list[int]()
    task = asyncio.create_task(handle(drain, source, handled))
    await source.asked.wait()

    drain.begin()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_only_looks_ends_by_itself_or_with_the_drain() -> None:
    drain, ended = Drain(), list[str]()

    async def look() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("looked")
        return "never"

    async def see() -> str:
        return "seen"

    assert await drain.unless_begun(see()) == "seen"
    looking = asyncio.create_task(drain.unless_begun(look()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    drain.begin()
    with pytest.raises(Draining):
        await looking
    assert ended == ["looked"]
    with pytest.raises(Draining):
        await drain.unless_begun(see())


async def test_a_call_that_was_cancelled_takes_its_work_with_it() -> None:
    drain, gate = Drain(), asyncio.Event()
    looking = asyncio.create_task(drain.unless_begun(gate.wait()))
    await asyncio.sleep(0)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert len(asyncio.all_tasks()) == 1


async def test_callbacks_are_called_once_and_only_inside_the_with() -> None:
    drain, called = Drain(), list[str]()
    with drain.on_begin(lambda: called.append("left")):
        pass
    with drain.on_begin(lambda: called.append("inside")):
        drain.begin()
        drain.begin()

    await drain.wait()
    assert drain.begun
    assert called == ["inside"]
