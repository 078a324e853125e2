"""The part of `dibs.v1.AdminService` that looks after namespaces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from dibs.v1 import admin_pb2 as pb

from ..border.errors import PreconditionFailed
from ..config.limits import Limits
from ..engine.engine import Engine
from ..messages import validation as check


class NamespaceHandlers:
    """Each method checks its request, calls the engine and puts the answer into a message."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    async def DeleteNamespace(
        self,
        request: pb.DeleteNamespaceRequest,
        context: grpc.aio.ServicerContext[pb.DeleteNamespaceRequest, pb.DeleteNamespaceResponse],
    ) -> AsyncIterator[pb.DeleteNamespaceResponse]:
        """Remove a namespace and everything in it."""
        # Not the default one: nobody shall remove that by leaving something out.
        namespace = check.name(request.namespace, "namespace", self._limits.max_name_length)
        if not request.force:
            use = await self._engine.removal.use(namespace)
            if use.workers or use.leased_queues:
                raise PreconditionFailed(
                    "NAMESPACE_IN_USE",
                    f"namespace {namespace!r} is in use: {use.workers} connected worker(s), "
                    f"leased items of {use.leased_queues} queue(s)",
                )
        async with aclosing(self._engine.removal.remove(namespace)) as steps:
            async for removed, deleted in steps:
                yield pb.DeleteNamespaceResponse(removed=removed, deleted=deleted)
