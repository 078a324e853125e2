"""When something that recurs is due next: after an interval, or by a clock somewhere (see `dibs.contract.cron`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from dibs.contract.cron import Effort, next_match, zone


@dataclass(frozen=True, slots=True)
class Every:
    """Due again and again after `interval_us`: from the start of a run, or with `never_skip` from its due time."""

    interval_us: int
    never_skip: bool = False

    def first(self, now_us: int, effort: Effort | None = None) -> int:
        """When it is due first, if it is made now."""
        return now_us + self.interval_us

    def following(self, due_us: int, start_us: int) -> int:
        """When it is due next, after a run that was due and has started."""
        return (due_us if self.never_skip else start_us) + self.interval_us


@dataclass(frozen=True, slots=True)
class Cron:
    """Due by a cron expression in a time zone: after the start of a run, or with `never_skip` after its due time.

    Args:
        expression: five fields, or six with seconds first; see `dibs.contract.cron.check_cron`.
        time_zone: name in the IANA database.
        never_skip: every time is due, late ones too.
    """

    expression: str
    time_zone: str = "UTC"
    never_skip: bool = False

    def first(self, now_us: int, effort: Effort | None = None) -> int:
        """When it is due first, if it is made now. Raises `BadCron` if the effort is used up."""
        return self._after(now_us, effort)

    def following(self, due_us: int, start_us: int) -> int:
        """When it is due next, after a run that was due and has started."""
        # Never the same time twice, even if Redis's clock was set back in between.
        return self._after(due_us if self.never_skip else max(due_us, start_us))

    def _after(self, time_us: int, effort: Effort | None = None) -> int:
        time = datetime.fromtimestamp(time_us // 1_000_000, UTC)
        return int(next_match(self.expression, zone(self.time_zone), time, effort).timestamp()) * 1_000_000


Recurrence = Every | Cron
