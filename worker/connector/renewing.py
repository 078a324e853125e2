"""Leases that last as long as the work: those of what runs are renewed at a third of their length.

The connector does it, which no task keeps from its work: not one that computes for long, nor one that holds the
interpreter. What has not begun is not renewed: it goes back, or its lease ends and somebody else gets it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from dibs.v1 import broker_pb2 as pb

from ..shared.limits import MAX_ENTRIES
from ..shared.logs import Said
from .dividing import Entry, joined
from .held import Held, Running
from .outbox import Outbox, Part

_log = logging.getLogger("dibs.worker")

#: A lease is renewed when so much of it has passed.
_SHARE = 1 / 3
#: It is warned of one that is not to be renewed when no more than so much is left.
_LAST_SHARE = 0.2
#: How often it is warned of a task, in seconds, and of how many that is remembered.
_WARN_EVERY_S = 60.0
_MOST_NAMES = 1_000
#: How often `Renewing.look` is called; what falls due before the next time is renewed now.
LOOK_EVERY_S = 0.25


class Renewal:
    """One lease that is to be renewed.

    Args:
        held: has the item.
        one: the item.

    Attributes:
        sent_at: when it went into a message last, on the monotonic clock; 0: not yet.
        open: the broker has not settled it.
    """

    __slots__ = ("_held", "one", "open", "sent_at")

    def __init__(self, held: Held, one: Running) -> None:
        self.one = one
        self.sent_at = 0.0
        self.open = True
        self._held = held

    @property
    def entry(self) -> pb.RefreshEntry:
        """What to say: as long as before, which the task may have changed."""
        return pb.RefreshEntry(id=self.one.terms.id, lease_token=self.one.terms.token)

    def confirmed(self) -> None:
        """Note that the lease has been renewed, unless it was refused."""
        if self.open:
            self.open = False
            end = self.sent_at + self.one.terms.lease_s
            # The task may have asked for more.
            if self._held.runs(self.one) and end > self._held.end_of(self.one):
                self._held.set_end(self.one, end)

    def refused(self, why: str) -> None:
        """Note that the lease is lost, if that matters to anybody."""
        self.open = False
        if self._held.runs(self.one):
            self._held.set_end(self.one, min(self._held.end_of(self.one), time.monotonic()))
            _log.info(Said("a lease is not renewed", task=self.one.terms.task_name, id=self.one.terms.id, why=why))


class RenewalPart(Part):
    """Renewals that were asked for together."""

    __slots__ = ("_renewals",)

    def __init__(self, renewals: Sequence[Renewal]) -> None:
        super().__init__(joined(one.entry for one in renewals), len(renewals))
        self.about = list(dict.fromkeys(one.one.batch for one in renewals))
        self._renewals = {(one.one.terms.id, one.one.terms.token): one for one in renewals}

    def sent(self) -> None:
        """As of `Part`."""
        now = time.monotonic()
        for one in self._renewals.values():
            one.sent_at = now

    def settled(self) -> None:
        """As of `Part`."""
        for one in self._renewals.values():
            one.confirmed()

    def refused(self, entry: Entry, why: str) -> bool:
        """As of `Part`."""
        self._renewals[entry.id, entry.lease_token].refused(why)
        return True

    def some(self, entries: Iterable[Entry]) -> Part:
        """As of `Part`."""
        return self._like(RenewalPart([self._renewals[entry.id, entry.lease_token] for entry in entries]))


class Renewing:
    """Renews the leases of one lane of one process, and warns before those end that are not to be renewed.

    Args:
        held: what the lane has.
        outbox: where renewals are put.
    """

    def __init__(self, held: Held, outbox: Outbox) -> None:
        self._held = held
        self._outbox = outbox
        #: The last renewal of each item that runs, by its position.
        self._last: dict[int, Renewal] = {}
        #: When it was warned of a task, by name.
        self._warned_at: dict[str, float] = {}

    def look(self, now: float) -> None:
        """Renew what it is time for; to be called every `LOOK_EVERY_S` while something runs."""
        last, self._last = self._last, {}
        due: list[Renewal] = []
        for one in self._held.running(now):
            if one.terms.lease_s and not one.terms.renew:
                self._warn(one, now)
            elif one.terms.renew and one.terms.token:
                before = last.get(one.position)
                if before is not None and before.one.batch is not one.batch:
                    before = None
                if self._is_due(one, before, now):
                    before = Renewal(self._held, one)
                    due.append(before)
                if before is not None:
                    self._last[one.position] = before
        for at in range(0, len(due), MAX_ENTRIES):
            self._outbox.put(RenewalPart(due[at : at + MAX_ENTRIES]))

    def _warn(self, one: Running, now: float) -> None:
        """Warn of a task that is about to outlast its lease, now and then."""
        task, lease_s = one.terms.task_name, one.terms.lease_s
        left_s = self._held.end_of(one) - now
        near_s = max(lease_s * _LAST_SHARE, 1.2 * LOOK_EVERY_S)
        if not 0 < left_s <= near_s or now - self._warned_at.get(task, -_WARN_EVERY_S) < _WARN_EVERY_S:
            return
        if len(self._warned_at) >= _MOST_NAMES:
            self._warned_at.clear()
        self._warned_at[task] = now
        _log.warning(
            Said(
                "task nears the end of its vis_timeout: then the call is delivered again though it still runs; write "
                "lease= instead, which is renewed, or a longer vis_timeout, or call CURRENT_TASK.task.refresh()",
                task=task,
                id=one.terms.id,
                vis_timeout=lease_s,
            )
        )

    def _is_due(self, one: Running, last: Renewal | None, now: float) -> bool:
        """Whether it is time; one that is on its way has to be settled first, and what is lost stays lost."""
        if (last is not None and last.open) or self._held.end_of(one) <= now:
            return False
        began = one.batch.arrived if last is None else last.sent_at
        return now + LOOK_EVERY_S / 2 >= began + one.terms.lease_s * _SHARE
