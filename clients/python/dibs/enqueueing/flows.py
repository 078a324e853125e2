"""Enqueueing, as flows: repeated while it may help, and halved while it is too much."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence

from ..errors import BrokerError, InvalidArgument
from ..rpc import operations
from ..rpc.flow import Flow, do, part_size
from ..rpc.ids import new_id
from ..rpc.known_limits import is_too_much
from ..rpc.placed import Placed
from ..v1 import broker_pb2 as pb

_log = logging.getLogger("dibs")
_ITEM = re.compile(r"items\[(\d+)\]")


def enqueue(
    request: pb.EnqueueRequest,
    known: BrokerError | None = None,
    heard: Callable[[Sequence[pb.EnqueuedItem]], object] = len,
) -> Flow[list[BrokerError]]:
    """Enqueue a batch; items that the broker refuses are left out, and the rest goes without them.

    Args:
        request: the batch; items that are refused are removed from it.
        known: what the broker has answered to it already, after as many attempts as it was worth.
        heard: told what became of items that were not refused.

    Returns:
        Why items were refused, an error each.

    Raises:
        BrokerError: the batch as a whole was not taken.
    """
    refusals: list[BrokerError] = []
    error = known
    while True:
        if error is None:
            try:
                items = yield from do(operations.enqueue(request))
            except BrokerError as caught:
                error = caught
            else:
                heard(items)
                return refusals + conflicts(items)
        if made_for_earlier_version(request, error):
            error = None
            continue
        if is_too_much(error) and len(request.items) > 1:
            for part in _parts(request, error):
                refusals += yield from enqueue(part, heard=heard)
            return refusals
        place = _refused(error, len(request.items))
        if place is None:
            raise error
        refusals.append(error)
        error = None
        # Nothing was done, so this is a new request.
        del request.items[place]
        request.request_id = new_id()
        if not request.items:
            return refusals


def enqueue_one(namespace: str, entry: bytes, placed: Placed, known: BrokerError | None = None) -> Flow[Placed]:
    """Enqueue one item.

    Args:
        namespace: namespace of the item.
        entry: the item, encoded as an entry of a request.
        placed: told what became of it.
        known: what the broker has answered to it already.

    Raises:
        BrokerError: it was not taken.
    """
    request = pb.EnqueueRequest(namespace=namespace, request_id=new_id())
    request.MergeFromString(entry)
    refusals = yield from enqueue(request, known, lambda items: placed.heard(items[0]))
    if refusals:
        raise refusals[0]
    return placed


def _parts(request: pb.EnqueueRequest, error: BrokerError) -> list[pb.EnqueueRequest]:
    """Requests of their own for some of the items each, as many as the broker says that it takes; else two halves."""
    count = len(request.items)
    most = part_size(error, count)
    return [
        pb.EnqueueRequest(namespace=request.namespace, request_id=new_id(), items=request.items[at : at + most])
        for at in range(0, count, most)
    ]


def conflicts(items: Sequence[pb.EnqueuedItem]) -> list[BrokerError]:
    """An AlreadyExists for each item that was not taken because of another of its id."""
    return [error for error in map(operations.conflict, items) if error is not None]


def made_for_earlier_version(request: pb.EnqueueRequest, error: BrokerError) -> bool:
    """Whether a request was refused for what brokers of an earlier version do not know, and has been made to suit them.

    Such a broker keeps what is there, and handles say so.
    """
    news = [item for item in request.items if item.on_conflict == pb.ON_CONFLICT_REPLACE_UNLESS_RUNNING]
    if not news or not isinstance(error, InvalidArgument) or not error.field.endswith("].on_conflict"):
        return False
    _log.info("a broker of an earlier version keeps items whose ids are known, instead of replacing what does not run")
    for item in news:
        item.on_conflict = pb.ON_CONFLICT_KEEP
    request.request_id = new_id()  # nothing was done, so this is a new request
    return True


def _refused(error: BrokerError, count: int) -> int | None:
    match = _ITEM.match(error.field)
    place = int(match[1]) if match else -1
    return place if 0 <= place < count else None
