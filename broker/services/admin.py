"""`dibs.v1.AdminService`, put together from its parts."""

from __future__ import annotations

from dibs.v1 import admin_pb2_grpc

from ..border.audit_log import AuditLog
from ..border.drain import Drain
from ..border.identities import Identities
from ..border.tls import Tls
from ..config.limits import Limits
from ..engine.engine import Engine
from ..upkeep.identity import Identity
from .dead_letters import DeadLetterHandlers
from .namespaces import NamespaceHandlers
from .queues import QueueHandlers
from .schedules import ScheduleHandlers
from .server import ServerHandlers
from .tasks import TaskHandlers


class AdminService(
    QueueHandlers,
    DeadLetterHandlers,
    TaskHandlers,
    ScheduleHandlers,
    ServerHandlers,
    NamespaceHandlers,
    admin_pb2_grpc.AdminServiceServicer,
):
    """For the people and programs that run it."""

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        drain: Drain,
        identity: Identity,
        tls: Tls | None,
        identities: Identities | None,
        audit: AuditLog | None,
    ) -> None:
        QueueHandlers.__init__(self, engine, limits)
        DeadLetterHandlers.__init__(self, engine, limits, drain)
        TaskHandlers.__init__(self, engine, limits, drain)
        ServerHandlers.__init__(self, engine, limits, identity, tls, identities, audit)
        ScheduleHandlers.__init__(self, engine, limits)
        NamespaceHandlers.__init__(self, engine, limits)
