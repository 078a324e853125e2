"""What must hold for every item of a history, whatever was done to the processes: I1 to I8 and I10."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from .expectation import Expectation
from .history import UNKNOWN, Event
from .items import ENDS, NEVER_RECEIVED, Item, by_item
from .kinds import MAX_CRASHES, Kind

#: Clocks of a process and of Redis on one machine, read at different moments of one call, differ by less.
_CLOCK_S = 0.005


class Violation(NamedTuple):
    """Something that must not be.

    Attributes:
        rule: which one.
        text: what was seen, with the item's life.
    """

    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


def check(events: Iterable[Event], expect: Expectation) -> list[Violation]:
    """Everything that must not be in a history that has been drained and audited.

    Args:
        events: in order of time.
        expect: what the fault is allowed to cost.
    """
    items = by_item(events)
    found = [
        Violation(rule, f"{item.uid} ({item.kind.name if item.kind else 'never put in'}) {text}: {item.tell()}")
        for item in items.values()
        for rule, check_item in _RULES
        for text in check_item(item, expect)
    ]
    unseen = [violation for violation in found if violation.rule == "I10"]
    if len(unseen) <= expect.just_begun:
        found = [violation for violation in found if violation not in unseen]
    lost = lost_once(items.values())
    if len(lost) > expect.lost_once:
        found.append(
            Violation(
                "I1",
                f"{len(lost)} at-most-once items never came, {expect.lost_once} may be lost: "
                + " | ".join(f"{item.uid} {item.tell()}" for item in lost[:5]),
            )
        )
    return found


def lost_once(items: Iterable[Item]) -> list[Item]:
    """At-most-once items that were confirmed and never came to anybody."""
    return [item for item in items if item.kind and item.kind.once and item.confirmed and not item.came]


def _known(rule: Callable[[Item, Kind, Expectation], Iterator[str]]) -> Callable[[Item, Expectation], Iterator[str]]:
    """A rule for items that were put in; of the others I2 tells."""

    def check_item(item: Item, expect: Expectation) -> Iterator[str]:
        return rule(item, item.kind, expect) if item.kind else iter(())

    return check_item


@_known
def _nothing_is_lost(item: Item, kind: Kind, expect: Expectation) -> Iterator[str]:
    """I1: what was confirmed and is at least once has come to an end."""
    if kind.once or not item.confirmed or item.done or item.letters:
        return
    if item.final_state in ENDS and not (kind.use_dead and item.final_state == "FAILED"):
        return
    if not kind.kept and any(ack.text.startswith(UNKNOWN) for ack in item.acks):
        return  # carried out, perhaps, and nothing is kept that would tell
    yield f"was confirmed and is nowhere (state {item.final_state or 'not known'})"


def _nothing_comes_that_was_not_put_in(item: Item, expect: Expectation) -> Iterator[str]:
    """I2."""
    seen = [*item.came, *item.letters]
    if seen and item.kind is None:
        yield "came out and was never put in"
    if item.kind and any(event.kind != item.kind.name for event in seen):
        yield "came out changed"


@_known
def _at_most_once(item: Item, kind: Kind, expect: Expectation) -> Iterator[str]:
    """I3."""
    if kind.once and len(item.came) > 1:
        yield f"is at most once and came {len(item.came)} times"


@_known
def _leases_do_not_overlap(item: Item, kind: Kind, expect: Expectation) -> Iterator[str]:
    """I4: on Redis's clock. A delivery whose number came again was taken back; one that was nacked had ended."""
    dated = sorted((event for event in item.came if event.leased_at and event.lease_s), key=lambda one: one.token or 0)
    nacked = {nack.token for nack in item.nacks}
    for one, other in pairwise(dated):
        end = one.leased_at + one.lease_s
        if one.attempt < other.attempt and one.token not in nacked and other.leased_at < end - _CLOCK_S:
            yield f"was leased again {end - other.leased_at:.3f} s before the lease before it had ended"


