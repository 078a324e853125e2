"""Runs operations over an asyncio gRPC channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from .connection import Connection
from .dividing import divided
from .errors import BrokerError, DibsError
from .flows import Flow
from .known_limits import KnownLimits
from .operations import Operation, Rpc
from .retry import Attempts
from .status import error_from_call

T = TypeVar("T")


class AioTransport:
    """A channel of the running event loop, opened when it is first needed, and again when that loop is closed.

    Args:
        connection: where to connect.

    Attributes:
        limits: what the brokers take.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.limits = KnownLimits()
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stubs: dict[Callable[[Any], Any], Any] = {}

    async def run(self, operation: Operation[T], timeout: float | None = None) -> T:
        """Do it, with retries; as `Transport.run`.

        Raises:
            BrokerError: the broker refused, or the time for retries is used up.
        """
        parts = divided(operation, self.limits)
        try:
            part = next(parts)
            while True:
                try:
                    value = await self._attempt(part, timeout)
                except BrokerError as error:
                    part = parts.throw(error)
                else:
                    part = parts.send(value)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _attempt(self, operation: Operation[T], timeout: float | None) -> T:
        attempts = Attempts((self.connection.timeout if timeout is None else timeout) + operation.wait)
        while True:
            try:
                reply = await self._call(operation, operation.request_after(attempts.elapsed()), attempts.remaining())
            except grpc.RpcError as error:
                pause = attempts.pause_after(error_from_call(error, self.connection.place), safe=operation.safe)
            else:
                return operation.parse(reply, attempts.made > 0)
            await asyncio.sleep(pause)

    async def carry(self, flow: Flow[T], before: Callable[[], Awaitable[None]] | None = None) -> T:
        """Run a flow.

        Args:
            flow: what to run.
            before: to be done before its first call, if it makes one.

        Raises:
            BrokerError: as for `run`, unless the flow knows better.
        """
        try:
            operation = next(flow)
            if before is not None:
                await before()
            while True:
                try:
                    value = await self.run(operation)
                except Exception as error:  # noqa: BLE001 - the flow decides
                    operation = flow.throw(error)
                else:
                    operation = flow.send(value)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _call(self, operation: Operation[Any], request: Message, timeout: float) -> Any:
        call = self.method(operation.rpc)(
            request,
            timeout=timeout,
            metadata=self.connection.metadata,
            # What must not be tried again had better be sent when there is somebody to send it to.
            wait_for_ready=None if operation.safe else True,
        )
        if not operation.rpc.streams:
            return await call
        replies = []
        try:
            async for reply in call:
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
        if self._loop is not None and self._loop is not loop and self._loop.is_closed():
            # Nobody can close the channel in its own loop any more; it closes itself when it is dropped.
            self._channel, self._loop, self._stubs = None, None, {}
        if self._channel is None or self._loop is None:
            self._channel = self.connection.open_aio_channel()
            self._loop = loop
        elif self._loop is not loop:
            raise DibsError(
                "an AsyncDibs belongs to the event loop of its first call until that is closed: "
                "close it there, or make another"
            )
        stub = self._stubs.get(rpc.stub)
        if stub is None:
            stub = self._stubs[rpc.stub] = rpc.stub(self._channel)
        return getattr(stub, rpc.name)

    async def close(self) -> None:
        """Close the channel; calls in flight end with an error. The next call opens another."""
        channel, self._channel, self._loop = self._channel, None, None
        self._stubs = {}
        if channel is not None:
            await channel.close()
