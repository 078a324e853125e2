"""Entries that a broker does not take in one message, in several."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from dibs.contract import error_text
from dibs.contract.limits import Limits
from dibs.v1 import broker_pb2 as pb

from ..shared.logs import Said

_log = logging.getLogger("dibs.worker")

#: One thing that is said.
Entry = pb.AckEntry | pb.NackEntry | pb.RefreshEntry
#: Bytes of an entry's tag and length.
_HEAD = 6


def fitting(entries: Iterable[Entry], limits: Limits) -> Iterator[list[Entry]]:
    """Entries in groups, each of which a broker with these limits takes in one message.

    A result that is larger than the broker takes makes its task fail: it fits no message.
    """
    group: list[Entry] = []
    room = limits.entry_bytes
    for entry in entries:
        said = _refusal(entry) if is_too_large(entry, limits) else entry
        size = said.ByteSize() + _HEAD
        if group and (size > room or len(group) >= limits.batch_items):
            yield group
            group, room = [], limits.entry_bytes
        group.append(said)
        room -= size
    if group:
        yield group


def joined(entries: Iterable[Entry]) -> bytes:
    """A `WorkRequest` of these entries, as bytes."""
    request = pb.WorkRequest()
    for entry in entries:
        if isinstance(entry, pb.AckEntry):
            request.acks.append(entry)
        elif isinstance(entry, pb.NackEntry):
            request.nacks.append(entry)
        else:
            request.refreshes.append(entry)
    return request.SerializeToString()


def is_too_large(entry: Entry, limits: Limits) -> bool:
    """Whether it carries a result that the broker does not take."""
    return isinstance(entry, pb.AckEntry) and len(entry.result) > limits.max_payload_bytes


def _refusal(entry: Entry) -> pb.NackEntry:
    assert isinstance(entry, pb.AckEntry)
    error = f"the result is {len(entry.result):,} bytes; the broker takes no result of that size"
    _log.error(Said("task has a bad result", id=entry.id, error=error))
    return pb.NackEntry(
        id=entry.id, lease_token=entry.lease_token, reason=pb.NACK_REASON_FAILED, error=error_text.end(error)
    )
