"""Protocols to look at, and how far to look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """What is switched on. All off: the protocol from before leases had names.

    Attributes:
        named_lease: a lease call has a name; its answer is kept until the next call says that it arrived.
        receipt_counts: a lease that ends without a receipt gives its attempt back, bounded.
        guarded_return: "not received" gives back only what Redis has no receipt of.
        named_restore: at-most-once items are put back under a name, so that it can be asked twice.
        retry_restore: and that is asked again until Redis answers.
        supervisor: somebody settles what a dead process held.
        echo: a task begins only when the broker has said that the receipt is in Redis.
    """

    named_lease: bool = False
    receipt_counts: bool = False
    guarded_return: bool = False
    named_restore: bool = False
    retry_restore: bool = False
    supervisor: bool = False
    echo: bool = False


UNNAMED = Protocol()
DELIVERY = Protocol(
    named_lease=True,
    receipt_counts=True,
    guarded_return=True,
    named_restore=True,
    retry_restore=True,
    supervisor=True,
)


@dataclass(frozen=True)
class Bounds:
    """How far to look.

    Attributes:
        name: in words.
        kinds: a letter an item: "1" at least once, "0" at most once.
        attempts: of each item.
        brokers: how many.
        workers: how many.
        tokens: leases in all.
        asks: lease calls of one life of a broker.
        retries: calls that are repeated.
        broker_crashes: brokers that are killed.
        worker_crashes: worker processes that are killed.
        machine_crashes: machines that die.
        breaks: streams that break.
        returns: times that a broker gives back what it has leased.
        fails: tasks that fail.
        limit: ends without a receipt after which an item is given up; 20 in Redis.
        max_crashes: crashes after which it is.
        faults: of retries, crashes, breaks, returns and failures together.
        most_states: looked at before giving up.
    """

    name: str
    kinds: str
    attempts: int = 1
    brokers: int = 2
    workers: int = 1
    tokens: int = 3
    asks: int = 2
    retries: int = 1
    broker_crashes: int = 1
    worker_crashes: int = 1
    machine_crashes: int = 0
    breaks: int = 1
    returns: int = 1
    fails: int = 1
    limit: int = 2
    max_crashes: int = 2
    faults: int = 2
    most_states: int = 400_000

    @property
    def budget(self) -> tuple[int, ...]:
        """How many of each fault, in the order of `state.Fault`."""
        return (
            self.retries,
            self.broker_crashes,
            self.worker_crashes,
            self.machine_crashes,
            self.breaks,
            self.returns,
            self.fails,
        )

    def once(self, item: int) -> bool:
        """Whether an item is delivered at most once."""
        return self.kinds[item] == "0"
