"""What to do about an entry that the broker did not simply carry out."""

from __future__ import annotations

import logging

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .logs import Said
from .outbox import Outbox, Saying, too_large

_log = logging.getLogger("dibs.worker")

_WHY = {
    tpb.OUTCOME_NOT_FOUND: "it is finished or gone",
    tpb.OUTCOME_LEASE_EXPIRED: "its lease had run out",
    tpb.OUTCOME_LEASE_SUPERSEDED: "somebody else has it",
}


def take_up(outcome: tpb.EntryOutcome, delivery: tpb.Delivery, saying: Saying, outbox: Outbox, *, again: bool) -> None:
    """Logs the outcome at a fitting level; a result that is too large makes its task fail.

    Args:
        outcome: other than OK.
        delivery: what the entry was about.
        saying: the entry.
        outbox: for what follows from it.
        again: the entry was sent before, on a stream that broke, so that it may have been carried out then.
    """
    name = delivery.content.task_name
    if outcome.outcome == tpb.OUTCOME_RESULT_TOO_LARGE:
        error = too_large(delivery, saying if isinstance(saying, bytes) else b"")
        _log.error(Said("task has a bad result", task=name, id=delivery.id, error=error))
        outbox.nack(delivery, pb.NACK_REASON_FAILED, error)
        return
    why = _WHY.get(outcome.outcome, tpb.Outcome.Name(outcome.outcome))
    if isinstance(saying, pb.RefreshEntry):
        level, text = logging.WARNING, "could not lengthen a lease"
    elif isinstance(saying, pb.NackEntry) and saying.reason == pb.NACK_REASON_RELEASED:
        level, text = logging.INFO, "could not hand an item back"
    elif again and outcome.outcome == tpb.OUTCOME_NOT_FOUND:
        level, text = logging.DEBUG, "already settled before the stream broke"
    elif isinstance(saying, pb.NackEntry):
        level, text = logging.WARNING, "a failure came too late and changes nothing"
    else:
        level, text = logging.WARNING, "an ack came too late and changes nothing"
    _log.log(level, Said(text, task=name, id=delivery.id, attempt=delivery.attempt, why=why))
