"""`Data.stream` for blocking callers: two threads carry the stream of a consumer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from ..contract.pauses import Pauses
from ..errors import BrokerError, DibsError, Unavailable
from ..rpc import forking
from ..rpc.asking import CHECK, ask_around
from ..rpc.retry import is_transient
from ..rpc.rpcs import WORK
from ..rpc.status import error_from_call
from ..rpc.transport import Transport
from ..v1 import broker_pb2 as pb
from ..v1.types_pb2 import Delivery
from .batch import DataBatch, Entry, Marks, put_off
from .entries import read_leased
from .holding import Holding

_log = logging.getLogger("dibs")

#: How long the end of a loop waits for the broker to take note, in seconds.
LEAVE_SECONDS = 5.0

#: How long a fork waits for the stream to end in peace, in seconds.
FORK_SECONDS = 1.0

#: A stream that lasted so long was taken on by a broker, whether or not it said anything, in seconds.
TAKEN_ON_SECONDS = 2.0


class Consumer(Marks):
    """Keeps a stream open from its first batch to `close`.

    One thread reads the stream, and opens another when it breaks; what is said on it is taken by a thread of gRPC.

    Args:
        transport: whose channel to use.
        holding: what is held and has to be said. Used under the condition.
        items: size of a batch at most.
        value: makes what the caller gets of a delivery, or raises CodecError.
    """

    def __init__(self, transport: Transport, holding: Holding, items: int, value: Callable[[Delivery], Any]) -> None:
        self._transport = transport
        self._holding = holding
        self._items = items
        self._value = value
        self._make_locks()
        self._call: Any = None
        self._requests: _Requests | None = None
        #: This process forks at the moment.
        self._forking = False
        #: Set while no stream is being read.
        self._idle = threading.Event()
        self._idle.set()
        self._leaving = False
        self._error: Exception | None = None
        self._reader = threading.Thread(target=self._read, name="dibs-stream", daemon=True)
        forking.watch(self)

    def _make_locks(self) -> None:
        # Guards everything else and the holding.
        self._lock = threading.RLock()
        #: Notified whenever something has changed; the caller and the reader wait for that.
        self._changed = threading.Condition(self._lock)
        #: Notified when there is something to be said, or nothing more ever; the thread of gRPC waits for that.
        self._news = threading.Condition(self._lock)

    @property
    def lost(self) -> frozenset[str]:  # type: ignore[override]  # it is read only
        """Ids of held items whose leases were lost, since the last batch."""
        with self._changed:
            return self._holding.lost

    def mark(self, ids: Sequence[str], entry: Callable[[str, int], Entry]) -> None:
        """Settle these, as far as they are held."""
        with self._changed:
            self._holding.mark(ids, entry)
            self._tell()

    def batches(self, get_timeout: float | None) -> Iterator[DataBatch]:
        """Batches until none has come for that many seconds (None: for ever), or the caller goes away."""
        self._reader.start()
        try:
            while True:
                deliveries = self._wait(get_timeout)
                if not deliveries:
                    return
                entries, unread = read_leased(self._value, deliveries)
                if unread:
                    self.mark(unread, put_off)
                if entries:
                    yield DataBatch(entries.items(), self)
                with self._changed:
                    self._holding.finish([delivery.id for delivery in deliveries])
        finally:
            self._leave()

    def _wait(self, timeout: float | None) -> list[Delivery]:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                deliveries = self._holding.take(self._items)
                if not deliveries:
                    self._holding.want(self._items)
                self._tell()
                left = None if deadline is None else deadline - time.monotonic()
                if deliveries or (left is not None and left <= 0):
                    return deliveries
                # The thread of gRPC looks, too, but not while it waits for a broker to take what it says.
                look_s = self._holding.look_at_heart()
                self._changed.wait(min((one for one in (left, look_s) if one is not None), default=None))
                if self._holding.silence:
                    self._cancel()

    def _tell(self) -> None:
        """Wake the thread that says things, if it has something to do sooner than it knows."""
        if self._leaving or self._holding.restless:
            self._news.notify_all()

    def _leave(self) -> None:
        """Give everything back, and end the stream."""
        deadline = time.monotonic() + LEAVE_SECONDS
        with self._changed:
            self._holding.leave()
            self._leaving = True
            self._tell()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over, LEAVE_SECONDS)
            if not self._over:
                _log.warning("the broker did not take note in %g s; leases are left to run out", LEAVE_SECONDS)
        self._reader.join(max(deadline - time.monotonic(), 0.1))
        with self._changed:
            if self._call is not None:
                self._call.cancel()

    @property
    def _over(self) -> bool:
        return self._leaving and (self._holding.settled or self._error is not None)

    # The reading thread

    def _read(self) -> None:
        try:
            self._read_streams()
        except Exception as error:  # noqa: BLE001 - the caller gets it
            self._fail(error)

    def _read_streams(self) -> None:
        """One stream after another."""
        pauses = Pauses()
        ever = False
        began = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._forking)
                if self._over or self._error is not None:
                    return
                generation = self._transport.generation
                requests = self._requests = _Requests(self._holding, self._news, lambda: self._over, self._cancel)
                call = self._call = self._transport.begin(WORK, requests)
                self._idle.clear()
            opened = time.monotonic()
            try:
                for response in call:
                    pauses.reset()
                    ever = True
                    with self._changed:
                        self._holding.receive(response)
                        if response.drain:
                            requests.finish()
                        self._tell()
                        self._changed.notify_all()
            except grpc.RpcError as broken:
                problem = error_from_call(broken, self._transport.connection.place)
                if silence := self._holding.silence:
                    problem = Unavailable(silence)
                    self._transport.leave_channel(generation)
                    ask_around(self._transport.method(CHECK), self._transport.connection.metadata)
                now = time.monotonic()
                ever = ever or now - opened > TAKEN_ON_SECONDS
                learned = self._transport.limits.hear_refusal(problem) or self._holding.hear_refusal(problem)
                if not (learned or forgivable(problem)) or not (
                    ever or now - began < self._transport.connection.timeout
                ):
                    self._fail(problem)
                    return
                _log.warning("the stream of a data queue broke, opening another: %s", problem)
            finally:
                requests.end()
                self._idle.set()
            with self._changed:
                self._call = self._requests = None
                self._changed.wait_for(lambda: not self._forking)
                if not self._over:
                    self._changed.wait_for(lambda: self._over, pauses.next_s())

    def _cancel(self) -> None:
        call = self._call
        if call is not None:
            call.cancel()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    # Forks

    def before_fork(self, hold: forking.Hold) -> None:
        """End the stream. The parent opens another."""
        # From now on the reader opens none; one that it opens at this moment is noted when the lock is free.
        self._forking = True
        if not self._lock.acquire(timeout=FORK_SECONDS):
            raise forking.GivenUp
        try:
            call = self._call
            if self._requests is not None:
                self._requests.finish()
        finally:
            self._lock.release()
        if call is not None and not self._idle.wait(FORK_SECONDS):
            call.cancel()
            self._idle.wait(FORK_SECONDS)
        hold(self._lock)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """The stream is the parent's, and what it holds."""
        self._make_locks()
        self._forking = False
        forking.abandon(self._call)
        self._call = self._requests = None
        self._error = DibsError("the stream of a data queue stays with the process that began it")
        self._holding.abandon()


