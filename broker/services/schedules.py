"""The calls of `dibs.v1.AdminService` about schedules."""

from __future__ import annotations

import asyncio

import grpc

from dibs.v1 import admin_pb2 as pb

from ..border.caller import scope_of_caller
from ..calls.granted import page_of_schedules
from ..config.limits import Limits
from ..config.principals import Role
from ..engine.engine import Engine
from ..messages import schedules
from ..messages import validation as check
from ..messages.paging import read_page
from ..messages.rooms import fitting_names


class ScheduleHandlers:
    """Each method checks its request, calls the engine and puts the answer into a message."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    async def PutSchedules(
        self,
        request: pb.PutSchedulesRequest,
        context: grpc.aio.ServicerContext[pb.PutSchedulesRequest, pb.PutSchedulesResponse],
    ) -> pb.PutSchedulesResponse:
        """Make, change and (of a group) remove schedules."""
        # Calendars take a millisecond a schedule, and some more, which other calls shall not wait for.
        call = await asyncio.to_thread(schedules.read_put, request, self._limits)
        now_us = await self._engine.schedules.now_us(call.namespace)
        planned = await asyncio.to_thread(call.planned, now_us)
        removed = await self._engine.schedules.put(
            call.namespace, call.group, planned, replace_group=call.replace_group
        )
        room = self._engine.config.reply_bytes
        return pb.PutSchedulesResponse(removed_names=fitting_names(removed, room))

    async def ListSchedules(
        self,
        request: pb.ListSchedulesRequest,
        context: grpc.aio.ServicerContext[pb.ListSchedulesRequest, pb.ListSchedulesResponse],
    ) -> pb.ListSchedulesResponse:
        """Schedules and how they stand, by name."""
        namespace = check.namespace(request.namespace, self._limits.max_name_length)
        page = read_page(request)
        found, last = await page_of_schedules(self._engine, namespace, page)
        # As above: of those that have just started it is worked out when they are due next.
        shown = scope_of_caller(namespace, Role.CONTENT)
        return await asyncio.to_thread(
            schedules.list_response, found, page, last, self._engine.config.reply_bytes, shown
        )

    async def DeleteSchedules(
        self,
        request: pb.DeleteSchedulesRequest,
        context: grpc.aio.ServicerContext[pb.DeleteSchedulesRequest, pb.DeleteSchedulesResponse],
    ) -> pb.DeleteSchedulesResponse:
        """Remove schedules and their runs that have not started."""
        namespace, names = schedules.read_delete(request, self._limits)
        known = await self._engine.schedules.delete(namespace, names)
        return pb.DeleteSchedulesResponse(
            deleted_names=[name for name, was_known in zip(names, known, strict=True) if was_known]
        )
