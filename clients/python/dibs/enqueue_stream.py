"""One open enqueue stream, blocking: half the cost of a unary round trip."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from .encoding import EncodedRequest
from .rpcs import Rpc
from .transport import Transport
from .v1 import broker_pb2 as pb

#: What gRPC's thread, and then whoever receives, gets to end.
_END_SECONDS = 1.0


class _Stub:
    """The generated one serializes messages; here they come encoded."""

    def __init__(self, channel: Any) -> None:
        self.EnqueueStream = channel.stream_stream(
            f"/{pb.DESCRIPTOR.services_by_name['BrokerService'].full_name}/EnqueueStream",
            request_serializer=EncodedRequest.in_stream,
            response_deserializer=pb.EnqueueStreamResponse.FromString,
        )


ENQUEUE_STREAM = Rpc(_Stub, "EnqueueStream", streams=True)


class EnqueueStream:
    """Requests go in, replies come out in the same order. One thread at a time sends, and one receives.

    A stream has no deadline of its own. The thread in which gRPC takes the requests also watches the clock: a
    reply that is not there in time ends the stream, and with it the wait of whoever receives.

    Args:
        transport: whose channel to use.

    Attributes:
        generation: of its channel.
        ran_out: a reply was not there in time.
        sent: requests whose replies have not been received; written by whoever sends and receives.
    """

    __slots__ = (
        "_begun",
        "_call",
        "_deadline",
        "_over",
        "_receiving",
        "_requests",
        "_thread",
        "generation",
        "ran_out",
        "sent",
    )

    def __init__(self, transport: Transport) -> None:
        self.generation = transport.generation
        self.ran_out = False
        self._requests: SimpleQueue[EncodedRequest | None] = SimpleQueue()
        #: When the replies must be there, on the monotonic clock; None while none is waited for. Written by
        #: whoever sends and receives, read by gRPC's thread.
        self._deadline: float | None = None
        self.sent = 0
        #: gRPC's thread; written by it.
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        #: Held by whoever is inside of gRPC to receive.
        self._receiving = threading.Lock()
        self._over = False
        method = transport.method(ENQUEUE_STREAM)
        self._call: Any = method(self, metadata=transport.connection.metadata)

    def send(self, request: EncodedRequest, timeout: float) -> None:
        """Hand over a request. Never blocks; what goes wrong is told by `receive`.

        Args:
            request: what to send.
            timeout: seconds from now in which the replies to this and all earlier requests must come.
        """
        self.sent += 1
        self._deadline = time.monotonic() + timeout
        self._requests.put(request)

    def receive(self) -> pb.EnqueueStreamResponse:
        """The reply to the oldest request that has none yet.

        Raises:
            grpc.RpcError: the stream is over: broken, ended by the broker, or out of time.
        """
        with self._receiving:
            if self._over:
                raise StreamEnded
            try:
                reply: pb.EnqueueStreamResponse = next(self._call)
            except StopIteration:
                raise StreamEnded from None
        self.sent -= 1
        if not self.sent:
            self._deadline = None
        return reply

    def close(self) -> None:
        """End the stream at once. May be called twice, and from any thread."""
        self._over = True
        self._requests.put(None)
        self._call.cancel()

    def halt(self) -> None:
        """End the stream at once, and wait until no thread is inside of gRPC for it any more.

        For a fork: what its threads hold at that moment stays locked in the child, and gRPC goes through its calls
        there.
        """
        self.close()
        if self._begun.wait(_END_SECONDS) and self._thread is not None:
            self._thread.join(_END_SECONDS)
        if self._receiving.acquire(timeout=_END_SECONDS):
            self._receiving.release()

    def __iter__(self) -> EnqueueStream:
        """The stream iterates over its requests, for gRPC."""
        return self

    def __next__(self) -> EncodedRequest:
        """The next request; runs in gRPC's thread."""
        if self._thread is None:
            self._thread = threading.current_thread()
            self._begun.set()
        while True:
            deadline = self._deadline
            timeout = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            try:
                request = self._requests.get(timeout=timeout)
            except Empty:
                if self._deadline is not None and self._deadline <= time.monotonic():
                    self.ran_out = True
                    self._call.cancel()
                continue
            if request is None:
                raise StopIteration
            return request


class StreamEnded(grpc.RpcError):
    """The broker ended the stream without an error, such as when it goes away."""
