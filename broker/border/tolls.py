"""What one caller may use of a broker: calls a second, calls that stay open, bytes of requests that are under way.

A caller is a principal, or where nobody asks who calls, a connection. What is beyond is refused with a time after which
it may be tried again, before anything is made of the request; refused calls use nothing.
"""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from datetime import timedelta
from functools import wraps
from typing import Any

from ..config.call_limits import UNLIMITED, Allowance, Allowances
from ..config.principals import Principal
from .caller import CALLER, Caller
from .errors import OverLimit

#: Longest time that a refusal asks to wait.
_LONGEST_WAIT_S = 10.0
#: What a refusal for what is open or under way asks to wait: nobody knows when it ends.
_WAIT_S = 1.0
#: Requests of a stream that are under way at a time, as far as their bytes count here.
_UNDER_WAY = 4
#: A message of a stream that is no longer says only that the client is there.
_HEARTBEAT_BYTES = 4
#: Accounts beyond which those that have nothing open are looked through.
_MOST_ACCOUNTS = 10_000

Identify = Callable[[Any], Principal]


class Account:
    """What one caller uses now. The event loop alone touches it."""

    __slots__ = ("next_at", "open_bytes", "open_streams")

    def __init__(self) -> None:
        #: When the next call would come if all had come as seldom as they may.
        self.next_at = 0.0
        self.open_streams = 0
        self.open_bytes = 0

    def is_idle(self, now: float) -> bool:
        """Whether a new one would do as well."""
        return not self.open_streams and not self.open_bytes and self.next_at <= now

    def count_call(self, most: Allowance, now: float) -> None:
        """One call comes.

        Raises:
            OverLimit: it comes too soon.
        """
        interval = 1 / most.calls_per_second
        next_at = max(self.next_at, now)
        wait = next_at - now - (most.burst - 1) * interval
        # Sums of intervals are not exact.
        if wait > 1e-9:
            raise OverLimit("calls_per_second", most.calls_per_second, _seconds(min(wait, _LONGEST_WAIT_S)))
        self.next_at = next_at + interval


class Tolls:
    """Counts what callers use.

    Args:
        allowances: how much each may.
        identify: who makes a call; None: nobody asks.
    """

    def __init__(self, allowances: Allowances, identify: Identify | None) -> None:
        self._allowances = allowances
        self._identify = identify
        self._accounts: dict[str, Account] = {}

    def __len__(self) -> int:
        """How many callers are known."""
        return len(self._accounts)

    def tolled(self, handler: Any, *, many_requests: bool, many_replies: bool, counts_requests: bool) -> Any:
        """The handler of a method, which takes requests as bytes, for those who may use so much.

        Args:
            handler: of the method.
            many_requests: whether it takes a stream of them.
            many_replies: whether it answers with a stream.
            counts_requests: each request of its stream counts as a call, and its bytes.
        """
        if inspect.isasyncgenfunction(handler):

            @wraps(handler)
            async def generate(data: Any, context: Any) -> AsyncGenerator[Any, None]:
                with self._use(context) as use:
                    data = use.begun(data, many_requests, many_replies, counts_requests)
                    async with aclosing(handler(data, context)) as responses:
                        async for response in responses:
                            yield response

            return generate

        @wraps(handler)
        async def respond(data: Any, context: Any) -> Any:
            with self._use(context) as use:
                return await handler(use.begun(data, many_requests, many_replies, counts_requests), context)

        return respond

    def tidy(self) -> None:
        """Forgets callers who have nothing open and have made no call for a while."""
        now = time.monotonic()
        for name in [name for name, account in self._accounts.items() if account.is_idle(now)]:
            del self._accounts[name]

    def _use(self, context: Any) -> _Use:
        return _Use(*self.of(context) if self._allowances.any else (Account(), UNLIMITED))

    def of(self, context: Any) -> tuple[Account, Allowance]:
        """The account of whoever makes a call, and how much that may use.

        Raises:
            Unauthenticated: nobody who is known.
        """
        if self._identify is None:
            name, most = context.peer(), self._allowances.every
        else:
            principal = self._identify(context)
            # For the audit log, should it be refused here.
            CALLER.set(Caller(principal))
            # Names of connections begin otherwise.
            name, most = "=" + principal.name, self._allowances.of(principal.limits)
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= _MOST_ACCOUNTS and not len(self._accounts) % 1000:
                self.tidy()
            account = self._accounts[name] = Account()
        return account, most


class _Use:
    """What one call uses, until the with is left."""

    __slots__ = ("_account", "_bytes", "_most", "_streams")

    def __init__(self, account: Account, most: Allowance) -> None:
        self._account = account
        self._most = most
        self._streams = 0
        self._bytes = 0

    def __enter__(self) -> _Use:
        if self._most.calls_per_second:
            self._account.count_call(self._most, time.monotonic())
        return self

    def __exit__(self, *_: object) -> None:
        self._account.open_streams -= self._streams
        self._account.open_bytes -= self._bytes

    def begun(self, data: Any, many_requests: bool, many_replies: bool, counts_requests: bool) -> Any:
        """The request or requests of the call, counted. Raises `OverLimit`."""
        if many_requests or many_replies:
            self.open_stream()
        elif self._most.streams:
            _USE.set(self)
        if not many_requests:
            self.add_bytes(len(data))
            return data
        return self.counted(data) if counts_requests else data

    def open_stream(self) -> None:
        """The call stays open. Raises `OverLimit`."""
        most = self._most.streams
        if most and self._account.open_streams >= most:
            raise OverLimit("streams", most, _seconds(_WAIT_S))
        self._account.open_streams += 1
        self._streams += 1

    def add_bytes(self, size: int) -> None:
        """So many bytes have come. Raises `OverLimit`; a request that is larger than what there may be goes alone."""
        most = self._most.in_flight_bytes
        if most and self._account.open_bytes and self._account.open_bytes + size > most:
            raise OverLimit("in_flight_bytes", most, _seconds(_WAIT_S))
        self._account.open_bytes += size
        self._bytes += size

    def drop_bytes(self, size: int) -> None:
        """So many of them are dealt with."""
        self._account.open_bytes -= size
        self._bytes -= size

    async def counted(self, source: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """The requests of a stream, or in their places the errors of those that are beyond a limit."""
        sizes: deque[int] = deque()
        is_first = True
        async for data in source:
            size = len(data)
            if size <= _HEARTBEAT_BYTES:
                yield data
                continue
            if len(sizes) == _UNDER_WAY:
                self.drop_bytes(sizes.popleft())
            try:
                # The first has been counted as the stream was opened.
                if self._most.calls_per_second and not is_first:
                    self._account.count_call(self._most, time.monotonic())
                self.add_bytes(size)
            except OverLimit as error:
                yield error
                continue
            finally:
                is_first = False
            sizes.append(size)
            yield data


#: Of a call with one request and one reply, where streams are limited.
_USE: ContextVar[_Use | None] = ContextVar("dibs_use", default=None)


def stays_open() -> None:
    """The call that is being handled will wait, and counts as a stream until it ends. Raises `OverLimit`."""
    use = _USE.get()
    if use is not None:
        use.open_stream()


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=max(seconds, 0.001))
