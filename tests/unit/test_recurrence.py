"""When schedules are due: intervals, the calendar, and what happens when the clock is changed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dibs.broker.messages.recurrence import Cron, Every
from dibs.contract import cron
from dibs.contract.cron import BadCron, Effort, check_cron, next_match, zone

VIENNA = "Europe/Vienna"
NEW_YORK = "America/New_York"


def us(text: str) -> int:
    """Microseconds of a time in ISO form; UTC unless it says otherwise."""
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def matches(expression: str, place: str, after: str, count: int) -> list[str]:
    """The next due times, as the clock on the wall shows them, with its distance from UTC."""
    where, time, found = ZoneInfo(place), datetime.fromisoformat(after), []
    time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=where).astimezone(UTC)
    for _ in range(count):
        time = next_match(expression, where, time)
        found.append(time.astimezone(where).strftime("%m-%d %H:%M%z").removesuffix("00"))
    return found


def next_utc(expression: str, after: str) -> str:
    return datetime.fromtimestamp(Cron(expression).first(us(after)) / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def test_an_interval_begins_now_and_then_with_each_start() -> None:
    every = Every(10)
    assert every.first(100) == 110
    assert every.following(110, 115) == 125
    assert every.following(110, 1000) == 1010


def test_an_interval_that_never_skips_begins_with_each_due_time() -> None:
    assert Every(10, never_skip=True).following(110, 1000) == 120


def test_cron_goes_on_after_the_start() -> None:
    hourly = Cron("0 * * * *")
    assert hourly.first(us("2026-03-04T12:00:00.000001")) == us("2026-03-04T13:00:00")
    assert hourly.following(us("2026-03-04T13:00"), us("2026-03-04T15:30")) == us("2026-03-04T16:00")


def test_cron_that_never_skips_goes_on_after_the_due_time() -> None:
    hourly = Cron("0 * * * *", never_skip=True)
    assert hourly.following(us("2026-03-04T13:00"), us("2026-03-04T15:30")) == us("2026-03-04T14:00")


def test_no_time_comes_twice_although_the_clock_of_redis_went_back() -> None:
    hourly = Cron("0 * * * *")
    assert hourly.following(us("2026-03-04T13:00"), us("2026-03-04T12:59:59")) == us("2026-03-04T14:00")


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("* * * * *", "2026-03-04T12:00:30", "2026-03-04 12:01:00"),
        ("* * * * *", "2026-03-04T12:00:00", "2026-03-04 12:01:00"),
        ("*/10 * * * * *", "2026-03-04T12:00:10", "2026-03-04 12:00:20"),
        ("15 30 12 * * *", "2026-03-04T12:00:00", "2026-03-04 12:30:15"),
        ("0 5 * * tue", "2026-03-04T12:00:00", "2026-03-10 05:00:00"),
        ("0 5 * * TUE,fri", "2026-03-04T12:00:00", "2026-03-06 05:00:00"),
        ("0 5 * * mon-wed", "2026-03-04T12:00:00", "2026-03-09 05:00:00"),
        ("0 0 1 jan,Jul *", "2026-03-04T12:00:00", "2026-07-01 00:00:00"),
        ("0 0 * * 0", "2026-03-04T12:00:00", "2026-03-08 00:00:00"),
        ("0 0 * * 7", "2026-03-04T12:00:00", "2026-03-08 00:00:00"),
        # Both days restricted: either.
        ("0 0 13 * fri", "2026-03-06T12:00:00", "2026-03-13 00:00:00"),
        ("0 0 10 * fri", "2026-03-06T12:00:00", "2026-03-10 00:00:00"),
        ("0 0 31 * *", "2026-03-31T12:00:00", "2026-05-31 00:00:00"),
        ("0 0 29 2 *", "2026-03-04T12:00:00", "2028-02-29 00:00:00"),
        ("0 0 29 2 *", "2096-03-04T12:00:00", "2104-02-29 00:00:00"),
        ("0 0 L * *", "2028-02-04T12:00:00", "2028-02-29 00:00:00"),
        ("59 59 23 31 12 *", "2026-03-04T12:00:00", "2026-12-31 23:59:59"),
    ],
)
def test_the_calendar(expression: str, after: str, due: str) -> None:
    check_cron(expression)
    assert next_utc(expression, after) == due


@pytest.mark.parametrize(
    ("place", "before", "due"),
    [
        # 29 March 2026: 02:00 becomes 03:00.
        (VIENNA, "2026-03-28T12:00", ["03-29 03:00+02", "03-30 02:30+02", "03-31 02:30+02"]),
        # 8 March 2026: 02:00 becomes 03:00.
        (NEW_YORK, "2026-03-07T12:00", ["03-08 03:00-04", "03-09 02:30-04", "03-10 02:30-04"]),
    ],
)
def test_a_time_that_is_left_out_is_due_when_the_clock_has_been_moved(place: str, before: str, due: list[str]) -> None:
    assert matches("30 2 * * *", place, before, 3) == due


@pytest.mark.parametrize(
    ("place", "expression", "before", "due"),
    [
        # 25 October 2026: 03:00 becomes 02:00.
        (VIENNA, "30 2 * * *", "2026-10-24T12:00", ["10-25 02:30+02", "10-26 02:30+01", "10-27 02:30+01"]),
        # 1 November 2026: 02:00 becomes 01:00.
        (NEW_YORK, "30 1 * * *", "2026-10-31T12:00", ["11-01 01:30-04", "11-02 01:30-05", "11-03 01:30-05"]),
        (NEW_YORK, "0 1 * * *", "2026-10-31T12:00", ["11-01 01:00-04", "11-02 01:00-05", "11-03 01:00-05"]),
        # The first moment after the repeated hour.
        (VIENNA, "0 3 * * *", "2026-10-24T12:00", ["10-25 03:00+01", "10-26 03:00+01", "10-27 03:00+01"]),
        (VIENNA, "0 1,2,3 * * *", "2026-10-25T00:30", ["10-25 01:00+02", "10-25 02:00+02", "10-25 03:00+01"]),
    ],
)
def test_a_time_that_comes_twice_is_due_the_first_time(
    place: str, expression: str, before: str, due: list[str]
) -> None:
    assert matches(expression, place, before, 3) == due


def test_several_times_that_are_left_out_are_due_together_once() -> None:
    assert matches("0,20,40 2 * * *", VIENNA, "2026-03-28T12:00", 2) == ["03-29 03:00+02", "03-30 02:00+02"]
    assert matches("0 2,3 * * *", VIENNA, "2026-03-28T12:00", 2) == ["03-29 03:00+02", "03-30 02:00+02"]


def test_what_is_asked_for_in_the_second_hour_is_due_tomorrow() -> None:
    assert matches("45 2 * * *", VIENNA, "2026-10-25T02:10+01:00", 1) == ["10-26 02:45+01"]


def test_an_interval_by_cron_goes_on_by_the_real_time() -> None:
    assert matches("*/30 * * * *", VIENNA, "2026-03-29T01:00", 3) == [
        "03-29 01:30+01", "03-29 03:00+02", "03-29 03:30+02",
    ]  # fmt: skip
    assert matches("*/30 * * * *", VIENNA, "2026-10-25T01:30", 6) == [
        "10-25 02:00+02", "10-25 02:30+02", "10-25 02:00+01", "10-25 02:30+01", "10-25 03:00+01", "10-25 03:30+01",
    ]  # fmt: skip
    assert matches("15 * * * *", NEW_YORK, "2026-11-01T00:30", 3) == [
        "11-01 01:15-04", "11-01 01:15-05", "11-01 02:15-05",
    ]  # fmt: skip
    assert matches("15 * * * *", NEW_YORK, "2026-03-08T01:30", 2) == ["03-08 03:15-04", "03-08 04:15-04"]


def test_times_of_the_day_that_are_not_touched_stay_where_they_are_on_the_wall() -> None:
    assert matches("0 5 * * *", VIENNA, "2026-03-28T12:00", 2) == ["03-29 05:00+02", "03-30 05:00+02"]
    assert matches("0 5 * * *", VIENNA, "2026-10-24T12:00", 2) == ["10-25 05:00+01", "10-26 05:00+01"]
    assert matches("0 0 1 * *", NEW_YORK, "2026-10-20T12:00", 2) == ["11-01 00:00-04", "12-01 00:00-05"]


def test_a_day_that_a_country_leaves_out_is_made_up_for_at_its_end() -> None:
    # Samoa went from 29 to 31 December 2011.
    assert matches("0 12 * * *", "Pacific/Apia", "2011-12-29T11:00", 3) == [
        "12-29 12:00-10", "12-31 00:00+14", "12-31 12:00+14",
    ]  # fmt: skip


def test_half_hours_and_midnight() -> None:
    # Lord Howe moves its clock by half an hour, Santiago at midnight.
    assert matches("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", 2) == ["10-04 02:30+11", "10-05 02:15+11"]
    assert matches("0 0 * * *", "America/Santiago", "2026-09-05T12:00", 2) == ["09-06 01:00-03", "09-07 00:00-03"]


@given(
    st.sampled_from(["30 2 * * *", "*/15 * * * *", "0 1,2,3 * * *", "7 */3 * * *", "59 59 1 * * *", "0 0 1 * *"]),
    st.sampled_from([VIENNA, NEW_YORK, "UTC", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata"]),
    st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)),
)
@settings(max_examples=150, deadline=None)
def test_the_next_time_is_the_same_from_wherever_one_looks(expression: str, place: str, time: datetime) -> None:
    where, begin = ZoneInfo(place), time.replace(microsecond=0, tzinfo=UTC)
    due = next_match(expression, where, begin)
    assert due > begin
    # Nothing lies between, seen from any place in between.
    for share in (0.25, 0.5, 0.99):
        between = begin + timedelta(seconds=int((due - begin).total_seconds() * share))
        if between < due:
            assert next_match(expression, where, between) == due


RARE = "0 0 29 2 mon#5"


@pytest.mark.parametrize("place", [VIENNA, "Africa/Casablanca", "UTC"])
def test_a_time_that_is_years_away_is_found_in_a_few_steps(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    looks: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        look = getattr(cron, name)

        def counting(*given: Any) -> Any:
            looks[name] += 1
            return look(*given)

        return counting

    for name in ("_match", "_offset"):
        monkeypatch.setattr(cron, name, counted(name))

    due = next_match(RARE, ZoneInfo(place), datetime(2026, 11, 27, tzinfo=UTC))

    assert due.astimezone(ZoneInfo(place)).isoformat().startswith("2044-02-29T00:00:00")
    assert looks["_match"] <= 4
    assert looks["_offset"] <= 40


@pytest.mark.parametrize("expression", [RARE, "30 2 29 3 *", "*/20 2 25 10 sun#4", "15 1,2 31 3 *"])
@pytest.mark.parametrize("place", [VIENNA, "Africa/Casablanca", "America/Santiago"])
def test_from_afar_it_is_the_same_time_as_from_nearby(expression: str, place: str) -> None:
    where, time = ZoneInfo(place), datetime(2026, 11, 27, tzinfo=UTC)
    for _ in range(3):
        due = next_match(expression, where, time)
        assert next_match(expression, where, due - timedelta(days=1)) == due
        time = due + timedelta(days=2)


def test_several_expressions_share_an_effort() -> None:
    effort = Effort(years=90)
    when = datetime(2026, 11, 27, tzinfo=UTC)
    for _ in range(30):
        check_cron("0 5 * * *", effort)
        next_match("0 5 * * *", ZoneInfo(VIENNA), when, effort)
    next_match(RARE, ZoneInfo(VIENNA), when, effort)
    with pytest.raises(BadCron, match=r"matches so rarely .* 90 years of the calendar are not enough"):
        next_match(RARE, ZoneInfo(VIENNA), when, effort)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("* * * * * * *", "has 7 fields"),
        ("@daily", "has 1 fields"),
        ("60 * * * *", "makes no sense"),
        ("* 24 * * *", "makes no sense"),
        ("60 * * * * *", "makes no sense"),
        ("a b c d e", "makes no sense"),
        ("*/0 * * * *", "makes no sense"),
        ("0 5 tue * *", "makes no sense"),
        ("1-2-3 * * * *", "makes no sense"),
        ("\0 * * * *", "makes no sense"),
        ("0 0 30 2 *", "matches no time"),
        ("R * * * *", "to chance"),
        ("0 h(0-5) * * *", "to chance"),
        ("*" * 300 + " * * * *", "at most 256"),
    ],
)
def test_an_expression_that_makes_no_sense_is_refused(expression: str, words: str) -> None:
    with pytest.raises(BadCron, match=words):
        check_cron(expression)


@given(st.text(alphabet="0123456789*/-,LhRr#?@ jantue", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_taken_or_refused(expression: str) -> None:
    try:
        check_cron(expression)
    except BadCron:
        return
    assert Cron(expression).first(0) > 0


@pytest.mark.parametrize("name", ["", "Europe/Wien", "../etc/passwd", "/etc/localtime", "Europe", "a\0b", "x" * 1000])
def test_a_time_zone_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(BadCron, match="IANA"):
        zone(name)


def documented() -> list[list[str]]:
    """The rows of the table in docs/schedules.md."""
    lines = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text().splitlines()
    first = lines.index("| expression | time zone | after | due |") + 2
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[first:])
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.parametrize(("expression", "place", "after", "due"), documented())
def test_the_documented_times_are_true(expression: str, place: str, after: str, due: str) -> None:
    where = ZoneInfo(place)
    time = datetime.fromisoformat(after).replace(tzinfo=where).astimezone(UTC)
    for one in due.split(", "):
        time = next_match(expression, where, time)
        assert time.astimezone(where).strftime("%Y-%m-%d %H:%M %z") == one
