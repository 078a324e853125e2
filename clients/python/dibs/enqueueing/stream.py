"""One open enqueue stream, blocking: half the cost of a unary round trip."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

import grpc

from ..rpc import forking
from ..rpc.encoding import EncodedRequest
from ..rpc.heart import Heart
from ..rpc.operations import enqueue
from ..rpc.retry import Attempts
from ..rpc.rpcs import Rpc
from ..rpc.status import error_from_status
from ..rpc.transport import Transport
from ..v1 import broker_pb2 as pb

#: What gRPC's thread, and then whoever receives, gets to end.
_END_SECONDS = 1.0


class _Stub:
    """The generated one serializes messages; here they come encoded."""

    def __init__(self, channel: Any) -> None:
        self.EnqueueStream = channel.stream_stream(
            f"/{pb.DESCRIPTOR.services_by_name['BrokerService'].full_name}/EnqueueStream",
            request_serializer=lambda request: request.in_stream(),
            response_deserializer=pb.EnqueueStreamResponse.FromString,
        )


ENQUEUE_STREAM = Rpc(_Stub, "EnqueueStream", streams=True)


class _Heartbeat:
    """Says that we are alive, and that we know heartbeats."""

    data = pb.EnqueueStreamRequest(heartbeats=True).SerializeToString()

    def in_stream(self) -> bytes:
        """As it goes."""
        return self.data


_HEARTBEAT = _Heartbeat()


class _Look:
    """Wakes gRPC's thread to look at the clock."""


_LOOK = _Look()


class EnqueueStream:
    """Requests go in, replies come out in the same order. One thread at a time sends, and one receives.

    A stream has no deadline of its own. The thread in which gRPC takes the requests also watches the clock: a
    reply that somebody waits for and that is not there in time ends the stream, and with it the wait. So does a broker
    that has announced heartbeats and is silent. While nobody waits for a reply the clock stands still: a producer may
    take its time.

    Args:
        transport: whose channel to use.

    Attributes:
        generation: of its channel.
        ran_out: a reply was not there in time, or the broker silent.
        sent: requests whose replies have not been received; written by whoever sends and receives.
    """

    __slots__ = (
        "_begun",
        "_call",
        "_deadline",
        "_heart",
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
        # Looked up now, not at the import: gevent may have put its own there meanwhile.
        self._requests: queue.SimpleQueue[EncodedRequest | _Look | None] = queue.SimpleQueue()
        #: When the next reply must be there, on the monotonic clock; None while nobody waits for one. Written by
        #: whoever sends and receives, read by gRPC's thread.
        self._deadline: float | None = None
        self._heart = Heart()
        self.sent = 0
        #: gRPC's thread; written by it.
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        #: Held by whoever is inside of gRPC to receive.
        self._receiving = threading.Lock()
        self._over = False
        self._call: Any = transport.begin(ENQUEUE_STREAM, self)

    def send(self, request: EncodedRequest) -> None:
        """Hand over a request. Never blocks; what goes wrong is told by `receive`."""
        self.sent += 1
        self._requests.put(request)

    def receive(self, timeout: float) -> pb.EnqueueStreamResponse:
        """The reply to the oldest request that has none yet.

        Args:
            timeout: seconds from now in which it must come.

        Raises:
            grpc.RpcError: the stream is over: broken, ended by the broker, or out of time.
        """
        with self._receiving:
            if self._over:
                raise StreamEnded
            self._wait_for_one(timeout)
            self._requests.put(_LOOK)
            return self._received()

    def ask(self, request: EncodedRequest, timeout: float) -> pb.EnqueueStreamResponse:
        """As `send` and `receive`, of a stream that owes no other reply; wakes gRPC's thread only once."""
        with self._receiving:
            if self._over:
                raise StreamEnded
            self._wait_for_one(timeout)
            self.send(request)
            return self._received()

    def _wait_for_one(self, timeout: float) -> None:
        self._heart.listen()
        self._deadline = time.monotonic() + timeout

    def _received(self) -> pb.EnqueueStreamResponse:
        try:
            while True:
                reply: pb.EnqueueStreamResponse = next(self._call)
                self._heart.hear(reply)
                if reply.HasField("response") or reply.HasField("error"):
                    break
        except StopIteration:
            raise StreamEnded from None
        finally:
            self._deadline = None
        self.sent -= 1
        return reply

    def close(self) -> None:
        """End the stream at once. May be called twice, and from any thread."""
        self._over = True
        self._requests.put(None)
        self._call.cancel()

    def halt(self) -> None:
        """End the stream at once, and wait until no thread is inside of gRPC for it any more.

        For a fork: gRPC must have ended by then.
        """
        self.close()
        if self._begun.wait(_END_SECONDS) and self._thread is not None:
            self._thread.join(_END_SECONDS)
        if self._receiving.acquire(timeout=_END_SECONDS):
            self._receiving.release()

    def abandon(self) -> None:
        """Leave it to the parent, in a child that was forked."""
        forking.abandon(self._call)

    def __iter__(self) -> EnqueueStream:
        """The stream iterates over its requests, for gRPC."""
        return self

    def __next__(self) -> EncodedRequest | _Heartbeat:
        """What to send next; runs in gRPC's thread."""
        if self._thread is None:
            self._thread = threading.current_thread()
            self._begun.set()
        while True:
            request: EncodedRequest | _Look | None
            try:
                request = self._requests.get(timeout=self._pause())
            except queue.Empty:
                request = _LOOK
            if request is None:
                raise StopIteration
            if not isinstance(request, _Look):
                self._heart.say()
                return request
            self._look()
            if self._heart.beat_due:
                self._heart.say()
                return _HEARTBEAT

    def _pause(self) -> float | None:
        """Seconds until there is something to look at; None: for ever."""
        deadline, look_s = self._deadline, self._heart.look_s
        if deadline is None:
            return look_s
        left = max(deadline - time.monotonic(), 0.0)
        return left if look_s is None else min(left, look_s)

    def _look(self) -> None:
        """Give the stream up if a reply that is waited for does not come."""
        self._heart.look()
        deadline = self._deadline
        if deadline is not None and (self._heart.silent or deadline <= time.monotonic()):
            self._deadline = None
            self.ran_out = True
            self._call.cancel()


def taken(
    request: EncodedRequest, reply: pb.EnqueueStreamResponse | None, transport: Transport, attempts: Attempts
) -> Sequence[pb.EnqueuedItem]:
    """What became of the items of a request that went over a stream; asks on over calls of its own if it has to.

    Args:
        request: it; other attempts have the same request_id, so that nothing is done twice.
        reply: what came over the stream; None: that has broken, or there is none. What is wrong, if anything, the call
            will tell.
        transport: makes the calls.
        attempts: of the request, the one over the stream among them.

    Raises:
        BrokerError: the request was not taken.
    """
    if reply is not None:
        if not reply.HasField("error"):
            return reply.response.items
        error = error_from_status(reply.error)
        transport.limits.hear_refusal(error)
        time.sleep(attempts.pause_after(error))
    return transport.run(enqueue(request), timeout=attempts.remaining())


class StreamEnded(grpc.RpcError):
    """The broker ended the stream without an error, such as when it goes away."""
