"""One `EnqueueStream`: requests in, replies out in the same order.

A large request is on its way to Redis while the next one is read and checked, so that a producer of batches finds
broker and Redis at work at the same time. A small one is answered before the next is read: that is what a caller waits
for who sends one at a time, and it costs no task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from dibs.v1 import broker_pb2 as pb

from .encoded import Encoded

#: Requests of one stream that are under way at a time; beyond that the stream is not read.
_UNDER_WAY = 4

Response: TypeAlias = pb.EnqueueStreamResponse | Encoded
IsLarge = Callable[[pb.EnqueueStreamRequest], bool]
Reply = Callable[[pb.EnqueueStreamRequest], Coroutine[Any, Any, Response]]
Write = Callable[[Response], Awaitable[None]]


async def serve_enqueue_stream(
    requests: AsyncIterator[pb.EnqueueStreamRequest], is_large: IsLarge, reply: Reply, write: Write
) -> None:
    """Serves until there are no more requests and every reply is out.

    Args:
        requests: what comes in.
        is_large: whether a request is worth being handled beside others.
        reply: answers one, and never raises. Requests are begun in their order, and so their items are put in in that
            order.
        write: sends a reply.
    """
    try:
        await _serve(requests, is_large, reply, write)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _serve(
    requests: AsyncIterator[pb.EnqueueStreamRequest], is_large: IsLarge, reply: Reply, write: Write
) -> None:
    under_way: deque[asyncio.Task[Response]] = deque()
    began, answered = asyncio.Event(), asyncio.Event()

    async def answer() -> None:
        while True:
            while under_way:
                await write(await under_way[0])
                under_way.popleft()
                answered.set()
            began.clear()
            await began.wait()

    async with asyncio.TaskGroup() as tasks:
        writer: asyncio.Task[None] | None = None
        async for request in requests:
            if not under_way and not is_large(request):
                await write(await reply(request))
                continue
            under_way.append(tasks.create_task(reply(request)))
            began.set()
            if writer is None:
                writer = tasks.create_task(answer())
            while len(under_way) >= _UNDER_WAY:
                answered.clear()
                await answered.wait()
        while under_way:
            answered.clear()
            await answered.wait()
        if writer is not None:
            writer.cancel()
