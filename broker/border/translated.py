"""Turns what a gRPC handler raises into the status that the table in `errors` gives it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any, TypeVar

import grpc
from grpc_status import rpc_status

from .errors import status_of
from .reading import whole

_log = logging.getLogger(__name__)

_T = TypeVar("_T", bound=Callable[..., Any])


def translated(target: _T) -> _T:
    """Decorates a handler, or a servicer class whose handlers shall all be decorated.

    Works for every form that `grpc.aio` knows: coroutine functions (unary, or streaming with `context.read` and
    `context.write`) and asynchronous generators. A cancelled call stays cancelled, one whose stream
    broke ends without a word, and a handler's own `context.abort` goes through.

    Args:
        target: A method `(self, request, context)`, or a class; of a class, the public asynchronous methods that it
            defines itself are decorated.
    """
    if isinstance(target, type):
        for name, member in list(vars(target).items()):
            if not name.startswith("_") and _is_handler(member):
                setattr(target, name, _wrap(member))
        return target
    wrapped: _T = _wrap(target)
    return wrapped


def _is_handler(member: object) -> bool:
    return inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)


def _wrap(handler: Any) -> Any:
    name = handler.__qualname__
    if inspect.isasyncgenfunction(handler):

        @wraps(handler)
        async def generate(self: Any, request: Any, context: Any) -> AsyncGenerator[Any, None]:
            try:
                async with aclosing(handler(self, whole(request), context)) as responses:
                    async for response in responses:
                        yield response
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 (the border: whatever it is becomes a status)
                status = _status(error, context, name)
                # gRPC keeps what the abort raises, and its traceback this frame, until the collector comes by.
                del request
            else:
                return
            await context.abort(*status)

        return generate
    if inspect.iscoroutinefunction(handler):

        @wraps(handler)
        async def respond(self: Any, request: Any, context: Any) -> Any:
            try:
                return await handler(self, whole(request), context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 (the border: whatever it is becomes a status)
                status = _status(error, context, name)
                # As above. Outside of this block the error is forgotten, and with it the frames that it went through.
                del request
            return await context.abort(*status)

        return respond
    raise TypeError(f"{name} is no coroutine function and no asynchronous generator")


def _status(error: Exception, context: grpc.aio.ServicerContext[Any, Any], name: str) -> tuple[Any, str, Any]:
    """Code, text and trailing metadata of an error."""
    if context.cancelled() or context.done():
        # Nobody is there to be told, and nothing is wrong with the broker.
        _log.debug("%s ended before its handler: %r", name, error)
        raise asyncio.CancelledError from None
    status = rpc_status.to_status(status_of(error, name))
    return status.code, status.details, status.trailing_metadata
