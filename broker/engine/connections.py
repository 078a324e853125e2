"""Connections to Redis."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import hiredis
import redis.asyncio as redis_async
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .error_codes import leads_elsewhere
from .turns import Turns

Argument = str | bytes | int
#: Seconds that a connection is kept although its Redis says that it will not serve: so seldom are new ones made.
_KEPT_S = 1.0
NO_TLS: Mapping[str, str] = MappingProxyType({})


class NotConnected(RedisConnectionError):
    """There is no connection, so that nothing was sent."""


class NoTurn(NotConnected):
    """So many calls were before it that it was not sent in time."""


class _InLine:
    """A call that waits for its turn: what is to be sent, where its reply goes, and who is told that it was sent.

    `answers` is how many of other calls there had been when it came.
    """

    __slots__ = ("answers", "packed", "reply", "sent")

    def __init__(self, packed: bytes, reply: asyncio.Future[Any], answers: int) -> None:
        self.packed = packed
        self.reply = reply
        self.answers = answers
        self.sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_sent(self) -> bool:
        return self.sent.done() and not self.sent.cancelled() and self.sent.exception() is None


def tls_options(ca: str, cert: str, key: str) -> dict[str, str]:
    """Files of TLS in redis-py's own words; those that are "" are left out."""
    options = {"ssl_ca_certs": ca, "ssl_certfile": cert, "ssl_keyfile": key}
    return {name: path for name, path in options.items() if path}


def _network(url: str, tls: Mapping[str, str]) -> dict[str, Any]:
    """Options of connections to that URL, in redis-py's words; what the URL says itself goes before them."""
    if url.startswith("unix:"):
        return {}
    if not url.startswith("rediss:"):
        return {"socket_keepalive": True}
    # Older releases of redis-py look at the host name only when they are told to; none can where nothing is verified.
    return {"socket_keepalive": True, "ssl_check_hostname": "ssl_cert_reqs=none" not in url, **tls}


def connect(url: str, *, connect_timeout_s: float, tls: Mapping[str, str] = NO_TLS) -> redis_async.Redis:
    """redis-py's client, for subscriptions and questions about the server.

    Args:
        url: redis://, rediss:// or unix://, as redis-py reads it.
        connect_timeout_s: seconds until an attempt to connect fails.
        tls: as `tls_options` says it, for rediss://.
    """
    network = _network(url, tls)
    client = redis_async.Redis.from_url(url, socket_connect_timeout=connect_timeout_s, protocol=2, **network)
    _no_write_timeout(client.connection_pool)
    return client


def _no_write_timeout(pool: redis_async.ConnectionPool) -> None:
    """Keep redis-py from writing inside of asyncio.wait_for, whatever the URL says.

    That swallows, before Python 3.12, a cancellation that comes in the moment in which the write ends; and it makes a
    task for every write. Here every call has a timeout of its caller's, and subscriptions wait for ever.
    """
    pool.connection_kwargs["socket_timeout"] = None
    # Who waits here asks for signs of life himself.
    pool.connection_kwargs["health_check_interval"] = 0


