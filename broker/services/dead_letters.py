"""The part of `dibs.v1.AdminService` that looks after dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from dibs.v1 import admin_pb2 as pb

from ..border.caller import scope_of_caller
from ..border.drain import Drain
from ..border.errors import NotFound
from ..border.tolls import stays_open
from ..calls.listings import list_items
from ..calls.take_dead_letters import take_dead_letters
from ..config.limits import Limits
from ..config.principals import Role
from ..engine.dead_letters import NoSuchLetter, Progress
from ..engine.engine import Engine
from ..messages.dead_letters import (
    dead_queue_info,
    read_dead_queue,
    read_list_dead_letters,
    read_list_dead_queues,
    read_take,
)
from ..messages.items import item_infos, read_some_ids
from ..messages.rooms import fitting


class DeadLetterHandlers:
    """Each method checks its request, calls the engine and puts the answer into a message."""

    def __init__(self, engine: Engine, limits: Limits, drain: Drain) -> None:
        self._engine = engine
        self._limits = limits
        self._drain = drain

    async def ListDeadLetterQueues(
        self,
        request: pb.ListDeadLetterQueuesRequest,
        context: grpc.aio.ServicerContext[pb.ListDeadLetterQueuesRequest, pb.ListDeadLetterQueuesResponse],
    ) -> pb.ListDeadLetterQueuesResponse:
        """Dead-letter queues that have something in them."""
        namespace, kinds = read_list_dead_queues(request, self._limits)
        seen = scope_of_caller(namespace, Role.READ)
        infos = [
            dead_queue_info(kind, queue)
            for kind in kinds
            for queue in await self._engine.dead_letters.queues(namespace, kind)
            if queue.name in seen
        ]
        return pb.ListDeadLetterQueuesResponse(queues=fitting(infos, self._engine.config.reply_bytes))

    async def ListDeadLetters(
        self,
        request: pb.ListDeadLettersRequest,
        context: grpc.aio.ServicerContext[pb.ListDeadLettersRequest, pb.ListDeadLettersResponse],
    ) -> pb.ListDeadLettersResponse:
        """Dead letters."""
        items, token = await list_items(self._engine, read_list_dead_letters(request, self._limits))
        return pb.ListDeadLettersResponse(
            items=item_infos(items, include_content=request.include_content), next_page_token=token
        )

    async def TakeDeadLetters(
        self,
        request: pb.TakeDeadLettersRequest,
        context: grpc.aio.ServicerContext[pb.TakeDeadLettersRequest, pb.TakeDeadLettersResponse],
    ) -> pb.TakeDeadLettersResponse:
        """Remove dead letters and hand them out."""
        call = read_take(request, self._limits)
        if call.timeout_s > 0:
            stays_open()
        items = await take_dead_letters(self._engine, self._drain, call)
        return pb.TakeDeadLettersResponse(items=item_infos(items, include_content=True))

    async def RedriveDeadLetters(
        self,
        request: pb.RedriveDeadLettersRequest,
        context: grpc.aio.ServicerContext[pb.RedriveDeadLettersRequest, pb.RedriveDeadLettersResponse],
    ) -> AsyncIterator[pb.RedriveDeadLettersResponse]:
        """Send dead letters back."""
        call = read_dead_queue(request, self._limits)
        ids = read_some_ids(request, self._limits)
        async for step in self._engine.dead_letters.redrive(call.namespace, call.kind, call.queue, ids):
            done = _done(step)
            yield pb.RedriveDeadLettersResponse(redriven=done.done, left=done.left)

    async def PurgeDeadLetters(
        self,
        request: pb.PurgeDeadLettersRequest,
        context: grpc.aio.ServicerContext[pb.PurgeDeadLettersRequest, pb.PurgeDeadLettersResponse],
    ) -> AsyncIterator[pb.PurgeDeadLettersResponse]:
        """Remove dead letters for good."""
        call = read_dead_queue(request, self._limits)
        ids = read_some_ids(request, self._limits)
        async for step in self._engine.dead_letters.purge(call.namespace, call.kind, call.queue, ids):
            done = _done(step)
            yield pb.PurgeDeadLettersResponse(purged=done.done, left=done.left)


def _done(step: Progress | NoSuchLetter) -> Progress:
    if isinstance(step, NoSuchLetter):
        raise NotFound("dead letter", step.id)
    return step