def forgivable(problem: BrokerError) -> bool:
    """Whether another stream may succeed: the broker or the network was at fault, or we ended it ourselves.

    A balancer says INTERNAL when the broker behind it has died or fallen silent; what is said by brokers has a reason.
    """
    cut_off = problem.code is grpc.StatusCode.INTERNAL and not problem.reason
    return cut_off or problem.code is grpc.StatusCode.CANCELLED or is_transient(problem)


class _Requests:
    """What is said on one stream; gRPC iterates over it in a thread of its own.

    Args:
        holding: what there is to say.
        news: notified when there is something to say, or nothing more ever.
        over: whether everything is said that will ever be.
        silent: called when the broker has said nothing for too long; ends the stream.
    """

    def __init__(
        self, holding: Holding, news: threading.Condition, over: Callable[[], bool], silent: Callable[[], None]
    ) -> None:
        self._holding = holding
        self._news = news
        self._over = over
        self._silent = silent
        self._first: pb.WorkRequest | None = holding.begin()
        self._finishing = False
        self._ended = False

    def finish(self) -> None:
        """Say what there is to say now, and then no more."""
        with self._news:
            self._finishing = True
            self._news.notify_all()

    def end(self) -> None:
        """Say no more."""
        with self._news:
            self._ended = True
            self._news.notify_all()

    def __iter__(self) -> Iterator[pb.WorkRequest]:
        return self

    def __next__(self) -> pb.WorkRequest:
        with self._news:
            while True:
                if self._ended:
                    raise StopIteration
                if self._first is not None:
                    first, self._first = self._first, None
                    return first
                pause = self._holding.look()
                if self._holding.silence:
                    self._silent()
                    raise StopIteration
                ending = self._finishing or self._over()
                request = self._holding.message(last=ending)
                if request is not None:
                    return request
                if ending:
                    raise StopIteration
                self._news.wait(pause)
