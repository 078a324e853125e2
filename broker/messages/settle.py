"""What becomes of leased items: acks, nacks, refreshes and beginnings, unary and on a `Work` stream, both ways."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from dibs.contract.wire import id_entry, tag
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..border.encoded import Encoded
from ..border.errors import InvalidField
from ..config.limits import Limits
from ..engine.types import Ack, Begun, Nack, NackReason, Outcome, Refresh
from . import validation as check

_OUTCOMES = {
    Outcome.OK: tpb.OUTCOME_OK,
    Outcome.NOT_FOUND: tpb.OUTCOME_NOT_FOUND,
    Outcome.LEASE_EXPIRED: tpb.OUTCOME_LEASE_EXPIRED,
    Outcome.LEASE_SUPERSEDED: tpb.OUTCOME_LEASE_SUPERSEDED,
}
#: What follows the id in an `EntryOutcome`.
_ENTRY_OUTCOMES = {outcome: tpb.EntryOutcome(outcome=value).SerializeToString() for outcome, value in _OUTCOMES.items()}
_TOO_LARGE = tpb.EntryOutcome(outcome=tpb.OUTCOME_RESULT_TOO_LARGE).SerializeToString()
_ACK_OUTCOMES = tag(pb.AckResponse.DESCRIPTOR, "outcomes")


def entry_outcome(
    id: str, outcome: Outcome, *, cancel_requested: bool = False, token: int | None = None
) -> tpb.EntryOutcome:
    """What became of one ack, nack or refresh; `token` on a Work stream."""
    return tpb.EntryOutcome(
        id=id, outcome=_OUTCOMES[outcome], cancel_requested=cancel_requested, lease_token=token or 0
    )


def ack_response(request: pb.AckRequest, refused_at: Container[int], done: Iterable[Outcome]) -> Encoded:
    """Reply of Ack: entries that the engine never saw stand at their places among the others."""
    outcomes = iter(done)
    entries = [
        id_entry(_ACK_OUTCOMES, entry.id, _TOO_LARGE if at in refused_at else _ENTRY_OUTCOMES[next(outcomes)])
        for at, entry in enumerate(request.entries)
    ]
    return Encoded(b"".join(entries))


_REASONS: dict[int, NackReason] = {
    pb.NACK_REASON_UNSPECIFIED: NackReason.FAILED,
    pb.NACK_REASON_FAILED: NackReason.FAILED,
    pb.NACK_REASON_RELEASED: NackReason.RELEASED,
    pb.NACK_REASON_CANCELLED: NackReason.CANCELLED,
    pb.NACK_REASON_REJECTED: NackReason.REJECTED,
    pb.NACK_REASON_CRASHED: NackReason.CRASHED,
    pb.NACK_REASON_NOT_BEGUN: NackReason.NOT_BEGUN,
}


@dataclass(slots=True)
class Entries:
    """What one message settles and what it says has begun.

    `refused` are acks that never reach the engine, `refused_at` their places.
    """

    sequence: int = 0
    acks: list[Ack] = field(default_factory=list)
    nacks: list[Nack] = field(default_factory=list)
    refreshes: list[Refresh] = field(default_factory=list)
    begun: list[Begun] = field(default_factory=list)
    refused: list[tpb.EntryOutcome] = field(default_factory=list)
    refused_at: set[int] = field(default_factory=set)

    @property
    def count(self) -> int:
        """Entries for the engine."""
        return len(self.acks) + len(self.nacks) + len(self.refreshes) + len(self.begun)


def read_entries(request: pb.WorkRequest, limits: Limits) -> Entries:
    """What a worker's message settles."""
    count = len(request.acks) + len(request.nacks) + len(request.refreshes)
    most = limits.batch_items
    if count > most:
        told = ("max_batch_items", most)
        raise InvalidField("acks", f"with nacks and refreshes must be at most {most} entries", told)
    if len(request.begun) > most:
        raise InvalidField("begun", f"must be at most {most} entries", ("max_batch_items", most))
    entries = Entries(request.sequence)
    _read_acks(request.acks, "acks", entries, limits)
    entries.nacks = [_nack(entry, "nacks", at, limits) for at, entry in enumerate(request.nacks)]
    entries.refreshes = [_refresh(entry, "refreshes", at, limits) for at, entry in enumerate(request.refreshes)]
    entries.begun = [_begun(entry, at, limits) for at, entry in enumerate(request.begun)]
    return entries


