"""The part of `dibs.v1.AdminService` that looks after tasks and workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from dibs.v1 import admin_pb2 as pb

from ..border.drain import Drain
from ..calls.commanding import command_worker
from ..calls.flush import flush
from ..calls.listings import list_tasks, list_workers
from ..config.limits import Limits
from ..engine.engine import Engine
from ..messages.flush import read_flush
from ..messages.tasks import read_command, read_list_tasks, read_list_workers, read_register_tasks


class TaskHandlers:
    """Each method checks its request, calls the engine and puts the answer into a message."""

    def __init__(self, engine: Engine, limits: Limits, drain: Drain) -> None:
        self._engine = engine
        self._limits = limits
        self._drain = drain

    async def Flush(
        self, request: pb.FlushRequest, context: grpc.aio.ServicerContext[pb.FlushRequest, pb.FlushResponse]
    ) -> AsyncIterator[pb.FlushResponse]:
        """Wait until the tasks that are queued now have started, or are done."""
        call = read_flush(request, self._limits)
        async with aclosing(flush(self._engine, self._drain, self._limits, call)) as responses:
            async for response in responses:
                yield response

    async def RegisterTasks(
        self,
        request: pb.RegisterTasksRequest,
        context: grpc.aio.ServicerContext[pb.RegisterTasksRequest, pb.RegisterTasksResponse],
    ) -> pb.RegisterTasksResponse:
        """Make tasks known by name."""
        namespace, tasks = read_register_tasks(request, self._limits)
        await self._engine.tasks.register(namespace, tasks)
        return pb.RegisterTasksResponse()

    async def ListTasks(
        self, request: pb.ListTasksRequest, context: grpc.aio.ServicerContext[pb.ListTasksRequest, pb.ListTasksResponse]
    ) -> pb.ListTasksResponse:
        """Tasks that were registered."""
        return await list_tasks(self._engine, read_list_tasks(request, self._limits))

    async def CommandWorker(
        self,
        request: pb.CommandWorkerRequest,
        context: grpc.aio.ServicerContext[pb.CommandWorkerRequest, pb.CommandWorkerResponse],
    ) -> pb.CommandWorkerResponse:
        """Tell a worker what to do."""
        await command_worker(self._engine, read_command(request, self._limits))
        return pb.CommandWorkerResponse()

    async def ListWorkers(
        self,
        request: pb.ListWorkersRequest,
        context: grpc.aio.ServicerContext[pb.ListWorkersRequest, pb.ListWorkersResponse],
    ) -> pb.ListWorkersResponse:
        """Workers that are connected to any broker."""
        namespace, page = read_list_workers(request, self._limits)
        return await list_workers(self._engine, namespace, page)
