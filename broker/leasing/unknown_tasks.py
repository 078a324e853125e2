"""Tasks that the workers of one group do not know: their items wait for one that does, without using up an attempt.

An item of such a task that comes goes back at once, and from then on, for a while, Redis sorts before it leases: it
parks what is like it where it stands in nobody's way (``lua/include/parking.lua``). Where that cannot be, because a
broker of an earlier version is there or too much is parked, items are held back for a while, again and again.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.engine import Engine
from ..engine.errors import EngineError
from ..engine.types import Leased, LeaseReply
from ..engine.workers import skill_set
from ..messages.bodies import task_name
from .returns import Returns

_log = logging.getLogger(__name__)

#: How long Redis goes on sorting after the last item of a task that the group does not know.
_SIFT_S = 10.0
#: How long it sorts in any case when the first worker has come: its other lane comes at the same time.
_FIRST_SIFT_S = 1.0
#: How long an item is held back whose task no connected worker knows, at first and at most.
_FIRST_US = 1_000_000
_MOST_US = 10_000_000
#: How long one is held back that another worker knows, who is busy or connected to another broker.
_ELSEWHERE_US = 200_000
#: Names that are remembered; beyond that they are forgotten, and waits begin anew.
_MAX_NAMES = 10_000


@dataclass(slots=True)
class _Wait:
    """How long items of an unknown task are held back next, and when that may grow."""

    delay_us: int = _FIRST_US
    grows_at: float = 0.0


class Waits:
    """How long items of unknown tasks are held back, by name: longer from round to round."""

    def __init__(self) -> None:
        self._waits: dict[str, _Wait] = {}

    def next_us(self, name: str, *, elsewhere: bool) -> int:
        """The wait of items of a task that has come up now, in microseconds.

        Args:
            name: of the task.
            elsewhere: another connected worker knows it.
        """
        now = time.monotonic()
        wait = self._waits.get(name)
        if wait is None:
            if len(self._waits) >= _MAX_NAMES:
                self._waits.clear()
            wait = self._waits[name] = _Wait()
        elif now >= wait.grows_at:
            # All items of a round wait equally long; those that come back after it wait twice as long.
            wait.delay_us = min(wait.delay_us * 2, _MOST_US)
        if now >= wait.grows_at:
            wait.grows_at = now + wait.delay_us / 1e6
        return _ELSEWHERE_US if elsewhere else wait.delay_us


def sort(items: Sequence[Leased], known: frozenset[bytes]) -> tuple[Sequence[Leased], Mapping[str, Sequence[Leased]]]:
    """Tell items of known tasks from the others, which are sorted by their tasks' names."""
    names = [task_name(item.record, item.record.index(b"\n") + 1) for item in items]
    if known.issuperset(names):
        return items, {}
    mine = []
    others: dict[str, list[Leased]] = defaultdict(list)
    for item, name in zip(items, names, strict=True):
        if name in known:
            mine.append(item)
        else:
            others[name.decode(errors="replace")].append(item)
    return mine, others


class UnknownTasks:
    """Sorts what is leased for workers that know the same tasks.

    Args:
        engine: knows who else is there.
        returns: takes what goes back.
        own: runs work in the background, under a name.
        namespace: of the workers.
        names: of the tasks that they can run; not none.
        others_want_it: says whether workers that know other tasks want items of the same queues.

    Attributes:
        digest: names the set of tasks in Redis.
    """

    def __init__(
        self,
        engine: Engine,
        returns: Returns,
        own: Callable[[Coroutine[Any, Any, None], str], None],
        namespace: str,
        names: Collection[str],
        others_want_it: Callable[[], bool],
    ) -> None:
        self._others_want_it = others_want_it
        self.digest = skill_set(names)
        self._engine = engine
        self._returns = returns
        self._own = own
        self._namespace = namespace
        self._names = list(names)
        self._known = frozenset(name.encode() for name in names)
        self._taught = False
        self._sift_until = time.monotonic() + _FIRST_SIFT_S
        self._waits = Waits()

    @property
    def sifts(self) -> bool:
        """Whether Redis is to sort before it leases.

        Beside others it always is, as beside the other lane of the same worker: what is taken and put back leaves its
        order for a moment.
        """
        return (self._others_want_it() or time.monotonic() < self._sift_until) and self._engine.peers.current

    async def teach(self) -> None:
        """Make the names known to Redis, unless it knows them. Raises `EngineError`."""
        if not self._taught:
            await self._engine.workers.teach(self._namespace, self.digest, self._names)
            self._taught = True

    def take_out(self, reply: LeaseReply, *, sifted: bool) -> tuple[Sequence[Leased], list[str]]:
        """Send back what the workers do not know.

        Args:
            reply: what was leased.
            sifted: Redis had sorted it.

        Returns:
            the items that the workers know, and the names of other tasks that came up.
        """
        self._taught = self._taught and not reply.untaught
        items, others = sort(reply.items, self._known)
        names = [*reply.parked_tasks, *others]
        if names:
            self._sift_until = time.monotonic() + _SIFT_S
        if others and (sifted or not self._engine.peers.current):
            self._own(self._hold_back(others), f"dibs-hold-back-{self._namespace}")
        elif others:
            self._returns.unseen(self._namespace, [item for some in others.values() for item in some])
        return items, names

    async def _hold_back(self, others: Mapping[str, Sequence[Leased]]) -> None:
        elsewhere: set[str] = set()
        try:
            elsewhere = await self._engine.known_by_workers(self._namespace, list(others))
        except EngineError as error:
            _log.warning("could not ask who knows %d tasks: %s", len(others), error)
        for name, items in others.items():
            self._returns.unseen(
                self._namespace, items, delay_us=self._waits.next_us(name, elsewhere=name in elsewhere)
            )
