"""The checker finds each thing that must not be, and nothing in histories where all is well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from . import kinds
from .expectation import STRICT, Expectation
from .history import UNKNOWN, Event
from .invariants import check
from .items import NEVER_RECEIVED
from .kinds import Kind


class Story:
    """A history of one item, told event by event, a tenth of a second apart.

    Attributes:
        events: so far.
    """

    START_S = 1_000_000.0

    def __init__(self, kind: Kind, uid: str = "a") -> None:
        self.events: list[Event] = []
        self._kind, self._uid = kind, uid
        self._paused_s = 0.0

    @property
    def now(self) -> float:
        """When the next event happens."""
        return self.START_S + len(self.events) / 10 + self._paused_s

    def __call__(self, what: str, **fields: Any) -> Story:
        given: dict[str, Any] = {"uid": self._uid, "kind": self._kind.name, "id": self._uid, **fields}
        self.events.append(Event(what=what, wall=self.now, mono=self.now, **given))
        return self

    def put(self, **fields: Any) -> Story:
        """It is put in, and that is confirmed."""
        return self("asked", **fields)("enqueued")

    def came(self, token: int, attempt: int, **fields: Any) -> Story:
        """Somebody gets it."""
        if self._kind.is_task:
            return self("began", token=token, attempt=attempt, **fields)
        dated = {"leased_at": self.now, "lease_s": self._kind.lease_s, **fields}
        return self("delivered", token=token, attempt=attempt, **dated)

    def acked(self, token: int, text: str = "OK", **fields: Any) -> Story:
        """Its consumer acknowledges it."""
        return self("acked", token=token, text=text, ok=text == "OK", **{"since": self.now, **fields})

    def state(self, text: str) -> Story:
        """What the broker says in the end."""
        return self("state", text=f"{text}: ")

    def after(self, seconds: float) -> Story:
        """The next event happens that much later."""
        self._paused_s += seconds
        return self


def rules(story: Story, expect: Expectation = STRICT) -> set[str]:
    """Rules that a history breaks."""
    return {violation.rule for violation in check(story.events, expect)}


SURE, THRICE, DATA, DATA_THRICE = kinds.SURE, kinds.THRICE, kinds.DATA_SURE, kinds.DATA_THRICE
ONCE, DATA_ONCE = kinds.ONCE, kinds.DATA_ONCE

CLEAN: dict[str, Callable[[], Story]] = {
    "a task that is done": lambda: Story(SURE).put().came(1, 1)("ended").state("SUCCEEDED"),
    "a task whose result was waited for": lambda: Story(SURE).put().came(1, 1)("done").state("SUCCEEDED"),
    "a task that failed": lambda: Story(SURE).put().came(1, 1)("ended", ok=False).state("FAILED"),
    "an at-most-once task": lambda: Story(ONCE).put().came(0, 1)("ended").state("UNKNOWN"),
    "three attempts, then the dead letter": lambda: (
        Story(THRICE).put().came(1, 1).came(2, 2).came(3, 3)("letter", attempt=3).state("UNKNOWN")
    ),
    "a data item that is acknowledged": lambda: Story(DATA).put().came(1, 1).acked(1).state("SUCCEEDED"),
    "an ack whose answers were all lost": lambda: Story(DATA).put().came(1, 1).acked(1, UNKNOWN).state("SUCCEEDED"),
    "the same where nothing is kept": lambda: (
        Story(kinds.DATA_CLIENT).put().came(1, 1).acked(1, UNKNOWN).state("UNKNOWN")
    ),
    "the last batch of a following lease, left alone": lambda: (
        Story(kinds.DATA_FOLLOWED).put().came(1, 1).after(3).came(2, 1).acked(2)
    ),
    "a lease that ran out": lambda: (
        Story(DATA_THRICE).put().came(1, 1).after(2.5).came(2, 2).acked(1, "LEASE_SUPERSEDED").acked(2)
    ),
    "a nack before its time": lambda: (
        Story(DATA_THRICE).put().came(1, 1)("nacked", token=1, text="OK").came(2, 2).acked(2)
    ),
    "a delayed item in its time": lambda: Story(kinds.LATER).put(due=Story.START_S + 0.1).came(1, 1)("done"),
    "an enqueue whose outcome is not known, and that was not carried out": lambda: Story(SURE)("asked")("gave up"),
    "an enqueue whose outcome is not known, and that was carried out": lambda: Story(SURE)("asked")("gave up").came(
        1, 1
    )("done"),
    "an item that was given up after twenty ends without a receipt": lambda: Story(THRICE).put()(
        "letter", text=NEVER_RECEIVED
    ),
    "a frozen worker that begins late": lambda: Story(THRICE).put().came(2, 2)("done").came(1, 1).state("SUCCEEDED"),
    "a task that kills its process": lambda: (
        Story(kinds.POISON).put().came(1, 1).came(2, 2).came(3, 3)("letter", attempt=3, text="worker process crashed")
    ),
}
BROKEN: dict[str, tuple[str, Callable[[], Story]]] = {
    "a task is nowhere": ("I1", lambda: Story(SURE).put().state("UNKNOWN")),
    "a task waits for ever": ("I1", lambda: Story(SURE).put().state("WAITING")),
    "a dead letter is nowhere": ("I1", lambda: Story(THRICE).put().came(1, 1).came(2, 2).came(3, 3).state("UNKNOWN")),
    "a task fails that is to become a dead letter": (
        "I1",
        lambda: Story(THRICE).put().came(1, 1).came(2, 2).came(3, 3).state("FAILED"),
    ),
    "an at-most-once item never came": ("I1", lambda: Story(DATA_ONCE).put().state("UNKNOWN")),
    "an item comes that was not put in": ("I2", lambda: Story(SURE).came(1, 1)("done")),
    "an item comes out as another kind": ("I2", lambda: Story(SURE).put()("began", kind="once", token=1)("done")),
    "an at-most-once task runs twice": ("I3", lambda: Story(ONCE).put().came(0, 1).came(0, 1)),
    "an at-most-once item is delivered twice": ("I3", lambda: Story(DATA_ONCE).put().came(0, 1).came(0, 1)),
    "a lease begins before the one before it ends": (
        "I4",
        lambda: Story(DATA_THRICE).put().came(1, 1).came(2, 2).acked(2),
    ),
    "two acks are OK": ("I5", lambda: Story(DATA).put().came(1, 1).acked(1).acked(1)),
    "an item is done and dead": (
        "I5",
        lambda: Story(DATA_THRICE).put().came(1, 1).after(3).came(2, 2).after(3).came(3, 3).acked(3)("letter"),
    ),
    "an item is leased after its ack": (
        "I5",
        lambda: Story(DATA_THRICE).put().came(1, 1).acked(1).after(3).came(2, 2),
    ),
    "an item begins after its result": ("I5", lambda: Story(THRICE).put().came(1, 1)("done").came(2, 2)),
    "an old token is acknowledged with OK": (
        "I5",
        lambda: Story(DATA_THRICE).put().came(1, 1).after(2.5).came(2, 2).acked(1),
    ),
    "one lease reaches two": ("I5", lambda: Story(THRICE).put().came(1, 1).came(1, 2)("done")),
    "attempts do not grow with tokens": ("I5", lambda: Story(THRICE).put().came(1, 2).came(2, 1)("done")),
    "a fourth delivery of three": ("I6", lambda: Story(THRICE).put().came(1, 4)("done")),
    "a run is not counted": ("I6", lambda: Story(THRICE).put().came(1, 1).came(2, 1)("done")),
    "two dead letters": (
        "I6",
        lambda: Story(THRICE).put().came(1, 1).came(2, 2).came(3, 3)("letter")("letter"),
    ),
    "a dead letter that nobody asked for": ("I6", lambda: Story(SURE).put().came(1, 1)("letter")),
    "what fails every time is done": (
        "I6",
        lambda: Story(kinds.HOPELESS).put().came(1, 1).came(2, 2).state("SUCCEEDED"),
    ),
    "a fourth crash": (
        "I6",
        lambda: Story(kinds.POISON).put().came(1, 1).came(2, 2).came(3, 3).came(4, 4)("letter", attempt=4),
    ),
    "a delayed item too early": ("I7", lambda: Story(kinds.LATER).put(due=Story.START_S + 9).came(1, 1)("done")),
    "one request makes two items": ("I8", lambda: Story(SURE).put().came(1, 1)("began", id="b", token=2)("done")),
    "an item dies unseen": ("I10", lambda: Story(THRICE).put()("letter", attempt=3, text="the lease ran out")),
    "an item fails unseen": ("I10", lambda: Story(SURE).put().state("FAILED")),
    "an attempt is used up unseen": ("I10", lambda: Story(THRICE).put().came(1, 1).came(3, 3)("letter", attempt=3)),
}


@pytest.mark.parametrize("story", CLEAN.values(), ids=CLEAN)
def test_nothing_is_found_where_all_is_well(story: Callable[[], Story]) -> None:
    assert check(story().events, STRICT) == []


@pytest.mark.parametrize(("rule", "story"), BROKEN.values(), ids=BROKEN)
def test_what_must_not_be_is_found_under_its_rule(rule: str, story: Callable[[], Story]) -> None:
    assert rules(story()) == {rule}


def test_what_a_fault_may_cost_is_no_violation() -> None:
    assert rules(Story(DATA_ONCE).put().state("UNKNOWN"), Expectation(lost_once=1)) == set()
    assert rules(Story(THRICE).put().came(1, 1).came(2, 1)("done"), Expectation(uncounted=1)) == set()
    assert rules(Story(SURE).put().state("FAILED"), Expectation(unseen_tasks=1)) == set()
    assert rules(Story(DATA).put().state("FAILED"), Expectation(unseen_data=1)) == set()
    assert rules(Story(SURE).put().state("FAILED"), Expectation(just_begun=1)) == set()


def test_a_violation_tells_the_life_of_its_item() -> None:
    (violation,) = check(Story(ONCE, "x7").put().came(0, 1).came(0, 1).events, STRICT)
    assert str(violation) == (
        "I3: x7 (once) is at most once and came 2 times: "
        "+0.000  asked; +0.100  enqueued; +0.200  began #1; +0.300  began #1"
    )


def test_each_violation_is_of_its_own_item() -> None:
    well = Story(SURE, "well").put().came(1, 1)("done").state("SUCCEEDED")
    lost = Story(SURE, "lost").put().state("UNKNOWN")
    (violation,) = check([*well.events, *lost.events], STRICT)
    assert violation.text.startswith("lost (sure) was confirmed and is nowhere")
