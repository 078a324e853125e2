"""Kinds, states and times: between the engine's and the wire's."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dibs.v1 import types_pb2 as tpb

from ..engine.types import Kind, State


def timestamp(microseconds: int) -> Timestamp:
    """A point in time."""
    message = Timestamp()
    message.FromMicroseconds(microseconds)
    return message


#: Kinds of queues, as the wire has them.
KIND_TO_WIRE = {Kind.TASK: tpb.QUEUE_KIND_TASK, Kind.DATA: tpb.QUEUE_KIND_DATA, None: tpb.QUEUE_KIND_UNSPECIFIED}
#: States of items, as the wire has them.
STATES = {
    State.SUCCEEDED: tpb.ITEM_STATE_SUCCEEDED,
    State.FAILED: tpb.ITEM_STATE_FAILED,
    State.CANCELLED: tpb.ITEM_STATE_CANCELLED,
    State.EXPIRED: tpb.ITEM_STATE_EXPIRED,
    State.DEAD: tpb.ITEM_STATE_DEAD,
    State.STARTED: tpb.ITEM_STATE_STARTED,
    State.WAITING: tpb.ITEM_STATE_WAITING,
    State.SCHEDULED: tpb.ITEM_STATE_SCHEDULED,
    State.LATE: tpb.ITEM_STATE_LATE,
    State.UNKNOWN: tpb.ITEM_STATE_UNKNOWN,
}


@lru_cache(maxsize=1024)
def duration(microseconds: int) -> Duration:
    """A duration that is only ever copied from."""
    message = Duration()
    message.FromMicroseconds(microseconds)
    return message


#: Kinds of queues, from the wire.
KIND_FROM_WIRE: dict[int, Kind] = {tpb.QUEUE_KIND_TASK: Kind.TASK, tpb.QUEUE_KIND_DATA: Kind.DATA}
