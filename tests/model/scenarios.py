"""How far to look, and for what."""

from __future__ import annotations

from dataclasses import replace

from .protocol import Bounds

AGAIN_ONE_FAULT = Bounds("one at-least-once item, 1 attempt; any 1 fault", "1", machine_crashes=1, faults=1)
AGAIN = Bounds("the same, 1 broker, any 2 faults", "1", brokers=1, machine_crashes=1)
AGAIN_TWICE = Bounds("one at-least-once item, 2 attempts; any 1 fault", "1", attempts=2, machine_crashes=1, faults=1)
ONCE = Bounds("one at-most-once item; any 2 faults", "0", returns=1, retries=2)
ONCE_THREE_FAULTS = Bounds("the same, 1 broker, any 3 faults", "0", brokers=1, retries=3, returns=2, faults=3)
BOTH = Bounds("one item of each kind, leased together; any 1 fault", "10", tokens=2, machine_crashes=1, faults=1)
TWO_WORKERS = Bounds("two worker processes, 1 broker; any 1 fault", "1", brokers=1, workers=2, tokens=2, faults=1)
POISON = Bounds(
    "a poison task: 3 attempts, 3 crashes",
    "1",
    attempts=3,
    brokers=1,
    tokens=4,
    asks=4,
    retries=0,
    broker_crashes=0,
    worker_crashes=3,
    breaks=0,
    returns=0,
    fails=0,
    faults=3,
)

ALL = (AGAIN_ONE_FAULT, AGAIN, AGAIN_TWICE, ONCE, ONCE_THREE_FAULTS, BOTH, TWO_WORKERS, POISON)
#: Larger bounds: minutes each, and not all of them end.
DEEP = (
    Bounds("one at-least-once item, 1 attempt; any 2 faults", "1", tokens=2, machine_crashes=1, most_states=3_000_000),
    Bounds(
        "one at-least-once item, 2 attempts; any 2 faults", "1", attempts=2, machine_crashes=1, most_states=3_000_000
    ),
    Bounds("two at-least-once items; any 1 fault", "11", tokens=2, faults=1, most_states=3_000_000),
    Bounds("two workers, two brokers; any 1 fault", "1", workers=2, tokens=2, faults=1, most_states=3_000_000),
)

#: What goes wrong without a part of the protocol: the part, and where to look.
PARTS = (
    ("named_lease", ONCE),
    ("receipt_counts", AGAIN),
    ("guarded_return", AGAIN),
    ("named_restore", replace(ONCE, brokers=1, asks=3)),
    ("retry_restore", ONCE),
    ("supervisor", AGAIN),
)
