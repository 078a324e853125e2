"""Many calls in few requests: what a `with batch():` gathers, and how it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Generic, TypeVar

from ..codecs.sealing import Sealing
from ..errors import BrokerError
from ..rpc import forking
from ..rpc.encoding import EncodedRequest, ItemForm, chunks
from ..rpc.ids import Ids
from ..rpc.known_limits import KnownLimits
from ..rpc.placed import Placed
from ..v1 import broker_pb2 as pb

#: Requests that are under way while the next one gathers.
IN_FLIGHT = 4

Owner = TypeVar("Owner")


class Gathering(Generic[Owner]):
    """What one `with batch():` has gathered and not sent. For the thread or asyncio task that opened it.

    Args:
        owner: the instance whose calls it gathers.
        limits: what one request may have.
        sealing: encodes their payloads; None: they are plain.

    Attributes:
        owner: the instance whose calls it gathers.
        thread: the thread that opened it; a context that is copied to another does not take the batch along.
        outer: the batch that it stands inside of.
        closed: the with is over.
        refusals: why the broker refused items, an error each.
        broken: requests could not be sent; the error is on its way out of the with.
        flushing: what has gathered is being sent right now.
    """

    def __init__(self, owner: Owner, limits: KnownLimits, sealing: Sealing | None = None) -> None:
        self.owner = owner
        self._sealing = sealing
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
        sealing = self._sealing
        entry = form.entry(placed.id, payload) if sealing is None else form.sealed_entry(placed.id, payload, sealing)
        self._unheard.setdefault(placed.id, []).append(placed)
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

    def before_fork(self, hold: forking.Hold) -> None:
        """Nothing to stop."""

    def after_fork_in_parent(self) -> None:
        """Nothing has changed."""

    def after_fork_in_child(self) -> None:
        """Forget what the parent will send, and ids that the parent has, too."""
        self._entries.clear()
        self._unheard.clear()
        self._size = 0
        self._ids.forget()


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
