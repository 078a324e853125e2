"""Items whose arguments cannot be decoded here: this process has not their codec or key, or somebody has changed them.

None of them is lost where that can be helped: they go back for a while, their attempts unused, until somebody can read
them or takes them out of the queue.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from dibs.errors import CodecError
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..shared.entries import Entries
from ..shared.leases import lease_seconds
from ..shared.logs import Said

_log = logging.getLogger("dibs.worker")

#: How long an item stays away that was handed back: time for others to take it, or for a key to arrive.
_DELAY = timedelta(seconds=30)
#: How often the log tells of the same task and problem, at most.
_LOG_EVERY_S = 60.0
#: Problems remembered; beyond that the oldest are forgotten, and told of again.
_MAX_PROBLEMS = 1_000


class NotReadHere:
    """Hands items back that cannot be decoded, and says so now and then. From any thread."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        #: By task and problem, when the log told of it.
        self._logged_at: dict[tuple[str, str], float] = {}

    def hand_back(self, delivery: tpb.Delivery, error: CodecError) -> None:
        """Give an item back for a while.

        Of an at-most-once item without a token the broker knows nothing any more: there is only the line in the log.
        """
        name = delivery.content.task_name
        if lease_seconds(delivery):
            self._entries.nack(delivery, pb.NACK_REASON_RELEASED, delay=_DELAY)
        elif delivery.lease_token:
            # As for a process that died before it began: the one way back for what is delivered at most once.
            self._entries.nack(delivery, pb.NACK_REASON_NOT_BEGUN, delay=_DELAY)
        else:
            _log.error(
                Said(
                    "task cannot be read here, and is lost: delivered at most once",
                    task=name,
                    id=delivery.id,
                    error=str(error),
                )
            )
            return
        now = time.monotonic()
        problem = (name, str(error))
        if now - self._logged_at.get(problem, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            _log.error(
                Said(
                    "task cannot be read here, and goes back; give this worker its codec and key, or delete the item",
                    task=name,
                    id=delivery.id,
                    error=str(error),
                )
            )
            self._logged_at.pop(problem, None)
            self._logged_at[problem] = now
            while len(self._logged_at) > _MAX_PROBLEMS:
                self._logged_at.pop(next(iter(self._logged_at)), None)
