"""Blocking calls that enqueue one item each, from any number of threads, over one stream.

Calls that come while a request is under way share the next one. There is no thread for this: of the callers
that wait, one leads. It sends what has gathered, waits for the reply, tells the others, and hands the lead on.
"""

from __future__ import annotations

import copy
import threading
import time
import weakref
from collections.abc import Sequence

import grpc

from ..errors import BrokerError, DeadlineExceeded
from ..rpc import forking
from ..rpc.encoding import EncodedRequest
from ..rpc.known_limits import KnownLimits
from ..rpc.operations import conflict, enqueue
from ..rpc.retry import Attempts, is_transient
from ..rpc.transport import Transport
from ..v1 import broker_pb2 as pb
from .stream import EnqueueStream, taken


class _Ticket:
    """One caller's item on its way. Its fields are written by the leader before it releases `woken`."""

    __slots__ = ("deadline", "entry", "error", "leads", "place", "reply", "request", "woken")

    def __init__(self, entry: bytes, timeout: float) -> None:
        #: When its caller is to be answered, on the monotonic clock.
        self.deadline = time.monotonic() + timeout
        #: The item, encoded as an entry of a request.
        self.entry = entry
        #: Released when there is something to do or to return; made only for callers that wait.
        self.woken: threading.Lock | None = None
        #: The caller is to lead now.
        self.leads = False
        #: What the broker said of the item.
        self.reply: pb.EnqueuedItem | None = None
        #: Why there is no reply.
        self.error: BrokerError | None = None
        #: The request that the item is to go out with, again or alone; set when the leader does not know its fate.
        self.request: EncodedRequest | None = None
        #: Place of the item in `request`.
        self.place = 0

    def left(self) -> float:
        """Seconds that its caller has; at least a millisecond, so that a call gets an answer."""
        return max(self.deadline - time.monotonic(), 0.001)


