"""`dibs.v1.AdminService`, put together from its parts."""

from __future__ import annotations

from dibs.v1 import admin_pb2_grpc

from ..engine.engine import Engine
from ..limits import Limits
from .dead_letters import DeadLetterHandlers
from .queues import QueueHandlers
from .schedules import ScheduleHandlers


class AdminService(QueueHandlers, DeadLetterHandlers, ScheduleHandlers, admin_pb2_grpc.AdminServiceServicer):
    """For the people and programs that run it."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        QueueHandlers.__init__(self, engine, limits)
        DeadLetterHandlers.__init__(self, engine, limits)
        ScheduleHandlers.__init__(self, engine, limits)
