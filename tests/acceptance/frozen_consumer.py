"""A program that consumes a data queue, for the tests of frozen ones: it writes what it gets into a journal."""

from __future__ import annotations

import asyncio
import sys

from dibs import AsyncDibs, Dibs

from .jobs import note


def blocking(target: str) -> None:
    with Dibs(target) as app:
        for batch in app.Data("readings", vis_timeout=2).stream():
            for value in batch.values():
                note(value)


async def in_a_loop(target: str) -> None:
    async with AsyncDibs(target) as app:
        async for batch in app.Data("readings", vis_timeout=2).stream():
            for value in batch.values():
                note(value)


if __name__ == "__main__":
    if sys.argv[1] == "blocking":
        blocking(sys.argv[2])
    else:
        asyncio.run(in_a_loop(sys.argv[2]))
