"""What a broker says of its limits."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.duration_pb2 import Duration

from dibs.contract.limits import Limits
from dibs.v1 import types_pb2 as tpb


@lru_cache(maxsize=16)
def announcement(limits: Limits) -> tpb.Limits:
    """The limits as the wire has them; only ever copied from."""
    return tpb.Limits(
        max_payload_bytes=limits.max_payload_bytes,
        max_batch_items=limits.max_batch_items,
        max_message_bytes=limits.max_message_bytes,
        max_name_length=limits.max_name_length,
        max_id_length=limits.max_id_length,
        max_task_name_length=limits.max_task_name_length,
        max_headers=limits.max_headers,
        max_headers_bytes=limits.max_headers_bytes,
        max_error_bytes=limits.max_error_bytes,
        max_attempts=limits.max_attempts,
        max_lease_timeout=_duration(limits.max_lease_timeout),
        max_delay=_duration(limits.max_delay),
        max_result_ttl=_duration(limits.max_result_ttl),
        max_wait=_duration(limits.max_wait),
        max_credit=limits.max_credit,
        max_queues_per_lease=limits.max_queues_per_lease,
        max_schema_bytes=limits.max_schema_bytes,
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromMicroseconds(round(seconds * 1e6))
    return message
