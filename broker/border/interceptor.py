"""Every call comes in and goes out here: requests are read whole, and what handlers raise becomes a status.

One interceptor in place of decorators: services say what they do and nothing of gRPC's ways. What else looks at each
call (who it is, how many there are) stands before it in the chain.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import wraps
from typing import Any

import grpc
from grpc_status import rpc_status

from ..config.limits import Limits
from .encoded import writer
from .errors import status_of
from .reading import reader, whole

_log = logging.getLogger(__name__)

#: The packages of our contract begin so; of others fields that a contract does not have are no error.
_OURS = "/dibs."


class Border(grpc.aio.ServerInterceptor):
    """Stands last in the chain: what a method is wrapped in is made once, whoever calls it.

    Works for every form that `grpc.aio` knows: coroutine functions (unary, or streaming with `context.read` and
    `context.write`) and asynchronous generators. A cancelled call stays cancelled, one whose stream broke ends without
    a word, and a handler's own `context.abort` goes through. Responses may be encoded already.

    Args:
        limits: how many entries a request may have.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a call, wrapped; None if there is no such method."""
        method: str = details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(details)
            if handler is None:
                return None
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        strict = method.startswith(_OURS)
        forms = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        return handler._replace(
            request_deserializer=reader(handler.request_deserializer, self._limits, strict=strict),
            response_serializer=writer(handler.response_serializer),
            **{form: _translated(behaviour) for form in forms if (behaviour := getattr(handler, form))},
        )


class Unregistered:
    """Stands in for a server while services are added: for each call `grpc.aio` makes a task for every *registered*
    method that there is (seen up to grpcio 1.85), a sixth of the cost of a unary call.

    Args:
        server: the real one.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Add methods that are found by their names when they are called."""
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add nothing: generated code adds the same methods in both ways."""


def _translated(handler: Any) -> Any:
    name = handler.__qualname__
    if inspect.isasyncgenfunction(handler):

        @wraps(handler)
        async def generate(request: Any, context: Any) -> AsyncGenerator[Any, None]:
            try:
                async with aclosing(handler(whole(request), context)) as responses:
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
        async def respond(request: Any, context: Any) -> Any:
            try:
                return await handler(whole(request), context)
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
