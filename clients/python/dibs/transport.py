"""Runs operations over a blocking gRPC channel, from any thread and after a fork."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from . import forking
from .connection import Connection
from .errors import DibsError
from .operations import Operation, Rpc
from .retry import Attempts
from .status import error_from_call

T = TypeVar("T")


class Transport:
    """A channel, opened when it is first needed, and again in a process that was forked.

    Args:
        connection: where to connect.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._stubs: dict[Callable[[Any], Any], Any] = {}
        self._closed = False
        forking.watch(self)

    def run(self, operation: Operation[T], timeout: float | None = None) -> T:
        """Do it, with retries.

        Args:
            operation: what to do.
            timeout: seconds for all attempts, without the operation's own wait; None for the connection's.

        Raises:
            BrokerError: the broker refused, or the time for retries is used up.
        """
        attempts = Attempts((self.connection.timeout if timeout is None else timeout) + operation.wait)
        while True:
            try:
                reply = self._call(operation, attempts.remaining())
            except grpc.RpcError as error:
                pause = attempts.pause_after(error_from_call(error), safe=operation.safe)
            else:
                return operation.parse(reply, attempts.made > 0)
            time.sleep(pause)

    def _call(self, operation: Operation[Any], timeout: float) -> Any:
        method = self.method(operation.rpc)
        call = method(operation.request, timeout=timeout, metadata=self.connection.metadata)
        if not operation.rpc.streams:
            return call
        replies = []
        try:
            # To the end: a stream that is cut off after its last message may look to the broker like a lost delivery.
            for reply in call:
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
        """The callable of one RPC on the open channel.

        Raises:
            DibsError: the client has been closed.
        """
        stub = self._stubs.get(rpc.stub)
        if stub is None:
            stub = self._open(rpc.stub)
        return getattr(stub, rpc.name)

    def _open(self, make_stub: Callable[[Any], Any]) -> Any:
        with self._lock:
            if self._closed:
                raise DibsError("this client has been closed")
            if self._channel is None:
                self._channel = self.connection.open_channel()
            return self._stubs.setdefault(make_stub, make_stub(self._channel))

    def close(self) -> None:
        """Close the channel; calls in flight end with an error. May be called twice."""
        with self._lock:
            self._closed = True
            channel, self._channel = self._channel, None
            self._stubs = {}
        if channel is not None:
            channel.close()

    def before_fork(self) -> None:
        """Keep the state still until the fork is over."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's channel without closing it: its threads and its socket are the parent's."""
        forking.abandon(self._channel)
        self._channel = None
        self._stubs = {}
        self._lock.release()
