"""What is said to a broker of 0.1, which refuses reasons that it does not know and announces no limits."""

from __future__ import annotations

from dibs.v1 import broker_pb2 as pb

#: The nearest that it knows: a crash is a failed attempt like any other, and is not counted against `max_crashes`.
_REASONS = {pb.NACK_REASON_CRASHED: pb.NACK_REASON_FAILED, pb.NACK_REASON_NOT_BEGUN: pb.NACK_REASON_RELEASED}


def for_older(data: bytes) -> bytes:
    """Entries, as bytes of a `WorkRequest`, in the words of 0.1."""
    request = pb.WorkRequest.FromString(data)
    for nack in request.nacks:
        nack.reason = _REASONS.get(nack.reason, nack.reason)
    return request.SerializeToString()
