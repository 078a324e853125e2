"""How many items a worker asks for."""

from __future__ import annotations

import pytest

from dibs.worker.connector.credit import credit_change
from dibs.worker.process.credit import LaneCredit


def test_nothing_is_held_ahead_before_the_first_task_has_ended() -> None:
    assert LaneCredit(slots=3, prefetch=100, horizon_s=0.025).room(held=0) == 3


def test_quick_tasks_are_held_ahead_more_and_more_up_to_the_limit() -> None:
    lane = LaneCredit(slots=1, prefetch=100, horizon_s=1)
    aheads = []
    for count in (1, 2, 4, 200):
        lane.finished(count, busy_s=count * 0.00001)
        aheads.append(lane.ahead)
    assert aheads == [1, 3, 7, 100]


def test_long_tasks_are_not_hoarded() -> None:
    lane = LaneCredit(slots=4, prefetch=100, horizon_s=0.025)
    lane.finished(50, busy_s=50 * 10.0)
    assert (lane.ahead, lane.room(held=4)) == (0, 0)


def test_tasks_that_grow_long_lower_what_is_held_ahead() -> None:
    lane = LaneCredit(slots=1, prefetch=1000, horizon_s=0.025)
    lane.finished(1000, busy_s=0.01)
    assert lane.ahead == 1000
    lane.finished(1, busy_s=1.0)
    assert lane.ahead == 0


def test_a_restart_holds_nothing_ahead() -> None:
    lane = LaneCredit(slots=1, prefetch=1000, horizon_s=0.025)
    lane.finished(1000, busy_s=0.01)
    lane.restart()
    assert lane.room(held=0) == 1


@pytest.mark.parametrize(
    ("room", "on_wire", "slots", "held", "ahead", "change"),
    [
        pytest.param(5, 0, 1, 0, 0, 5, id="asks for the room"),
        pytest.param(5, 5, 1, 0, 0, 0, id="has asked already"),
        pytest.param(10, 0, 1, 91, 100, 0, id="small additions gather"),
        pytest.param(25, 0, 1, 76, 100, 25, id="a quarter is worth a message"),
        pytest.param(1, 0, 1, 0, 100, 1, id="an idle slot is always worth one"),
        pytest.param(2, 10, 1, 5, 0, -8, id="takes back what is too much"),
        pytest.param(0, -3, 1, 5, 0, 3, id="makes good what was taken back too late"),
    ],
)
def test_changes_of_credit(room: int, on_wire: int, slots: int, held: int, ahead: int, change: int) -> None:
    assert credit_change(room, on_wire, slots=slots, held=held, ahead=ahead) == change
