"""Work that goes on beside other work, and whose failure is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Do `work` while the inside of the with goes on, and cancel it there; if it fails first, so does the with.

    Args:
        work: what to do; it may end before the with.
        name: of its task.

    Raises:
        BaseException: what the inside raised, or else what `work` did.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work, name=name)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
