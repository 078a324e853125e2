"""Whether a call may be made: who calls, what the method needs, and what of that they have.

Stands between `crossing.py` and the handlers, and only where there is a file of `--auth-file`. Requests are made
messages after it is known who sent them, so that strangers cost no more than their bytes.

A call that lasts is looked at again whenever another file is in use, and ends as it would be refused now.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from functools import wraps
from typing import Any, TypeAlias

from dibs.contract.names import DEFAULT_NAMESPACE
from dibs.contract.pauses import Pauses

from ..config.principals import Principal
from ..engine.engine import Engine
from ..engine.errors import EngineError
from .auditing import tell_refusal
from .caller import CALLER, Caller
from .errors import RequestError
from .identities import Identities
from .queue_grants import Limited, denied
from .reaching import Reach
from .reading import whole
from .rights import TABLE, Need, Right

_log = logging.getLogger(__name__)

_Read: TypeAlias = Callable[[bytes], Any]


class Guard:
    """Checks calls.

    Args:
        identities: who calls.
        engine: knows the queues of items.

    Attributes:
        identities: as given.
    """

    def __init__(self, identities: Identities, engine: Engine) -> None:
        self.identities = identities
        self._engine = engine

    def guarded(self, method: tuple[str, str], handler: Any, read: _Read, *, streams: bool) -> Any:
        """The handler of a method, for those who may call it; None: everybody may.

        Args:
            method: full name of its service, and its own.
            handler: takes requests as messages; the one that is answered takes them as bytes.
            read: makes a message of bytes.
            streams: whether many requests come.
        """
        right = TABLE[method]
        if right is None:
            return None
        if inspect.isasyncgenfunction(handler):
            return self._generating(right, handler, read, streams=streams)
        if right.lasts or streams:
            return self._lasting(right, handler, read, streams=streams)
        return self._short(right, handler, read)

    async def allow(self, right: Right, principal: Principal, request: Any) -> None:
        """Return if the request may be handled.

        Raises:
            PermissionDenied: it may not.
        """
        limited = verified(right, principal, request)
        if limited:
            reach = right.reach(request)
            limited.check_named(reach)
            await limited.check_found(self._engine, reach)

    async def allow_found(self, right: Right, principal: Principal, namespace: str, message: Any) -> None:
        """The same for what a stream settles."""
        assert right.settles is not None
        need = frozenset(right.roles)
        scope = principal.scope(namespace, need)
        if not scope.everything:
            limited = Limited(principal, namespace)
            limited.add(need, scope)
            await limited.check_found(self._engine, right.settles(message))

    def _short(self, right: Right, handler: Any, read: _Read) -> Any:
        identities, allow = self.identities, self.allow

        @wraps(handler)
        async def respond(data: bytes, context: Any) -> Any:
            principal = identities.principal(identities.credentials(context))
            request = whole(read(data))
            await allow(right, principal, request)
            CALLER.set(Caller(principal))
            return await handler(request, context)

        return respond

    def _lasting(self, right: Right, handler: Any, read: _Read, *, streams: bool) -> Any:
        @wraps(handler)
        async def respond(data: Any, context: Any) -> Any:
            call = LastingCall(self, right, context)
            with call.looked_after():
                request = call.requests(data, read) if streams else await call.request(data, read)
                return await handler(request, context)

        return respond

    def _generating(self, right: Right, handler: Any, read: _Read, *, streams: bool) -> Any:
        @wraps(handler)
        async def generate(data: Any, context: Any) -> AsyncGenerator[Any, None]:
            call = LastingCall(self, right, context)
            with call.looked_after():
                request = call.requests(data, read) if streams else await call.request(data, read)
                async with aclosing(handler(request, context)) as responses:
                    async for response in responses:
                        with call.elsewhere():
                            yield response

        return generate


class LastingCall:
    """A call that is looked at again when rights have changed."""

    __slots__ = ("_caller", "_check", "_credentials", "_ended", "_guard", "_here", "_namespace", "_right", "_task")

    def __init__(self, guard: Guard, right: Right, context: Any) -> None:
        self._guard = guard
        self._right = right
        self._credentials = guard.identities.credentials(context)
        self._caller = Caller(guard.identities.principal(self._credentials))
        #: Whether the principal may go on; raises `PermissionDenied`.
        self._check: Callable[[Principal], object] = self._check_anywhere
        #: Of a stream, once it has named one.
        self._namespace = ""
        #: Why it ends.
        self._ended: RequestError | None = None
        #: Whether its handler runs, and can be interrupted.
        self._here = True
        self._task = asyncio.current_task()
        # Not this object: what others have begun in its context may outlive it.
        CALLER.set(self._caller)

    @contextmanager
    def looked_after(self) -> Iterator[None]:
        """The call ends with what is raised out of the with, if rights change so that it may not go on."""
        assert self._task is not None
        before = self._task.cancelling()
        with self._guard.identities.on_change(self._look_again, self._credentials):
            try:
                yield
            except asyncio.CancelledError:
                # Ours alone, or the call was cancelled as well?
                if self._ended is None or self._task.uncancel() > before:
                    raise
                raise self._ended from None

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """What goes on inside the with is not the handler's, and not interrupted; the call ends behind it."""
        self._here = False
        yield
        self._here = True
        if self._ended is not None:
            raise self._ended

    async def request(self, data: bytes, read: _Read) -> Any:
        """The only request of the call."""
        if self._right.anywhere:
            self._check(self._caller.principal)
            return whole(read(data))
        request = whole(read(data))
        self._check = _check_of(self._right, request)
        await self._guard.allow(self._right, self._caller.principal, request)
        return request

    def requests(self, source: AsyncIterator[bytes], read: _Read) -> AsyncIterator[Any]:
        """The requests of the call, with the errors of those that may not be handled in their places."""
        if self._right.settles is None:
            self._check(self._caller.principal)
        return self._requests(source, read)

    async def _requests(self, source: AsyncIterator[bytes], read: _Read) -> AsyncIterator[Any]:
        async for data in source:
            # What limits of callers keep out has not come as bytes.
            message = data if isinstance(data, RequestError) else read(data)
            try:
                if not isinstance(message, RequestError):
                    await self._allow(message)
            except EngineError as error:
                message = error
            except RequestError as error:
                message = error
                # What a worker may not do ends its stream, and is told then.
                if self._right.settles is None:
                    tell_refusal(error)
            yield message

    async def _allow(self, message: Any) -> None:
        right, part = self._right, self._right.part
        if part and message.HasField(part):
            request = getattr(message, part)
            await self._guard.allow(right, self._caller.principal, request)
            if right.settles is not None and not self._namespace:
                self._namespace = request.namespace or DEFAULT_NAMESPACE
                self._check = _check_of(right, request)
        if right.settles is not None and self._namespace:
            await self._allow_found(message)

    async def _allow_found(self, message: Any) -> None:
        """Ask until Redis answers: such a stream outlives an outage."""
        pauses = Pauses()
        while True:
            try:
                await self._guard.allow_found(self._right, self._caller.principal, self._namespace, message)
            except EngineError as error:
                _log.debug("what a stream settles cannot be looked up: %s", error)
                await asyncio.sleep(pauses.next_s())
            else:
                return

    def _check_anywhere(self, principal: Principal) -> None:
        """Of what is about no namespace, or does not say which before it has begun."""
        need = frozenset(self._right.roles)
        if not principal.has_anywhere(need):
            raise denied(principal, need)

    def _look_again(self) -> None:
        if self._ended is not None:
            return
        try:
            self._caller.principal = self._guard.identities.principal(self._credentials)
            self._check(self._caller.principal)
        except RequestError as error:
            self._ended = error
            if self._here and self._task is not None:
                self._task.cancel()


