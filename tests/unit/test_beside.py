"""Work beside other work: its failure is that of both."""

from __future__ import annotations

import asyncio

import pytest

from dibs.rpc.beside import beside


async def test_work_that_fails_ends_what_goes_on_beside_it() -> None:
    async def fails() -> None:
        raise LookupError("beside") from KeyError("why")

    with pytest.raises(LookupError, match="beside") as caught:
        async with asyncio.timeout(10), beside(fails(), "fails"):
            await asyncio.Event().wait()
    assert isinstance(caught.value.__cause__, KeyError)


async def test_work_is_cancelled_when_the_inside_ends_and_what_that_raised_is_raised() -> None:
    ended = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async def inside(error: Exception | None) -> None:
        async with beside(endless(), "endless"):
            await asyncio.sleep(0)
            if error:
                raise error

    await inside(None)
    with pytest.raises(LookupError, match="inside"):
        await inside(LookupError("inside"))
    assert ended == ["work", "work"]


async def test_work_may_end_first() -> None:
    async def soon() -> None:
        await asyncio.sleep(0)

    went_on = []
    async with beside(soon(), "soon"):
        for _ in range(3):
            await asyncio.sleep(0)
        went_on.append(True)
    assert went_on


async def test_who_is_cancelled_inside_ends_cancelled() -> None:
    begun = asyncio.Event()

    async def run() -> None:
        async with beside(asyncio.Event().wait(), "endless"):  # type: ignore[arg-type]  # its value is of no interest
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