class Pipe:
    """One connection that many calls share, answered in the order in which they are written.

    Each is written at once, but for those of tenants while much is under way: these have their turns (`Turns`).

    Redis carries out one command at a time anyway, so further connections would only add work; and a script call's
    arguments are packed by hiredis, which costs a tenth of redis-py's own way. redis-py makes the connection (URL
    forms, TLS, credentials, database).

    Args:
        url: as for `connect`.
        connect_timeout_s: seconds until an attempt to connect fails.
        tls: as for `connect`.
        timeout_s: seconds until an unanswered call fails. The connection is dropped then, since nothing behind that
            call would be answered either, and the next call makes a new one.
        on_elsewhere: told when the connection is given up since its Redis is no primary, loads its data or wants other
            credentials: the address is looked up anew then, as whoever has other connections had better do too.

    Attributes:
        connects: how often a connection was made.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float,
        timeout_s: float,
        tls: Mapping[str, str] = NO_TLS,
        on_elsewhere: Callable[[], None] = lambda: None,
    ) -> None:
        # Only knows how to make connections; never hands any out.
        self._maker = redis_async.ConnectionPool.from_url(
            url,
            socket_connect_timeout=connect_timeout_s,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            **_network(url, tls),
        )
        _no_write_timeout(self._maker)
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._on_elsewhere = on_elsewhere
        self.connects = 0
        self._connection: AbstractConnection | None = None
        self._connected_at = 0.0
        self._connecting = asyncio.Lock()
        #: Replies that are to come, in their order, and what their calls cost.
        self._waiting: deque[tuple[asyncio.Future[Any], int]] = deque()
        self._turns: Turns[_InLine] = Turns()
        #: Of calls that cost something.
        self._answers = 0
        self._outgoing: list[bytes] = []
        self._something_to_write = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def call(self, *args: Argument, tenant: str = "", cost: int = 0) -> Any:
        """Send a command and answer its reply, undecoded.

        Args:
            args: the command.
            tenant: whose turn it takes.
            cost: what it will cost, but for its bytes; 0: next to nothing, so that it takes nobody's turn.

        Raises:
            ResponseError, BusyLoadingError, AuthenticationError: Redis's own error reply.
            NotConnected: the command was not sent.
            RedisConnectionError, RedisTimeoutError: no answer; whether the command was carried out is unknown.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # First of all, since it may fail: a call that waits without a command would take another call's reply.
        packed = hiredis.pack_command(args)  # type: ignore[arg-type]  # its stub omits str
        in_line: _InLine | None = None
        sent = False
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._connection is None:
                    await self._connect()
                if cost:
                    cost += len(packed) >> 10
                if not cost or self._turns.goes(cost):
                    sent = True
                    self._put(packed, future, cost)
                    return await future
                in_line = _InLine(packed, future, self._answers)
                self._turns.line_up(tenant, cost, in_line)
                await in_line.sent
            sent = True
            # Redis has as long for its answer as ever.
            async with asyncio.timeout(self._timeout_s):
                return await future
        except TimeoutError:
            text = f"no answer from Redis within {self._timeout_s:g} s"
            error = RedisTimeoutError(text)
            if not sent and not (in_line is not None and in_line.is_sent):
                # A Redis that answers nothing is no crowd.
                if in_line is None or self._answers == in_line.answers:
                    raise NotConnected(text) from None
                text = f"no turn within {self._timeout_s:g} s: {len(self._turns)} calls wait for Redis"
                raise NoTurn(text) from None
            if sent and any(future is waiting for waiting, _ in self._waiting):
                await self._drop(error)
            raise error from None
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            if not sent:
                raise NotConnected(str(error)) from error
            raise
        finally:
            # Whoever gave up in line: it is passed over when its turn comes.
            future.cancel()

    def _put(self, packed: bytes, reply: asyncio.Future[Any], cost: int) -> None:
        self._waiting.append((reply, cost))
        self._send(packed)

    def _go_on(self, cost: int) -> None:
        """Has calls go whose turn has come, now that one is done."""
        self._answers += 1
        self._turns.ended(cost)
        while (turn := self._turns.next()) is not None:
            cost, call = turn
            if call.reply.done():
                self._turns.ended(cost)
            else:
                self._put(call.packed, call.reply, cost)
                call.sent.set_result(None)

    def _send(self, packed: bytes) -> None:
        """Write at once if nothing is waiting to be written: the writing task would do it a turn of the loop later.

        redis-py writes in a coroutine only. Its writer is not public, so where a release has none of that name the
        writing task does it all.
        """
        writer: asyncio.StreamWriter | None = getattr(self._connection, "_writer", None)
        if writer is not None and not self._outgoing and not writer.transport.get_write_buffer_size():
            writer.write(packed)
        else:
            self._outgoing.append(packed)
            self._something_to_write.set()

    async def close(self) -> None:
        """Disconnects; calls in flight fail."""
        await self._drop(RedisConnectionError("the connection was closed"))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self) -> None:
        async with self._connecting:
            if self._connection is not None:
                return
            connection: AbstractConnection = self._maker.make_connection()  # type: ignore[no-untyped-call]
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    await connection.connect()  # type: ignore[no-untyped-call]
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            self._connection = connection
            self.connects += 1
            self._connected_at = asyncio.get_running_loop().time()
            self._tasks = [
                asyncio.create_task(self._write(connection), name="dibs-redis-write"),
                asyncio.create_task(self._read(connection), name="dibs-redis-read"),
            ]

    async def _write(self, connection: AbstractConnection) -> None:
        try:
            while self._connection is connection:
                await self._something_to_write.wait()
                self._something_to_write.clear()
                outgoing, self._outgoing = self._outgoing, []
                await connection.send_packed_command(outgoing, check_health=False)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            self._abandon(connection, error)
            await connection.disconnect(nowait=True)

    async def _read(self, connection: AbstractConnection) -> None:
        try:
            while self._connection is connection:
                try:
                    reply = await connection.read_response(
                        disable_decoding=True, timeout=math.inf, disconnect_on_error=False
                    )
                except (ResponseError, BusyLoadingError, AuthenticationError) as error:
                    reply = error
                future, cost = self._waiting.popleft()
                if not future.done():
                    if isinstance(reply, Exception):
                        future.set_exception(reply)
                    else:
                        future.set_result(reply)
                if cost:
                    self._go_on(cost)
                if isinstance(reply, Exception) and self._leads_elsewhere(reply):
                    self._abandon(connection, reply)
                    await connection.disconnect(nowait=True)
                    self._on_elsewhere()
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            self._abandon(connection, error)
            await connection.disconnect(nowait=True)

    def _leads_elsewhere(self, error: Exception) -> bool:
        age_s = asyncio.get_running_loop().time() - self._connected_at
        return age_s >= _KEPT_S and leads_elsewhere(error)

    def _abandon(self, connection: AbstractConnection, error: Exception) -> None:
        """Give a broken connection up: everything in flight fails, the next call connects anew."""
        if self._connection is not connection:
            return
        self._connection = None
        self._outgoing.clear()
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(RedisConnectionError(f"connection to Redis lost: {error}"))
        for call in self._turns.drain():
            if not call.sent.done():
                call.sent.set_exception(NotConnected(f"connection to Redis lost: {error}"))
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _drop(self, error: Exception) -> None:
        connection, tasks = self._connection, self._tasks
        if connection is not None:
            self._abandon(connection, error)
            await asyncio.gather(*tasks, return_exceptions=True)
            await connection.disconnect(nowait=True)
