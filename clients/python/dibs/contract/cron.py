"""What a cron expression means: times on the clock that hangs on the wall of its time zone.

Brokers fire schedules by it; decorators check expressions with it, and `Task.next` answers with it. It depends on
nothing of the package, so that both may use it.

Where the clock is changed:

- An expression whose second, minute or hour begins with ``*`` means an interval, such as every half hour: it goes on by
  the real time. Times that the change leaves out do not come, those that come twice are due twice.
- Any other names times of the day, and each of them is due once on every day that it names: a time that the change
  leaves out is due when the clock has been moved forward, and a time that comes twice is due the first time only.

croniter finds the matching times on a clock that is never changed; the rest is done here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

#: Longest cron expression, in characters.
MAX_CRON_LENGTH = 256
#: Furthest that the next match of an expression may be: 29 February may be 8 years away, and also a Monday 28 more.
_MAX_YEARS = 50
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
#: Clocks are moved by less.
_NEAR = timedelta(days=2)
# croniter's own inventions that are other at each look ("r") or need a further argument ("h").
_HASHED = re.compile(r"(^|,)[hr]", re.IGNORECASE)


class BadCron(ValueError):
    """No such expression, or no such time zone; the text is the rest of a sentence that begins with which."""


class Effort:
    """How much of the calendar may be gone through for several expressions; one alone never takes long.

    A year takes up to half a millisecond, so that a thousand expressions that match once in 28 years would take many
    seconds.

    Args:
        years: so many.
    """

    def __init__(self, years: int = 5000) -> None:
        self._left = self._years = years

    def spend(self, begin: datetime, end: datetime) -> None:
        """Take note of what was gone through. Raises `BadCron`."""
        self._left -= end.year - begin.year + 1
        if self._left < 0:
            raise BadCron(
                f"matches so rarely that with those before it {self._years} years of the calendar are not enough: "
                "put fewer such schedules at a time"
            )


def check_cron(expression: str, effort: Effort | None = None) -> None:
    """Check a cron expression. Raises `BadCron`.

    Five fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday); with six, seconds come
    first. Names of days and months as well as numbers, lists, ranges, steps, ``L`` and ``#`` as croniter reads them.

    Args:
        expression: what to check.
        effort: shared with other expressions; None: this is the only one.
    """
    if len(expression) > MAX_CRON_LENGTH:
        raise BadCron(f"must be at most {MAX_CRON_LENGTH} characters")
    fields = expression.split()
    if len(fields) not in (5, 6):
        raise BadCron(f"has {len(fields)} fields, must have five, or six with seconds first")
    if any(_HASHED.search(field) for field in fields):
        raise BadCron("must not leave times to chance")
    _match(expression, datetime(2000, 1, 1, tzinfo=UTC), effort)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """A time zone by its name in the IANA database. Raises `BadCron`."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise BadCron(f"is {name!r:.100}, must be a time zone of the IANA database") from None


def next_match(expression: str, where: ZoneInfo, after: datetime, effort: Effort | None = None) -> datetime:
    """The first time after `after` that an expression means in a time zone. Both in UTC; fractions are cut off.

    Between two changes of the clock, wall time and real time go alike; so matches are looked for from one change to
    the next. Raises `BadCron` if there is none within 50 years, or `effort` is used up.
    """
    by_interval = any(field.startswith("*") for field in expression.split()[:-3])
    # Matches are later than `wall` on the clock that is shown from `begin` on.
    begin = after.astimezone(UTC).replace(microsecond=0)
    wall = begin + _offset(begin, where)
    while True:
        offset = _offset(begin, where)
        match = _match(expression, wall, effort)
        found = match - offset
        if found - begin > 2 * _NEAR and _first_change(begin, begin + _NEAR, where) is None:
            # Nothing matches on the way, so what happens to the clock there makes no difference.
            begin = found - _NEAR
            wall = begin + _offset(begin, where)
            continue
        change = _first_change(begin, found, where)
        if change is None:
            # When the wall clock shows a time for the second time, it was due before.
            if by_interval or not _is_second(found, where):
                return found
            begin, wall = found, match
            continue
        before, behind = change + offset, change + _offset(change, where)
        if behind > before:
            if not by_interval and _match(expression, before - _SECOND, effort) < behind:
                return change
            wall = behind - _SECOND
        else:
            wall = behind - _SECOND if by_interval else max(behind, before) - _SECOND
        begin = change


def _match(expression: str, wall: datetime, effort: Effort | None) -> datetime:
    """The first match after a time on a clock that is never changed; wall times carry UTC as their zone."""
    try:
        found: datetime = croniter(
            expression, wall, second_at_beginning=True, max_years_between_matches=_MAX_YEARS
        ).get_next(datetime)
    except CroniterBadDateError:
        raise BadCron(f"matches no time within {_MAX_YEARS} years") from None
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        # croniter is not strict about what it raises.
        raise BadCron(f"makes no sense: {error}") from None
    if effort is not None:
        effort.spend(wall, found)
    return found


def _offset(time: datetime, where: ZoneInfo) -> timedelta:
    offset = time.astimezone(where).utcoffset()
    assert offset is not None
    return offset


def _is_second(time: datetime, where: ZoneInfo) -> bool:
    """Whether the clock on the wall showed the same before."""
    return time.astimezone(where).fold == 1


def _first_change(begin: datetime, end: datetime, where: ZoneInfo) -> datetime | None:
    """The first second in (begin, end] from which on the clock differs from UTC by something else than at `begin`."""
    offset = _offset(begin, where)
    low = begin
    while low < end:
        high = min(low + _DAY, end)
        if _offset(high, where) != offset:
            while high - low > _SECOND:
                middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
                low, high = (low, middle) if _offset(middle, where) != offset else (middle, high)
            return high
        low = high
    return None