@_known
def _one_end(item: Item, kind: Kind, expect: Expectation) -> Iterator[str]:
    """I5: one terminal state; each delivery has a token of its own, and they grow."""
    if sum(ack.text == "OK" for ack in item.acks) > 1:
        yield "was acknowledged twice, both times with OK"
    if item.letters and item.done:
        yield "was done and is dead as well"
    first_ok = min((ack.mono for ack in item.acks if ack.ok), default=None)
    over = [event.mono for event in item.results if event.ok]
    for event in item.came:
        if first_ok is not None and event.leased_at and event.mono - (event.wall - event.leased_at) > first_ok:
            yield "was leased after it had been acknowledged"
        if over and event.what == "began" and event.mono > min(over) and event.token == max(_tokens(item)):
            yield "began under a new lease after its result was there"
    for ack in item.acks:
        later = [event for event in item.came if (event.token or 0) > (ack.token or 0) and event.mono < ack.since]
        if ack.text == "OK" and ack.token and later:
            yield "was acknowledged with OK under a token that another had followed"
    tokens = _tokens(item)
    if len(tokens) != len(set(tokens)):
        yield "came twice under one token"
    numbered = sorted((event.token or 0, event.attempt) for event in item.came if event.token and event.attempt)
    if any(one[1] > other[1] for one, other in pairwise(numbered)):
        yield "has numbers of deliveries that do not grow with their tokens"


def _tokens(item: Item) -> list[int]:
    return [event.token for event in item.came if event.token]


@_known
def _attempts(item: Item, kind: Kind, expect: Expectation) -> Iterator[str]:
    """I6: deliveries up to the attempts, then the dead letter, once; crashes have a budget of their own."""
    most = max(item.attempts_seen, default=0)
    if not kind.once and most > kind.attempts:
        yield f"came as delivery {most} of {kind.attempts}"
    uncounted = expect.uncounted + kind.uncounted
    if not kind.once and item.uncounted > uncounted:
        yield f"came {item.uncounted} times without being counted, {uncounted} may be"
    if len(item.letters) > 1:
        yield f"became {len(item.letters)} dead letters"
    if item.letters and not kind.use_dead:
        yield "became a dead letter and had not asked for that"
    if not item.died and item.confirmed and kind.failures >= kind.attempts and not kind.once:
        yield "failed in every attempt and is not dead"
    if kind.crashes and len(item.came) > MAX_CRASHES + item.uncounted:
        yield f"killed its process {len(item.came)} times, {MAX_CRASHES} are allowed"


@_known
def _due(item: Item, kind: Kind, expect: Expectation) -> Iterator[str]:
    """I7: never before it is due."""
    due = item.asked.due if item.asked else 0.0
    for event in item.came:
        at = event.leased_at or event.wall
        if at < due - _CLOCK_S:
            yield f"came {due - at:.3f} s before it was due"


def _one_request_one_item(item: Item, expect: Expectation) -> Iterator[str]:
    """I8: however often its Enqueue was sent."""
    if len(item.ids) > 1:
        yield f"is there {len(item.ids)} times: {', '.join(sorted(item.ids))}"


@_known
def _nobody_dies_unseen(item: Item, kind: Kind, expect: Expectation) -> Iterator[str]:
    """I10: nothing is dead or failed that nobody received, and no attempt was used up by what nobody received."""
    if kind.once or not item.died or NEVER_RECEIVED in item.last_error:
        return
    unseen = expect.unseen_tasks if kind.is_task else expect.unseen_data
    if not item.came and not unseen:
        yield "is dead, and nobody ever received it"
    elif len(item.attempts_seen) < kind.attempts - unseen and item.attempts_seen and not kind.crashes:
        yield f"is dead after {len(item.attempts_seen)} of {kind.attempts} deliveries that somebody received"


_RULES: tuple[tuple[str, Callable[[Item, Expectation], Iterator[str]]], ...] = (
    ("I1", _nothing_is_lost),
    ("I2", _nothing_comes_that_was_not_put_in),
    ("I3", _at_most_once),
    ("I4", _leases_do_not_overlap),
    ("I5", _one_end),
    ("I6", _attempts),
    ("I7", _due),
    ("I8", _one_request_one_item),
    ("I10", _nobody_dies_unseen),
)
