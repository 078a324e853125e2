"""What scripts reply, as values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from .types import ItemStatus, Kind, Leased, LeaseReply, State, decode_record


def lease_reply(
    wanted: int,
    now_us: int,
    again: int,
    ids: Sequence[bytes],
    records: Sequence[bytes],
    stretches: Sequence[Any],
    parked: Sequence[Any],
) -> LeaseReply:
    """What ``lua/lease.lua`` replied to a call for so many items."""
    items: list[Leased] = []
    for at in range(0, len(stretches), 6):
        count, token, attempt, attempts, lease_us, error = stretches[at : at + 6]
        last_error = error.decode(errors="replace")
        first, end = len(items), len(items) + count
        common = [repeat(value, count) for value in (token, attempt, attempts, lease_us, last_error)]
        columns = zip(map(bytes.decode, ids[first:end]), *common, records[first:end], strict=True)
        items += map(Leased._make, columns)
    count, *tasks = parked
    return LeaseReply(
        items,
        now_us,
        drained=len(items) < wanted and not again,
        parked=max(count, 0),
        parked_tasks=[task.decode(errors="replace") for task in tasks],
        untaught=count < 0,
    )


def bytes_told(reply: list[Any], *, bodies: bool) -> int:
    """Bytes of a reply about one item that count against the room of a lookup, as ``lua/lookup.lua`` counts them."""
    _, _, _, _, _, record, error, ending, _ = reply
    return len(error) + (len(record) if bodies else 0) + (len(ending) if ending != b"-" else 0)


def item_status(id: str, reply: list[Any]) -> ItemStatus:
    """What ``lua/lookup.lua`` replied about one item."""
    state, deliveries, cancel, kind, queue, record, error, ending, left_out = reply
    failure = error.decode(errors="replace")
    if ending[:1] == b"E":
        failure = ending[1:].decode(errors="replace")
    return ItemStatus(
        id=id,
        state=State(state.decode()),
        deliveries=deliveries,
        cancel_requested=cancel == 1,
        kind=Kind(kind.decode()) if kind else None,
        queue=queue.decode(),
        record=decode_record(record) if record else None,
        error=failure,
        result=ending[1:] if ending[:1] == b"R" else None,
        truncated=left_out == 1,
    )
