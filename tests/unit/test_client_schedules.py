"""When recurring tasks are due, and what is refused at decoration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dibs import Cron, Every
from dibs.broker.messages import recurrence as broker_recurrence

from ..support.recording import RecordingDibs

NOON = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)  # a Wednesday


def cron_next(expression: str, now: datetime = NOON, **arguments: Any) -> datetime:
    @RecordingDibs().cron_task(expression, **arguments, name="task")
    def task() -> None: ...

    due = task.next(now)
    assert due is not None
    return due


def test_a_periodic_task_is_due_a_period_later() -> None:
    @RecordingDibs().periodic_task(timedelta(minutes=5), queue="low", never_skip=True, name="task")
    def task() -> None: ...

    assert task.schedule == Every(timedelta(minutes=5), never_skip=True)
    assert task.queue == "low"
    assert task.next(NOON) == NOON + timedelta(minutes=5)
    assert task.next(NOON.timestamp()) == NOON + timedelta(minutes=5)


def test_a_task_that_does_not_recur_is_never_due() -> None:
    @RecordingDibs().task(name="task")
    def task() -> None: ...

    assert task.schedule is None
    assert task.next() is None


@pytest.mark.parametrize("run_every", [0, -1, timedelta(0), float("nan"), "60", None, 0.009, 367 * 86_400])
def test_a_period_that_makes_no_sense_is_refused(run_every: Any) -> None:
    with pytest.raises(ValueError, match="run_every"):
        RecordingDibs().periodic_task(run_every, low_delay_okay=True)


def test_a_period_below_a_second_needs_consent() -> None:
    with pytest.raises(ValueError, match="low_delay_okay"):
        RecordingDibs().periodic_task(0.5)
    RecordingDibs().periodic_task(0.5, low_delay_okay=True)
    RecordingDibs().periodic_task(0.01, low_delay_okay=True)


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("* * * * *", datetime(2026, 3, 4, 12, 1)),
        ("*/5 * * * *", datetime(2026, 3, 4, 12, 5)),
        ("0 5 * * tue", datetime(2026, 3, 10, 5, 0)),
        ("0 0 1 JAN *", datetime(2027, 1, 1)),
        ("40 0 12 * * *", datetime(2026, 3, 4, 12, 0, 40)),
        ("*/10 * * * * *", datetime(2026, 3, 4, 12, 0, 40)),
    ],
)
def test_five_fields_and_six_with_the_second_first(expression: str, due: datetime) -> None:
    assert cron_next(expression, seconds=len(expression.split()) == 6) == due.replace(tzinfo=UTC)


def test_an_expression_is_meant_in_its_time_zone() -> None:
    due = cron_next("0 5 * * *", timezone="Europe/Berlin")

    assert due == datetime(2026, 3, 5, 4, 0, tzinfo=UTC)
    assert due.tzinfo == ZoneInfo("Europe/Berlin")
    assert cron_next("0 5 * * *", timezone=ZoneInfo("Asia/Tokyo")) == datetime(2026, 3, 4, 20, 0, tzinfo=UTC)


def test_the_wall_clock_decides_on_the_day_that_summer_time_begins() -> None:
    saturday = datetime(2026, 3, 28, 12, tzinfo=UTC)

    # 8 o'clock is 7 UTC in winter and 6 UTC in summer.
    assert cron_next("0 8 * * *", saturday, timezone="Europe/Berlin") == datetime(2026, 3, 29, 6, tzinfo=UTC)


def test_what_is_said_of_the_day_when_the_clock_changes_is_what_brokers_do() -> None:
    before = datetime(2026, 3, 28, 11, 0, 0, 1, tzinfo=UTC)
    expression, place = "30 2 * * *", "Europe/Vienna"

    due = cron_next(expression, before, timezone=place)

    # 02:30 is left out on 29 March, so it is due when the clock is moved to 03:00.
    assert due.isoformat() == "2026-03-29T03:00:00+02:00"
    as_broker = broker_recurrence.Cron(expression, place).first(round(before.timestamp() * 1e6))
    assert as_broker == due.timestamp() * 1e6


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "nonsense",
        "61 * * * *",
        "* * * * * * *",
        "* * *",
        "0 0 31 2 *",
        "* * * * noday",
        "@daily",
        "H * * * *",
        "R(0-5) * * * *",
        None,
        5,
    ],
)
def test_an_expression_that_makes_no_sense_is_refused_at_decoration(expression: Any) -> None:
    with pytest.raises(ValueError, match="crontab"):
        RecordingDibs().cron_task(expression)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", 5, "../etc/passwd"])
def test_a_time_zone_that_is_not_known_is_refused_at_decoration(zone: Any) -> None:
    with pytest.raises(ValueError, match="timezone"):
        RecordingDibs().cron_task("* * * * *", timezone=zone)


def test_six_fields_are_taken_only_where_the_first_is_said_to_be_the_second() -> None:
    with pytest.raises(ValueError, match="six fields: say seconds=True if the first is the second"):
        RecordingDibs().cron_task("0 5 * * * 2027")
    with pytest.raises(ValueError, match="five fields, but seconds=True"):
        RecordingDibs().cron_task("0 5 * * *", seconds=True)
    assert cron_next("30 0 5 * * tue", seconds=True).second == 30


def test_the_schedule_is_a_plain_value() -> None:
    @RecordingDibs().cron_task("  0 5  * * tue ", timezone="Europe/Berlin", never_skip=True, name="task")
    def task() -> None: ...

    assert task.schedule == Cron("0 5 * * tue", "Europe/Berlin", never_skip=True)
