"""Items whose task this worker does not know: another one may, so they are handed back."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .leased import lease_seconds
from .logs import Said
from .outbox import Outbox

_log = logging.getLogger("dibs.worker")

_DELAY_FIRST_S = 1.0
_DELAY_MOST_S = 30.0
_LOG_EVERY_S = 60.0
#: Names remembered; beyond that the oldest are forgotten.
_MAX_NAMES = 1_000


class _Name:
    __slots__ = ("delay_s", "grows_at", "logged_at", "unlogged")

    def __init__(self, now: float) -> None:
        self.delay_s = _DELAY_FIRST_S
        self.grows_at = now + _DELAY_FIRST_S
        self.logged_at = -_LOG_EVERY_S
        self.unlogged = 0


class UnknownTasks:
    """Hands items of unknown tasks back, each time for longer, and says so now and then."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._names: dict[str, _Name] = {}
        #: Slots of several threads come here.
        self._lock = threading.Lock()

    def hand_back(self, delivery: tpb.Delivery) -> None:
        """Releases the item for 1 s, later for up to 30 s.

        An at-most-once item cannot be released: one that the broker still knows ends as failed, of one that it does
        not know any more there is only the line in the log.
        """
        name = delivery.content.task_name
        if not delivery.lease_token:
            _log.error(Said("task is not known here, and lost: delivered at most once", task=name, id=delivery.id))
        elif not lease_seconds(delivery):
            self._outbox.nack(
                delivery, pb.NACK_REASON_REJECTED, f"the worker that took it knows no task named {name!r}"
            )
            _log.error(Said("task is not known here, and failed: delivered at most once", task=name, id=delivery.id))
        else:
            delay_s = self._note(name, time.monotonic())
            self._outbox.nack(delivery, pb.NACK_REASON_RELEASED, delay=timedelta(seconds=delay_s))

    def _note(self, name: str, now: float) -> float:
        with self._lock:
            known = self._names.get(name)
            if known is None:
                if len(self._names) >= _MAX_NAMES:
                    del self._names[next(iter(self._names))]
                known = self._names[name] = _Name(now)
            elif now >= known.grows_at:
                known.delay_s = min(known.delay_s * 2, _DELAY_MOST_S)
                known.grows_at = now + known.delay_s
            known.unlogged += 1
            if now - known.logged_at >= _LOG_EVERY_S:
                _log.warning(
                    Said(
                        "task is not known here, handing it back; import its module, or give it another queue",
                        task=name,
                        items=known.unlogged,
                    )
                )
                known.logged_at = now
                known.unlogged = 0
            return known.delay_s
