"""When recurring tasks are due: plain values, made by `periodic_task` and `cron_task`, registered by workers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from ..errors import DibsError
from ..rpc.times import Seconds, to_seconds

#: Periods below this need `low_delay_okay`.
LEAST_PERIOD_SECONDS = 1.0

#: Brokers take no shorter and no longer periods, unless they are told to.
SHORTEST_PERIOD_SECONDS = 0.01
LONGEST_PERIOD_SECONDS = 366 * 86_400.0


@dataclass(frozen=True)
class Every:
    """Due again and again after a fixed period.

    Attributes:
        period: from one due time to the next.
        never_skip: whether missed times are made up for, one after the other; otherwise they are skipped.
    """

    period: timedelta
    never_skip: bool = False

    @classmethod
    def build(cls, run_every: Seconds, *, never_skip: bool = False, low_delay_okay: bool = False) -> Every:
        """Check what `periodic_task` was given.

        Raises:
            ValueError: the period is shorter than 10 ms or longer than 366 days, or below a second without
                `low_delay_okay`.
        """
        seconds = to_seconds(run_every, "run_every")
        if not SHORTEST_PERIOD_SECONDS <= seconds <= LONGEST_PERIOD_SECONDS:
            raise ValueError(
                f"run_every must be {SHORTEST_PERIOD_SECONDS:g} s to {LONGEST_PERIOD_SECONDS:,.0f} s, not {run_every!r}"
            )
        if seconds < LEAST_PERIOD_SECONDS and not low_delay_okay:
            raise ValueError(f"run_every is {seconds:g} s; below 1 s it needs low_delay_okay=True")
        return cls(timedelta(seconds=seconds), bool(never_skip))

    def next(self, now: datetime) -> datetime:
        """The next due time if it runs at `now`."""
        return now + self.period


@dataclass(frozen=True)
class Cron:
    """Due when a crontab expression says so.

    Attributes:
        expression: five fields (minute, hour, day of month, month, day of week), or six with the second first.
            Names of months and days (``jan``, ``tue``) are taken in either case.
        timezone: name of the time zone in which the expression is meant, such as ``Europe/Berlin``.
        never_skip: whether missed times are made up for, one after the other; otherwise they are skipped.
    """

    expression: str
    timezone: str = "UTC"
    never_skip: bool = False

    @classmethod
    def build(
        cls,
        crontab: str,
        *,
        timezone: str | tzinfo | None = None,
        never_skip: bool = False,
        seconds: bool = False,
    ) -> Cron:
        """Check what `cron_task` was given.

        Args:
            crontab: the expression.
            timezone: of the expression.
            never_skip: see the class.
            seconds: whether the expression has six fields, with the second first.

        Raises:
            ValueError: the expression or the time zone makes no sense; the text names which.
            DibsError: croniter is not installed.
        """
        if not isinstance(crontab, str):
            raise ValueError(f"crontab must be text, not {crontab!r}")
        expression = " ".join(crontab.split())
        cron = _cron()
        zone = _zone_name(timezone)
        count = len(expression.split())
        if count == 6 and not seconds:
            raise ValueError(
                f"crontab {crontab!r} has six fields: say seconds=True if the first is the second; years have none"
            )
        if count == 5 and seconds:
            raise ValueError(f"crontab {crontab!r} has five fields, but seconds=True puts the second before them")
        try:
            cron.check_cron(expression)
        except cron.BadCron as error:
            raise ValueError(f"crontab {crontab!r} {error}") from error
        try:
            cron.zone(zone)
        except cron.BadCron as error:
            raise ValueError(f"timezone {error}") from error
        return cls(expression, zone, bool(never_skip))

    def next(self, now: datetime) -> datetime:
        """The next due time after `now`, in the schedule's time zone."""
        cron = _cron()
        where = cron.zone(self.timezone)
        due: datetime = cron.next_match(self.expression, where, now)
        return due.astimezone(where)


#: When a recurring task is due.
Schedule = Every | Cron


def _cron() -> Any:
    """The meaning of cron expressions; imported here, for few programs need it."""
    try:
        from ..contract import cron
    except ModuleNotFoundError as error:
        raise DibsError(f"cron_task needs {error.name}: pip install 'dibs[worker]'") from error
    return cron


def _zone_name(zone: str | tzinfo | None) -> str:
    if zone is None or zone is UTC:
        return "UTC"
    name = zone if isinstance(zone, str) else getattr(zone, "key", None)
    if not name:
        raise ValueError(f"timezone must be the name of a time zone or a ZoneInfo, not {zone!r}")
    return str(name)
