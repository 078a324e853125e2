"""One worker's `Work` stream: credit and finished work up, items, outcomes and notices down.

A session reads the worker's messages and takes them apart. It owns two others: the settler (`work_settler.py`) carries
out acks, nacks and refreshes, and the writer (`work_writer.py`) sends what there is to send. Only the reader ends a
session in order: when the worker half-closes, or sends a message that is invalid, what it sent before is settled and
reported before the stream ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack

from dibs.contract.heartbeats import Pulse
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb

from ..border.drain import Drain
from ..border.encoded import Encoded
from ..border.errors import InvalidField, RequestError, Silent
from ..border.reading import whole
from ..config.limits import Limits
from ..engine.engine import Engine
from ..engine.types import Kind, Leased
from ..leasing.dispatch import Dispatch
from ..leasing.groups import Group
from ..messages import validation as check
from ..messages.announcing import announcement
from ..messages.enums import KIND_TO_WIRE
from ..messages.settle import read_entries
from ..messages.work import Hello
from ..messages.worker_states import ToldState
from ..upkeep.roster import Roster
from .heartbeats import Heartbeats
from .outgoing import Outgoing
from .work_settler import Settler
from .work_writer import Write, Writer

_log = logging.getLogger(__name__)


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
        self._connected_at = time.time()
        #: For operators.
        self._state = ToldState()
        #: The dispatch group, and what ends the membership in it.
        self._group: Group | None = None
        self._serving = ExitStack()
        #: Whether the worker says when items begin.
        self._says_begun = False
        #: Once the worker has said that it keeps to heartbeats, and what ends the watch.
        self._pulse: Pulse | None = None
        self._watching = ExitStack()
        #: By what name the worker takes commands, and what ends that; and what has it reported at once.
        self._takes_commands_as = ""
        self._commanded = ExitStack()
        self._report: Callable[[], None] = lambda: None
        #: Whether the reader waits for the worker, and would hear it.
        self._listening = True
        self._last_sequence = 0
        #: Set when the writer has something to say.
        self._news = asyncio.Event()
        #: Filled by `deliver`, emptied by the writer.
        self._outgoing = Outgoing(2 * limits.max_credit, engine.config.reply_bytes)
        self._settler = Settler(engine, hello.namespace, dispatch.settling, self._news)
        self._writer = Writer(self._settler, self._outgoing, engine.config.reply_bytes, self._news, self._credited)

    @property
    def credit(self) -> int:
        """How many more items it takes now."""
        return 0 if self._outgoing.full else self._credit

    def deliver(self, items: Sequence[Leased], now_us: int) -> None:
        """Take items from the dispatch."""
        self._credit -= len(items)
        self._outgoing.add(items, now_us)
        self._news.set()

    def note_unknown(self, names: Sequence[str]) -> None:
        """Tells the worker of tasks that it does not know and that have come up, now and then."""
        self._writer.note_unknown(names)

    def info(self) -> apb.WorkerInfo:
        """How the worker stands, for operators."""
        hello = self._hello
        info = apb.WorkerInfo(
            worker_id=hello.worker_id,
            queues=hello.query.queues,
            kind=KIND_TO_WIRE[hello.query.kind],
            credit=max(self._credit, 0),
            delivered=self._writer.delivered,
            acked=self._settler.acked,
            nacked=self._settler.nacked,
        )
        info.takes_commands_as = self._takes_commands_as
        info.connect_time.FromMicroseconds(int(self._connected_at * 1e6))
        state = self._state.now()
        if state is not None:
            info.state.CopyFrom(state)
        return info

    async def run(self, first: pb.WorkRequest, requests: AsyncIterator[pb.WorkRequest], write: Write) -> None:
        """Serve until the worker half-closes, or the stream breaks (then this is cancelled or a write fails).

        Raises:
            RequestError: a message was refused, mostly an `InvalidField`. None of its entries is done; all that came
                before is done and reported, so that the worker knows which it was.
        """
        tasks = self._hello.task_names if self._hello.query.kind is Kind.TASK else None
        self._dispatch.received(self._namespace, self._hello.received_tokens)
        self._take(first)
        # Before anything else: a first write that is cancelled midway would take the status of the call with it.
        limits = announcement(self._limits.announced)
        await write(
            pb.WorkResponse(
                limits=limits,
                heartbeats=self._heartbeats.announcement,
                hears_begun=True,
                hears_state=True,
                hears_running=True,
                hears_commands=True,
            )
        )

        async def said(response: pb.WorkResponse | Encoded) -> None:
            if self._pulse is not None:
                self._pulse.said = True
            await write(response)

        try:
            with (
                self._engine.cancel_wishes.on_cancelled(self._namespace, self._writer.note_cancelled),
                self._engine.peers.on_data_lost(self._writer.register_again),
                self._engine.hints.on_deleted(self._note_deleted),
                self._roster.on(self._namespace, self, tasks) as self._report,
                self._commanded,
            ):
                async with asyncio.TaskGroup() as parts:
                    parts.create_task(self._settler.run(), name="dibs-work-settle")
                    parts.create_task(self._writer.run(said), name="dibs-work-write")
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
            self._settler.close()
            self._stop_serving()
            self._dispatch.returns.unreceived(self._namespace, self._outgoing.unreceived())

    async def _read(self, requests: AsyncIterator[pb.WorkRequest], parts: asyncio.TaskGroup) -> RequestError | None:
        """Read until the worker half-closes, or to the first message that is refused, and return what is wrong."""
        refused = None
        try:
            await self._read_valid(requests, parts)
        except RequestError as error:
            refused = error
        self._stop_serving()
        self._listening = False
        self._settler.end()
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
            if self._settler.full:
                await self._let_settle()

    async def _let_settle(self) -> None:
        """Return when there is room for more; what the worker says meanwhile is not heard."""
        self._listening = False
        await self._settler.until_room()
        self._listening = True
        if self._pulse is not None:
            self._pulse.heard = True

    def _watch(self, parts: asyncio.TaskGroup) -> None:
        """The worker keeps to heartbeats from now on."""
        rhythm = self._heartbeats.rhythm
        if rhythm is None:
            return

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

        self._pulse = self._watching.enter_context(self._heartbeats.watch(self._writer.beat, silent))

    def _serve(self) -> None:
        """Has items delivered, from the first message on that may say what the worker says."""
        if not self._drain.begun:
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
        if request.takes_commands_as and not self._takes_commands_as:
            self._takes_commands_as = check.text(request.takes_commands_as, "takes_commands_as", 256)
            self._commanded.enter_context(
                self._engine.commands.on_command(self._namespace, self._takes_commands_as, self._writer.command)
            )
            self._report()
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
            self._settler.add(entries)

    async def _stop_when_draining(self) -> None:
        await self._drain.wait()
        self._stop_serving()
        self._writer.drain()

    def _stop_serving(self) -> None:
        """Take no more items; what was leased and not written serves another worker better."""
        self._serving.close()
        self._dispatch.returns.unseen(self._namespace, self._outgoing.take_unwritten())

    def _note_deleted(self, namespace: str) -> None:
        if namespace == self._namespace:
            self._writer.register_again()

    def _credited(self) -> None:
        if self._group is not None:
            self._group.credited()
