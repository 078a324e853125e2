"""One `Lease` call: the long poll of a consumer that has no worker stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import TypeAlias

from dibs.v1 import broker_pb2 as pb

from ..border.drain import Drain
from ..border.encoded import Encoded
from ..border.errors import Draining
from ..engine.engine import MAX_BATCH
from ..engine.types import Leased
from ..leasing.dispatch import Dispatch
from ..leasing.returns import Lease, returnable, tokens_of
from ..messages.deliveries import lease_response
from ..messages.lease import LeaseCall
from .heartbeats import Heartbeats

_Write: TypeAlias = Callable[[pb.LeaseResponse | Encoded], Awaitable[None]]

_HEARTBEAT = pb.LeaseResponse()


class _Poll:
    """What the dispatch delivers to: one batch at a time, the next only when that one has been written."""

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.arrived = asyncio.Event()
        self.items: deque[Leased] = deque()
        self.leased_at_us = 0
        self.beat_due = False

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        self.credit = 0
        self.items.extend(items)
        self.leased_at_us = now_us
        self.arrived.set()

    def note_unknown(self, names: Sequence[str]) -> None:
        """Nothing is unknown to it."""

    def beat(self) -> None:
        """There has been nothing to say for a while."""
        self.beat_due = True
        self.arrived.set()


class _Written:
    """Writes batches, and knows which of them were received: those before one that was written, and all of a call that
    ended well.
    """

    def __init__(self, dispatch: Dispatch, namespace: str, write: _Write) -> None:
        self._dispatch = dispatch
        self._namespace = namespace
        self._write = write
        self._unreceived: list[Lease] = []

    async def say(self, response: pb.LeaseResponse) -> None:
        """Write what is no batch."""
        await self._write(response)

    async def send(self, items: Sequence[Leased], now_us: int) -> None:
        before = len(self._unreceived)
        self._unreceived += returnable(items)
        await self._write(lease_response(items, now_us))
        self._receive(before)

    def ended(self, *, well: bool) -> None:
        """Call once, when nothing more is written."""
        if well:
            self._receive(len(self._unreceived))
        else:
            self._dispatch.returns.unreceived(self._namespace, self._unreceived)

    def _receive(self, count: int) -> None:
        self._dispatch.received(self._namespace, tokens_of(self._unreceived[:count]))
        del self._unreceived[:count]


async def serve_lease(
    dispatch: Dispatch,
    drain: Drain,
    heartbeats: Heartbeats,
    call: LeaseCall,
    write: _Write,
) -> None:
    """Streams batches until the call has what it wants, its time is up, or the broker goes away.

    Raises:
        Draining: the broker goes away, and a call for one batch has got none: it had better ask another one.
    """
    written = _Written(dispatch, call.namespace, write)
    well = False
    if call.heartbeats and heartbeats.rhythm is not None:
        await written.say(pb.LeaseResponse(heartbeats=heartbeats.announcement))
    try:
        left = await _serve_ready(dispatch, call, written)
        if left and call.timeout_s != 0:
            await _serve_waiting(dispatch, drain, heartbeats, call, left, written)
        well = True
    finally:
        written.ended(well=well)


async def _serve_ready(dispatch: Dispatch, call: LeaseCall, written: _Written) -> int:
    """Send what is there and answer how much is still wanted: most polls find something and need no group."""
    left = call.max_items
    while True:
        wanted = min(left, MAX_BATCH)
        reply = await dispatch.lease(call.namespace, call.query, wanted)
        if not reply.items and reply.drained:
            return left
        if reply.items:
            await written.send(reply.items, reply.now_us)
            left -= len(reply.items)
            if not call.follow or left <= 0:
                return 0
            if reply.drained:
                return left


async def _serve_waiting(
    dispatch: Dispatch, drain: Drain, heartbeats: Heartbeats, call: LeaseCall, left: int, written: _Written
) -> None:
    """Send what comes, one batch or as many as are wanted, until time is up."""
    loop = asyncio.get_running_loop()
    deadline = None if call.timeout_s is None else loop.time() + call.timeout_s
    poll = _Poll(min(left, MAX_BATCH))
    beating = heartbeats.watch(poll.beat) if call.heartbeats and heartbeats.rhythm is not None else nullcontext()
    with drain.on_begin(poll.arrived.set), beating as pulse:
        try:
            with dispatch.serve(call.namespace, call.query, poll) as group:
                while not drain.begun:
                    if not await _arrival(poll, deadline):
                        return
                    if not poll.items:
                        if poll.beat_due:
                            poll.beat_due = False
                            await written.say(_HEARTBEAT)
                        continue
                    if pulse is not None:
                        pulse.said = True
                    items = list(poll.items)
                    poll.items.clear()
                    await written.send(items, poll.leased_at_us)
                    left -= len(items)
                    if not call.follow or left <= 0:
                        return
                    deadline = None if call.timeout_s is None else loop.time() + call.timeout_s
                    poll.credit = min(left, MAX_BATCH)
                    group.credited()
            if not call.follow:
                raise Draining
        finally:
            dispatch.returns.unseen(call.namespace, tuple(poll.items))


async def _arrival(poll: _Poll, deadline: float | None) -> bool:
    """Wait for a delivery or the end of the broker; False: time is up."""
    try:
        async with asyncio.timeout_at(deadline):
            await poll.arrived.wait()
    except TimeoutError:
        # A delivery may have come at the last moment.
        return bool(poll.items)
    poll.arrived.clear()
    return True
