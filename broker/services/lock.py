"""`dibs.v1.LockService`: thin translation between the wire and the engine."""

from __future__ import annotations

import grpc

from dibs.v1 import lock_pb2 as pb
from dibs.v1 import lock_pb2_grpc

from ..border.errors import PreconditionFailed
from ..config.limits import Limits
from ..engine.engine import Engine
from ..messages import locks as requests
from ..messages import validation as check
from ..messages.enums import timestamp
from ..messages.paging import read_page
from ..messages.rooms import fitting


class LockService(lock_pb2_grpc.LockServiceServicer):
    """Each method checks its request, calls the engine and puts the answer into a message."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    async def Acquire(
        self, request: pb.AcquireRequest, context: grpc.aio.ServicerContext[pb.AcquireRequest, pb.AcquireResponse]
    ) -> pb.AcquireResponse:
        """Take a lock."""
        call, length_us = requests.read_acquire(request, self._limits)
        lock = await self._engine.locks.acquire(call.namespace, call.name, call.owner, length_us)
        if lock.owner != call.owner:
            raise PreconditionFailed("LOCK_HELD", f"lock {call.name!r} is held by {lock.owner!r}")
        return pb.AcquireResponse(owner=lock.owner, expire_time=timestamp(lock.ends_us))

    async def RefreshLock(
        self,
        request: pb.RefreshLockRequest,
        context: grpc.aio.ServicerContext[pb.RefreshLockRequest, pb.RefreshLockResponse],
    ) -> pb.RefreshLockResponse:
        """Start the time of a held lock anew."""
        call, length_us = requests.read_refresh_lock(request, self._limits)
        ends_us = await self._engine.locks.refresh(call.namespace, call.name, call.owner, length_us)
        if ends_us is None:
            raise PreconditionFailed("LOCK_LOST", f"lock {call.name!r} is not held by {call.owner!r}")
        return pb.RefreshLockResponse(expire_time=timestamp(ends_us))

    async def Release(
        self, request: pb.ReleaseRequest, context: grpc.aio.ServicerContext[pb.ReleaseRequest, pb.ReleaseResponse]
    ) -> pb.ReleaseResponse:
        """Frees a lock."""
        call = requests.read_release(request, self._limits)
        return pb.ReleaseResponse(released=await self._engine.locks.release(call.namespace, call.name, call.owner))

    async def ListLocks(
        self, request: pb.ListLocksRequest, context: grpc.aio.ServicerContext[pb.ListLocksRequest, pb.ListLocksResponse]
    ) -> pb.ListLocksResponse:
        """Locks that are held."""
        page = read_page(request)
        namespace = check.namespace(request.namespace, self._limits.max_name_length)
        locks, last = await self._engine.locks.page(namespace, page.size, page.cursor)
        found = [pb.LockInfo(name=one.name, owner=one.owner, expire_time=timestamp(one.ends_us)) for one in locks]
        shown = fitting(found, self._engine.config.reply_bytes)
        if len(shown) < len(found):
            last = shown[-1].name
        return pb.ListLocksResponse(locks=shown, next_page_token=page.token(last))
