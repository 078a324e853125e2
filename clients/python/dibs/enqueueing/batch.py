"""`Batch`: many calls in few requests, for blocking callers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from ..errors import BrokerError
from ..rpc import forking
from ..rpc.encoding import EncodedRequest
from ..rpc.retry import Attempts
from ..rpc.runner import Runner
from ..v1 import broker_pb2 as pb
from .flows import conflicts, enqueue
from .gathering import IN_FLIGHT, Gathering
from .stream import EnqueueStream, taken


class Batch(Gathering[Runner]):
    """The blocking face: `IN_FLIGHT` requests are under way over one stream while the next one gathers."""

    def __init__(self, owner: Runner) -> None:
        super().__init__(owner, owner.transport.limits, owner.sealing)
        #: Held while the stream is put and taken away: a fork in another thread does that, too.
        self._lock = threading.Lock()
        self._stream: EnqueueStream | None = None
        #: Requests that were given to the stream and have no reply; all of them if the stream is gone.
        self._sent: deque[EncodedRequest] = deque()

    def send(self) -> None:
        """Send what has gathered, without waiting for the reply unless too much is under way.

        Raises:
            BrokerError: an earlier request, or this one, was not taken.
        """
        with self._sending():
            self._send()

    def flush(self) -> None:
        """Send what has gathered, and wait until the broker has everything.

        Raises:
            BrokerError: a request was not taken.
        """
        with self._sending():
            if self._sent:
                self._send()
            while self._sent:
                self._settle()
            # A single request is done faster without a stream.
            for request in self.take(self.owner.namespace):
                self.refusals += self.owner.run(enqueue(request.message(), heard=self.heard))

    @contextmanager
    def _sending(self) -> Iterator[None]:
        self.flushing = True
        try:
            yield
        except BaseException:
            self.broken = True
            raise
        finally:
            self.flushing = False

    def _send(self) -> None:
        for request in self.take(self.owner.namespace):
            while len(self._sent) >= IN_FLIGHT:
                self._settle()
            self._sent.append(request)
            stream = self._stream
            if stream is None and len(self._sent) == 1:
                transport = self.owner.transport
                with self._lock:
                    stream = self._stream = EnqueueStream(transport)
            if stream is not None:
                stream.send(request)

    def close(self) -> None:
        """End the stream; the batch gathers no more."""
        self.closed = True
        self._drop_stream()

    def _settle(self) -> None:
        """Wait for the oldest request; over a call of its own if the stream has broken.

        Its time begins now: before, nobody waited for the reply, and it may be there.
        """
        request = self._sent.popleft()
        owner = self.owner
        attempts = Attempts(owner.connection.timeout, owner.connection.try_timeout)
        try:
            items = taken(request, self._receive(attempts), owner.transport, attempts)
        except BrokerError as error:
            refusal = error
        else:
            self.heard(items)
            self.refusals += conflicts(items)
            return
        self.refusals += owner.run(enqueue(request.message(), refusal, self.heard))

    def _receive(self, attempts: Attempts) -> pb.EnqueueStreamResponse | None:
        """The reply to the oldest request; None if the stream has broken."""
        stream = self._stream
        if stream is None:
            return None
        try:
            return stream.receive(attempts.limit())
        except grpc.RpcError:
            if stream.ran_out:
                self.owner.transport.leave_channel(stream.generation)
            self._drop_stream()
            return None

    def _drop_stream(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def before_fork(self, hold: forking.Hold) -> None:
        """End the stream. What was sent goes again, with its request_id."""
        hold(self._lock)
        if self._stream is not None:
            self._stream.halt()
            self._stream = None

    def after_fork_in_child(self) -> None:
        """Forget what is the parent's."""
        self._lock = threading.Lock()
        super().after_fork_in_child()
        if self._stream is not None:
            self._stream.abandon()
            self._stream = None
        self._sent.clear()
