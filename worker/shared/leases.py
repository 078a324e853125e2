"""What a delivery says of its lease and its limit."""

from __future__ import annotations

from dibs.v1 import types_pb2 as tpb


def lease_seconds(delivery: tpb.Delivery) -> float:
    """Length of the lease in seconds; 0: at most once."""
    length = delivery.lease_timeout
    return length.seconds + length.nanos / 1e9


def limit_seconds(delivery: tpb.Delivery) -> float:
    """How long the run may take in seconds; 0: as long as it likes."""
    if not delivery.HasField("run_timeout"):
        return 0.0
    length = delivery.run_timeout
    return length.seconds + length.nanos / 1e9
