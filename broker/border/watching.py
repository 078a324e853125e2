"""Tells somebody of each call: when it begins, how it ends, how long it took."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from functools import wraps
from typing import Any, Protocol

import grpc

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class Watcher(Protocol):
    """Hears of the calls of one method."""

    def began(self) -> None:
        """One has come in."""

    def ended(self, code: str, seconds: float) -> None:
        """One is over.

        Args:
            code: name of its gRPC status.
            seconds: since it came in.
        """


def watched(handler: Any, watcher: Watcher) -> Any:
    """The handler, with its calls told; it must have made a status of what it raises."""
    if inspect.isasyncgenfunction(handler):

        @wraps(handler)
        async def generate(request: Any, context: Any) -> AsyncGenerator[Any, None]:
            with _watching(watcher, context):
                async with aclosing(handler(request, context)) as responses:
                    async for response in responses:
                        yield response

        return generate

    @wraps(handler)
    async def respond(request: Any, context: Any) -> Any:
        with _watching(watcher, context):
            return await handler(request, context)

    return respond


@contextmanager
def _watching(watcher: Watcher, context: Any) -> Iterator[None]:
    began = time.perf_counter()
    watcher.began()
    code = "CANCELLED"
    try:
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException:
            code = _code_of(context)
            raise
        code = _code_of(context)
    finally:
        watcher.ended(code, time.perf_counter() - began)


def _code_of(context: Any) -> str:
    """Name of the status that a call ends with; one whose stream broke has none, and so has one that ended well."""
    code = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code or 0
    return _NAMES.get(number, "UNKNOWN")
