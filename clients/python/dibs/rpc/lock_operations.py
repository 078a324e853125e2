"""The calls of `LockService` as operations; see `operations`."""

from __future__ import annotations

from collections.abc import Sequence

from ..v1 import lock_pb2 as pb
from . import rpcs
from .operations import Operation
from .times import to_duration

#: Locks of the pages that are asked for.
PAGE_SIZE = 1_000


def acquire(namespace: str, name: str, owner: str, seconds: float) -> Operation[pb.AcquireResponse]:
    """Take a lock for an owner, or fail at once."""

    def taken(reply: pb.AcquireResponse, _: bool) -> pb.AcquireResponse:
        return reply

    request = pb.AcquireRequest(namespace=namespace, name=name, owner=owner, duration=to_duration(seconds))
    return Operation(rpcs.ACQUIRE, request, taken)


def refresh(namespace: str, name: str, owner: str, seconds: float | None) -> Operation[pb.RefreshLockResponse]:
    """Start the time of a held lock anew; None: as long as it was taken for."""

    def kept(reply: pb.RefreshLockResponse, _: bool) -> pb.RefreshLockResponse:
        return reply

    request = pb.RefreshLockRequest(namespace=namespace, name=name, owner=owner)
    if seconds is not None:
        request.duration.CopyFrom(to_duration(seconds))
    return Operation(rpcs.REFRESH_LOCK, request, kept)


def release(namespace: str, name: str, owner: str) -> Operation[bool]:
    """Free a lock; the value is whether the owner held it."""

    def was_held(reply: pb.ReleaseResponse, repeated: bool) -> bool:
        # The answer to an earlier attempt, which may have freed it, got lost.
        return reply.released or repeated

    return Operation(rpcs.RELEASE, pb.ReleaseRequest(namespace=namespace, name=name, owner=owner), was_held)


def list_locks(namespace: str, page_token: str = "") -> Operation[tuple[Sequence[pb.LockInfo], str]]:
    """Locks that are held, by name."""

    def page(reply: pb.ListLocksResponse, _: bool) -> tuple[Sequence[pb.LockInfo], str]:
        return reply.locks, reply.next_page_token

    request = pb.ListLocksRequest(namespace=namespace, page_size=PAGE_SIZE, page_token=page_token)
    return Operation(rpcs.LIST_LOCKS, request, page)
