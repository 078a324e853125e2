"""The part of `dibs.v1.AdminService` that looks after queues: thin translation between the wire and the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from dibs.v1 import admin_pb2 as pb

from ..border.errors import NotFound, PreconditionFailed
from ..calls.listings import QueueLists, list_items, list_queues
from ..config.limits import Limits
from ..engine.engine import Engine
from ..engine.queues import Cleared, NoSuchItem, QueueCounts
from ..messages.items import item_infos, read_delete_items, read_list_items, read_some_ids
from ..messages.queues import QueueCall, read_list_queues, read_priority, read_queue


class QueueHandlers:
    """Each method checks its request, calls the engine and puts the answer into a message."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._lists = QueueLists()

    async def ListQueues(
        self,
        request: pb.ListQueuesRequest,
        context: grpc.aio.ServicerContext[pb.ListQueuesRequest, pb.ListQueuesResponse],
    ) -> pb.ListQueuesResponse:
        """Queues with their counts."""
        return await list_queues(self._engine, self._lists, read_list_queues(request, self._limits))

    async def SetPriority(
        self,
        request: pb.SetPriorityRequest,
        context: grpc.aio.ServicerContext[pb.SetPriorityRequest, pb.SetPriorityResponse],
    ) -> pb.SetPriorityResponse:
        """Set or clear the priority of a queue."""
        call = read_queue(request, self._limits)
        priority = read_priority(request)
        most = self._limits.max_priorities
        if not await self._engine.queues.set_priority(call.namespace, call.kind, call.queue, priority, most=most):
            raise PreconditionFailed(
                "TOO_MANY_PRIORITIES",
                f"{most} queues of that kind have a priority in namespace {call.namespace!r}, the most that may "
                "(max_priorities): take away those that are not needed",
            )
        return pb.SetPriorityResponse()

    async def PauseQueue(
        self,
        request: pb.PauseQueueRequest,
        context: grpc.aio.ServicerContext[pb.PauseQueueRequest, pb.PauseQueueResponse],
    ) -> pb.PauseQueueResponse:
        """Stop deliveries from a queue."""
        return pb.PauseQueueResponse(changed=await self._pause(read_queue(request, self._limits), paused=True))

    async def ResumeQueue(
        self,
        request: pb.ResumeQueueRequest,
        context: grpc.aio.ServicerContext[pb.ResumeQueueRequest, pb.ResumeQueueResponse],
    ) -> pb.ResumeQueueResponse:
        """Delivers from a queue again."""
        return pb.ResumeQueueResponse(changed=await self._pause(read_queue(request, self._limits), paused=False))

    async def ListItems(
        self, request: pb.ListItemsRequest, context: grpc.aio.ServicerContext[pb.ListItemsRequest, pb.ListItemsResponse]
    ) -> pb.ListItemsResponse:
        """Items of a queue."""
        items, token = await list_items(self._engine, read_list_items(request, self._limits))
        return pb.ListItemsResponse(
            items=item_infos(items, include_content=request.include_content), next_page_token=token
        )

    async def DeleteItems(
        self,
        request: pb.DeleteItemsRequest,
        context: grpc.aio.ServicerContext[pb.DeleteItemsRequest, pb.DeleteItemsResponse],
    ) -> pb.DeleteItemsResponse:
        """Remove items by id."""
        namespace, ids = read_delete_items(request, self._limits)
        gone = await self._engine.queues.delete_items(namespace, ids)
        return pb.DeleteItemsResponse(deleted_ids=[id for id, there in zip(ids, gone, strict=True) if there])

    async def RedriveSetAside(
        self,
        request: pb.RedriveSetAsideRequest,
        context: grpc.aio.ServicerContext[pb.RedriveSetAsideRequest, pb.RedriveSetAsideResponse],
    ) -> pb.RedriveSetAsideResponse:
        """Send items that were set aside back to their queue."""
        call = read_queue(request, self._limits)
        ids = read_some_ids(request, self._limits)
        await self._known(call)
        done = await self._engine.queues.redrive_aside(
            call.namespace, call.kind, call.queue, ids, most=self._limits.batch_items
        )
        if isinstance(done, NoSuchItem):
            raise NotFound("item", done.id)
        return pb.RedriveSetAsideResponse(redriven=done.redriven, left=done.left)

    async def ClearQueue(
        self,
        request: pb.ClearQueueRequest,
        context: grpc.aio.ServicerContext[pb.ClearQueueRequest, pb.ClearQueueResponse],
    ) -> AsyncIterator[pb.ClearQueueResponse]:
        """Remove the items of a queue."""
        call = read_queue(request, self._limits)
        counts = await self._known(call)
        if request.delete and (counts.leased or counts.set_aside):
            how = "leased" if counts.leased else "set aside: redrive or delete them first"
            raise PreconditionFailed("QUEUE_IN_USE", f"items of queue {call.queue!r} are {how}")
        done = Cleared(0, 0)
        async for done in self._engine.queues.clear(call.namespace, call.kind, call.queue):
            yield pb.ClearQueueResponse(removed=done.removed, left=done.left)
        if request.delete:
            deleted = await self._engine.queues.forget(call.namespace, call.kind, call.queue)
            yield pb.ClearQueueResponse(removed=done.removed, left=done.left, deleted=deleted)

    async def _pause(self, call: QueueCall, *, paused: bool) -> bool:
        changed = await self._engine.queues.pause(call.namespace, call.kind, call.queue, paused=paused)
        if changed is None:
            raise NotFound("queue", call.queue)
        return changed

    async def _known(self, call: QueueCall) -> QueueCounts:
        (counts,) = await self._engine.queues.describe(call.namespace, call.kind, [call.queue])
        if counts is None:
            raise NotFound("queue", call.queue)
        return counts
