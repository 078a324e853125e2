"""Items whose task this worker does not know.

The broker holds them back for workers that know them and says which names it saw. What comes all the same (from a
broker that does not look at task names) is handed back as far as it can be.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable
from datetime import timedelta

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .entries import Entries
from .leases import lease_seconds
from .logs import Said

_log = logging.getLogger("dibs.worker")

#: How long an item stays away that was handed back: time for others to take it, or for a new release to arrive.
_DELAY = timedelta(seconds=5)
_LOG_EVERY_S = 60.0
#: Names remembered; beyond that the oldest are forgotten, and told of again.
_MAX_NAMES = 1_000


class NotKnownHere:
    """Hands items of unknown tasks back, and says so now and then. For one thread at a time.

    Attributes:
        known_elsewhere: tasks that another lane of this worker knows.
    """

    def __init__(self, entries: Entries) -> None:
        self.known_elsewhere: Collection[str] = ()
        self._entries = entries
        #: Names, and when the log told of them.
        self._logged_at: dict[str, float] = {}

    def held_back(self, names: Iterable[str]) -> None:
        """Tells of tasks whose items the broker keeps for other workers."""
        for name in names:
            if name not in self.known_elsewhere:
                self._say(name, "task is not known here, its items wait; import its module, or give it another queue")

    def hand_back(self, delivery: tpb.Delivery) -> None:
        """Releases an item for a while.

        An at-most-once item cannot be released: one that the broker still knows ends as failed, of one that it does
        not know any more there is only the line in the log.
        """
        name = delivery.content.task_name
        if lease_seconds(delivery):
            self._entries.nack(delivery, pb.NACK_REASON_RELEASED, delay=_DELAY)
            self._say(name, "task is not known here, handing it back; import its module, or give it another queue")
        else:
            self._entries.nack(delivery, pb.NACK_REASON_REJECTED, f"the worker that took it knows no task {name!r}")
            _log.error(Said("task is not known here, and lost: delivered at most once", task=name, id=delivery.id))

    def _say(self, name: str, text: str) -> None:
        now = time.monotonic()
        if now - self._logged_at.get(name, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            _log.warning(Said(text, task=name))
            self._logged_at.pop(name, None)
            self._logged_at[name] = now
            if len(self._logged_at) > _MAX_NAMES:
                del self._logged_at[next(iter(self._logged_at))]
