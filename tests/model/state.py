"""The state of everything: items in Redis, brokers, workers, and what is on its way between them.

Messages are tuples with their kind at the end, so that two of different kinds never are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple, TypeAlias, TypeVar

from .protocol import Bounds

T = TypeVar("T")

#: States of an item: waiting, leased, handed out at most once, done, dead, given up as never received.
WAITING, LEASED, OUT, DONE, DEAD, NEVER_RECEIVED = "W", "L", "G", "D", "X", "N"

#: An item and the token of one of its leases.
Lease: TypeAlias = tuple[int, int]
Leases: TypeAlias = frozenset[Lease]


class Item(NamedTuple):
    """One item in Redis.

    Attributes:
        state: see above.
        used: attempts used up.
        token: of its last lease.
        lost: leases that ended without a receipt.
        crashes: of processes that ran it.
        received: deliveries that workers received.
        begun: runs that began.
    """

    state: str = WAITING
    used: int = 0
    token: int = 0
    lost: int = 0
    crashes: int = 0
    received: int = 0
    begun: int = 0


class Broker(NamedTuple):
    """One broker.

    Attributes:
        life: how often it was killed.
        call: number of its last lease call.
        asking: whether that is under way.
        held: leased and not written.
        sent: written and without a receipt, with the worker.
        links: workers whose stream it believes to be open.
    """

    life: int = 0
    call: int = 0
    asking: bool = False
    held: Leases = frozenset()
    sent: frozenset[tuple[int, int, int]] = frozenset()
    links: frozenset[int] = frozenset()


class Worker(NamedTuple):
    """One worker process.

    Attributes:
        life: how often it was killed.
        link: broker that it has a stream to; -1: none.
        held: what it has, and whether that has begun.
        cleared: tokens whose receipt is known to be in Redis; with `echo` only.
    """

    life: int = 0
    link: int = -1
    held: frozenset[tuple[int, int, bool]] = frozenset()
    cleared: frozenset[int] = frozenset()


class Request(NamedTuple):
    """A lease call on its way to Redis; `copy` is above 0 for one that repeats another."""

    broker: int
    life: int
    call: int
    copy: int
    kind: str = "request"


class Answer(NamedTuple):
    """The answer of a lease call on its way to the broker, or kept in Redis."""

    broker: int
    life: int
    call: int
    leases: Leases
    kind: str = "answer"


class Batch(NamedTuple):
    """Items on a stream to a worker."""

    broker: int
    life: int
    worker: int
    worker_life: int
    leases: Leases
    kind: str = "batch"


class Receipt(NamedTuple):
    """A worker's receipt on its stream to a broker."""

    worker: int
    worker_life: int
    broker: int
    life: int
    token: int
    kind: str = "receipt"


class Mark(NamedTuple):
    """A broker's word to Redis that the worker has received the share of a token."""

    broker: int
    life: int
    token: int
    worker: int
    worker_life: int
    kind: str = "mark"


class Settlement(NamedTuple):
    """A word to Redis about one lease.

    Attributes:
        what: "ack", "fail", "crash" and "not begun" of a worker; "unsent", "unreceived" and "restore" of a broker.
        sender: broker or worker; -1: whoever looks after a dead process.
        life: of the sender.
        copy: above 0 for one that repeats another.
        item: which item.
        token: of the lease.
    """

    what: str
    sender: int
    life: int
    copy: int
    item: int
    token: int
    kind: str = "settlement"


Message: TypeAlias = Request | Answer | Batch | Receipt | Mark | Settlement
#: A restore that was carried out: broker, life, item, token.
Restored: TypeAlias = tuple[int, int, int, int]


class State(NamedTuple):
    """Everything.

    Attributes:
        items: in Redis.
        token: the last one given.
        unreceived: tokens of shares without a receipt.
        answers: kept in Redis.
        restored: names of restores, kept in Redis.
        brokers: all of them.
        workers: all of them.
        net: messages on their way.
        seen: leases that a worker received; kept to tell what happened, nobody acts on it.
        broken: something died, or a stream broke; likewise.
        machine_died: likewise.
        twice: one lease reached a worker twice; likewise.
        budget: faults that still may happen.
    """

    items: tuple[Item, ...]
    token: int
    unreceived: frozenset[int]
    answers: frozenset[Answer]
    restored: frozenset[Restored]
    brokers: tuple[Broker, ...]
    workers: tuple[Worker, ...]
    net: frozenset[Message]
    seen: Leases
    broken: bool
    machine_died: bool
    twice: bool
    budget: tuple[int, ...]


#: Steps, each with its name in words and the state after it.
Steps: TypeAlias = Iterator[tuple[str, State]]


class Fault(IntEnum):
    """Places in `State.budget`."""

    RETRY = 0
    BROKER_CRASH = 1
    WORKER_CRASH = 2
    MACHINE_CRASH = 3
    BREAK = 4
    RETURN = 5
    FAIL = 6


def initial(bounds: Bounds) -> State:
    """Where everything begins: all items wait, nobody is connected."""
    return State(
        items=tuple(Item() for _ in bounds.kinds),
        token=0,
        unreceived=frozenset(),
        answers=frozenset(),
        restored=frozenset(),
        brokers=tuple(Broker() for _ in range(bounds.brokers)),
        workers=tuple(Worker() for _ in range(bounds.workers)),
        net=frozenset(),
        seen=frozenset(),
        broken=False,
        machine_died=False,
        twice=False,
        budget=bounds.budget,
    )


def put(values: tuple[T, ...], at: int, value: T) -> tuple[T, ...]:
    """The values with another one at a place."""
    return (*values[:at], value, *values[at + 1 :])


def set_item(state: State, at: int, item: Item) -> State:
    """The state with another item at a place."""
    return state._replace(items=put(state.items, at, item))


def spend(state: State, bounds: Bounds, fault: Fault) -> tuple[int, ...]:
    """The budget after a fault; all zero once there were as many as there may be."""
    left = put(state.budget, fault, state.budget[fault] - 1)
    if sum(bounds.budget) - sum(left) >= bounds.faults:
        return (0,) * len(left)
    return left


def show(leases: frozenset[Lease] | frozenset[tuple[int, int, bool]]) -> str:
    """Items and tokens in words."""
    return ", ".join(f"item {lease[0]} token {lease[1]}" for lease in sorted(leases)) or "nothing"
