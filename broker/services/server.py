"""The part of `dibs.v1.AdminService` that tells of the broker itself."""

from __future__ import annotations

import grpc

from dibs.v1 import admin_pb2 as pb

from ..border.audit_log import AuditLog
from ..border.caller import caller_sees
from ..border.identities import Identities
from ..border.tls import Tls
from ..calls.server_info import quotas, server_info
from ..config.limits import Limits
from ..engine.engine import Engine
from ..messages import validation as check
from ..upkeep.identity import Identity


class ServerHandlers:
    """Each method checks its request, calls the engine and puts the answer into a message."""

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        identity: Identity,
        tls: Tls | None,
        identities: Identities | None,
        audit: AuditLog | None,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._identity = identity
        self._tls = tls
        self._identities = identities
        self._audit = audit

    async def GetServerInfo(
        self,
        request: pb.GetServerInfoRequest,
        context: grpc.aio.ServicerContext[pb.GetServerInfoRequest, pb.GetServerInfoResponse],
    ) -> pb.GetServerInfoResponse:
        """This broker: version, Redis, limits; how full a namespace is."""
        namespace = request.quotas_of and check.name(request.quotas_of, "quotas_of", self._limits.max_name_length)
        response = await server_info(
            self._engine, self._identity, self._limits, self._tls, self._identities, self._audit
        )
        if namespace and response.redis_ready and caller_sees(namespace):
            response.quotas.extend(await quotas(self._engine, namespace))
        return response
