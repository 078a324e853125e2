"""A delivery as the running task sees it."""

from __future__ import annotations

import time
from typing import Any

from dibs.contract.headers import LAST_ERROR, attempts_before, of_users
from dibs.tasks.context import RunningTask

from ..shared.entries import Entries
from ..shared.leases import lease_seconds, limit_seconds
from .item import Item

_MAX_LEASE_S = 30 * 24 * 3600
#: What has been here for less is not asked whether its lease is over: nearly all items are done sooner.
_YOUNG_S = 0.05


class LeasedTask(RunningTask):
    """A `RunningTask` that reads what it is asked for from the delivery, when it is asked.

    Most tasks never look at themselves, and reading all fields would cost more than running a small one.

    Attributes:
        delivery: the delivery.
        outcome: what came of the run, in a word or two for the log; written only if it is not ``succeeded``.
    """

    outcome: str

    __slots__ = ("_arrived", "_ends", "_entries", "_position", "delivery", "outcome")

    def __init__(
        self, item: Item, args: list[Any], kwargs: dict[str, Any], entries: Entries, ends: memoryview[float]
    ) -> None:
        self.delivery, self._arrived, task, self._position = item
        self.name = task.name
        self.args = args
        self.kwargs = kwargs
        self.cancelled = False
        self.lost = False
        self.retried = False
        self._entries = entries
        self._ends = ends

    def __getattr__(self, attribute: str) -> Any:
        """Fill a field of the base class on its first use."""
        delivery = self.delivery
        value: Any
        if attribute == "taskid":
            value = delivery.id
        elif attribute == "queue":
            value = delivery.queue
        elif attribute == "lease_token":
            value = delivery.lease_token
        elif attribute == "attempt":
            value = delivery.attempt + attempts_before(delivery.content.headers)
        elif attribute == "attempts":
            value = delivery.attempts + attempts_before(delivery.content.headers)
        elif attribute == "last_error":
            value = delivery.last_error or delivery.content.headers.get(LAST_ERROR, "")
        elif attribute == "time_limit":
            value = limit_seconds(delivery) or None
        elif attribute == "outcome":
            value = "succeeded"
        elif attribute == "headers":
            value = of_users(delivery.content.headers)
        else:
            raise AttributeError(attribute)
        setattr(self, attribute, value)
        return value

    def is_over(self, now: float) -> bool:
        """Whether its lease is over, as far as is known here; False if it has none."""
        age_s = now - self._arrived
        if age_s < _YOUNG_S:
            return False
        length_s = lease_seconds(self.delivery)
        end = self._ends[self._position]
        return length_s > 0 and (now >= end if end else age_s >= length_s)

    def refresh(self, lease_timeout: float | None = None) -> None:
        """Asks the broker for more time: the lease of this delivery runs anew from when it gets there.

        Costs next to nothing and does not wait. Does nothing for a task that is delivered at most once.

        Args:
            lease_timeout: length in seconds, 0.001 to 2,592,000 (30 days). Default: the length it had.

        Raises:
            ValueError: the length is out of range.
        """
        if lease_timeout is not None and not 0.001 <= lease_timeout <= _MAX_LEASE_S:
            raise ValueError(f"a lease lasts 0.001 to {_MAX_LEASE_S} seconds, not {lease_timeout!r}")
        had_s = lease_seconds(self.delivery)
        if self.delivery.lease_token and had_s:
            self._entries.refresh(self.delivery, lease_timeout)
            now = time.monotonic()
            # One that is over stays over: the broker will not lengthen it.
            if now < (self._ends[self._position] or self._arrived + had_s):
                self._ends[self._position] = now + (lease_timeout or had_s)