def _begun(entry: pb.BegunEntry, at: int, limits: Limits) -> Begun:
    return Begun(entry.id, _token(entry.id, entry.lease_token, False, "begun", at, limits) or 0)


def read_ack(request: pb.AckRequest, limits: Limits) -> tuple[str, Entries]:
    """An AckRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.batch(len(request.entries), "entries", limits.batch_items)
    entries = Entries()
    _read_acks(request.entries, "entries", entries, limits)
    return namespace, entries


def _read_acks(found: Iterable[pb.AckEntry], field_name: str, entries: Entries, limits: Limits) -> None:
    # Column by column: this runs for every task that is done.
    acks = list(found)
    ids = [entry.id for entry in acks]
    check.identifiers(ids, field_name + "[{}].id", limits.max_id_length)
    fenced = [0 if entry.unfenced else entry.lease_token for entry in acks]
    tokens: Sequence[int | None] = fenced
    if min(fenced, default=1) <= 0:
        tokens = [
            _token(entry.id, entry.lease_token, entry.unfenced, field_name, at, limits) for at, entry in enumerate(acks)
        ]
    results = [entry.result if entry.HasField("result") else None for entry in acks]
    if max((len(result) for result in results if result is not None), default=0) <= limits.max_payload_bytes:
        entries.acks += map(Ack._make, zip(ids, tokens, results, strict=True))
        return
    for at, (id, token, result) in enumerate(zip(ids, tokens, results, strict=True)):
        if result is not None and len(result) > limits.max_payload_bytes:
            entries.refused.append(
                tpb.EntryOutcome(id=id, outcome=tpb.OUTCOME_RESULT_TOO_LARGE, lease_token=token or 0)
            )
            entries.refused_at.add(at)
        else:
            entries.acks.append(Ack(id, token, result))


def _token(id: str, token: int, unfenced: bool, field_name: str, at: int, limits: Limits) -> int | None:
    try:
        check.identifier(id, "id", limits.max_id_length)
        if unfenced:
            return None
        return check.lease_token(token, "lease_token")
    except InvalidField as error:
        raise error.under(f"{field_name}[{at}]") from None


def read_refresh(request: pb.RefreshRequest, limits: Limits) -> tuple[str, list[Refresh]]:
    """A RefreshRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.batch(len(request.entries), "entries", limits.batch_items)
    return namespace, [_refresh(entry, "entries", at, limits) for at, entry in enumerate(request.entries)]


def _refresh(entry: pb.RefreshEntry, field_name: str, at: int, limits: Limits) -> Refresh:
    token = _token(entry.id, entry.lease_token, entry.unfenced, field_name, at, limits)
    lease_us = None
    if entry.HasField("lease_timeout"):
        lease_us = check.duration_us(
            entry.lease_timeout, f"{field_name}[{at}].lease_timeout", limits.max_lease_timeout_us, minimum_us=1000
        )
    return Refresh(entry.id, token, lease_us)


def read_nack(request: pb.NackRequest, limits: Limits) -> tuple[str, list[Nack]]:
    """A NackRequest."""
    namespace = check.namespace(request.namespace, limits.max_name_length)
    check.batch(len(request.entries), "entries", limits.batch_items)
    return namespace, [_nack(entry, "entries", at, limits) for at, entry in enumerate(request.entries)]


def _nack(entry: pb.NackEntry, field_name: str, at: int, limits: Limits) -> Nack:
    token = _token(entry.id, entry.lease_token, False, field_name, at, limits)
    reason = check.choice(entry.reason, f"{field_name}[{at}].reason", _REASONS)
    delay_us = None
    if entry.HasField("delay"):
        delay_us = check.duration_us(entry.delay, f"{field_name}[{at}].delay", limits.max_delay_us)
    return Nack(entry.id, token or 0, reason, delay_us, check.cut(entry.error, limits.max_error_bytes))
