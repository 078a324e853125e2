"""One `Lease` call: the long poll of a consumer that has no worker stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from .deliveries import lease_response
from .dispatch import Dispatch, returnable
from .drain import Drain
from .encoded import Encoded
from .engine.engine import MAX_BATCH, Engine
from .engine.types import Leased
from .errors import Draining
from .requests import LeaseCall


class _Poll:
    """What the dispatch delivers to: one batch at a time, the next only when that one has been written."""

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.arrived = asyncio.Event()
        self.items: deque[Leased] = deque()
        self.leased_at_us = 0

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        self.credit = 0
        self.items.extend(items)
        self.leased_at_us = now_us
        self.arrived.set()

    def takes(self, item: Leased) -> bool:
        """Whatever it is."""
        return True


async def serve_lease(
    engine: Engine,
    dispatch: Dispatch,
    drain: Drain,
    call: LeaseCall,
    write: Callable[[Encoded], Awaitable[None]],
) -> None:
    """Streams batches until the call has what it wants, its time is up, or the broker goes away.

    Raises:
        Draining: the broker goes away, and a call for one batch has got none: it had better ask another one.
    """
    left = call.max_items
    # Most polls find something at once and need no place in a group.
    reply = await engine.lease(call.namespace, call.query, min(left, MAX_BATCH))
    while reply.items:
        await _send(dispatch, call, reply.items, reply.now_us, write)
        left -= len(reply.items)
        if not call.follow or left <= 0:
            return
        if reply.drained:
            break
        reply = await engine.lease(call.namespace, call.query, min(left, MAX_BATCH))
    if call.timeout_s == 0:
        return
    loop = asyncio.get_running_loop()
    deadline = None if call.timeout_s is None else loop.time() + call.timeout_s
    poll = _Poll(min(left, MAX_BATCH))
    with drain.on_begin(poll.arrived.set):
        try:
            with dispatch.serve(call.namespace, call.query, poll) as group:
                while not drain.begun:
                    if not await _arrival(poll, deadline):
                        return
                    if not poll.items:
                        continue
                    items = list(poll.items)
                    poll.items.clear()
                    await _send(dispatch, call, items, poll.leased_at_us, write)
                    left -= len(items)
                    if not call.follow or left <= 0:
                        return
                    deadline = None if call.timeout_s is None else loop.time() + call.timeout_s
                    poll.credit = min(left, MAX_BATCH)
                    group.credited()
            if not call.follow:
                raise Draining
        finally:
            dispatch.give_back(call.namespace, tuple(poll.items))


async def _arrival(poll: _Poll, deadline: float | None) -> bool:
    """Waits for a delivery or the end of the broker; False: time is up."""
    try:
        async with asyncio.timeout_at(deadline):
            await poll.arrived.wait()
    except TimeoutError:
        # A delivery may have come at the last moment.
        return bool(poll.items)
    poll.arrived.clear()
    return True


async def _send(
    dispatch: Dispatch,
    call: LeaseCall,
    items: Sequence[Leased],
    now_us: int,
    write: Callable[[Encoded], Awaitable[None]],
) -> None:
    sent = False
    try:
        await write(lease_response(items, now_us))
        sent = True
    finally:
        if not sent:
            dispatch.give_back_sent(call.namespace, returnable(items))
