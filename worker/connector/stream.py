"""One `Work` stream, from its hello to its end.

A reader takes the broker's messages apart, but for the items, which it passes on as bytes; a writer sends what there is
to say, everything that has gathered in one message: what gathers while a write is in flight goes with the next. Nothing
here is done for each item.

An item begins when the receipt of its batch is out, not before: without a receipt the broker takes it that nothing of
the batch has begun, and puts it back without using up an attempt. A task that kills its process would be delivered
without end.

Which items have begun is said to a broker that hears it, unless they are done before there was time to say it.

A broker says at once what it takes at most; until it has, the worker says nothing but its hello. One that does not say
it is older than some reasons of nacks, and is told others. If it has heartbeats it says that, too; then both send an
empty message when there is nothing else to say, and a broker that is silent all the same is left. So is one that does
not even say its first word.

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
from dibs.rpc.beside import beside
from dibs.rpc.connection import Metadata
from dibs.rpc.dating import LOOK_SECONDS, Dating
from dibs.rpc.heart import Heart
from dibs.rpc.known_limits import is_too_large
from dibs.rpc.status import error_from_call
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..shared.leases import lease_seconds
from ..shared.limits import MAX_CREDIT
from ..shared.not_known_here import NotKnownHere
from .condition import Condition
from .credit import credit_change
from .envelope import Envelope
from .events import Announcer, EventName
from .hands import Hands
from .held import Batch
from .older import for_older
from .operator import Operator
from .outbox import Outbox, Part
from .outcomes import take_up

#: Messages as bytes; what comes is read as an envelope, too.
Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, tuple[bytes, Any]]"

#: How often it is looked which items have begun. One that has at two looks is told: 80 ms later at most.
_LOOK_S = 0.04

_METHOD = f"/{pb.DESCRIPTOR.services_by_name['BrokerService'].full_name}/Work"


def open_call(channel: grpc.aio.Channel, metadata: Metadata | None) -> Call:
    """A new call of `Work`."""
    method: Any = channel.stream_stream(
        _METHOD, request_serializer=None, response_deserializer=lambda raw: (raw, Envelope.FromString(raw))
    )
    call: Call = method(metadata=metadata)
    return call


class SilentBroker(Exception):
    """Nothing has come from the broker for longer than it had announced; it may be frozen, or cut off."""


class WorkStream:
    """Serves one call.

    Attributes:
        answered: whether the broker has sent anything.
        draining: whether the broker said that it goes away.

    Args:
        call: the open call.
        hands: who runs the items.
        outbox: what to say.
        unknown: told of tasks that the broker has items of which nobody here knows.
        wake: set when there may be something to say, or to end for.
        over: asked when there is nothing to say; True half-closes the stream.
        takes: whether to ask for items. The answer may turn to False, not back.
        announce: told of what happens.
        register_again: called when the broker wants tasks and schedules registered anew.
        heard: called when the broker has sent something, once.
        operator: takes commands.
        target: what the call was made to, for those who are told.
    """

    def __init__(
        self,
        call: Call,
        hands: Hands,
        outbox: Outbox,
        unknown: NotKnownHere,
        wake: asyncio.Event,
        *,
        over: Callable[[], bool],
        takes: Callable[[], bool],
        announce: Announcer,
        register_again: Callable[[], None],
        heard: Callable[[], None],
        operator: Operator,
        target: str,
    ) -> None:
        self.answered = False
        #: What the broker takes, once it has said so; and set when it has said anything.
        self._limits = CONTRACT
        self._announced = False
        self._heard = asyncio.Event()
        self._heart = Heart()
        self._dating = Dating()
        self.draining = False
        self._leaving = False
        self._call = call
        self._hands = hands
        self._outbox = outbox
        self._unknown = unknown
        self._wake = wake
        self._over = over
        self._takes = takes
        self._announce = announce
        self._register_again = register_again
        self._tell_heard = heard
        self._target = target
        #: Credit that the broker has, as far as we know.
        self._on_wire = 0
        self._received = 0
        self._receipted = 0
        #: Batches whose receipts are not out, and their numbers.
        self._unreceipted: deque[tuple[int, Batch]] = deque()
        self._unreceipted_count = 0
        #: The broker hears what has begun; it is told so, which is decided with the first message after the hello; and
        #: what it is to be told, first things first.
        self._hears_begun = False
        self._says_begun: bool | None = None
        self._begun: list[tuple[str, int]] = []
        self._dealt = asyncio.Event()
        #: The broker wants to know what is amiss, and what it was told of that.
        self._hears_state = False
        self._hears_running = False
        #: The broker passes on commands, and is to be told that they are taken.
        self._operator = operator
        self._offers_commands = False
        self._told_condition = Condition()
        self._half_closed = False
        self._sequence = 0
        #: Sent and not settled, by sequence.
        self._unsettled: deque[tuple[int, list[Part]]] = deque()

    async def run(self, hello: pb.WorkHello) -> None:
        """Serve until the end of the call.

        Raises:
            grpc.aio.AioRpcError: it ended otherwise than in peace.
            SilentBroker: nothing comes on it any more.
        """
        refused = False
        try:
            async with beside(self._watch(), "dibs-work-watch"):
                await self._call.wait_for_connection()
                self._announce(EventName.CONNECTED, target=self._target)
                async with (
                    beside(self._write(hello), "dibs-work-write"),
                    beside(self._watch_begun(), "dibs-work-begun"),
                ):
                    await self._read()
        except grpc.aio.AioRpcError as error:
            refused = error.code() is grpc.StatusCode.INVALID_ARGUMENT or is_too_large(
                error_from_call(error, self._target)
            )
            raise
        finally:
            self._call.cancel()
            self._deal_what_is_left()
            self._outbox.give_back([parts for _, parts in self._unsettled], refused=refused)
            self._unsettled.clear()

    def cancel(self) -> None:
        """End the call now."""
        self._call.cancel()

    def leave(self) -> None:
        """Asks for nothing more and ends in peace, so that another stream can take its place."""
        self._leaving = True

    async def _watch(self) -> None:
        """Sees to it that we say something now and then, and that the broker does."""
        heart = self._heart
        while True:
            await asyncio.sleep(min(heart.look_s or LOOK_SECONDS, LOOK_SECONDS))
            self._dating.look(time.monotonic())
            heart.look()
            if heart.beat_due:
                self._wake.set()
            if heart.silent:
                raise SilentBroker(f"nothing was heard for {heart.patience_s:g} s")

    async def _read(self) -> None:
        read = self._call.read
        while True:
            response: Any = await read()
            if response is grpc.aio.EOF:
                return
            self._take(*response)
            self._wake.set()

    def _take(self, raw: bytes, response: Any) -> None:
        if not self.answered:
            self.answered = True
            self._heard.set()
            self._tell_heard()
        self._hears_begun = self._hears_begun or response.hears_begun
        self._hears_state = self._hears_state or response.hears_state
        self._hears_running = self._hears_running or response.hears_running
        if response.hears_commands and self._operator.worker:
            self._offers_commands = True
        if response.HasField("command"):
            self._operator.command(response.command)
        self._heart.hear(response)
        if response.HasField("limits"):
            self._limits = CONTRACT.with_message(response.limits)
            self._announced = True
        count = len(response.deliveries)
        if count:
            leased = self._dating.date(response.lease_time.ToMicroseconds() / 1e6, time.monotonic())
            self._take_deliveries(response.batch, Batch(raw, count, leased))
        if response.outcomes:
            self._take_outcomes(response.outcomes)
        if response.done_sequence:
            unsettled = self._unsettled
            while unsettled and unsettled[0][0] <= response.done_sequence:
                self._outbox.settled(unsettled.popleft()[1])
            self._announce(EventName.CONFIRMED, sequence=response.done_sequence)
        if response.cancelled:
            self._hands.cancel(((one.id, one.lease_token) for one in response.cancelled), time.monotonic())
        if response.unknown_task_names:
            self._unknown.held_back(response.unknown_task_names)
        if response.register_again:
            self._register_again()
        if response.drain and not self.draining:
            self.draining = True
            self._announce(EventName.DRAINED, target=self._target)

    def _take_deliveries(self, number: int, batch: Batch) -> None:
        self._on_wire -= batch.count
        if self._half_closed:
            # There can be no receipt any more, so the broker puts back what may be delivered again. The rest runs:
            # nobody else will ever have it.
            self._deal_once_only(batch)
        else:
            self._received = number
            self._unreceipted.append((number, batch))
            self._unreceipted_count += batch.count
        self._announce(EventName.RECEIVED, count=batch.count)

    def _deal(self, up_to: int) -> None:
        """Lets items begin whose receipts are out."""
        unreceipted = self._unreceipted
        while unreceipted and unreceipted[0][0] <= up_to:
            _, batch = unreceipted.popleft()
            self._unreceipted_count -= batch.count
            self._hands.deal(batch, self._on_wire)
            self._dealt.set()
            if not self._takes():
                self._hands.hand_back()

    def _deal_once_only(self, batch: Batch) -> list[tpb.Delivery]:
        """Lets the items of a batch begin that are delivered at most once; the others."""
        deliveries = batch.deliveries
        once = [delivery for delivery in deliveries if not lease_seconds(delivery)]
        if once:
            self._hands.deal(Batch.of(once, batch.arrived), self._on_wire)
        return [delivery for delivery in deliveries if lease_seconds(delivery)]

    def _deal_what_is_left(self) -> None:
        """The stream has ended before some receipts were out.

        What is delivered at most once runs: nobody else will ever have it. The rest goes back; the broker may have
        taken it back already.
        """
        for _, batch in self._unreceipted:
            for delivery in self._deal_once_only(batch):
                self._outbox.entries.nack(delivery, pb.NACK_REASON_RELEASED)
        self._unreceipted.clear()

    def _take_outcomes(self, outcomes: Any) -> None:
        wanted = [(outcome.id, outcome.lease_token) for outcome in outcomes if outcome.cancel_requested]
        self._hands.cancel(wanted, time.monotonic())
        amiss = [outcome for outcome in outcomes if outcome.outcome != tpb.OUTCOME_OK]
        if amiss:
            parts = [part for _, parts in self._unsettled for part in parts]
            take_up(amiss, parts, self._hands.items(), self._outbox.entries)

    async def _write(self, hello: pb.WorkHello) -> None:
        write = self._call.write
        wake, bell = self._wake, self._outbox.bell
        try:
            await write(pb.WorkRequest(hello=hello).SerializeToString())
            await self._hear_limits()
            while True:
                request = self._compose()
                if request is None:
                    wake.clear()
                    bell.armed = True
                    # What came before the bell was armed has not rung it.
                    request = self._compose()
                    if request is None:
                        if self.draining or self._leaving or self._over():
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
        """Wait for the first message, in which the broker says what it takes; an old one may say nothing."""
        try:
            async with asyncio.timeout(ANNOUNCED_WITHIN_SECONDS):
                await self._heard.wait()
        except TimeoutError:
            return

    async def _watch_begun(self) -> None:
        """Look what has begun, as long as there are items, and have it told."""
        await self._heard.wait()
        if not self._hears_begun:
            return
        # What was told on an earlier stream may have been lost with it.
        self._hands.forget_told()
        while True:
            if not self._hands.held:
                self._dealt.clear()
                await self._dealt.wait()
            await asyncio.sleep(_LOOK_S)
            if self._says_begun is False:  # the broker spoke too late
                return
            begun = self._hands.newly_begun()
            if begun:
                self._begun += begun
                self._wake.set()

    def _compose(self) -> bytes | None:
        """Everything that there is to say, as it fits into one message; None if there is nothing."""
        head = pb.WorkRequest()
        # What has begun goes without entries, so that it fits.
        begun, self._begun = self._begun[: self._limits.batch_items], self._begun[self._limits.batch_items :]
        for id, token in begun:
            head.begun.add(id=id, lease_token=token)
        parts = None if begun else self._outbox.take(self._limits)
        if parts is not None:
            self._sequence += 1
            head.sequence = self._sequence
            self._unsettled.append((self._sequence, parts))
        something = bool(begun) or parts is not None
        if self._received > self._receipted:
            head.received_batch = self._receipted = self._received
            something = True
        if not (self.draining or self._leaving) and self._takes():
            change = self._credit_change()
            if change:
                head.add_credit = change
                self._on_wire += change
                something = True
        if self._heart.beat_due:
            head.heartbeats = something = True
        if self._offers_commands:
            self._offers_commands = False
            head.takes_commands_as = self._operator.worker
            something = True
        condition = self._hands.condition
        if not self._hears_running:
            condition = condition.without_running()
        if self._hears_state and condition != self._told_condition:
            self._told_condition = condition
            head.state.CopyFrom(condition.message(time.monotonic(), self._limits))
            something = True
        if not something:
            return None
        if self._says_begun is None:
            self._says_begun = head.says_begun = self._hears_begun
        self._heart.say()
        # Two messages joined are one.
        entries = (part.data if self._announced else for_older(part.data) for part in parts or ())
        return b"".join([head.SerializeToString(), *entries])

    def _credit_change(self) -> int:
        on_wire = self._on_wire + self._unreceipted_count
        standing = self._hands.standing()
        change = credit_change(
            standing.room, on_wire, slots=standing.slots, held=self._hands.held, ahead=standing.ahead
        )
        return min(change, min(self._limits.max_credit, MAX_CREDIT) - on_wire)
