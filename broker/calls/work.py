"""One worker's `Work` stream: credit and finished work up, items, outcomes and notices down.

A session has three parts: the reader takes the worker's messages apart, the settler carries out acks, nacks and
refreshes (in the order of their messages, as many per engine call as have gathered), and the writer sends what there
is to send, everything that has gathered in one message. Only the reader ends a session in order: when the worker
half-closes, or sends a message that is invalid, what it sent before is settled and reported before the stream ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from dibs.contract.heartbeats import Pulse
from dibs.contract.pauses import Pauses
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..border.drain import Drain
from ..border.encoded import Encoded
from ..border.errors import InvalidField, Silent
from ..border.reading import whole
from ..config.limits import Limits
from ..engine.engine import MAX_BATCH, Engine
from ..engine.errors import EngineError
from ..engine.types import Ack, Kind, Leased, Nack, Outcome, Refresh
from ..leasing.dispatch import Dispatch
from ..leasing.groups import Group
from ..messages.announcing import announcement
from ..messages.deliveries import work_response
from ..messages.enums import KIND_TO_WIRE
from ..messages.rooms import fitting
from ..messages.settle import Entries, entry_outcome, read_entries
from ..messages.work import Hello
from ..messages.worker_states import ToldState
from ..upkeep.roster import Roster
from .heartbeats import Heartbeats
from .outgoing import Outgoing
from .telling import NamesToTell

_log = logging.getLogger(__name__)

_E = TypeVar("_E")
_O = TypeVar("_O")

#: How long the word that entries are done waits for something else to say.
_CONFIRM_WITHIN_S = 0.005
#: Entries read ahead of what is settled; beyond that the session stops reading and HTTP/2 holds the worker back.
_MAX_UNSETTLED = 10 * MAX_BATCH
#: Outcomes that wait to be written; beyond that nothing more is settled. As many notices of cancellations: of more, the
#: oldest are dropped, and the refresh of the lease tells the worker.
_MAX_UNREPORTED = 2 * MAX_BATCH
#: Bytes of other news that go with items; more of them go alone.
_NEWS_BESIDE_ITEMS = 2048


class WorkSession:
    """Serves one stream, from its hello to its end."""

    def __init__(
        self,
        engine: Engine,
        dispatch: Dispatch,
        drain: Drain,
        limits: Limits,
        roster: Roster,
        heartbeats: Heartbeats,
        hello: Hello,
    ) -> None:
        #: Items that may still be sent; the reader raises it, `deliver` lowers it. Below 0 when the worker took credit
        #: back that had been used by then.
        self._credit = 0
        self._engine = engine
        self._dispatch = dispatch
        self._drain = drain
        self._limits = limits
        self._roster = roster
        self._heartbeats = heartbeats
        self._hello = hello
        self._namespace = hello.namespace
        self._unknown = NamesToTell()
        self._connected_at = time.time()
        #: For operators.
        self._state = ToldState()
        self._delivered = self._acked = self._nacked = 0
        #: The dispatch group, and what ends the membership in it.
        self._group: Group | None = None
        #: Whether the worker says when items begin.
        self._says_begun = False
        self._serving = ExitStack()
        #: Once the worker has said that it keeps to heartbeats; and whether one is due.
        self._pulse: Pulse | None = None
        self._watching = ExitStack()
        self._beat_due = False
        #: Filled by `deliver`, emptied by the writer.
        self._outgoing = Outgoing(2 * limits.max_credit, engine.config.reply_bytes)
        #: Read and not settled yet; filled by the reader, emptied by the settler.
        self._unsettled: deque[Entries] = deque()
        self._unsettled_count = 0
        self._last_sequence = 0
        self._reading = True
        #: Whether the reader waits for the worker, and would hear it.
        self._listening = True
        self._something_to_settle = asyncio.Event()
        self._settled_some = asyncio.Event()
        #: For the writer: what the settler and the notices have to say.
        self._done_sequence = 0
        self._reported_sequence = 0
        self._outcomes: list[tpb.EntryOutcome] = []
        self._cancelled: deque[pb.CancelledLease] = deque(maxlen=_MAX_UNREPORTED)
        self._reported_some = asyncio.Event()
        self._draining = self._drain_told = False
        self._register_again = False
        self._settler_done = False
        self._something_to_write = asyncio.Event()

    @property
    def credit(self) -> int:
        """How many more items it takes now."""
        return 0 if self._outgoing.full else self._credit

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        """Take items from the dispatch."""
        self._credit -= len(items)
        self._outgoing.add(items, now_us)
        self._something_to_write.set()

    def note_unknown(self, names: Sequence[str]) -> None:
        """Tells the worker of tasks that it does not know and that have come up, now and then."""
        if self._unknown.note(names):
            self._something_to_write.set()

    def info(self) -> apb.WorkerInfo:
        """How the worker stands, for operators."""
        hello = self._hello
        info = apb.WorkerInfo(
            worker_id=hello.worker_id,
            queues=hello.query.queues,
            kind=KIND_TO_WIRE[hello.query.kind],
            credit=max(self._credit, 0),
            delivered=self._delivered,
            acked=self._acked,
            nacked=self._nacked,
        )
        info.connect_time.FromMicroseconds(int(self._connected_at * 1e6))
        state = self._state.now()
        if state is not None:
            info.state.CopyFrom(state)
        return info

    async def run(
        self,
        first: pb.WorkRequest,
        requests: AsyncIterator[pb.WorkRequest],
        write: Callable[[pb.WorkResponse | Encoded], Awaitable[None]],
    ) -> None:
        """Serve until the worker half-closes, or the stream breaks (then this is cancelled or a write fails).

        Raises:
            InvalidField: a message was refused. None of its entries is done; all that came before is done and
                reported, so that the worker knows which it was.
        """
        tasks = self._hello.task_names if self._hello.query.kind is Kind.TASK else None
        self._dispatch.received(self._namespace, self._hello.received_tokens)
        self._take(first)
        # Before anything else: a first write that is cancelled midway would take the status of the call with it.
        limits = announcement(self._limits.announced)
        await write(
            pb.WorkResponse(limits=limits, heartbeats=self._heartbeats.announcement, hears_begun=True, hears_state=True)
        )
        try:
            with (
                self._engine.cancel_wishes.on_cancelled(self._namespace, self._note_cancelled),
                self._engine.peers.on_data_lost(self._note_data_lost),
                self._engine.hints.on_deleted(self._note_deleted),
                self._roster.on(self._namespace, self, tasks),
            ):
                async with asyncio.TaskGroup() as parts:
                    parts.create_task(self._settle(), name="dibs-work-settle")
                    parts.create_task(self._write(write), name="dibs-work-write")
                    stop = parts.create_task(self._stop_when_draining(), name="dibs-work-drain")
                    refused = await self._read(requests, parts)
                    stop.cancel()
        except ExceptionGroup as failures:
            # One of the parts failed and took the others with it.
            raise failures.exceptions[0] from None
        else:
            if refused is not None:
                raise refused
        finally:
            self._watching.close()
            self._dispatch.settling.end(self)
            self._stop_serving()
            self._dispatch.returns.unreceived(self._namespace, self._outgoing.unreceived())

    async def _read(self, requests: AsyncIterator[pb.WorkRequest], parts: asyncio.TaskGroup) -> InvalidField | None:
        """Read until the worker half-closes, or to the first message that is invalid, and return what is wrong."""
        refused = None
        try:
            await self._read_valid(requests, parts)
        except InvalidField as error:
            refused = error
        self._stop_serving()
        self._reading = self._listening = False
        self._something_to_settle.set()
        return refused

    async def _read_valid(self, requests: AsyncIterator[pb.WorkRequest], parts: asyncio.TaskGroup) -> None:
        if self._credit > 0:
            self._serve()
        async for message in requests:
            request = whole(message)
            if self._pulse is not None:
                self._pulse.heard = True
            elif request.heartbeats:
                self._watch(parts)
            if request.HasField("hello"):
                raise InvalidField("hello", "may only come in the first message of a stream")
            self._take(request)
            if self._group is None:
                self._serve()
            elif request.add_credit:
                self._group.credited()
            if self._unsettled_count > _MAX_UNSETTLED:
                await self._let_settle()

    async def _let_settle(self) -> None:
        """Return when there is room for more; what the worker says meanwhile is not heard."""
        self._listening = False
        while self._unsettled_count > _MAX_UNSETTLED:
            self._settled_some.clear()
            await self._settled_some.wait()
        self._listening = True
        if self._pulse is not None:
            self._pulse.heard = True

    def _watch(self, parts: asyncio.TaskGroup) -> None:
        """The worker keeps to heartbeats from now on."""
        rhythm = self._heartbeats.rhythm
        if rhythm is None:
            return

        def beat() -> None:
            self._beat_due = True
            self._something_to_write.set()

        async def end() -> None:
            raise Silent(rhythm.timeout_s)

        def silent() -> None:
            if not self._listening:
                return
            self._watching.close()
            _log.warning(
                "worker %s of namespace %s has said nothing for %g s, its stream ends",
                self._hello.worker_id,
                self._namespace,
                rhythm.timeout_s,
            )
            parts.create_task(end(), name="dibs-work-silent")

        self._pulse = self._watching.enter_context(self._heartbeats.watch(beat, silent))

    def _serve(self) -> None:
        """Has items delivered, from the first message on that may say what the worker says."""
        if not self._draining:
            self._group = self._serving.enter_context(
                self._dispatch.serve(
                    self._namespace, self._hello.query, self, self._hello.task_names, says_begun=self._says_begun
                )
            )

    def _take(self, request: pb.WorkRequest) -> None:
        """Take one message apart. Raises `InvalidField`."""
        most = self._limits.max_credit
        if self._credit + request.add_credit > most:
            raise InvalidField("add_credit", f"must keep the credit at or below {most}", ("max_credit", most))
        self._credit += request.add_credit
        if request.says_begun and not self._says_begun:
            if self._group is not None:
                raise InvalidField("says_begun", "must come no later than the first credit")
            self._says_begun = True
        if request.HasField("state"):
            self._state.take(request.state, self._limits)
        self._dispatch.received(self._namespace, self._outgoing.received(request.received_batch))
        settles = bool(request.acks or request.nacks or request.refreshes)
        if settles:
            if request.sequence <= self._last_sequence:
                raise InvalidField("sequence", "must grow along the stream")
            self._last_sequence = request.sequence
        if settles or request.begun:
            entries = read_entries(request, self._limits)
            entries.sequence = self._last_sequence
            self._unsettled.append(entries)
            self._unsettled_count += entries.count
            self._something_to_settle.set()

    async def _stop_when_draining(self) -> None:
        await self._drain.wait()
        self._stop_serving()
        self._draining = True
        self._something_to_write.set()

    def _stop_serving(self) -> None:
        """Take no more items; what was leased and not written serves another worker better."""
        self._serving.close()
        self._dispatch.returns.unseen(self._namespace, self._outgoing.take_unwritten())

    def _note_cancelled(self, id: str, token: int) -> None:
        self._cancelled.append(pb.CancelledLease(id=id, lease_token=token))
        self._something_to_write.set()

    def _note_data_lost(self) -> None:
        self._register_again = True
        self._something_to_write.set()

    def _note_deleted(self, namespace: str) -> None:
        if namespace == self._namespace:
            self._note_data_lost()

    async def _settle(self) -> None:
        while True:
            while self._unsettled:
                while len(self._outcomes) > _MAX_UNREPORTED:
                    self._reported_some.clear()
                    await self._reported_some.wait()
                await self._settle_gathered()
            if not self._reading:
                break
            self._something_to_settle.clear()
            await self._something_to_settle.wait()
        self._settler_done = True
        self._something_to_write.set()

    async def _settle_gathered(self) -> None:
        """Carries out as many messages as fit into one engine call each for acks, nacks and refreshes."""
        gathered: list[Entries] = []
        count = 0
        while self._unsettled and (not gathered or count + self._unsettled[0].count <= MAX_BATCH):
            entries = self._unsettled.popleft()
            gathered.append(entries)
            count += entries.count
        acks = [ack for entries in gathered for ack in entries.acks]
        nacks = [nack for entries in gathered for nack in entries.nacks]
        refreshes = [refresh for entries in gathered for refresh in entries.refreshes]
        begun = [one for entries in gathered for one in entries.begun]
        for entries in gathered:
            self._outcomes.extend(entries.refused)
        if refreshes:
            for refresh, done in zip(refreshes, await self._insist(self._engine.refresh, refreshes), strict=True):
                if done.outcome is not Outcome.OK or done.cancel_requested:
                    self._report(refresh, done.outcome, cancel_requested=done.cancel_requested)
        if acks:
            for ack, outcome in zip(acks, await self._insist(self._engine.ack, acks), strict=True):
                if outcome is Outcome.OK:
                    self._acked += 1
                else:
                    self._report(ack, outcome)
        if nacks:
            for nack, outcome in zip(nacks, await self._insist(self._engine.nack, nacks), strict=True):
                if outcome is Outcome.OK:
                    self._nacked += 1
                else:
                    self._report(nack, outcome)
        if begun:
            # Last: what is done by now needs no word of its beginning.
            await self._insist(self._engine.begun, begun)
        self._done_sequence = gathered[-1].sequence
        self._unsettled_count -= count
        self._settled_some.set()
        self._something_to_write.set()

    async def _insist(
        self, call: Callable[[str, Sequence[_E]], Awaitable[Sequence[_O]]], entries: Sequence[_E]
    ) -> Sequence[_O]:
        """Call until Redis answers: the stream outlives an outage, and repeating a settlement is harmless."""
        pauses = Pauses()
        while True:
            try:
                settled = await call(self._namespace, entries)
                self._dispatch.settling.end(self)
                return settled
            except EngineError as error:
                self._dispatch.settling.note(
                    self, "settling in namespace %s waits for Redis: %s", self._namespace, error
                )
                await asyncio.sleep(pauses.next_s())

    def _report(self, entry: Ack | Nack | Refresh, outcome: Outcome, *, cancel_requested: bool = False) -> None:
        self._outcomes.append(entry_outcome(entry.id, outcome, cancel_requested=cancel_requested, token=entry.token))

    async def _write(self, write: Callable[[pb.WorkResponse | Encoded], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        confirm_at: float | None = None
        while True:
            self._something_to_write.clear()
            if self._has_news():
                await write(self._compose())
                confirm_at = None
                continue
            if self._settler_done and self._done_sequence == self._reported_sequence:
                return
            if self._done_sequence > self._reported_sequence:
                # Nobody waits for that: it goes with what comes next, if that comes soon.
                if confirm_at is None:
                    confirm_at = loop.time() + _CONFIRM_WITHIN_S
                if self._settler_done or loop.time() >= confirm_at:
                    await write(self._compose())
                    confirm_at = None
                    continue
            try:
                async with asyncio.timeout_at(confirm_at):
                    await self._something_to_write.wait()
            except TimeoutError:
                continue

    def _has_news(self) -> bool:
        """Whether there is something that the worker had better hear now."""
        return bool(
            self._beat_due
            or self._outgoing
            or self._outcomes
            or self._cancelled
            or self._register_again
            or (self._draining and not self._drain_told)
            or self._unknown.untold
        )

    def _compose(self) -> pb.WorkResponse | Encoded:
        """Everything that there is to say, as it fits into one message."""
        self._beat_due = False
        if self._pulse is not None:
            self._pulse.said = True
        response = pb.WorkResponse()
        left = self._engine.config.reply_bytes
        if self._outcomes:
            told = fitting(self._outcomes, left)
            response.outcomes.extend(told)
            del self._outcomes[: len(told)]
            self._reported_some.set()
            left -= response.ByteSize()
        # What is done is known only with all outcomes.
        if self._done_sequence > self._reported_sequence and not self._outcomes:
            self._reported_sequence = response.done_sequence = self._done_sequence
        while self._cancelled and left > 0:
            response.cancelled.append(self._cancelled.popleft())
            left -= response.cancelled[-1].ByteSize()
        while self._unknown.untold and left > 0:
            response.unknown_task_names.append(self._unknown.untold.pop(0))
            left -= len(response.unknown_task_names[-1].encode())
        if self._register_again:
            self._register_again = False
            response.register_again = True
        if self._draining and not self._drain_told:
            self._drain_told = response.drain = True
        if not self._outgoing or response.ByteSize() > _NEWS_BESIDE_ITEMS:
            return response
        was_full = self._outgoing.full
        items = self._outgoing.take_batch()
        if was_full and self._group is not None:
            self._group.credited()
        response.batch = self._outgoing.batch
        response.lease_time.FromMicroseconds(self._outgoing.leased_at_us)
        self._delivered += len(items)
        return work_response(response, items)
