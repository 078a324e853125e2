"""Runs operations over an asyncio gRPC channel; as `transport`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from ..errors import DeadlineExceeded, DibsError
from . import forking
from .connection import Connection
from .dividing import divided
from .flow import Flow, drive_aio
from .known_limits import KnownLimits
from .letting_go import let_go
from .operations import Operation
from .retry import Attempts
from .rpcs import Rpc
from .silence import FellSilent, problem_of

T = TypeVar("T")


class AioTransport:
    """A channel of the running event loop, opened when it is first needed, and again when that loop is closed.

    Args:
        connection: where to connect.

    Attributes:
        limits: what the brokers take.
        generation: channels that have been left.
        closed: how often `close` was called.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.limits = KnownLimits()
        self.generation = 0
        self.closed = 0
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stubs: dict[Callable[[Any], Any], Any] = {}
        #: Calls that are under way, with the generations of their channels.
        self._calls: dict[Any, int] = {}
        #: Each closes a channel that was left, in a while.
        self._closing: dict[asyncio.Task[None], grpc.aio.Channel] = {}
        forking.watch(self)

    async def run(self, operation: Operation[T], timeout: float | None = None) -> T:
        """Do it, with retries; as `Transport.run`.

        Raises:
            BrokerError: the broker refused, or the time for retries is used up.
        """
        parts: Flow[T] = divided(operation, self.limits)
        return await drive_aio(parts, lambda part: self._attempt(part, timeout))

    async def _attempt(self, operation: Operation[T], timeout: float | None) -> T:
        attempts = Attempts(
            self.connection.timeout if timeout is None else timeout,
            self.connection.try_timeout if operation.prompt else None,
            0.0 if operation.endless else operation.wait,
        )
        operation = operation.telling(attempts)
        while True:
            generation = self.generation
            limit = operation.limit_after(attempts)
            try:
                reply = await self._call(operation, operation.request_after(attempts.elapsed()), limit)
            except (grpc.RpcError, FellSilent) as error:
                problem = problem_of(error, self.connection.place)
                if isinstance(problem, DeadlineExceeded):
                    self.leave_channel(generation)
                pause = attempts.pause_after(problem, safe=operation.safe)
            else:
                return operation.parse(reply, attempts.made > 0)
            if operation.again is not None:
                operation.again()
            await asyncio.sleep(pause)

    async def carry(self, flow: Flow[T], before: Callable[[], Awaitable[None]] | None = None) -> T:
        """Run a flow.

        Args:
            flow: what to run.
            before: to be done before its first call, if it makes one.

        Raises:
            BrokerError: as for `run`, unless the flow knows better.
        """
        return await drive_aio(flow, self.run, before)

    async def _call(self, operation: Operation[Any], request: Message, timeout: float | None) -> Any:
        call = self.method(operation.rpc)(
            request,
            timeout=timeout,
            metadata=self.connection.metadata,
            wait_for_ready=operation.waits_for_broker or None,
        )
        self._calls[call] = self.generation
        outside = sys.exception()
        try:
            return await (self._replies(operation, call) if operation.rpc.streams else call)
        except asyncio.CancelledError as error:
            let_go(error, outside)
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody has cancelled us: the channel was closed, for which gRPC has no other word.
            raise DibsError("this client has been closed") from None
        except BaseException as error:
            let_go(error, outside)
            raise
        finally:
            self._calls.pop(call, None)
            del call

    async def _replies(self, operation: Operation[Any], call: Any) -> list[Any]:
        replies: list[Any] = []
        try:
            while True:
                try:
                    async with asyncio.timeout(self.connection.timeout if operation.is_watched else None):
                        reply = await call.read()
                except TimeoutError:
                    raise FellSilent from None
                if reply is grpc.aio.EOF:
                    break
                if operation.is_watched:
                    replies.clear()  # there is no end to them, and each says all
                replies.append(reply)
                if operation.heard is not None:
                    operation.heard(reply)
        except grpc.RpcError:
            if not (operation.rpc.single and replies):
                raise
        finally:
            call.cancel()
        return replies

    def method(self, rpc: Rpc) -> Any:
        """The callable of one RPC on the open channel; as `Transport.method`."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            if not self._loop.is_closed():
                raise DibsError(
                    "an AsyncDibs belongs to the event loop of its first call until that is closed: "
                    "close it there, or make another"
                )
            self._drop()
        if self._channel is None:
            self._channel = self.connection.open_aio_channel()
            self._loop = loop
        stub = self._stubs.get(rpc.stub)
        if stub is None:
            stub = self._stubs[rpc.stub] = rpc.stub(self._channel)
        return getattr(stub, rpc.name)

    def _drop(self) -> None:
        """Forget the channels of a closed loop. Nobody can close them there; they close themselves."""
        self._channel, self._loop, self._stubs = None, None, {}
        self._closing.clear()
        self._calls.clear()

    def leave_channel(self, generation: int) -> None:
        """As `Transport.leave_channel`."""
        if generation != self.generation:
            return
        self.generation += 1
        channel, self._channel = self._channel, None
        self._stubs = {}
        if channel is not None:
            closing = asyncio.create_task(self._close_later(channel, generation), name="dibs-left-channel")
            self._closing[closing] = channel
            closing.add_done_callback(lambda one: self._closing.pop(one, None))

    async def _close_later(self, channel: grpc.aio.Channel, generation: int) -> None:
        """Close a channel when nobody should need it any more."""
        await asyncio.sleep(self.connection.timeout)
        still = [call for call, of in self._calls.items() if of <= generation]
        await asyncio.gather(*(call.code() for call in still))
        await channel.close()

    async def close(self) -> None:
        """Close the channel; calls in flight end with an error. The next call opens another."""
        self.closed += 1
        channel, self._channel, self._loop = self._channel, None, None
        self._stubs = {}
        closing = dict(self._closing)
        for one in closing:
            one.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for left in (*closing.values(), channel):
            if left is not None:
                await left.close()
        # In the next turn of the loop what was cut off lets go of gRPC, which a fork after this waits for.
        await asyncio.sleep(0)

    def before_fork(self, hold: forking.Hold) -> None:
        """Drop what nobody can use any more: it would keep gRPC running."""
        if self._loop is not None and self._loop.is_closed():
            self._drop()

    def after_fork_in_parent(self) -> None:
        """Nothing has changed."""

    def after_fork_in_child(self) -> None:
        """Forget what is open: it is the parent's."""
        for thing in (self._channel, *self._closing.values(), *self._calls):
            forking.abandon(thing)
        self._drop()
