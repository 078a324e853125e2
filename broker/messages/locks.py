"""From the messages of `LockService` to plain values. All raise `InvalidField`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TypeAlias

from dibs.v1 import lock_pb2 as pb

from ..config.limits import Limits
from . import validation as check

#: Longest name of a lock, in characters.
MAX_NAME_LENGTH = 256
#: Longest name of an owner, in characters.
MAX_OWNER_LENGTH = 128
_DEFAULT_LENGTH_US = 1_000_000
_LONGEST_US = 30 * 86_400_000_000

_Request: TypeAlias = pb.AcquireRequest | pb.RefreshLockRequest | pb.ReleaseRequest


@dataclass(frozen=True, slots=True)
class LockCall:
    """A lock and who wants it or has it."""

    namespace: str
    name: str
    owner: str


def read_acquire(request: pb.AcquireRequest, limits: Limits) -> tuple[LockCall, int]:
    """An AcquireRequest: the lock, and for how long in microseconds."""
    call = _lock(request, limits, owner=request.owner or uuid.uuid4().hex)
    length = _length_us(request)
    return call, _DEFAULT_LENGTH_US if length is None else length


def read_refresh_lock(request: pb.RefreshLockRequest, limits: Limits) -> tuple[LockCall, int | None]:
    """A RefreshLockRequest: the lock, and for how long in microseconds (None: as before)."""
    return _lock(request, limits, owner=request.owner), _length_us(request)


def read_release(request: pb.ReleaseRequest, limits: Limits) -> LockCall:
    """A ReleaseRequest."""
    return _lock(request, limits, owner=request.owner)


def _lock(request: _Request, limits: Limits, *, owner: str) -> LockCall:
    return LockCall(
        check.namespace(request.namespace, limits.max_name_length),
        check.text(request.name, "name", MAX_NAME_LENGTH),
        check.identifier(owner, "owner", MAX_OWNER_LENGTH),
    )


def _length_us(request: pb.AcquireRequest | pb.RefreshLockRequest) -> int | None:
    if not request.HasField("duration"):
        return None
    return check.duration_us(request.duration, "duration", _LONGEST_US, minimum_us=1000)
