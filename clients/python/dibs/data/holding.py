"""What one consumer of a data queue holds and has to say, whatever carries its stream; see `Data.stream`.

A consumer keeps one `Work` stream open. It asks for a batch when its caller waits for one. Of callers that are quick it
learns to ask ahead, for what they will have begun a moment later, so that they need not wait; while a body takes longer
than that moment, what was asked for ahead is given back. What it holds it refreshes; what its caller has finished it
acknowledges, over the next stream if this one breaks.

Nothing here waits or locks: `consumer` carries it with threads, `aio_consumer` with asyncio.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable

from ..contract.limits import ANNOUNCED_WITHIN_SECONDS, ENTRY_OVERHEAD
from ..errors import BrokerError, InvalidArgument
from ..rpc.dating import CATCH_UP_SECONDS, LOOK_SECONDS, Dating
from ..rpc.defaults import NO_DEFAULTS, Defaults
from ..rpc.heart import Heart
from ..rpc.known_limits import KnownLimits
from ..rpc.times import to_duration
from ..v1 import broker_pb2 as pb
from ..v1.types_pb2 import OUTCOME_OK, Delivery, QueueKind
from .ahead import Ahead
from .batch import Entry, ack, release

_log = logging.getLogger("dibs")

#: A lease is refreshed when this share of it has passed.
_REFRESH_AFTER = 1 / 3
#: How soon items shall be begun that are asked for ahead, in seconds.
_HORIZON_SECONDS = 0.05
#: How long receipts, and what a quick caller has finished, wait for something that can be said with them, in seconds.
_GATHER_SECONDS = 0.01
#: When a body, or the wait for a batch, has lasted so long, nothing is held ahead any more, in seconds.
_RESTART_SECONDS = 0.1


class Holding:
    """The state of one consumer, over all of its streams.

    Args:
        namespace: namespace of the queue.
        queue: the queue.
        kind: its kind.
        lease_timeout: length of the leases in seconds, above 0.
        prefetch: items to hold ahead at most.
        limits: what the brokers take; learns what this stream's says.
        defaults: for items whose producers said nothing.

    Attributes:
        lost: ids of items that were held and whose leases were lost, since the last batch was begun.
    """

    def __init__(
        self,
        namespace: str,
        queue: str,
        kind: QueueKind.ValueType,
        lease_timeout: float,
        prefetch: int,
        limits: KnownLimits,
        *,
        defaults: Defaults = NO_DEFAULTS,
    ) -> None:
        self._limits = limits
        #: When to go on without the broker's limits; None: they are known.
        self._speak_at: float | None = None
        #: Of the open stream, and when to look at it again.
        self._heart = Heart()
        self._heart_at: float | None = None
        self._dating = Dating()
        self._hello = pb.WorkHello(
            namespace=namespace,
            queues=[queue],
            kind=kind,
            worker_id=f"{socket.gethostname()}:{os.getpid()}"[-256:],
            lease_timeout=to_duration(lease_timeout),
        )
        self._defaults = defaults
        defaults.apply(self._hello)
        self.lost: frozenset[str] = frozenset()
        self._refresh_after = lease_timeout * _REFRESH_AFTER
        #: So long after it was to be refreshed a lease is over.
        self._over_after = lease_timeout - self._refresh_after
        #: Leased here: token, and when the lease is to be refreshed, on the monotonic clock.
        self._held: dict[str, tuple[int, float]] = {}
        #: When to look through what is held; the first of those times, or one before it. None: nothing was received.
        self._look_at: float | None = None
        #: Received, and not in a batch yet.
        self._waiting: deque[Delivery] = deque()
        #: Ids of the batch that is being worked on, without those that are settled: they may come again meanwhile.
        self._open: set[str] = set()
        self._unsaid: deque[Entry] = deque()
        #: Said and not confirmed, by sequence.
        self._unconfirmed: deque[tuple[int, list[Entry]]] = deque()
        self._sequence = 0
        #: Ids and tokens of what was said on the last stream and again on this one: it may have been heard both times.
        self._again: set[tuple[str, int]] = set()
        #: Items that the caller waits for.
        self._wanted = 0
        self._ahead = Ahead(prefetch, _HORIZON_SECONDS)
        #: Whether the caller works on a batch or waits for one, and since when.
        self._working = False
        self._since = time.monotonic()
        #: Items that the broker may still send, as far as it was told; and when to ask for more again, None: now.
        self._credit = 0
        self._ask_at: float | None = None
        self._batch = 0
        self._said_batch = 0
        #: When what there is to say has to be out; None: there is nothing, or a wish for credit alone.
        self._say_at: float | None = None
        #: What the last `look` answered, as a time; None: never.
        self._next_look: float | None = None
        self._left = False

    # The stream

    def begin(self) -> pb.WorkRequest:
        """The first message of a new stream; what the last one left unconfirmed will be said again."""
        self._again = {_key(entry) for _, entries in self._unconfirmed for entry in entries}
        for _, entries in reversed(self._unconfirmed):
            self._unsaid.extendleft(reversed(entries))
        self._unconfirmed.clear()
        self._credit = self._batch = self._said_batch = 0
        self._say_at = time.monotonic() if self._unsaid else None
        # Each broker says at once what it takes; until then there is only the hello.
        self._speak_at = time.monotonic() + ANNOUNCED_WITHIN_SECONDS
        self._heart = Heart()
        self._heart_at = time.monotonic()
        self._dating.begin(self._heart_at)
        return pb.WorkRequest(hello=self._hello)

    def hear_refusal(self, error: BrokerError) -> bool:
        """Learn from what a broker answered; whether something else than before is said from now on."""
        if not isinstance(error, InvalidArgument) or error.field != "hello" or self._defaults == NO_DEFAULTS:
            return False
        # A broker of the version before does not know them.
        self._defaults = NO_DEFAULTS
        self._defaults.apply(self._hello)
        return True

    def message(self, *, last: bool = False) -> pb.WorkRequest | None:
        """What there is to say now, as much as the broker takes in one message; None: nothing.

        Args:
            last: the stream is about to end, so nothing can wait.
        """
        if self._speak_at is not None and not last:
            return None
        change = self._credit_change()
        says = self._say_at is not None and (last or time.monotonic() >= self._say_at)
        if not (change or says or self._heart.beat_due):
            return None
        request = pb.WorkRequest(heartbeats=self._heart.beat_due)
        self._heart.say()
        if change:
            request.add_credit = change
            self._credit += change
        if self._batch > self._said_batch:
            request.received_batch = self._said_batch = self._batch
        if self._unsaid:
            entries = self._take_unsaid()
            self._sequence += 1
            request.sequence = self._sequence
            _add(request, entries)
            self._unconfirmed.append((self._sequence, entries))
        if not self._unsaid:
            self._say_at = None
        return request

    def _take_unsaid(self) -> list[Entry]:
        """What fits into a message."""
        unsaid = self._unsaid
        entries: list[Entry] = []
        room = self._limits.entry_bytes
        for _ in range(min(len(unsaid), self._limits.batch_items)):
            entry = unsaid[0]
            room -= ENTRY_OVERHEAD + (len(entry[0]) if isinstance(entry, tuple) else entry.ByteSize())
            if room < 0 and entries:
                break
            entries.append(unsaid.popleft())
        return entries

    def _say_within(self, seconds: float) -> None:
        """There is something to say, which can wait so long."""
        at = time.monotonic() + seconds
        if self._say_at is None or at < self._say_at:
            self._say_at = at

    def _credit_change(self) -> int:
        """By how much to change the credit that the broker has."""
        if self._speak_at is not None:
            return 0
        ahead = self._ahead.items
        target = self._wanted + ahead
        change = max(target - len(self._waiting), 0) - self._credit
        change = min(change, self._limits.now.max_credit - self._credit)
        if change > 0 and self._ask_at is not None:
            return 0
        if change > 0:
            # Below 0 it is as it should be: what was on its way when credit was taken back has come.
            late = self._credit < 0 and not target
            # Small additions gather, unless the caller would wait for it.
            small = change < ahead // 4 and self._credit + len(self._waiting) > self._wanted
            return 0 if late or small else change
        # What is held is worked off soon: a little too much credit is no harm.
        return max(change, -max(self._credit, 0)) if -change > ahead // 2 else 0

    def receive(self, response: pb.WorkResponse) -> None:
        """Take in what the broker says."""
        if response.HasField("limits"):
            self._limits.hear(response.limits)
        self._heart.hear(response)
        if self._speak_at is not None:
            self._speak_at = None
            # Everything has waited for this.
            self._next_look = None
        while self._unconfirmed and self._unconfirmed[0][0] <= response.done_sequence:
            self._unconfirmed.popleft()
        late = 0
        for outcome in response.outcomes:
            if outcome.outcome != OUTCOME_OK:
                held = self._held.get(outcome.id)
                # It may be about an earlier delivery: the broker takes back what went down a stream that broke.
                if held is not None and held[0] == outcome.lease_token:
                    del self._held[outcome.id]
                    self.lost |= {outcome.id}
                elif (outcome.id, outcome.lease_token) not in self._again:
                    late += 1
        if late:
            _log.warning("%d items of %s were settled too late: their leases were lost", late, self._hello.queues[0])
        deliveries = response.deliveries
        if deliveries and not self._left:  # else the broker takes back what was not received
            refresh_at = self._leased_at(response) + self._refresh_after
            self._batch = response.batch
            self._say_within(_GATHER_SECONDS)
            self._credit -= len(deliveries)
            self._waiting.extend(deliveries)
            self._held.update((delivery.id, (delivery.lease_token, refresh_at)) for delivery in deliveries)
            if self._look_at is None or refresh_at < self._look_at:
                self._look_at = refresh_at

    def _leased_at(self, response: pb.WorkResponse) -> float:
        """When what comes was leased, on the monotonic clock: as a rule just now."""
        now = time.monotonic()
        if self._heart.look_s is None:  # an old broker: nobody looks often enough to know
            return now
        return self._dating.date(response.lease_time.ToMicroseconds() / 1e6, now)

    def _is_over(self, refresh_at: float, now: float) -> bool:
        """Whether a lease is over: this process was frozen, or held up for long."""
        return refresh_at + self._over_after <= now

    def _give_up(self, ids: Collection[str], now: float) -> None:
        """Give back what the caller has not got and whose lease is over."""
        if ids:
            self._settle(ids, release)
            # Until it is certain how old it is what comes again would go back again.
            self._ask_at = now + CATCH_UP_SECONDS

    # The caller

    def want(self, items: int) -> None:
        """Ask for so many."""
        self._wanted = items

    def take(self, items: int) -> list[Delivery]:
        """A batch of what has come; the caller begins to work on it. Empty: nothing has come."""
        now = time.monotonic()
        batch: list[Delivery] = []
        lapsed: list[str] = []
        while self._waiting and len(batch) < items:
            delivery = self._waiting.popleft()
            held = self._held.get(delivery.id)
            # It may be lost, or have come again over another stream.
            if held is not None and held[0] == delivery.lease_token:
                if self._is_over(held[1], now):
                    lapsed.append(delivery.id)
                else:
                    batch.append(delivery)
        self._give_up(lapsed, now)
        if batch:
            self._wanted = 0
            self._open = {delivery.id for delivery in batch}
            self._turn(working=True)
            self.lost = frozenset()
        return batch

    def mark(self, ids: Iterable[str], entry: Callable[[str, int], Entry]) -> None:
        """Settle these of the batch, as far as they are held and not settled."""
        unsettled = [id for id in ids if id in self._open]
        self._open.difference_update(unsettled)
        self._settle(unsettled, entry)

    def _settle(self, ids: Iterable[str], entry: Callable[[str, int], Entry]) -> None:
        before = len(self._unsaid)
        for id in ids:
            held = self._held.pop(id, None)
            if held is not None:
                self._unsaid.append(entry(id, held[0]))
        if len(self._unsaid) > before:
            most = self._limits.batch_items
            gathers = entry is ack and self._ahead.items and not self._left and len(self._unsaid) < most
            self._say_within(_GATHER_SECONDS if gathers else 0.0)

    def finish(self, batch: Collection[str]) -> None:
        """A batch is over: what is still held of it is done."""
        self._ahead.finished(len(batch), self._turn(working=False))
        self.mark(batch, ack)

    def _turn(self, *, working: bool) -> float:
        """The caller begins to work or to wait; how long it did the other."""
        now = time.monotonic()
        lasted, self._since, self._working = now - self._since, now, working
        return lasted

    def leave(self) -> None:
        """The caller is gone: give everything back that is held."""
        self._left = True
        self._wanted = 0
        self._ahead.restart()
        self._waiting.clear()
        self._open.clear()
        self._settle(tuple(self._held), release)
        if self._say_at is not None:
            self._say_within(0.0)

    def abandon(self) -> None:
        """Forget everything: it is another process's."""
        self._held.clear()
        self._waiting.clear()
        self._unsaid.clear()
        self._unconfirmed.clear()

    @property
    def silence(self) -> str:
        """Why the stream is to be left; "" as long as something comes on it."""
        return f"nothing was heard for {self._heart.patience_s:g} s" if self._heart.silent else ""

    @property
    def settled(self) -> bool:
        """Whether the broker has confirmed everything that was said, and nothing is left to say."""
        return not self._unsaid and not self._unconfirmed

    # The clock

    def look(self) -> float | None:
        """Do what it is time for; seconds until it has to be looked at again, None: not before something happens."""
        now = time.monotonic()
        if self._speak_at is not None and now >= self._speak_at:
            self._speak_at = None
        if self._ask_at is not None and now >= self._ask_at:
            self._ask_at = None
        self.look_at_heart()
        if self._look_at is not None and now >= self._look_at:
            self._look_at = self._refresh(now)
        if self._holds_ahead and now >= self._since + _RESTART_SECONDS:
            self._ahead.restart()
            if self._working:
                # What has come again of the batch itself, over another stream, is settled with the batch.
                self._settle([delivery.id for delivery in self._waiting if delivery.id not in self._open], release)
                self._waiting.clear()
        self._next_look = self._due()
        return None if self._next_look is None else max(self._next_look - now, 0.0)

    def look_at_heart(self) -> float | None:
        """See whether an empty message is due, or the broker silent; seconds until the next look, None: never."""
        now = time.monotonic()
        if self._heart_at is not None and now >= self._heart_at:
            self._heart.look()
            self._dating.look(now)
            look_s = self._heart.look_s
            self._heart_at = None if look_s is None else now + min(look_s, LOOK_SECONDS)
        return None if self._heart_at is None else max(self._heart_at - now, 0.0)

    @property
    def restless(self) -> bool:
        """Whether it has to be looked at, or has something to say, sooner than the last `look` answered."""
        if self._credit_change():
            return True
        due = self._due()
        return due is not None and (self._next_look is None or due < self._next_look)

    @property
    def _holds_ahead(self) -> bool:
        return self._ahead.items > 0 or (self._working and bool(self._waiting))

    def _due(self) -> float | None:
        """When something is to be done or said."""
        restart_at = self._since + _RESTART_SECONDS if self._holds_ahead else None
        say_at = self._say_at
        if self._speak_at is not None and (say_at is None or say_at < self._speak_at):
            say_at = self._speak_at
        times = (self._look_at, say_at, restart_at, self._heart_at, self._ask_at)
        return min((at for at in times if at is not None), default=None)

    def _refresh(self, now: float) -> float | None:
        """Refresh what is due; when the next is, None: nothing is held."""
        waiting = {delivery.id for delivery in self._waiting} - self._open
        self._give_up([id for id in waiting if id in self._held and self._is_over(self._held[id][1], now)], now)
        next_at = now + self._refresh_after
        for id, (token, refresh_at) in self._held.items():
            if refresh_at <= now:
                self._held[id] = (token, now + self._refresh_after)
                self._unsaid.append(pb.RefreshEntry(id=id, lease_token=token))
                self._say_at = now
            elif refresh_at < next_at:
                next_at = refresh_at
        return next_at if self._held else None


def _key(entry: Entry) -> tuple[str, int]:
    return entry if isinstance(entry, tuple) else (entry.id, entry.lease_token)


def _add(request: pb.WorkRequest, entries: Iterable[Entry]) -> None:
    add_ack = request.acks.add
    for entry in entries:
        if isinstance(entry, tuple):
            add_ack(id=entry[0], lease_token=entry[1])
        elif isinstance(entry, pb.NackEntry):
            request.nacks.append(entry)
        else:
            request.refreshes.append(entry)
