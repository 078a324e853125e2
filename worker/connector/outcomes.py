"""What to do about an entry that the broker did not simply carry out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import chain

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..shared.entries import Entries
from ..shared.logs import Said
from .held import Batch
from .outbox import Part

_log = logging.getLogger("dibs.worker")

_Saying = pb.AckEntry | pb.NackEntry | pb.RefreshEntry

_WHY = {
    tpb.OUTCOME_NOT_FOUND: "it is finished or gone",
    tpb.OUTCOME_LEASE_EXPIRED: "its lease had run out",
    tpb.OUTCOME_LEASE_SUPERSEDED: "somebody else has it",
}


def take_up(
    outcomes: Sequence[tpb.EntryOutcome], parts: Iterable[Part], held: Iterable[tpb.Delivery], entries: Entries
) -> None:
    """Log outcomes at a fitting level; a result that is too large makes its task fail.

    Args:
        outcomes: other than OK.
        parts: what was sent and is not settled.
        held: what is here and not reported.
        entries: for what follows from the outcomes.
    """
    wanted = {(outcome.id, outcome.lease_token) for outcome in outcomes}
    said: dict[tuple[str, int], tuple[Part, _Saying]] = {}
    batches: dict[Batch, None] = {}
    for part in parts:
        batches.update(dict.fromkeys(part.about))
        for entry in part.entries():
            if (entry.id, entry.lease_token) in wanted:
                said[entry.id, entry.lease_token] = part, entry
    deliveries = {
        (delivery.id, delivery.lease_token): delivery
        for delivery in chain(held, *(batch.deliveries for batch in batches))
        if (delivery.id, delivery.lease_token) in wanted
    }
    for outcome in outcomes:
        lease = outcome.id, outcome.lease_token
        if lease in said:
            _take_up(outcome, *said[lease], deliveries.get(lease), entries)


def _take_up(
    outcome: tpb.EntryOutcome, part: Part, saying: _Saying, delivery: tpb.Delivery | None, entries: Entries
) -> None:
    # Hardly ever is it not known; then the id has to do.
    name = delivery.content.task_name if delivery is not None else "?"
    if outcome.outcome == tpb.OUTCOME_RESULT_TOO_LARGE and isinstance(saying, pb.AckEntry):
        error = f"the result of task {name} is {len(saying.result):,} bytes; the broker takes no result of that size"
        _log.error(Said("task has a bad result", task=name, id=outcome.id, error=error))
        entries.nack(tpb.Delivery(id=outcome.id, lease_token=outcome.lease_token), pb.NACK_REASON_REJECTED, error)
        return
    why = _WHY.get(outcome.outcome, tpb.Outcome.Name(outcome.outcome))
    if part.refused(saying, why):
        return
    if isinstance(saying, pb.RefreshEntry):
        level, text = logging.WARNING, "could not lengthen a lease"
    elif isinstance(saying, pb.NackEntry) and saying.reason in (pb.NACK_REASON_RELEASED, pb.NACK_REASON_NOT_BEGUN):
        level, text = logging.INFO, "could not hand an item back"
    elif part.again and outcome.outcome == tpb.OUTCOME_NOT_FOUND:
        level, text = logging.DEBUG, "already settled before the stream broke"
    elif isinstance(saying, pb.NackEntry):
        level, text = logging.WARNING, "a failure came too late and changes nothing"
    else:
        level, text = logging.WARNING, "an ack came too late and changes nothing"
    attempt = delivery.attempt if delivery is not None else "?"
    _log.log(level, Said(text, task=name, id=outcome.id, attempt=attempt, why=why))
