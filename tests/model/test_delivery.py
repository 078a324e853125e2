"""The delivery protocol keeps its promises whatever is late, lost or dies; each of its parts is needed for that.

Bounds that end within seconds; ``python -m tests.model`` looks further.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from .promises import Broken
from .protocol import DELIVERY, UNNAMED, Bounds
from .scenarios import AGAIN, AGAIN_ONE_FAULT, AGAIN_TWICE, BOTH, ONCE, ONCE_THREE_FAULTS, PARTS, POISON, TWO_WORKERS
from .search import search

pytestmark = pytest.mark.timeout(600)

#: States that there are within the bounds: another number means that the model has changed.
STATES = {
    AGAIN_ONE_FAULT: 54_525,
    AGAIN: 51_755,
    AGAIN_TWICE: 135_973,
    ONCE: 32_297,
    ONCE_THREE_FAULTS: 9_998,
    BOTH: 155_009,
    TWO_WORKERS: 48_421,
    POISON: 60_563,
}
#: What goes wrong without a part.
WITHOUT = {
    "named_lease": Broken.LOST_ONCE,
    "receipt_counts": Broken.UNSEEN_DEATH,
    "guarded_return": Broken.RUNS,
    "named_restore": Broken.TWICE,
    "retry_restore": Broken.LOST_ONCE,
    "supervisor": Broken.BYSTANDER,
}


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """Nothing here is in a circle, and the collector would take a third of the time."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("bounds", STATES, ids=lambda bounds: bounds.name)
def test_every_promise_holds_in_every_state(bounds: Bounds) -> None:
    found = search(DELIVERY, bounds, seconds=300)
    assert found.broken == {}
    assert found.complete
    assert found.states == STATES[bounds]


@pytest.mark.parametrize(("part", "bounds"), PARTS, ids=[part for part, _ in PARTS])
def test_each_part_is_needed(part: str, bounds: Bounds) -> None:
    found = search(replace(DELIVERY, **{part: False}), bounds, first_only=True, seconds=300)
    assert list(found.broken) == [WITHOUT[part]]


@pytest.mark.parametrize(
    ("bounds", "promises"),
    [
        (replace(AGAIN, machine_crashes=0), {Broken.UNSEEN_DEATH, Broken.RUNS, Broken.BYSTANDER}),
        (ONCE, {Broken.LOST_ONCE}),
    ],
    ids=["at least once", "at most once"],
)
def test_without_names_and_receipts_promises_break(bounds: Bounds, promises: set[Broken]) -> None:
    assert set(search(UNNAMED, bounds, seconds=300).broken) == promises


def test_the_first_lost_answer_costs_an_unnamed_lease_its_items() -> None:
    found = search(UNNAMED, ONCE, first_only=True, seconds=300)
    (history,) = found.broken.values()
    assert history[-1] == "answer 1 to broker 0 is lost"
    assert len(history) == 4


def test_a_run_may_go_uncounted_when_a_task_begins_before_its_receipt_is_in_redis() -> None:
    found = search(DELIVERY, AGAIN, also=Broken.EVERY_RUN_COUNTED, first_only=True, seconds=300)
    assert list(found.broken) == [Broken.EVERY_RUN_COUNTED]


def test_no_run_goes_uncounted_when_a_task_waits_for_its_receipt_to_be_in_redis() -> None:
    bounds = replace(AGAIN, faults=1)
    found = search(replace(DELIVERY, echo=True), bounds, also=Broken.EVERY_RUN_COUNTED, seconds=300)
    assert found.complete
    assert found.broken == {}


def test_what_is_at_most_once_may_be_lost_when_something_dies() -> None:
    found = search(DELIVERY, ONCE, also=Broken.ONCE_NEVER_LOST, first_only=True, seconds=300)
    assert list(found.broken) == [Broken.ONCE_NEVER_LOST]
