"""Lease calls whose answers are out and that nobody waits for any more: what they leased goes back."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from dibs.contract.pauses import Pauses
from dibs.contract.standing import Standing

from ..engine.errors import EngineError, LateCall, NotSent
from ..engine.types import LeaseQuery
from .callers import Caller, Callers
from .returns import Returns

_log = logging.getLogger(__name__)

#: Calls that wait for their answers at most; while there are so many, no new ones are made.
_MOST = 1000


class Orphans:
    """Asks for the answers, one after another, until Redis has given them all.

    Args:
        callers: takes those back whose answer has come.
        returns: takes what they leased.
    """

    def __init__(self, callers: Callers, returns: Returns) -> None:
        self._callers = callers
        self._returns = returns
        self._waiting: deque[tuple[Caller, LeaseQuery]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._failing = Standing(_log, "answers to leases come again")

    def check_room(self) -> None:
        """Raise `NotSent` while so many answers are out that nothing new is asked."""
        if len(self._waiting) >= _MOST:
            raise NotSent(f"lease: {len(self._waiting)} answers of Redis to earlier calls are out")

    def part(self, caller: Caller, query: LeaseQuery) -> None:
        """Take a caller from whoever had it; one with an answer in doubt asks on for it."""
        if not caller.in_doubt:
            self._callers.release(caller)
            return
        self._waiting.append((caller, query))
        if self._task is None:
            self._task = asyncio.create_task(self._ask(), name="dibs-orphans")

    async def close(self, within_s: float) -> None:
        """Wait for the answers that are out, and give up after so many seconds."""
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=within_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._waiting:
            _log.error(
                "Redis did not answer %d lease calls: what they leased at least once comes back when its lease runs "
                "out, its attempt unused; what they took at most once is lost",
                len(self._waiting),
            )

    async def _ask(self) -> None:
        pauses = Pauses()
        try:
            while self._waiting:
                caller, query = self._waiting[0]
                try:
                    reply = await caller.lease(query, ())
                except LateCall:
                    # It was not carried out before, nor will it be.
                    items = []
                except EngineError as error:
                    self._failing.note(None, "%d answers to leases are out: %s", len(self._waiting), error)
                    self._waiting.rotate(-1)
                    await asyncio.sleep(pauses.next_s())
                    continue
                else:
                    items = reply.items
                self._failing.end(None)
                self._waiting.popleft()
                self._returns.unseen(caller.namespace, items)
                self._callers.release(caller)
                pauses.reset()
        finally:
            self._task = None
