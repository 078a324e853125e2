"""The writer of one `Work` stream: sends items, outcomes and notices, everything that has gathered in one message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..border.encoded import Encoded
from ..engine.engine import MAX_BATCH
from ..messages.deliveries import work_response
from .outgoing import Outgoing
from .telling import NamesToTell
from .work_settler import Settler

Write: TypeAlias = Callable[[pb.WorkResponse | Encoded], Awaitable[None]]

#: How long the word that entries are done waits for something else to say.
_CONFIRM_WITHIN_S = 0.005
#: Notices of cancellations that wait to be told: of more, the oldest are dropped, and the refresh of the lease tells
#: the worker.
_MAX_CANCELLED = 2 * MAX_BATCH
#: Commands that wait to be told, likewise.
_MAX_COMMANDS = 10
#: Bytes of other news that go with items; more of them go alone.
_NEWS_BESIDE_ITEMS = 2048


class Writer:
    """Says what is to be said as soon as the worker reads it.

    Args:
        settler: has outcomes.
        outgoing: has items.
        room: bytes of one message.
        news: set when one of them has something to say.
        emptied: called when there is room again for items, and there was none.

    Attributes:
        delivered: how many items have gone.
    """

    def __init__(
        self, settler: Settler, outgoing: Outgoing, room: int, news: asyncio.Event, emptied: Callable[[], None]
    ) -> None:
        self.delivered = 0
        self._settler = settler
        self._outgoing = outgoing
        self._room = room
        self._news = news
        self._emptied = emptied
        #: Of the settler's `done_sequence`, what the worker has been told.
        self._told_sequence = 0
        self._cancelled: deque[pb.CancelledLease] = deque(maxlen=_MAX_CANCELLED)
        self._commands: deque[tpb.WorkerCommand] = deque(maxlen=_MAX_COMMANDS)
        self._unknown = NamesToTell()
        #: What is to be said once.
        self._beat = self._drain = self._register_again = False

    def beat(self) -> None:
        """Says something, if there is nothing else."""
        self._beat = True
        self._news.set()

    def drain(self) -> None:
        """Tell the worker to go to another broker."""
        self._drain = True
        self._news.set()

    def register_again(self) -> None:
        """Tell the worker that what it has registered is lost."""
        self._register_again = True
        self._news.set()

    def note_cancelled(self, id: str, token: int) -> None:
        """Tell the worker that an item which it has is not wanted any more."""
        self._cancelled.append(pb.CancelledLease(id=id, lease_token=token))
        self._news.set()

    def command(self, content: bytes) -> None:
        """Tell the worker what an operator wants; of several the latest."""
        self._commands.append(tpb.WorkerCommand.FromString(content))
        self._news.set()

    def note_unknown(self, names: Sequence[str]) -> None:
        """Tell the worker of tasks that it does not know and that have come up, now and then."""
        if self._unknown.note(names):
            self._news.set()

    async def run(self, write: Write) -> None:
        """Write until the settler is finished and everything is said."""
        loop = asyncio.get_running_loop()
        confirm_at: float | None = None
        while True:
            self._news.clear()
            if self._has_news():
                await write(self._compose())
                confirm_at = None
                continue
            settler = self._settler
            if settler.finished and settler.done_sequence == self._told_sequence:
                return
            if settler.done_sequence > self._told_sequence:
                # Nobody waits for that: it goes with what comes next, if that comes soon.
                if confirm_at is None:
                    confirm_at = loop.time() + _CONFIRM_WITHIN_S
                if settler.finished or loop.time() >= confirm_at:
                    await write(self._compose())
                    confirm_at = None
                    continue
            try:
                async with asyncio.timeout_at(confirm_at):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _has_news(self) -> bool:
        """Whether there is something that the worker had better hear now."""
        return bool(
            self._beat
            or self._outgoing
            or self._settler.has_outcomes
            or self._cancelled
            or self._commands
            or self._register_again
            or self._drain
            or self._unknown.untold
        )

    def _compose(self) -> pb.WorkResponse | Encoded:
        """Everything that there is to say, as it fits into one message."""
        response = self._compose_news()
        if not self._outgoing or response.ByteSize() > _NEWS_BESIDE_ITEMS:
            return response
        was_full = self._outgoing.full
        items = self._outgoing.take_batch()
        if was_full:
            self._emptied()
        response.batch = self._outgoing.batch
        response.lease_time.FromMicroseconds(self._outgoing.leased_at_us)
        self.delivered += len(items)
        return work_response(response, items)

    def _compose_news(self) -> pb.WorkResponse:
        """What there is to say besides items."""
        response = pb.WorkResponse(register_again=self._register_again, drain=self._drain)
        self._beat = self._drain = self._register_again = False
        if self._commands:
            response.command.CopyFrom(self._commands.popleft())
        settler = self._settler
        left = self._room
        if settler.has_outcomes:
            response.outcomes.extend(settler.take_outcomes(left))
            left -= response.ByteSize()
        # What is done is known only with all outcomes.
        if settler.done_sequence > self._told_sequence and not settler.has_outcomes:
            self._told_sequence = response.done_sequence = settler.done_sequence
        while self._cancelled and left > 0:
            response.cancelled.append(self._cancelled.popleft())
            left -= response.cancelled[-1].ByteSize()
        while self._unknown.untold and left > 0:
            response.unknown_task_names.append(self._unknown.untold.pop(0))
            left -= len(response.unknown_task_names[-1].encode())
        return response
