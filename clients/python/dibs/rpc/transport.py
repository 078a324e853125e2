"""Runs operations over a blocking gRPC channel, from any thread and after a fork.

A call that gets no answer in time makes those that come after it use a new channel, which leads to another broker where
there is one: the old one would go on with the connection on which nothing comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from ..errors import DeadlineExceeded, DibsError
from . import forking
from .connection import Connection
from .dividing import divided
from .flow import Flow, drive
from .known_limits import KnownLimits
from .operations import Operation
from .retry import Attempts
from .rpcs import Rpc
from .silence import FellSilent, SilenceWatch, problem_of

T = TypeVar("T")

#: What the calls of other threads get to end before a fork.
_LEAVE_SECONDS = 1.0


class Transport:
    """A channel, opened when it is first needed, and again in a process that was forked.

    Args:
        connection: where to connect.

    Attributes:
        limits: what the brokers take.
        generation: channels that have been left.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.limits = KnownLimits()
        self.generation = 0
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._stubs: dict[Callable[[Any], Any], Any] = {}
        #: Channels that were left, each with its generation and when it may be closed on the monotonic clock.
        self._left: list[tuple[grpc.Channel, int, float]] = []
        self._closed = False
        #: Calls that are under way, in any thread: generations of their channels, and whether they may be made again.
        self._calls: dict[Any, tuple[int, bool]] = {}
        #: Set when one of them has ended; for a fork that waits for them.
        self._ended = threading.Event()
        #: Forks so far that closed the channel; calls that were under way are made again.
        self._forks = 0
        forking.watch_opener(self)

    def run(self, operation: Operation[T], timeout: float | None = None) -> T:
        """Do it, with retries, in as many requests as the broker's limits make of it.

        Args:
            operation: what to do.
            timeout: seconds for all attempts of a request, without the operation's own wait; None for the connection's.

        Raises:
            BrokerError: the broker refused, or the time for retries is used up.
        """
        parts: Flow[T] = divided(operation, self.limits)
        return drive(parts, lambda part: self._attempt(part, timeout))

    def carry(self, flow: Flow[T]) -> T:
        """Run a flow.

        Raises:
            BrokerError: as for `run`, unless the flow knows better.
        """
        return drive(flow, self.run)

    def _attempt(self, operation: Operation[T], timeout: float | None) -> T:
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
                reply = self._call(operation, operation.request_after(attempts.elapsed()), limit)
            except (grpc.RpcError, FellSilent) as error:
                problem = problem_of(error, self.connection.place)
                if isinstance(problem, DeadlineExceeded):
                    self.leave_channel(generation)
                pause = attempts.pause_after(problem, safe=operation.safe)
            else:
                return operation.parse(reply, attempts.made > 0)
            if operation.again is not None:
                operation.again()
            time.sleep(pause)

    def _call(self, operation: Operation[Any], request: Message, timeout: float | None) -> Any:
        while True:
            self._close_left()
            # Under the lock, so that a fork finds every call that has begun, and none begins on a closed channel.
            with self._lock:
                forks = self._forks
                method = self._method(operation.rpc)
                call = (method if operation.rpc.streams else method.future)(
                    request,
                    timeout=timeout,
                    metadata=self.connection.metadata,
                    wait_for_ready=operation.waits_for_broker or None,
                )
                self._calls[call] = (self.generation, operation.safe)
            try:
                return self._replies(operation, call) if operation.rpc.streams else call.result()
            except (grpc.RpcError, grpc.FutureCancelledError):
                if forks == self._forks or not operation.safe:
                    raise
                if operation.again is not None:
                    operation.again()
            finally:
                self._calls.pop(call, None)
                self._ended.set()

    def _replies(self, operation: Operation[Any], call: Any) -> list[Any]:
        if not operation.is_watched:
            return self._read(operation, call)
        with SilenceWatch(call, self.connection.timeout) as watch:
            try:
                return self._read(operation, call, watch.hear)
            except grpc.RpcError:
                if not watch.fell_silent:
                    raise
        raise FellSilent

    def _read(self, operation: Operation[Any], call: Any, heard: Callable[[], None] | None = None) -> list[Any]:
        replies: list[Any] = []
        try:
            # To the end: a stream that is cut off after its last message may look to the broker like a lost delivery.
            for reply in call:
                if operation.is_watched:
                    replies.clear()  # there is no end to them, and each says all
                replies.append(reply)
                if heard is not None:
                    heard()
                if operation.heard is not None:
                    operation.heard(reply)
        except grpc.RpcError:
            if not (operation.rpc.single and replies):
                raise
        finally:
            call.cancel()
        return replies

    def begin(self, rpc: Rpc, requests: Any) -> Any:
        """Open a stream, which its user ends at a fork; see `forking`.

        Args:
            rpc: the method.
            requests: what is said on it.

        Raises:
            DibsError: the client has been closed.
        """
        self._close_left()
        with self._lock:
            return self._method(rpc)(requests, metadata=self.connection.metadata)

    def method(self, rpc: Rpc) -> Any:
        """The callable of one RPC on the open channel.

        Raises:
            DibsError: the client has been closed.
        """
        with self._lock:
            return self._method(rpc)

    def _method(self, rpc: Rpc) -> Any:
        if self._closed:
            raise DibsError("this client has been closed")
        if self._channel is None:
            self._channel = self.connection.open_channel()
        stub = self._stubs.get(rpc.stub)
        if stub is None:
            stub = self._stubs[rpc.stub] = rpc.stub(self._channel)
        return getattr(stub, rpc.name)

    def leave_channel(self, generation: int) -> None:
        """Make further calls on a new channel. Those under way stay where they are, streams for the time of a call.

        Args:
            generation: what it was before the call that got no answer; if that channel has been left already, nothing
                is done.
        """
        with self._lock:
            if generation != self.generation:
                return
            self.generation += 1
            channel, self._channel = self._channel, None
            self._stubs = {}
            if channel is not None:
                self._left.append((channel, generation, time.monotonic() + self.connection.timeout))

    def _close_left(self) -> None:
        """Close the channels that nobody should need any more."""
        if not self._left:
            return
        now = time.monotonic()
        with self._lock:
            oldest = min((generation for generation, _ in self._calls.values()), default=self.generation)
            over = [one for one in self._left if one[1] < oldest and one[2] <= now]
            self._left = [one for one in self._left if one not in over]
        for channel, _, _ in over:
            channel.close()

    def close(self) -> None:
        """Close the channel; calls in flight end with an error. May be called twice."""
        with self._lock:
            self._closed = True
            channels = self._take_channels()
        for channel in channels:
            channel.close()

    def _take_channels(self) -> list[grpc.Channel]:
        channels = [channel for channel, _, _ in self._left]
        if self._channel is not None:
            channels.append(self._channel)
        self._channel, self._left = None, []
        self._stubs = {}
        return channels

    @property
    def is_open(self) -> bool:
        """Whether it has a channel."""
        return self._channel is not None or bool(self._left)

    def before_fork(self, hold: forking.Hold) -> None:
        """Let no call begin until the fork is over, and close the channel; calls that may be made again then are.

        One that may not gets a second to end. If it does not, the channel stays open.
        """
        hold(self._lock)
        self._forks += 1
        for call, (_, safe) in tuple(self._calls.items()):
            if safe:
                call.cancel()
        if not self._calls_end():
            raise forking.GivenUp
        for channel in self._take_channels():
            channel.close()

    def _calls_end(self) -> bool:
        """Wait until no thread is inside of gRPC for a call; whether that is so."""
        deadline = time.monotonic() + _LEAVE_SECONDS
        while self._calls:
            self._ended.clear()
            # One that ended before that has not set it again.
            if self._calls and not self._ended.wait(max(deadline - time.monotonic(), 0.0)):
                return False
        return True

    def after_fork_in_parent(self) -> None:
        """Nothing has changed."""

    def after_fork_in_child(self) -> None:
        """Forget what is open: it is the parent's."""
        self._lock = threading.Lock()
        for channel in self._take_channels():
            forking.abandon(channel)
        for call in self._calls:
            forking.abandon(call)
        self._calls = {}
        self._ended = threading.Event()
