"""Many calls in few requests: what a `with batch():` gathers, and how it is sent."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

import grpc

from .enqueue_stream import EnqueueStream
from .errors import BrokerError
from .rpc import flow as flows
from .rpc import forking, operations
from .rpc.encoding import EncodedRequest, ItemForm, chunks
from .rpc.ids import Ids
from .rpc.known_limits import KnownLimits
from .rpc.placed import Placed
from .rpc.retry import Attempts, is_transient
from .rpc.runner import Runner
from .rpc.status import error_from_status
from .v1 import broker_pb2 as pb

#: Requests that are under way while the next one gathers.
IN_FLIGHT = 4

Owner = TypeVar("Owner")


class Gathering(Generic[Owner]):
    """What one `with batch():` has gathered and not sent. For the thread or asyncio task that opened it.

    Args:
        owner: the instance whose calls it gathers.
        limits: what one request may have.

    Attributes:
        owner: the instance whose calls it gathers.
        thread: the thread that opened it; a context that is copied to another does not take the batch along.
        outer: the batch that it stands inside of.
        closed: the with is over.
        refusals: why the broker refused items, an error each.
        broken: requests could not be sent; the error is on its way out of the with.
        flushing: what has gathered is being sent right now.
    """

    def __init__(self, owner: Owner, limits: KnownLimits) -> None:
        self.owner = owner
        self.limits = limits
        self.thread = threading.get_ident()
        self.outer: Gathering[object] | None = None
        self.closed = False
        self.broken = False
        self.flushing = False
        self.refusals: list[BrokerError] = []
        self._ids = Ids()
        #: Those of which the broker has not said what became of them, by id.
        self._unheard: dict[str, list[Placed]] = {}
        self._entries: list[bytes] = []
        self._size = 0
        forking.watch(self)

    def add(self, form: ItemForm, payload: bytes, id: str = "") -> Placed:
        """Add an item. Call `full` afterwards."""
        placed = Placed(id or self._ids.new())
        self._unheard.setdefault(placed.id, []).append(placed)
        entry = form.entry(placed.id, payload)
        self._entries.append(entry)
        self._size += len(entry)
        return placed

    def heard(self, items: Iterable[pb.EnqueuedItem]) -> None:
        """Note what the broker says of items."""
        for item in items:
            unheard = self._unheard.get(item.id)
            if unheard:
                unheard.pop(0).heard(item)
                if not unheard:
                    del self._unheard[item.id]

    @property
    def full(self) -> bool:
        """Whether there is enough for a request."""
        return len(self._entries) >= self.limits.batch_items or self._size >= self.limits.entry_bytes

    def take(self, namespace: str) -> Iterator[EncodedRequest]:
        """Take out what has gathered: as a rule one request, two if the last item made it too large for one."""
        entries, self._entries, self._size = self._entries, [], 0
        for some in chunks(entries, self.limits.batch_items, self.limits.entry_bytes):
            yield EncodedRequest(namespace, some)

    def raise_refusals(self) -> None:
        """Raise the first refusal, if there is any, with a note of the others."""
        if not self.refusals:
            return
        first = self.refusals[0]
        if len(self.refusals) > 1:
            first.add_note(f"and {len(self.refusals) - 1} more calls of the batch were refused")
        raise first

    def before_fork(self, *, stop: bool) -> None:
        """Nothing to stop."""

    def after_fork_in_parent(self) -> None:
        """Nothing has changed."""

    def after_fork_in_child(self) -> None:
        """Forget what the parent will send, and ids that the parent has, too."""
        self._entries.clear()
        self._unheard.clear()
        self._size = 0
        self._ids.forget()


class Batch(Gathering[Runner]):
    """The blocking face: `IN_FLIGHT` requests are under way over one stream while the next one gathers."""

    def __init__(self, owner: Runner) -> None:
        super().__init__(owner, owner.transport.limits)
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
                self.refusals += self.owner.run(flows.enqueue(request.message(), heard=self.heard))

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
                with self._lock:
                    stream = self._stream = EnqueueStream(self.owner.transport)
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
        error = None
        stream = self._stream
        if stream is not None:
            try:
                reply = stream.receive(attempts.limit())
            except grpc.RpcError:
                # What is wrong, if anything, the call will tell; it has the same request_id.
                if stream.ran_out:
                    owner.transport.leave_channel(stream.generation)
                self._drop_stream()
            else:
                if not reply.HasField("error"):
                    self.heard(reply.response.items)
                    self.refusals += flows.conflicts(reply.response.items)
                    return
                error = error_from_status(reply.error)
                self.limits.hear_refusal(error)
                if is_transient(error):
                    time.sleep(attempts.pause_after(error))
                    error = None
        if error is None:
            try:
                items = owner.transport.run(operations.enqueue(request), timeout=attempts.remaining())
            except BrokerError as refusal:
                error = refusal
            else:
                self.heard(items)
                self.refusals += flows.conflicts(items)
                return
        self.refusals += owner.run(flows.enqueue(request.message(), error, self.heard))

    def _drop_stream(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def before_fork(self, *, stop: bool) -> None:
        """End the stream, unless it may stay. What was sent goes again, with its request_id."""
        self._lock.acquire()
        if stop and self._stream is not None:
            self._stream.halt()
            self._stream = None

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget what is the parent's."""
        super().after_fork_in_child()
        if self._stream is not None:
            self._stream.abandon()
            self._stream = None
        self._sent.clear()
        self._lock.release()


_innermost: ContextVar[Gathering[object] | None] = ContextVar("dibs_batch", default=None)


def open_batch(owner: Owner) -> Gathering[Owner] | None:
    """The batch of that instance that this thread or asyncio task is in."""
    batch = _innermost.get()
    while batch is not None:
        if batch.owner is owner and not batch.closed and batch.thread == threading.get_ident():
            return batch  # type: ignore[return-value]  # it is its owner's
        batch = batch.outer
    return None


def enter_batch(batch: Gathering[Owner]) -> None:
    """Make a batch the innermost here."""
    batch.outer = _innermost.get()
    _innermost.set(batch)  # type: ignore[arg-type]


def leave_batch(batch: Gathering[Owner]) -> None:
    """Go back to the batch outside of this one."""
    _innermost.set(batch.outer)
