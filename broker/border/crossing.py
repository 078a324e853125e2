"""Every call comes in and goes out here: requests are read whole, and what handlers raise becomes a status.

Methods are wrapped once, when services are added; services say what they do and nothing of gRPC's ways. What else looks
at each call (who it is, how many there are) is wrapped around it here. An interceptor of gRPC would be asked anew for
each call: that took 8 % of a unary call's CPU time (grpcio 1.85, 27 November 2026).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import wraps
from typing import Any

import grpc
from grpc_status import rpc_status

from ..config.limits import Limits
from .auditing import Auditing
from .encoded import writer
from .errors import status_of
from .guard import Guard
from .pacing import LARGE_BYTES, Pacer
from .reading import reader, reading, whole
from .tolls import Tolls
from .watching import Watcher, watched

_log = logging.getLogger(__name__)

#: The packages of our contract begin so; of others fields that a contract does not have are no error.
_OURS = "dibs."


class Border:
    """Stands in for a server while services are added to it by generated code.

    Works for every form that `grpc.aio` knows: coroutine functions (unary, or streaming with `context.read` and
    `context.write`) and asynchronous generators. A cancelled call stays cancelled, one whose stream broke ends without
    a word, and a handler's own `context.abort` goes through. Responses may be encoded already.

    Args:
        server: the real one.
        limits: how many entries a request may have.
        watch: makes who is told of the calls of a method, by its full name; None: nobody is.
        guard: lets through those who may call; None: everybody may.
        tolls: count what callers use of our own services; None: nobody does.
        auditing: tells of calls that change what is others', and of refused ones; None: nobody does.
        pacer: when large requests are begun.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        limits: Limits,
        watch: Callable[[str], Watcher] | None = None,
        guard: Guard | None = None,
        tolls: Tolls | None = None,
        auditing: Auditing | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        self._auditing = auditing
        self._server = server
        self._limits = limits
        self._watch = watch
        self._guard = guard
        self._tolls = tolls
        self._pacer = pacer or Pacer()

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the methods of a service, to be found by their names when they are called.

        Not as registered ones: for each call `grpc.aio` makes a task for every method that is registered, which took
        10 % of a unary call's CPU time (as above).
        """
        wrapped = {name: self._wrap(handler, service, name) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))

    def add_generic_rpc_handlers(self, handlers: Iterable[object]) -> None:
        """Add nothing: generated code adds the same methods in both ways, and the other one tells more."""

    def _wrap(self, handler: Any, service: str, name: str) -> Any:
        forms = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        is_ours = service.startswith(_OURS)
        read = reader(handler.request_deserializer, self._limits, strict=is_ours)
        form, behaviour = next((form, found) for form in forms if (found := getattr(handler, form)))
        many = handler.request_streaming
        method = (service, name)

        def guarding(inner: Any) -> Any:
            outer = None if self._guard is None else self._guard.guarded(method, inner, read, streams=many)
            if self._tolls is None or not is_ours:
                return outer
            return self._tolls.tolled(
                outer or reading(inner, read, streams=many),
                many_requests=many,
                many_replies=handler.response_streaming,
                # What a worker says of its items is not: docs/limits.md says so.
                counts_requests=name != "Work",
            )

        # What takes requests as bytes.
        if self._auditing is None:
            outer = guarding(behaviour)
        else:
            # Around the tolls as well: who is refused there has called, too.
            behaviour, outer = self._auditing.audited(method, behaviour, guarding)
        if many:
            crossing = _translated(outer or behaviour)
        else:
            # Where it matters who calls, or how much, that is asked before anything is made of the bytes.
            crossing = _translated(outer or behaviour, self._pacer, None if outer else read)
        if self._watch is not None:
            crossing = watched(crossing, self._watch(f"{service}/{name}"))
        return handler._replace(
            request_deserializer=read if many and outer is None else None,
            response_serializer=writer(handler.response_serializer),
            **{form: crossing},
        )


def _translated(handler: Any, pacer: Pacer | None = None, read: Callable[[bytes], Any] | None = None) -> Any:
    """The handler, with a status for what it raises.

    Args:
        handler: of a method.
        pacer: when large requests are begun; None: there is a stream of them.
        read: makes a message of the bytes of a request; None: the handler takes what comes.
    """
    name = handler.__qualname__
    if inspect.isasyncgenfunction(handler):

        @wraps(handler)
        async def generate(request: Any, context: Any) -> AsyncGenerator[Any, None]:
            try:
                if pacer is not None and len(request) > LARGE_BYTES:
                    await pacer.turn(context.peer())
                if read is not None:
                    request = read(request)
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
                if pacer is not None and len(request) > LARGE_BYTES:
                    await pacer.turn(context.peer())
                if read is not None:
                    request = read(request)
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
