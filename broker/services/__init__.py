"""The gRPC services, one file each, and what they share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from dibs.v1 import admin_pb2, admin_pb2_grpc, broker_pb2, broker_pb2_grpc, lock_pb2, lock_pb2_grpc

from ..border.audit_log import AuditLog
from ..border.auditing import Auditing
from ..border.crossing import Border
from ..border.drain import Drain
from ..border.guard import Guard
from ..border.pacing import Pacer
from ..border.tls import Tls
from ..border.tolls import Tolls
from ..calls.heartbeats import Heartbeats
from ..config.limits import Limits
from ..engine.engine import Engine
from ..leasing.dispatch import Dispatch
from ..upkeep.identity import Identity
from ..upkeep.roster import Roster
from ..upkeep.scheduler import Scheduler
from .admin import AdminService
from .broker import BrokerService
from .lock import LockService

if TYPE_CHECKING:
    # Measuring needs a package that a broker without metrics lacks.
    from ..metrics.meters import Meters

#: Seconds between looks at what is kept for namespaces where nothing happens any more.
_TIDY_S = 60.0


class Services:
    """Everything that this broker serves besides health and reflection.

    Attributes:
        names: full names of the services, for health and reflection.
        roster: the workers of this broker.
    """

    names = (
        broker_pb2.DESCRIPTOR.services_by_name["BrokerService"].full_name,
        admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
        lock_pb2.DESCRIPTOR.services_by_name["LockService"].full_name,
    )

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        drain: Drain,
        tls: Tls | None = None,
        meters: Meters | None = None,
        guard: Guard | None = None,
        tolls: Tolls | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self._auditing = None if audit is None else Auditing(audit.say)
        identity = Identity()
        self._meters = meters
        self._limits = limits
        self._guard = guard
        self._tolls = tolls
        self._pacer = Pacer(engine.is_shared)
        self._dispatch = Dispatch(engine, limits.max_waiting_queues)
        self._scheduler = Scheduler(engine, meters.late if meters else None)
        self.roster = Roster(engine, identity.id, self._scheduler.workers_came)
        self._broker = BrokerService(
            self._pacer, engine, self._dispatch, limits, drain, self.roster, Heartbeats(limits), meters
        )
        identities = None if guard is None else guard.identities
        self._admin = AdminService(engine, limits, drain, identity, tls, identities, audit)
        self._lock = LockService(engine, limits)
        self._engine = engine
        self._tidying: asyncio.Task[None] | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Add the services to a server that has not started."""
        watch = self._meters.calls_of if self._meters else None
        border: Any = Border(server, self._limits, watch, self._guard, self._tolls, self._auditing, self._pacer)
        broker_pb2_grpc.add_BrokerServiceServicer_to_server(self._broker, border)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(self._admin, border)
        lock_pb2_grpc.add_LockServiceServicer_to_server(self._lock, border)

    def start(self) -> None:
        """Begins what goes on without anybody's call."""
        self._scheduler.start()
        self._tidying = asyncio.create_task(self._tidy(), name="dibs-tidy")

    async def close(self, within_s: float = 10.0) -> None:
        """Wait until items that were on their way back are back; call when the server has stopped.

        Args:
            within_s: seconds after which it gives up, should Redis be away.
        """
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        await self._scheduler.close()
        await self.roster.close()
        await self._dispatch.close(within_s)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_S)
            self.tidy()

    def tidy(self) -> None:
        """Forgets what this broker keeps for namespaces and callers of whom nothing is heard any more."""
        self._engine.tidy()
        self._dispatch.tidy()
        self.roster.tidy()
        if self._tolls is not None:
            self._tolls.tidy()
