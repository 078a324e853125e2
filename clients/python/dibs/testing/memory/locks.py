"""The calls about locks, answered by a broker in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from ...rpc.ids import new_id
from ...v1 import lock_pb2 as pb
from .clock import Clock
from .items import page, seconds
from .refusals import Refusal


@dataclass
class _Lock:
    owner: str
    length_s: float
    until: float


class Locks:
    """Answers them.

    Args:
        clock: what time it is.

    Attributes:
        answers: by the names of the methods.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._locks: dict[str, _Lock] = {}
        self.answers: dict[str, Callable[[Any], Message | Sequence[Message]]] = {
            "Acquire": self._acquire,
            "RefreshLock": self._refresh,
            "Release": self._release,
            "ListLocks": self._list,
        }

    def _held(self, name: str) -> _Lock | None:
        lock = self._locks.get(name)
        return lock if lock is not None and lock.until > self._clock.now() else None

    def _acquire(self, request: pb.AcquireRequest) -> Message:
        owner, held = request.owner or new_id(), self._held(request.name)
        if held is not None and held.owner != owner:
            raise _refused(f"lock {request.name} is held by somebody else", "LOCK_HELD")
        length_s = seconds(request.duration) if request.HasField("duration") else 1.0
        lock = self._locks[request.name] = _Lock(owner, length_s, self._clock.now() + length_s)
        response = pb.AcquireResponse(owner=owner)
        response.expire_time.FromNanoseconds(round(lock.until * 1e9))
        return response

    def _refresh(self, request: pb.RefreshLockRequest) -> Message:
        held = self._held(request.name)
        if held is None or held.owner != request.owner:
            raise _refused(f"lock {request.name} is not held by {request.owner}", "LOCK_LOST")
        held.length_s = seconds(request.duration) if request.HasField("duration") else held.length_s
        held.until = self._clock.now() + held.length_s
        response = pb.RefreshLockResponse()
        response.expire_time.FromNanoseconds(round(held.until * 1e9))
        return response

    def _release(self, request: pb.ReleaseRequest) -> Message:
        held = self._held(request.name)
        mine = held is not None and held.owner == request.owner
        if mine:
            del self._locks[request.name]
        return pb.ReleaseResponse(released=mine)

    def _list(self, request: pb.ListLocksRequest) -> Message:
        response = pb.ListLocksResponse()
        names, response.next_page_token = page(
            sorted(name for name in self._locks if self._held(name)), request.page_size, request.page_token
        )
        for name in names:
            lock = self._locks[name]
            response.locks.add(name=name, owner=lock.owner).expire_time.FromNanoseconds(round(lock.until * 1e9))
        return response


def _refused(text: str, reason: str) -> Refusal:
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, text, reason=reason)
