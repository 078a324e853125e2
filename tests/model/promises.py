"""What must hold in every state."""

from __future__ import annotations

from enum import StrEnum

from .protocol import Bounds, Protocol
from .state import DEAD, LEASED, NEVER_RECEIVED, OUT, Answer, Batch, Item, Lease, Settlement, State


class Broken(StrEnum):
    """A promise that does not hold."""

    LOST = "P1 an at-least-once item is nowhere"
    LOST_ONCE = "P1 an at-most-once item is gone though nothing died and no stream broke"
    TWICE = "P2 an at-most-once item was delivered twice"
    LEASE_TWICE = "P3 one lease reached two workers, or one twice"
    RUNS = "P4 more runs than attempts and ends without a receipt"
    UNSEEN_DEATH = "P5 an item is dead that nobody ever received"
    GIVEN_UP_EARLY = "P5 given up as never received before the bound"
    COUNTER = "P6 a counter is out of its bounds"
    KEPT = "P6 more is kept than one answer a caller and one mark a live share"
    BYSTANDER = "P7 a process crash used up the attempt of an item that had not begun"
    #: Promises that are not made, because they cannot be kept along with others.
    EVERY_RUN_COUNTED = "more runs than attempts"
    ONCE_NEVER_LOST = "an at-most-once item is lost"


class Promises:
    """Looks at states.

    Args:
        protocol: what is switched on.
        bounds: how far to look.
        also: a promise that is not made, to be looked at as well.
    """

    def __init__(self, protocol: Protocol, bounds: Bounds, also: Broken | None = None) -> None:
        self._protocol, self._bounds, self._also = protocol, bounds, also

    def broken(self, state: State, step: str, before: State) -> Broken | None:
        """The promise that does not hold after a step; None if all do.

        Args:
            state: after the step.
            step: its name.
            before: the state before it.
        """
        for at, item in enumerate(state.items):
            found = self._once(state, at, item) if self._bounds.once(at) else self._again(state, at, item)
            if found:
                return found
            if "runs out" in step and self._is_bystander(state, at, item, before):
                return Broken.BYSTANDER
        if state.twice:
            return Broken.LEASE_TWICE
        callers = {answer[:2] for answer in state.answers}
        if len(state.answers) > len(callers) or len(state.unreceived) > len(state.items):
            return Broken.KEPT
        return None

    def _once(self, state: State, at: int, item: Item) -> Broken | None:
        if item.received > 1 or item.begun > 1:
            return Broken.TWICE
        if item.state != OUT or item.received or _somewhere(state, at):
            return None
        if not state.broken:
            return Broken.LOST_ONCE
        return Broken.ONCE_NEVER_LOST if self._also is Broken.ONCE_NEVER_LOST else None

    def _again(self, state: State, at: int, item: Item) -> Broken | None:
        bounds = self._bounds
        if item.state == OUT:
            return Broken.LOST
        if not 0 <= item.used <= bounds.attempts or item.lost > bounds.limit or item.crashes > bounds.max_crashes:
            return Broken.COUNTER
        if item.state == DEAD and item.received == 0:
            return Broken.UNSEEN_DEATH
        if item.state == NEVER_RECEIVED and item.lost < bounds.limit:
            return Broken.GIVEN_UP_EARLY
        if self._also is Broken.EVERY_RUN_COUNTED and item.begun > bounds.attempts:
            return Broken.EVERY_RUN_COUNTED
        if item.begun > bounds.attempts + (item.lost if self._protocol.receipt_counts else 0):
            return Broken.RUNS
        return None

    def _is_bystander(self, state: State, at: int, item: Item, before: State) -> bool:
        """Whether an item died of a lease whose holder died before it began."""
        was = before.items[at]
        lease = (at, was.token)
        return (
            item.state == DEAD
            and item.begun == 0
            and was.state == LEASED
            and not state.machine_died
            and lease in before.seen
            and not _in_hands(before, lease)
        )


def _somewhere(state: State, at: int) -> bool:
    """Whether an at-most-once item that was handed out can still reach a worker or go back."""
    for number, broker in enumerate(state.brokers):
        if any(item == at for item, _ in broker.held):
            return True
        call = (number, broker.life, broker.call)
        if broker.asking and any(answer[:3] == call and _has(answer, at) for answer in state.answers):
            return True
    for message in state.net:
        if isinstance(message, Answer | Batch) and _has(message, at):
            return True
        if isinstance(message, Settlement) and message.what in ("restore", "not begun") and message.item == at:
            return True
    return False


def _has(message: Answer | Batch, at: int) -> bool:
    return any(item == at for item, _ in message.leases)


def _in_hands(state: State, lease: Lease) -> bool:
    """Whether a living worker holds it, or a word about it is on its way."""
    if any((*lease, begun) in worker.held for worker in state.workers for begun in (False, True)):
        return True
    return any(
        (isinstance(one, Settlement) and one.what != "restore" and (one.item, one.token) == lease)
        or (isinstance(one, Batch) and lease in one.leases)
        for one in state.net
    )