class EnqueueLine:
    """Enqueues single items for the threads of this process.

    Args:
        transport: runs unary calls, and owns the channel of the stream.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        # Under the lock: who waits, in order, and whether somebody leads.
        self._waiting: list[_Ticket] = []
        self._led = False
        # Used by the leader alone; put and taken away under the lock, for close() and fork() do that too.
        self._stream: EnqueueStream | None = None
        self._stop_stream: weakref.finalize[..., EnqueueLine] | None = None
        self._no_streams = False
        forking.watch(self)

    def submit(self, entry: bytes) -> pb.EnqueuedItem:
        """Enqueue one item and wait until the broker has it.

        Args:
            entry: the item, encoded as an entry of a request (see `ItemForm.entry`).

        Raises:
            BrokerError: it did not; AlreadyExists for an item that must not be there, or not run, and does.
        """
        ticket = _Ticket(entry, self._transport.connection.timeout)
        with self._lock:
            self._waiting.append(ticket)
            leads, self._led = not self._led, True
            if not leads:
                ticket.woken = threading.Lock()
                ticket.woken.acquire()
        if not leads:
            try:
                self._wait(ticket)
            except BaseException:
                self._withdraw(ticket)
                raise
        if leads or ticket.leads:
            self._lead(ticket)
        return self._outcome(ticket)

    def send(self, request: EncodedRequest) -> Sequence[pb.EnqueuedItem] | None:
        """Enqueue a whole request, unless somebody leads here.

        Args:
            request: the whole request.

        Returns:
            What became of its items; None: the line is busy, and nothing was done.

        Raises:
            BrokerError: the request was not taken.
        """
        with self._lock:
            if self._led:
                return None
            self._led = True
        try:
            return self._send(request, self._transport.connection.timeout)
        finally:
            with self._lock:
                heir = self._next_leader()
            if heir is not None:
                _wake(heir)

    def _wait(self, ticket: _Ticket) -> None:
        assert ticket.woken is not None
        if not ticket.woken.acquire(timeout=ticket.left()):
            raise DeadlineExceeded("no answer in time: earlier calls are still waiting for the broker")

    def _withdraw(self, ticket: _Ticket) -> None:
        """The caller goes away; the lead, if it has just been given to it, goes to the next."""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            if ticket.leads:
                heir = self._next_leader()
                if heir is not None:
                    _wake(heir)

    def _next_leader(self) -> _Ticket | None:
        heir = self._waiting[0] if self._waiting else None
        self._led = heir is not None
        if heir is not None:
            heir.leads = True
        return heir

    def _outcome(self, ticket: _Ticket) -> pb.EnqueuedItem:
        reply = ticket.reply
        if reply is None and ticket.request is not None:
            # Sent under the request_id that it went out with before, so that nothing is done twice.
            reply = self._transport.run(enqueue(ticket.request), timeout=ticket.left())[ticket.place]
        if reply is None:
            assert ticket.error is not None
            raise ticket.error
        error = conflict(reply)
        if error is not None:
            raise error
        return reply

    def _lead(self, leader: _Ticket) -> None:
        group, request = self._take()
        try:
            replies = self._send(request, leader.left())
        except BrokerError as error:
            self._fail(group, error)
        else:
            for ticket, reply in zip(group, replies, strict=True):
                ticket.reply = reply
        finally:
            self._hand_on(group, request)

    def _take(self) -> tuple[list[_Ticket], EncodedRequest]:
        with self._lock:
            count = _full(self._waiting, self._transport.limits)
            group = self._waiting[:count]
            del self._waiting[:count]
        return group, EncodedRequest(self._transport.connection.namespace, [ticket.entry for ticket in group])

    def _send(self, request: EncodedRequest, timeout: float) -> Sequence[pb.EnqueuedItem]:
        attempts = Attempts(timeout, self._transport.connection.try_timeout)
        reply = None if self._no_streams else self._send_on_stream(request, attempts)
        return taken(request, reply, self._transport, attempts)

    def _send_on_stream(self, request: EncodedRequest, attempts: Attempts) -> pb.EnqueueStreamResponse | None:
        stream = self._open()
        try:
            return stream.ask(request, attempts.limit())
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNIMPLEMENTED:
                self._no_streams = True
            if stream.ran_out:
                self._transport.leave_channel(stream.generation)
            self._drop_stream()
            return None
        except BaseException:
            self._drop_stream()  # interrupted: the next leader must not read this reply
            raise

    def _open(self) -> EnqueueStream:
        with self._lock:
            if self._stream is not None and self._stream.generation != self._transport.generation:
                self._close_stream()  # other calls got no answer there
            if self._stream is None:
                self._stream = EnqueueStream(self._transport)
                # Closes it when the line is forgotten without close(), and when the interpreter ends.
                self._stop_stream = weakref.finalize(self, self._stream.close)
            return self._stream

    def _drop_stream(self) -> None:
        with self._lock:
            self._close_stream()

    def _close_stream(self) -> None:
        self._stream = None
        if self._stop_stream is not None:
            self._stop_stream()
            self._stop_stream = None

    def _fail(self, group: list[_Ticket], error: BrokerError) -> None:
        if len(group) == 1 or is_transient(error) or isinstance(error, DeadlineExceeded):
            now = time.monotonic()
            for ticket in group:
                # Who leads has waited for longest; the others go on under the same request_id for as long as they may.
                if ticket is group[0] or ticket.deadline <= now:
                    ticket.error = copy.copy(error)  # each thread raises its own
            return
        # One item was refused, and with it all: nothing was done, so each goes again by itself.
        for ticket in group:
            ticket.request = EncodedRequest(self._transport.connection.namespace, [ticket.entry])

    def _hand_on(self, group: list[_Ticket], request: EncodedRequest) -> None:
        for place, ticket in enumerate(group):
            if ticket.reply is None and ticket.error is None and ticket.request is None:
                # We were interrupted, or had less time.
                ticket.request, ticket.place = request, place
        with self._lock:
            heir = self._next_leader()
        if heir is not None:
            _wake(heir)
        for ticket in group:
            _wake(ticket)

    def close(self) -> None:
        """End the stream. Calls that wait go on, on their own."""
        self._drop_stream()

    def before_fork(self, hold: forking.Hold) -> None:
        """End the stream. A leader goes on with a unary call."""
        hold(self._lock)
        stream = self._stream
        if stream is not None:
            self._close_stream()
            stream.halt()

    def after_fork_in_parent(self) -> None:
        """Nothing has changed."""

    def after_fork_in_child(self) -> None:
        """Forget the callers that are the parent's, and its stream."""
        self._lock = threading.Lock()
        if self._stream is not None:
            self._stream.abandon()
            self._stream = None
        if self._stop_stream is not None:
            self._stop_stream.detach()
            self._stop_stream = None
        self._waiting.clear()
        self._led = False


class DirectLine(EnqueueLine):
    """Enqueues each item by a call of its own, for a connection that is direct."""

    def submit(self, entry: bytes) -> pb.EnqueuedItem:
        """As `EnqueueLine.submit`."""
        request = EncodedRequest(self._transport.connection.namespace, [entry])
        reply = self._transport.run(enqueue(request))[0]
        error = conflict(reply)
        if error is not None:
            raise error
        return reply

    def send(self, request: EncodedRequest) -> Sequence[pb.EnqueuedItem] | None:
        """Leave the request to a call of its own."""
        return None


def _wake(ticket: _Ticket) -> None:
    if ticket.woken is not None and ticket.woken.locked():
        ticket.woken.release()


def _full(waiting: list[_Ticket], limits: KnownLimits) -> int:
    """How many of those that wait make one request."""
    size = 0
    most = limits.batch_items
    for count, ticket in enumerate(waiting[:most]):
        size += len(ticket.entry)
        if size > limits.entry_bytes and count:
            return count
    return min(len(waiting), most)
