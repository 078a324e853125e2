"""Which calls are told in the audit log, and what of them: who, what, where, how it ended; never what items carry."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from dibs.contract.names import DEFAULT_NAMESPACE

from ..config.principals import Role
from .caller import CALLER
from .errors import PermissionDenied, RequestError, Unauthenticated, row_of
from .rights import TABLE, Right

#: Who calls such a method changes what is others', or looks at the broker itself.
_TOLD = (Role.OPERATE, Role.DESTROY)
#: Fields of requests that list what they are about.
_LISTS = ("ids", "names", "entries", "items", "tasks", "schedules")
#: Queues that are named of those of a request.
_MOST_QUEUES = 10
#: Longest text of a field, in characters: clients write them.
_LONGEST = 256
_REFUSALS = (Unauthenticated, PermissionDenied)


def is_told(right: Right | None) -> bool:
    """Whether every call of a method is told. Of the others those are that are refused."""
    return right is not None and (any(role in right.roles for role in _TOLD) or right.roles == (Role.SERVER,))


class Auditing:
    """Tells of calls.

    Args:
        say: takes lines; must not block.
    """

    def __init__(self, say: Callable[[bytes], None]) -> None:
        self._say = say

    def audited(self, method: tuple[str, str], behaviour: Any, guard: Callable[[Any], Any | None]) -> tuple[Any, Any]:
        """A method's handler, and the same behind its guard, so that calls are told.

        Args:
            method: full name of its service, and its own.
            behaviour: the handler.
            guard: makes of one the handler that takes bytes, of those who may call it so often; None: everybody may.

        Returns:
            The handler, and the one that takes bytes or None. What is not to be told of is as it was.
        """
        told = is_told(TABLE.get(method))
        name = "/".join(method)
        inner = _noting(behaviour) if told else behaviour
        guarded = guard(inner)
        if told and guarded is None:
            return self._telling(inner, name, told=True), None
        return inner, None if guarded is None else self._telling(guarded, name, told=told)

    def _telling(self, handler: Any, method: str, *, told: bool) -> Any:
        if inspect.isasyncgenfunction(handler):

            @wraps(handler)
            async def generate(request: Any, context: Any) -> AsyncGenerator[Any, None]:
                with self._told(method, context, told=told):
                    async with aclosing(handler(request, context)) as responses:
                        async for response in responses:
                            yield response

            return generate

        @wraps(handler)
        async def respond(request: Any, context: Any) -> Any:
            with self._told(method, context, told=told):
                return await handler(request, context)

        return respond

    @contextmanager
    def _told(self, method: str, context: Any, *, told: bool) -> Iterator[None]:
        call = AuditedCall(self._say, method, context)
        _CALL.set(call)
        try:
            yield
        except _REFUSALS as error:
            call.tell(error)
            raise
        except Exception as error:
            if told:
                call.tell(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            if told:
                call.tell(None, "CANCELLED")
            raise
        if told:
            call.tell(None)


class AuditedCall:
    """One call, and what is known of it so far.

    Attributes:
        request: as its handler got it; None: it did not.
    """

    __slots__ = ("_began", "_context", "_method", "_say", "request")

    def __init__(self, say: Callable[[bytes], None], method: str, context: Any) -> None:
        self._say = say
        self._method = method
        self._context = context
        self._began = time.time()
        self.request: Any = None

    def tell(self, error: Exception | None, outcome: str = "OK") -> None:
        """Have a line written.

        Args:
            error: what it ends with; None: nothing is wrong.
            outcome: name of its status if there is no error.
        """
        about = described(self.request)
        reason = None
        caller = CALLER.get()
        principal = None if caller is None else caller.principal.name
        if error is not None:
            row = row_of(error)
            outcome, reason = row.code.name, getattr(error, "reason", "") or row.reason
        if isinstance(error, PermissionDenied):
            principal = error.principal
            if "namespace" in error.metadata:
                about["namespace"] = error.metadata["namespace"]
            if error.queue:
                # Also one that the caller is not told.
                about["queue"] = error.queue[:_LONGEST]
        self._say(
            line(
                {
                    "time": moment(self._began),
                    "principal": principal,
                    "peer": self._context.peer(),
                    "method": self._method,
                    **about,
                    "outcome": outcome,
                    "reason": reason,
                    "seconds": round(max(time.time() - self._began, 0.0), 6),
                }
            )
        )


#: The call that is being handled, where there is an audit log.
_CALL: ContextVar[AuditedCall | None] = ContextVar("dibs_audited_call", default=None)


def tell_refusal(error: RequestError) -> None:
    """Tell of one request of a stream that was refused, while the stream goes on."""
    call = _CALL.get()
    if call is not None and isinstance(error, _REFUSALS):
        call.tell(error)


def described(request: Any) -> dict[str, Any]:
    """What of a request is told: namespace, queue, number of ids, and its own id."""
    found: dict[str, Any] = {"namespace": None, "queue": None, "ids": None, "request_id": None}
    if request is None or not hasattr(request, "DESCRIPTOR"):
        return found
    fields = request.DESCRIPTOR.fields_by_name
    if "namespace" in fields:
        found["namespace"] = (request.namespace or DEFAULT_NAMESPACE)[:_LONGEST]
    if "queue" in fields and request.queue:
        found["queue"] = request.queue[:_LONGEST]
    elif "queues" in fields and request.queues:
        found["queue"] = ",".join(request.queues[:_MOST_QUEUES])[:_LONGEST]
    if "request_id" in fields and request.request_id:
        found["request_id"] = request.request_id[:_LONGEST]
    for name in _LISTS:
        if name in fields and len(getattr(request, name)):
            found["ids"] = len(getattr(request, name))
            break
    return found


def lost_line(count: int) -> bytes:
    """Says that so many lines were lost."""
    return line({"time": moment(time.time()), "lost": count})


def line(fields: dict[str, Any]) -> bytes:
    """An object as one line of JSON, in ASCII."""
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def moment(seconds: float) -> str:
    """A time in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _noting(behaviour: Any) -> Any:
    """The handler, with its request noted; those of streams are not."""
    if inspect.isasyncgenfunction(behaviour):

        @wraps(behaviour)
        async def generate(request: Any, context: Any) -> AsyncGenerator[Any, None]:
            _note(request)
            async with aclosing(behaviour(request, context)) as responses:
                async for response in responses:
                    yield response

        return generate

    @wraps(behaviour)
    async def respond(request: Any, context: Any) -> Any:
        _note(request)
        return await behaviour(request, context)

    return respond


def _note(request: Any) -> None:
    call = _CALL.get()
    if call is not None:
        call.request = request
