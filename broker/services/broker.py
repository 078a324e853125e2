"""`dibs.v1.BrokerService`: thin translation between the wire and the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

import grpc

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc

from ..border.caller import check_caller, name_of_caller, scope_of_caller
from ..border.drain import Drain
from ..border.encoded import Encoded
from ..border.errors import Draining, InvalidField, status_of
from ..border.first_message import first_message
from ..border.pacing import Pacer
from ..border.reading import whole
from ..border.tolls import stays_open
from ..calls.enqueue_stream import EnqueueStream
from ..calls.heartbeats import Heartbeats
from ..calls.lease import serve_lease
from ..calls.work import WorkSession
from ..config.limits import Limits
from ..config.principals import Role
from ..engine.engine import Engine
from ..engine.types import State, Until
from ..leasing.dispatch import Dispatch
from ..messages.deliveries import peek_response
from ..messages.enqueue import enqueue_response, enqueue_stream_response, read_enqueue
from ..messages.lease import read_lease
from ..messages.result import cancel_response, read_cancel, read_result, result_response
from ..messages.settle import ack_response, entry_outcome, read_ack, read_nack, read_refresh
from ..messages.work import read_hello
from ..upkeep.roster import Roster

if TYPE_CHECKING:
    # As in the package's own module.
    from ..metrics.meters import Meters

#: Requests of an enqueue stream with at least so many items are handled beside others.
_LARGE = 50


def _is_large(message: pb.EnqueueStreamRequest | Exception) -> bool:
    return not isinstance(message, Exception) and len(message.request.items) >= _LARGE


class BrokerService(broker_pb2_grpc.BrokerServiceServicer):
    """Each method checks its request, calls the engine and puts the answer into a message."""

    def __init__(
        self,
        pacer: Pacer,
        engine: Engine,
        dispatch: Dispatch,
        limits: Limits,
        drain: Drain,
        roster: Roster,
        heartbeats: Heartbeats,
        meters: Meters | None = None,
    ) -> None:
        self._meters = meters
        self._pacer = pacer
        self._engine = engine
        self._dispatch = dispatch
        self._roster = roster
        self._limits = limits
        self._drain = drain
        self._heartbeats = heartbeats

    async def Enqueue(  # type: ignore[override]  # responses may be encoded already
        self, request: pb.EnqueueRequest, context: grpc.aio.ServicerContext[pb.EnqueueRequest, pb.EnqueueResponse]
    ) -> Encoded:
        """Put items into queues."""
        return await self._enqueue(request)

    async def EnqueueStream(  # type: ignore[override]  # grpc.aio takes handlers that write, too
        self,
        request_iterator: AsyncIterator[pb.EnqueueStreamRequest],
        context: grpc.aio.ServicerContext[pb.EnqueueStreamRequest, pb.EnqueueStreamResponse | Encoded],
    ) -> None:
        """As Enqueue, in order, until the client half-closes; a failed request does not end the stream."""
        first = await first_message(request_iterator, self._limits.hello_timeout, "request")
        turn = partial(self._pacer.turn, context.peer())
        stream = EnqueueStream(_is_large, turn, self._stream_reply, context.write, self._heartbeats)
        await stream.serve(first, self._drain.requests(request_iterator))

    async def Lease(  # type: ignore[override]  # grpc.aio takes handlers that write, too
        self, request: pb.LeaseRequest, context: grpc.aio.ServicerContext[pb.LeaseRequest, pb.LeaseResponse | Encoded]
    ) -> None:
        """Streams leased items."""
        call = read_lease(request, self._limits)
        if call.peek:
            found = await self._engine.peek(call.namespace, call.query.kind, call.query.queues, call.max_items)
            if found:
                await context.write(peek_response(found))
            return
        await serve_lease(self._dispatch, self._drain, self._heartbeats, call, context.write)

    async def Work(  # type: ignore[override]  # as Lease
        self,
        request_iterator: AsyncIterator[pb.WorkRequest],
        context: grpc.aio.ServicerContext[pb.WorkRequest, pb.WorkResponse | Encoded],
    ) -> None:
        """Serve a worker."""
        if self._drain.begun:
            raise Draining
        first = whole(await first_message(request_iterator, self._limits.hello_timeout, "hello"))
        if first is None:
            raise InvalidField("hello", "must come in the first message of a stream")
        hello = read_hello(first, self._limits)
        session = WorkSession(
            self._engine, self._dispatch, self._drain, self._limits, self._roster, self._heartbeats, hello
        )
        await session.run(first, request_iterator, context.write)

    async def Refresh(
        self, request: pb.RefreshRequest, context: grpc.aio.ServicerContext[pb.RefreshRequest, pb.RefreshResponse]
    ) -> pb.RefreshResponse:
        """Lengthens leases."""
        namespace, entries = read_refresh(request, self._limits)
        done = await self._engine.refresh(namespace, entries)
        outcomes = [
            entry_outcome(entry.id, result.outcome, cancel_requested=result.cancel_requested)
            for entry, result in zip(entries, done, strict=True)
        ]
        return pb.RefreshResponse(outcomes=outcomes)

    async def Ack(  # type: ignore[override]  # as Enqueue
        self, request: pb.AckRequest, context: grpc.aio.ServicerContext[pb.AckRequest, pb.AckResponse]
    ) -> Encoded:
        """Finishes leased items."""
        namespace, entries = read_ack(request, self._limits)
        done = await self._engine.ack(namespace, entries.acks) if entries.acks else ()
        return ack_response(request, entries.refused_at, done)

    async def Nack(
        self, request: pb.NackRequest, context: grpc.aio.ServicerContext[pb.NackRequest, pb.NackResponse]
    ) -> pb.NackResponse:
        """Give leased items back."""
        namespace, entries = read_nack(request, self._limits)
        done = await self._engine.nack(namespace, entries)
        outcomes = [entry_outcome(entry.id, outcome) for entry, outcome in zip(entries, done, strict=True)]
        return pb.NackResponse(outcomes=outcomes)

    async def Cancel(
        self, request: pb.CancelRequest, context: grpc.aio.ServicerContext[pb.CancelRequest, pb.CancelResponse]
    ) -> pb.CancelResponse:
        """Cancel items."""
        namespace, ids = read_cancel(request, self._limits)
        return cancel_response(ids, await self._engine.cancel(namespace, ids))

    async def Result(
        self, request: pb.ResultRequest, context: grpc.aio.ServicerContext[pb.ResultRequest, pb.ResultResponse]
    ) -> pb.ResultResponse:
        """State and result of items."""
        call = read_result(request, self._limits)
        waits = call.until is not Until.NOW and call.timeout_s > 0
        if waits:
            stays_open()
        looking = self._engine.lookup(
            call.namespace, call.ids, until=call.until, timeout_s=call.timeout_s, bodies=call.bodies
        )
        statuses = await (self._drain.unless_begun(looking) if waits else looking)
        if waits:
            # Another item may have taken the place of one meanwhile, in another queue.
            queues = [status.queue for status in statuses if status.state is not State.UNKNOWN]
            check_caller(call.namespace, queues, Role.PRODUCE, Role.CONSUME, Role.READ)
            if call.bodies:
                check_caller(call.namespace, queues, Role.CONTENT)
        config = self._engine.config
        shown = scope_of_caller(call.namespace, Role.PRODUCE, Role.CONSUME, Role.CONTENT)
        return result_response(statuses, config.reply_bytes, config.item_bytes, shown)

    async def _stream_reply(self, message: pb.EnqueueStreamRequest) -> pb.EnqueueStreamResponse | Encoded:
        try:
            return enqueue_stream_response(await self._enqueue(whole(message, inside="request").request))
        except Exception as error:  # noqa: BLE001 - reaches the client as a status in the reply
            return pb.EnqueueStreamResponse(error=status_of(error, "EnqueueStream"))

    async def _enqueue(self, request: pb.EnqueueRequest) -> Encoded:
        principal = name_of_caller()
        namespace, items = read_enqueue(request, self._limits, principal)
        request_id = request.request_id
        if principal and request_id:
            # Nobody is told what became of the request of somebody else; ids have no blanks.
            request_id = f"{principal} {request_id}"
        outcomes = await self._engine.enqueue(namespace, request_id, items)
        if len(outcomes) != len(items):
            raise InvalidField("request_id", f"is that of an earlier request, which had {len(outcomes)} items")
        if self._meters is not None:
            self._meters.enqueued([item.content.task_name for item in request.items], outcomes, principal)
        return enqueue_response(items, outcomes)
