"""What goes into the engine and comes out: plain values, times in microseconds of Redis's clock."""

from __future__ import annotations

import enum
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple


class Kind(enum.StrEnum):
    """Kind of a queue; the value is the letter used in keys."""

    TASK = "t"
    DATA = "d"


class Retry(NamedTuple):
    """Wait after a failed attempt: ``initial_us * factor**(attempt-1)``, at most ``max_us``, plus or minus the share
    ``jitter``.
    """

    initial_us: int
    factor: float
    max_us: int
    jitter: float


#: Processes that an item may kill unless its producer said otherwise; as in ``lua/include/records.lua``.
DEFAULT_MAX_CRASHES = 3


#: Begins the last word of a spec that leaves something open.
OPEN_WORD = " open="


class Spec(NamedTuple):
    """How an item is delivered, as stored in front of its body."""

    kind: Kind
    queue: str
    attempts: int = 1
    lease_us: int = 0
    retry: Retry | None = None
    dead_queue: str | None = None
    keep_us: int = 0
    max_crashes: int = DEFAULT_MAX_CRASHES
    #: What the producer left to who leases the item: "a" its attempts, "d" its dead-letter queue.
    open: str = ""
    #: Who runs the item renews its lease while it does.
    renew: bool = False
    #: How long a run may take; 0: as long as it likes. Who runs the item sees to it.
    limit_us: int = 0
    #: How long an item may wait after it was due; 0: for ever.
    expires_us: int = 0

    def encode(self) -> str:
        """The text that Lua takes apart again (``lua/include/records.lua``)."""
        # A dead-letter queue may be called "-", but no queue's name holds a colon.
        retry = "- - - -"
        if self.retry is not None:
            retry = f"{self.retry.initial_us} {self.retry.factor:.6g} {self.retry.max_us} {self.retry.jitter:.6g}"
        # A word that says nothing new is left out: brokers of earlier versions know none.
        words = [f" crashes={self.max_crashes}"] if self.max_crashes != DEFAULT_MAX_CRASHES else []
        if self.renew:
            words.append(" renew=1")
        if self.limit_us:
            words.append(f" limit={self.limit_us}")
        if self.expires_us:
            words.append(f" expires={self.expires_us}")
        if self.open:
            words.append(OPEN_WORD + self.open)
        return (
            f"{self.kind.value} {self.queue} {self.attempts} {self.lease_us} {retry} "
            f"{self.dead_queue or ':'} {self.keep_us}{''.join(words)}"
        )


@lru_cache(maxsize=4096)
def decode_spec(text: bytes) -> Spec:
    """The inverse of `Spec.encode`; specs repeat, so few are ever taken apart.

    Reads whatever Lua reads. Words of later versions are ignored.
    """
    parts = text.decode(errors="replace").split(" ")
    kind, queue, attempts, lease, initial, factor, maximum, jitter, dead, keep, *words = parts
    left_open = next((word[5:] for word in words if word.startswith("open=")), "")
    retry = None if initial == "-" else Retry(int(float(initial)), float(factor), int(float(maximum)), float(jitter))
    return Spec(
        Kind(kind),
        queue,
        int(attempts),
        int(lease),
        retry,
        None if dead == ":" else dead,
        int(keep),
        _number(words, "crashes=") or DEFAULT_MAX_CRASHES,
        left_open,
        "renew=1" in words,
        _number(words, "limit="),
        _number(words, "expires="),
    )


def _number(words: Sequence[str], name: str) -> int:
    found = (word.removeprefix(name) for word in words if word.startswith(name))
    return next((int(word) for word in found if word.isdecimal()), 0)


class Conflict(enum.StrEnum):
    """What to do when an id is known already."""

    KEEP = "k"
    REPLACE = "r"
    FAIL = "f"
    #: Unless somebody has it: begun or not, it may run.
    REPLACE_UNLESS_RUNNING = "u"


class Enqueued(enum.StrEnum):
    """What became of an enqueued item."""

    CREATED = "c"
    EXISTS = "e"
    REPLACED = "r"
    CONFLICT = "f"
    RUNNING = "w"


class NewItem(NamedTuple):
    """One item to enqueue.

    `spec` is `Spec.encode()`; `due` is "" (now), "+<us>" (from now) or "@<us>" (at); `conflict` is the value of a
    `Conflict`, or that of REPLACE with a lease's token behind it, which replaces only what is leased under the token
    and not cancelled (else the outcome is CONFLICT).
    """

    id: str
    spec: str
    due: str
    conflict: str
    body: bytes


class Record(NamedTuple):
    """What was stored when an item was enqueued."""

    enqueued_us: int
    due_us: int
    spec: Spec
    body: bytes


def decode_record(record: bytes) -> Record:
    """Take a stored record apart (``keys.py`` has its form)."""
    head, _, body = record.partition(b"\n")
    enqueued, due, spec = head.split(b" ", 2)
    return Record(int(enqueued), int(due), decode_spec(spec), body)


#: Bytes that an item takes of a message beyond its id, record and error text; as in ``lua/include/weight.lua``.
ITEM_OVERHEAD = 256


def weight(id: Sized, record: Sized, error: Sized) -> int:
    """Bytes that an item takes of a message."""
    return len(id) + len(record) + len(error) + ITEM_OVERHEAD


