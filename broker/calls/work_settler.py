"""The settler of one `Work` stream: carries out acks, nacks, refreshes and what has begun."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from dibs.contract.pauses import Pauses
from dibs.contract.standing import Standing
from dibs.v1 import types_pb2 as tpb

from ..engine.engine import MAX_BATCH, Engine
from ..engine.errors import EngineError
from ..engine.types import Ack, Nack, Outcome, Refresh
from ..messages.rooms import fitting
from ..messages.settle import Entries, entry_outcome

_E = TypeVar("_E")
_O = TypeVar("_O")
_Settled = TypeVar("_Settled", Ack, Nack)

#: Entries read ahead of what is settled; beyond that the session stops reading and HTTP/2 holds the worker back.
_MAX_UNSETTLED = 10 * MAX_BATCH
#: Outcomes that wait to be told; beyond that nothing more is settled.
_MAX_UNTOLD = 2 * MAX_BATCH


class Settler:
    """Settles in the order of the messages, as many of them per engine call as have gathered.

    The reader fills it, the writer takes the outcomes.

    Args:
        engine: carries it out.
        namespace: of the worker.
        waits: is told of a stream that waits for Redis.
        news: set when there is something to tell the worker.

    Attributes:
        done_sequence: number of the last message of which everything is done.
        acked: how many acks were carried out.
        nacked: how many nacks were.
        finished: everything is done, and nothing more comes.
    """

    def __init__(self, engine: Engine, namespace: str, waits: Standing, news: asyncio.Event) -> None:
        self.done_sequence = 0
        self.acked = self.nacked = 0
        self.finished = False
        self._engine = engine
        self._namespace = namespace
        self._waits = waits
        self._news = news
        self._unsettled: deque[Entries] = deque()
        self._count = 0
        self._no_more = False
        self._outcomes: list[tpb.EntryOutcome] = []
        #: Set when there is something to settle, when something has been settled, and when outcomes were taken.
        self._added, self._settled, self._taken = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def add(self, entries: Entries) -> None:
        """Take what one message settles."""
        self._unsettled.append(entries)
        self._count += entries.count
        self._added.set()

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be read."""
        return self._count > _MAX_UNSETTLED

    async def until_room(self) -> None:
        """Return when there is room for more."""
        while self.full:
            self._settled.clear()
            await self._settled.wait()

    def end(self) -> None:
        """Says that nothing more comes."""
        self._no_more = True
        self._added.set()

    def close(self) -> None:
        """Says that the stream is over, whether or not everything is done."""
        self._waits.end(self)

    @property
    def has_outcomes(self) -> bool:
        """Whether there are outcomes that the worker has to be told."""
        return bool(self._outcomes)

    def take_outcomes(self, room: int) -> Sequence[tpb.EntryOutcome]:
        """The first outcomes, as many as fit into so many bytes: whoever takes them tells them."""
        taken = list(fitting(self._outcomes, room))
        del self._outcomes[: len(taken)]
        self._taken.set()
        return taken

    async def run(self) -> None:
        """Settle until `end` has been called and everything is done."""
        while True:
            while self._unsettled:
                while len(self._outcomes) > _MAX_UNTOLD:
                    self._taken.clear()
                    await self._taken.wait()
                await self._settle_gathered()
            if self._no_more:
                break
            self._added.clear()
            await self._added.wait()
        self.finished = True
        self._news.set()

    async def _settle_gathered(self) -> None:
        """Carries out as many messages as fit into one engine call each for acks, nacks, refreshes and beginnings."""
        gathered: list[Entries] = []
        count = 0
        while self._unsettled and (not gathered or count + self._unsettled[0].count <= MAX_BATCH):
            entries = self._unsettled.popleft()
            gathered.append(entries)
            count += entries.count
        for entries in gathered:
            self._outcomes.extend(entries.refused)
        await self._refresh([refresh for entries in gathered for refresh in entries.refreshes])
        self.acked += await self._settle(self._engine.ack, [ack for entries in gathered for ack in entries.acks])
        self.nacked += await self._settle(self._engine.nack, [nack for entries in gathered for nack in entries.nacks])
        # Last: what is done by now needs no word of its beginning.
        await self._insist(self._engine.begun, [one for entries in gathered for one in entries.begun])
        self.done_sequence = gathered[-1].sequence
        self._count -= count
        self._settled.set()
        self._news.set()

    async def _refresh(self, refreshes: Sequence[Refresh]) -> None:
        for refresh, done in zip(refreshes, await self._insist(self._engine.refresh, refreshes), strict=True):
            if done.outcome is not Outcome.OK or done.cancel_requested:
                self._note(refresh, done.outcome, cancel_requested=done.cancel_requested)

    async def _settle(
        self, call: Callable[[str, Sequence[_Settled]], Awaitable[Sequence[Outcome]]], entries: Sequence[_Settled]
    ) -> int:
        """How many were carried out; the worker is told of the others."""
        settled = 0
        for entry, outcome in zip(entries, await self._insist(call, entries), strict=True):
            if outcome is Outcome.OK:
                settled += 1
            else:
                self._note(entry, outcome)
        return settled

    async def _insist(
        self, call: Callable[[str, Sequence[_E]], Awaitable[Sequence[_O]]], entries: Sequence[_E]
    ) -> Sequence[_O]:
        """Call until Redis answers: the stream outlives an outage, and repeating a settlement is harmless."""
        pauses = Pauses()
        while entries:
            try:
                settled = await call(self._namespace, entries)
                self._waits.end(self)
                return settled
            except EngineError as error:
                self._waits.note(self, "settling in namespace %s waits for Redis: %s", self._namespace, error)
                await asyncio.sleep(pauses.next_s())
        return ()

    def _note(self, entry: Ack | Nack | Refresh, outcome: Outcome, *, cancel_requested: bool = False) -> None:
        self._outcomes.append(entry_outcome(entry.id, outcome, cancel_requested=cancel_requested, token=entry.token))