def verified(right: Right, principal: Principal, request: Any) -> Limited | None:
    """What of the rights for a request is limited to some queues; None: nothing.

    Raises:
        PermissionDenied: some of them are missing.
    """
    needs = right.needs(request)
    if not right.anywhere:
        return _limited(principal, request.namespace or DEFAULT_NAMESPACE, needs)
    for need in needs:
        if not principal.has_anywhere(need):
            raise denied(principal, need)
    return None


def _limited(principal: Principal, namespace: str, needs: Iterable[Need]) -> Limited | None:
    limited = None
    for need in needs:
        scope = principal.scope(namespace, need)
        if scope.everything:
            continue
        if not scope:
            raise denied(principal, need, namespace)
        limited = limited or Limited(principal, namespace)
        limited.add(need, scope)
    return limited


def _check_of(right: Right, request: Any) -> Callable[[Principal], None]:
    """Whether a principal might still make a request, told by what it names; no more is kept of it than that."""
    namespace, needs, reach = request.namespace or DEFAULT_NAMESPACE, right.needs(request), right.reach(request)
    named = Reach(queues=tuple(reach.queues), whole=reach.whole)

    def check(principal: Principal) -> None:
        limited = _limited(principal, namespace, needs)
        if limited:
            limited.check_named(named)

    return check
