"""Submissions gather while a batch is in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dibs.broker.engine.coalesce import Coalescer


class Gate:
    """Runs batches one at a time, each only when the test lets it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Event()
        self.passes = asyncio.Semaphore(0)
        self.failure: Exception | None = None
        self.running = 0

    async def run(self, batch: list[int]) -> Sequence[int]:
        self.running += 1
        assert self.running == 1
        self.batches.append(batch)
        self.begun.set()
        try:
            await self.passes.acquire()
            if self.failure is not None:
                raise self.failure
            return [entry * 10 for entry in batch]
        finally:
            self.running -= 1

    def open(self, times: int = 1000) -> None:
        for _ in range(times):
            self.passes.release()


def submit(coalescer: Coalescer[int, int], *entries: int) -> asyncio.Task[Sequence[int]]:
    return asyncio.create_task(coalescer.submit(entries))


async def test_a_lone_submission_runs_at_once_and_alone() -> None:
    gate = Gate()
    gate.open()
    assert await Coalescer(gate.run, 100).submit([1, 2]) == [10, 20]
    assert gate.batches == [[1, 2]]


async def test_submissions_that_arrive_while_one_is_in_flight_share_the_next_batch() -> None:
    gate = Gate()
    coalescer: Coalescer[int, int] = Coalescer(gate.run, 100)
    first = submit(coalescer, 1)
    await gate.begun.wait()
    others = [submit(coalescer, n, n) for n in range(2, 6)]
    await asyncio.sleep(0)
    gate.open()
    assert await first == [10]
    assert await asyncio.gather(*others) == [[20, 20], [30, 30], [40, 40], [50, 50]]
    assert gate.batches == [[1], [2, 2, 3, 3, 4, 4, 5, 5]]


async def test_a_batch_stays_within_its_limit_and_divides_no_submission() -> None:
    gate = Gate()
    coalescer: Coalescer[int, int] = Coalescer(gate.run, 5)
    first = submit(coalescer, 1)
    await gate.begun.wait()
    others = [submit(coalescer, n, n) for n in range(2, 6)]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *others)
    assert gate.batches == [[1], [2, 2, 3, 3], [4, 4, 5, 5]]


async def test_a_submission_over_the_limit_runs_alone() -> None:
    gate = Gate()
    gate.open()
    assert await Coalescer(gate.run, 2).submit([1, 2, 3]) == [10, 20, 30]


async def test_weights_fill_a_batch_in_place_of_numbers() -> None:
    gate = Gate()
    coalescer: Coalescer[int, int] = Coalescer(gate.run, 10, sum)
    first = submit(coalescer, 1)
    await gate.begun.wait()
    others = [submit(coalescer, n) for n in (6, 4, 1)]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(first, *others)
    assert gate.batches == [[1], [6, 4], [1]]


async def test_a_failure_reaches_every_caller_of_its_batch_and_no_other() -> None:
    gate = Gate()
    coalescer: Coalescer[int, int] = Coalescer(gate.run, 2)
    first = submit(coalescer, 1)
    await gate.begun.wait()
    second, third, fourth = submit(coalescer, 2), submit(coalescer, 3), submit(coalescer, 4, 4)
    await asyncio.sleep(0)
    gate.open(1)
    assert await first == [10]
    gate.failure = ValueError("broken")
    gate.open(1)
    for caller in (second, third):
        with pytest.raises(ValueError, match="broken"):
            await caller
    gate.failure = None
    gate.open(1)
    assert await fourth == [40, 40]


async def test_a_caller_cancelled_while_it_waits_is_left_out() -> None:
    gate = Gate()
    coalescer: Coalescer[int, int] = Coalescer(gate.run, 100)
    first = submit(coalescer, 1)
    await gate.begun.wait()
    second, third = submit(coalescer, 2), submit(coalescer, 3)
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    gate.open()
    assert [await first, await third] == [[10], [30]]
    assert gate.batches == [[1], [3]]


async def test_a_caller_cancelled_while_its_batch_runs_does_not_disturb_the_others() -> None:
    gate = Gate()
    coalescer: Coalescer[int, int] = Coalescer(gate.run, 100)
    first = submit(coalescer, 1)
    await gate.begun.wait()
    second, third = submit(coalescer, 2), submit(coalescer, 3)
    await asyncio.sleep(0)
    gate.open(1)
    await first
    second.cancel()
    gate.open()
    assert await third == [30]
    with pytest.raises(asyncio.CancelledError):
        await second
    assert await coalescer.submit([4]) == [40]


async def test_closing_waits_for_what_was_submitted() -> None:
    gate = Gate()
    coalescer: Coalescer[int, int] = Coalescer(gate.run, 1)
    callers = [submit(coalescer, n) for n in range(3)]
    await gate.begun.wait()
    closing = asyncio.create_task(coalescer.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.open()
    await closing
    assert [caller.result() for caller in callers] == [[0], [10], [20]]


async def test_closing_what_is_idle_returns_at_once() -> None:
    await Coalescer(Gate().run, 1).close()
