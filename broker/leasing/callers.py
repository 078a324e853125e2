"""Names for lease calls, so that an answer that got lost can be asked for again.

A caller makes one call at a time, under its name and a growing number. Redis keeps the answer to each caller's last
call: the same number gets the same answer, the next one says that it arrived.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence

from ..engine.engine import Engine
from ..engine.errors import LateCall, NotSent, OutOfMemory, ScriptBug
from ..engine.types import LeaseCall, LeaseQuery, LeaseReply

#: How long after it was sent Redis carries a lease call out, on Redis's clock; much less than an answer is kept.
_NOT_AFTER_US = 60_000_000


class Caller:
    """Who asks for leases in one namespace.

    Attributes:
        namespace: where it asks.
        in_doubt: the last call may have been carried out, and its answer has not come. The next one repeats it.
        repeated: the last answer may be that of an earlier try, whose shares were others.
    """

    def __init__(self, engine: Engine, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.in_doubt = False
        self.repeated = False
        self._engine = engine
        self._name = name
        self._sequence = 0

    async def lease(
        self,
        query: LeaseQuery,
        shares: Sequence[int],
        *,
        note_hunger: bool = False,
        skills: str = "",
        sift: bool = False,
        says_begun: bool = False,
    ) -> LeaseReply:
        """Asks for items, or once more for an answer in doubt.

        Args:
            query: which queues, and overrides.
            shares: how many items are wanted for each consumer, at most `MAX_BATCH` in all; none: only the answer in
                doubt is wanted.
            note_hunger: as for `Engine.lease`.
            skills: as for `LeaseCall`.
            sift: likewise.
            says_begun: likewise.

        Raises:
            EngineError: no answer; `in_doubt` tells whether there may be one.
        """
        self.repeated = self.in_doubt
        if not self.in_doubt:
            self._sequence += 1
        engine, namespace = self._engine, self.namespace
        with engine.receipts.carried(namespace) as receipts:
            not_after_us = engine.redis_now_us() + _NOT_AFTER_US
            call = LeaseCall(
                self._name,
                self._sequence,
                shares,
                receipts,
                not_after_us,
                skills=skills,
                sift=sift,
                says_begun=says_begun,
            )
            try:
                reply = await engine.lease(namespace, query, sum(shares), note_hunger=note_hunger, call=call)
            except LateCall:
                self.in_doubt = False
                raise
            except (NotSent, ScriptBug, OutOfMemory):
                # Nothing was carried out now; an earlier try may have been.
                raise
            except BaseException:
                self.in_doubt = True
                raise
        self.in_doubt = False
        engine.receipts.answered(namespace, self._name, self._sequence, kept=bool(reply.items))
        return reply


class Callers:
    """The callers of this broker, lent to those who lease."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._life = uuid.uuid4().hex
        self._made = 0
        self._free: defaultdict[str, list[Caller]] = defaultdict(list)
        #: Namespaces where one was taken since the last look.
        self._used: set[str] = set()

    def take(self, namespace: str) -> Caller:
        """One that nobody else has, until it is released."""
        self._used.add(namespace)
        free = self._free[namespace]
        if free:
            return free.pop()
        self._made += 1
        return Caller(self._engine, namespace, f"{self._life}:{self._made}")

    def tidy(self) -> None:
        """Forgets those of namespaces where none was taken since this was called last."""
        for namespace in self._free.keys() - self._used:
            del self._free[namespace]
        self._used.clear()

    def release(self, caller: Caller) -> None:
        """Take one back that has no answer in doubt."""
        self._free[caller.namespace].append(caller)
