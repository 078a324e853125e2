"""What a delivery says of its lease."""

from __future__ import annotations

from dibs.v1 import types_pb2 as tpb


def lease_seconds(delivery: tpb.Delivery) -> float:
    """Length of the lease in seconds; 0: at most once."""
    length = delivery.lease_timeout
    return length.seconds + length.nanos / 1e9
