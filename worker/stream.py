"""One `Work` stream, from its hello to its end.

A reader takes the broker's messages apart; a writer sends what there is to say, everything that has gathered in one
message: what gathers while a write is in flight goes with the next. Nothing here is done for each item but to hand
it to its lane.

An item begins when the receipt of its batch is out, not before: without a receipt the broker takes it that nothing of
the batch has begun, and puts it back without using up an attempt. A task that kills its process would be delivered
without end.

A broker says at once what it takes at most; until it has, the worker says nothing but its hello.

The stream ends in peace when the worker half-closes it: the broker then puts back what it has not written, settles
what it was sent, says so, and ends it. After that nothing more can arrive, which is what a stop relies on.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from dibs.contract.limits import ANNOUNCED_WITHIN_SECONDS, CONTRACT
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .events import Announcer, EventName
from .leased import lease_seconds
from .outbox import Entry, Outbox, Sent
from .outcomes import take_up
from .slots import Slots

Call: TypeAlias = "grpc.aio.StreamStreamCall[pb.WorkRequest, pb.WorkResponse]"


class WorkStream:
    """Serves one call.

    Attributes:
        answered: whether the broker has sent anything.
        draining: whether the broker said that it goes away.

    Args:
        call: the open call.
        slots: who runs the items.
        outbox: what to say.
        wake: set when there may be something to say, or to end for.
        over: asked when there is nothing to say; True half-closes the stream.
        takes: whether to ask for items. The answer may turn to False, not back.
        announce: told of what happens.
        target: what the call was made to, for those who are told.
    """

    def __init__(
        self,
        call: Call,
        slots: Slots,
        outbox: Outbox,
        wake: asyncio.Event,
        *,
        over: Callable[[], bool],
        takes: Callable[[], bool],
        announce: Announcer,
        target: str,
    ) -> None:
        self.answered = False
        #: What the broker takes, once it has said so; and set when it has said anything.
        self._limits = CONTRACT
        self._heard = asyncio.Event()
        self.draining = False
        self._call = call
        self._slots = slots
        self._outbox = outbox
        self._wake = wake
        self._over = over
        self._takes = takes
        self._announce = announce
        self._target = target
        #: Credit that the broker has, as far as we know.
        self._on_wire = 0
        self._received = 0
        self._receipted = 0
        #: Batches whose receipts are not out: number, items, when they arrived (on the monotonic clock).
        self._unreceipted: deque[tuple[int, Any, float]] = deque()
        self._unreceipted_count = 0
        self._half_closed = False
        self._sequence = 0
        #: Sent and not settled, by sequence.
        self._unsettled: deque[tuple[int, Sent]] = deque()

    async def run(self, hello: pb.WorkHello) -> None:
        """Serves until the end of the call.

        Raises:
            grpc.aio.AioRpcError: it ended otherwise than in peace.
        """
        refused = False
        writer: asyncio.Task[None] | None = None
        try:
            await self._call.wait_for_connection()
            self._announce(EventName.CONNECTED, target=self._target)
            writer = asyncio.create_task(self._write(hello), name="dibs-work-write")
            await self._read()
        except grpc.aio.AioRpcError as error:
            refused = error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
            raise
        finally:
            self._call.cancel()
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            self._deal_what_is_left()
            self._outbox.give_back([sent for _, sent in self._unsettled], refused=refused)
            self._unsettled.clear()

    def cancel(self) -> None:
        """Ends the call now."""
        self._call.cancel()

    async def _read(self) -> None:
        read = self._call.read
        while True:
            response: Any = await read()
            if response is grpc.aio.EOF:
                return
            self._take(response)
            self._wake.set()

    def _take(self, response: pb.WorkResponse) -> None:
        self.answered = True
        self._heard.set()
        if response.HasField("limits"):
            self._limits = CONTRACT.with_message(response.limits)
        deliveries = response.deliveries
        if deliveries:
            self._take_deliveries(response.batch, deliveries)
        if response.outcomes:
            self._take_outcomes(response.outcomes)
        if response.done_sequence:
            unsettled = self._unsettled
            while unsettled and unsettled[0][0] <= response.done_sequence:
                self._outbox.settled(unsettled.popleft()[1])
            self._announce(EventName.CONFIRMED, sequence=response.done_sequence)
        if response.cancelled:
            self._slots.cancel(((one.id, one.lease_token) for one in response.cancelled), time.monotonic())
        if response.unknown_task_names:
            self._slots.unknown.held_back(response.unknown_task_names)
        if response.drain and not self.draining:
            self.draining = True
            self._announce(EventName.DRAINED, target=self._target)

    def _take_deliveries(self, batch: int, deliveries: Any) -> None:
        now = time.monotonic()
        count = len(deliveries)
        self._on_wire -= count
        if self._half_closed:
            # There can be no receipt any more, so the broker puts back what may be delivered again. The rest runs:
            # nobody else will ever have it.
            self._slots.deal([delivery for delivery in deliveries if not lease_seconds(delivery)], now)
        elif not self._unreceipted and not any(delivery.lease_token for delivery in deliveries):
            # What is delivered at most once is never sent again, with or without a receipt: it may begin at once.
            self._received = batch
            self._slots.deal(deliveries, now)
        else:
            self._received = batch
            self._unreceipted.append((batch, deliveries, now))
            self._unreceipted_count += count
        self._announce(EventName.RECEIVED, count=count)

    def _deal(self, up_to: int) -> None:
        """Lets items begin whose receipts are out."""
        unreceipted = self._unreceipted
        while unreceipted and unreceipted[0][0] <= up_to:
            _, deliveries, arrived = unreceipted.popleft()
            self._unreceipted_count -= len(deliveries)
            self._slots.deal(deliveries, arrived)

    def _deal_what_is_left(self) -> None:
        """The stream has ended before some receipts were out.

        What is delivered at most once runs: nobody else will ever have it. The rest goes back; the broker may have
        done that already, and then this changes nothing, but if it died nobody else does.
        """
        for _, deliveries, arrived in self._unreceipted:
            self._slots.deal([delivery for delivery in deliveries if not lease_seconds(delivery)], arrived)
            for delivery in deliveries:
                if lease_seconds(delivery):
                    self._outbox.nack(delivery, pb.NACK_REASON_RELEASED)
        self._unreceipted.clear()

    def _take_outcomes(self, outcomes: Any) -> None:
        sent: dict[tuple[str, int], tuple[Entry, bool]] = {
            (entry[0].id, entry[0].lease_token): (entry, message.again)
            for _, message in self._unsettled
            for entry in message.entries
        }
        for outcome in outcomes:
            found = sent.get((outcome.id, outcome.lease_token))
            if found is None:
                continue
            (delivery, saying), again = found
            if outcome.cancel_requested:
                self._slots.cancel([(outcome.id, delivery.lease_token)], time.monotonic())
            if outcome.outcome != tpb.OUTCOME_OK:
                take_up(outcome, delivery, saying, self._outbox, again=again)

    async def _write(self, hello: pb.WorkHello) -> None:
        write = self._call.write
        wake, bell = self._wake, self._outbox.bell
        try:
            await write(pb.WorkRequest(hello=hello))
            await self._hear_limits()
            while True:
                request = self._compose()
                if request is None:
                    wake.clear()
                    bell.armed = True
                    # What came before the bell was armed has not rung it.
                    request = self._compose()
                    if request is None:
                        if self.draining or self._over():
                            self._half_closed = True
                            await self._call.done_writing()
                            return
                        await wake.wait()
                        continue
                    bell.armed = False
                receipted = self._receipted
                await write(request)
                self._deal(receipted)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The call has ended; the reader learns why.
            return
        finally:
            bell.armed = False

    async def _hear_limits(self) -> None:
        """Waits for the first message, in which the broker says what it takes; an old one may say nothing."""
        try:
            async with asyncio.timeout(ANNOUNCED_WITHIN_SECONDS):
                await self._heard.wait()
        except TimeoutError:
            return

    def _compose(self) -> pb.WorkRequest | None:
        """Everything that there is to say, as it fits into one message; None if there is nothing."""
        sent = self._outbox.take(self._limits)
        if sent is not None:
            request = sent.request()
            self._sequence += 1
            request.sequence = self._sequence
            self._unsettled.append((self._sequence, sent))
        else:
            request = pb.WorkRequest()
        something = sent is not None
        if self._received > self._receipted:
            request.received_batch = self._receipted = self._received
            something = True
        if not self.draining and self._takes():
            change = self._slots.credit_change(self._on_wire + self._unreceipted_count, self._limits.max_credit)
            if change:
                request.add_credit = change
                self._on_wire += change
                something = True
        return request if something else None
