"""`Admin` and `AsyncAdmin` in one hand, so that a test of one is a test of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from dibs import AsyncDibs, Dibs

Kind = Literal["blocking", "asyncio"]


class Face:
    """Calls methods by name; lists come whole.

    Attributes:
        admin: what they are methods of.
    """

    def __init__(self, admin: Any) -> None:
        self.admin = admin

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """The value of a method, or all entries of a list."""
        call = getattr(self.admin, method)
        if asyncio.iscoroutinefunction(call):
            return await call(*args, **kwargs)
        # A blocking one elsewhere, so that the loop of the test goes on.
        value = await asyncio.to_thread(call, *args, **kwargs)
        if isinstance(value, AsyncIterator):
            return [entry async for entry in value]
        return await asyncio.to_thread(list, value) if isinstance(value, Iterator) else value


@asynccontextmanager
async def face(kind: Kind, app: Dibs) -> AsyncIterator[Face]:
    """The face of that kind of an instance."""
    if kind == "blocking":
        yield Face(app.admin)
        return
    async with AsyncDibs(of=app) as adibs:
        yield Face(adibs.admin)
