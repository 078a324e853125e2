"""One `EnqueueStream`: requests in, replies out in the same order.

A large request is on its way to Redis while the next one is read and checked, so that a producer of batches finds
broker and Redis at work at the same time. A small one is answered before the next is read: that is what a caller waits
for who sends one at a time, and it costs no task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import Any, TypeAlias

from dibs.contract.heartbeats import Pulse
from dibs.v1 import broker_pb2 as pb

from ..border.encoded import Encoded
from ..border.errors import Silent
from .heartbeats import Heartbeats

#: Requests of one stream that are under way at a time; beyond that the stream is not read.
_UNDER_WAY = 4

_HEARTBEAT = pb.EnqueueStreamResponse()

Response: TypeAlias = pb.EnqueueStreamResponse | Encoded
IsLarge = Callable[[pb.EnqueueStreamRequest], bool]
Turn = Callable[[], Awaitable[None]]
Reply = Callable[[pb.EnqueueStreamRequest], Coroutine[Any, Any, Response]]
Write = Callable[[Response], Awaitable[None]]


class EnqueueStream:
    """Serves one stream.

    Args:
        is_large: whether a request is worth being handled beside others.
        turn: returns when a request that is handled beside others may be begun, in the order in which it is called.
        reply: answers one, and never raises. Requests are begun in their order, and so their items are put in in that
            order.
        write: sends a reply.
        heartbeats: of the broker. The client is told of them in the first reply.
    """

    def __init__(self, is_large: IsLarge, turn: Turn, reply: Reply, write: Write, heartbeats: Heartbeats) -> None:
        self._is_large = is_large
        self._turn = turn
        self._reply = reply
        self._write = write
        self._heartbeats = heartbeats
        self._announced = heartbeats.announcement is None
        #: Once the client has said that it keeps to heartbeats.
        self._pulse: Pulse | None = None
        self._watching = ExitStack()
        #: Requests that were read and have no reply.
        self._owed = 0
        self._writing = asyncio.Lock()

    async def serve(
        self, first: pb.EnqueueStreamRequest | None, requests: AsyncIterator[pb.EnqueueStreamRequest]
    ) -> None:
        """Serve until there are no more requests and every reply is out.

        Args:
            first: the first request; None: there is none at all.
            requests: what comes behind it.

        Raises:
            Silent: the client has said nothing for too long.
        """
        try:
            with self._watching:
                async with asyncio.TaskGroup() as tasks:
                    await self._serve(first, requests, tasks)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _serve(
        self,
        request: pb.EnqueueStreamRequest | None,
        requests: AsyncIterator[pb.EnqueueStreamRequest],
        tasks: asyncio.TaskGroup,
    ) -> None:
        under_way: deque[asyncio.Task[Response]] = deque()
        began, answered = asyncio.Event(), asyncio.Event()

        async def answer() -> None:
            while True:
                while under_way:
                    await self._send(await under_way[0])
                    under_way.popleft()
                    answered.set()
                began.clear()
                await began.wait()

        writer: asyncio.Task[None] | None = None
        while request is not None:
            if self._is_heartbeat(request, tasks):
                pass
            elif not under_way and not self._is_large(request):
                self._owed += 1
                await self._send(await self._reply(request))
            else:
                self._owed += 1
                under_way.append(tasks.create_task(self._reply_in_turn(request)))
                began.set()
                if writer is None:
                    writer = tasks.create_task(answer())
                while len(under_way) >= _UNDER_WAY:
                    answered.clear()
                    await answered.wait()
            request = await anext(requests, None)
        while under_way:
            answered.clear()
            await answered.wait()
        if writer is not None:
            writer.cancel()

    async def _reply_in_turn(self, request: pb.EnqueueStreamRequest) -> Response:
        await self._turn()
        return await self._reply(request)

    async def _send(self, response: Response) -> None:
        if not self._announced:
            self._announced = True
            response = self._with_announcement(response)
        async with self._writing:
            await self._write(response)
        self._owed -= 1
        if self._pulse is not None:
            # What the client said meanwhile may not have been read.
            self._pulse.said = self._pulse.heard = True

    def _with_announcement(self, response: Response) -> Encoded:
        told = pb.EnqueueStreamResponse(heartbeats=self._heartbeats.announcement)
        said = response if isinstance(response, bytes) else response.SerializeToString()
        # Two messages joined are one.
        return Encoded(said + told.SerializeToString())

    def _is_heartbeat(self, request: pb.EnqueueStreamRequest | Exception, tasks: asyncio.TaskGroup) -> bool:
        if isinstance(request, Exception):
            return False
        if self._pulse is not None:
            self._pulse.heard = True
        elif request.heartbeats:
            self._watch(tasks)
        return request.heartbeats and not request.HasField("request")

    def _watch(self, tasks: asyncio.TaskGroup) -> None:
        """The client keeps to heartbeats from now on."""
        rhythm = self._heartbeats.rhythm
        if rhythm is None:
            return

        async def say() -> None:
            async with self._writing:
                if self._owed:
                    await self._write(_HEARTBEAT)

        async def end() -> None:
            raise Silent(rhythm.timeout_s)

        def beat() -> None:
            # Who waits for nothing reads nothing. One that does not go out is enough.
            if self._owed and not self._writing.locked():
                tasks.create_task(say(), name="dibs-enqueue-heartbeat")

        def silent() -> None:
            if not self._owed:
                self._watching.close()
                tasks.create_task(end(), name="dibs-enqueue-silent")

        self._pulse = self._watching.enter_context(self._heartbeats.watch(beat, silent))