class Leased(NamedTuple):
    """One delivery. Token 0: at most once and nothing kept, so there is nothing to acknowledge."""

    id: str
    token: int
    attempt: int
    attempts: int
    lease_us: int
    last_error: str
    record: bytes


@dataclass(frozen=True, slots=True)
class LeaseQuery:
    """What a consumer wants: queues in order (empty: all, by priority), and overrides of the items' own numbers."""

    kind: Kind
    queues: tuple[str, ...] = ()
    lease_us: int | None = None
    attempts: int | None = None
    #: For items whose producers left them open.
    default_attempts: int | None = None
    default_dead: str | None = None


class LeaseCall(NamedTuple):
    """What a lease call says of itself.

    Asked again under the same caller and sequence it answers the same; the caller's next sequence says that the answer
    has arrived. Items of each of `shares` (sizes, in order) share a token of their own; `receipts` are tokens of shares
    that were received. With `skills` parked items of these tasks come too; with `sift` items of other tasks are parked.
    `says_begun`: who gets the items says when they begin; else what is leased counts as begun.
    """

    caller: str
    sequence: int
    shares: Sequence[int] = ()
    receipts: Sequence[int] = ()
    not_after_us: int | None = None
    keep_ms: int = 600_000
    skills: str = ""
    sift: bool = False
    says_begun: bool = False


class LeaseReply(NamedTuple):
    """Items leased at `now_us`. `drained`: nothing more is ready, and a hint will come when something is.

    `parked`: items of other tasks that the call has put by, and `parked_tasks` their names. `untaught`: Redis does not
    know which tasks belong to the skill set of the call.
    """

    items: list[Leased]
    now_us: int
    drained: bool
    parked: int = 0
    parked_tasks: Sequence[str] = ()
    untaught: bool = False


class Outcome(enum.IntEnum):
    """What became of an ack, nack or refresh; the values are those of ``lua/include/fence.lua``."""

    OK = 0
    NOT_FOUND = 1
    LEASE_EXPIRED = 2
    LEASE_SUPERSEDED = 3


class NackReason(enum.StrEnum):
    """Why an item is given back."""

    FAILED = "f"
    RELEASED = "r"
    #: Released by the broker before any consumer saw it, so that an at-most-once item too may be delivered.
    UNSEEN = "u"
    CANCELLED = "c"
    REJECTED = "x"
    #: The process that held it died before it began it; an at-most-once item with a token too may be delivered.
    NOT_BEGUN = "b"
    #: Sent down a stream that broke before its receipt; changes nothing if Redis has a receipt.
    UNRECEIVED = "n"
    #: The process that had begun it died.
    CRASHED = "k"


class Ack(NamedTuple):
    """A finished item; token None: whatever lease is current; result None: none."""

    id: str
    token: int | None
    result: bytes | None = None


class Nack(NamedTuple):
    """An item given back; `delay_us` None: by the item's own rule."""

    id: str
    token: int
    reason: NackReason
    delay_us: int | None = None
    error: str = ""


class Refresh(NamedTuple):
    """A lease to lengthen; token None: whatever lease is current; `lease_us` None: as long as before."""

    id: str
    token: int | None
    lease_us: int | None = None


class Begun(NamedTuple):
    """An item that its worker has begun, and the token of its lease."""

    id: str
    token: int


class Refreshed(NamedTuple):
    """Outcome of a refresh, and whether somebody cancelled the item."""

    outcome: Outcome
    cancel_requested: bool


class Cancelled(enum.IntEnum):
    """What a cancel found; the values are those of ``lua/cancel.lua``."""

    NOT_FOUND = 0
    REMOVED = 1
    REQUESTED = 2
    RESULT_DROPPED = 3


class State(enum.StrEnum):
    """Where an item is in its life; the values are those of ``lua/lookup.lua``."""

    SUCCEEDED = "S"
    FAILED = "F"
    CANCELLED = "C"
    EXPIRED = "E"
    DEAD = "X"
    STARTED = "L"
    WAITING = "W"
    SCHEDULED = "D"
    LATE = "A"
    UNKNOWN = "U"


#: States that do not change any more by themselves.
ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED, State.DEAD, State.UNKNOWN})


class Until(enum.StrEnum):
    """What a lookup waits for."""

    NOW = "n"
    STARTED = "s"
    DONE = "d"

    def reached(self, state: State) -> bool:
        """Whether an item in that state has come this far."""
        return self is Until.NOW or state in ENDED or (self is Until.STARTED and state is State.STARTED)


class ItemStatus(NamedTuple):
    """What is known of an item. `record` is there while it is not finished (without its body unless asked for), if it
    can be read.

    `truncated`: body, result and error were left out since all of them together would have been too much; looked up
    alone they are there.
    """

    id: str
    state: State
    deliveries: int
    cancel_requested: bool
    kind: Kind | None
    queue: str
    record: Record | None
    error: str
    result: bytes | None
    truncated: bool = False


IdList = Sequence[str]


class StoredItem(NamedTuple):
    """An item as an operator sees it.

    `time_us`, by its state: when it will be due, its lease ends, it died or was set aside. `record` is None if it
    cannot be read; then `kind` and `queue` ("" unknown) say where the item stands.
    """

    id: str
    state: State
    record: Record | None
    deliveries: int
    cancel_requested: bool
    error: str
    time_us: int | None
    kind: Kind | None = None
    queue: str = ""
