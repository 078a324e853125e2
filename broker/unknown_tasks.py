"""Tasks that a worker does not know: their items wait for one that does, without using up an attempt."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from .bodies import task_name
from .engine.types import Leased

#: How long an item of a task is held back that no connected worker knows, at first and at most.
_FIRST_US = 1_000_000
_MOST_US = 10_000_000
#: How long one is held back that another worker knows, who is busy or connected to another broker.
_ELSEWHERE_US = 200_000
#: How often a worker is told of a name.
_TELL_S = 60.0
#: Names that are remembered; beyond that they are forgotten, and waits begin anew.
_MAX_NAMES = 10_000


@dataclass(slots=True)
class _Name:
    """How an unknown name stands: the next wait, when it may grow, and when the worker is told again."""

    delay_us: int = _FIRST_US
    grows_at: float = 0.0
    told_again_at: float = 0.0


class UnknownTasks:
    """Sorts the items of one worker.

    Args:
        known: names of the tasks that it can run; not none.
        tell: called when there is something in `untold`.

    Attributes:
        untold: names that the worker is to be told of; whoever tells it empties this.
    """

    def __init__(self, known: Collection[str], tell: Callable[[], None]) -> None:
        self.untold: list[str] = []
        self._tell = tell
        self._known = frozenset(name.encode() for name in known)
        self._names: dict[str, _Name] = {}

    def knows(self, item: Leased) -> bool:
        """Whether the worker can run an item."""
        return task_name(item.record, item.record.index(b"\n") + 1) in self._known

    def sort(self, items: Sequence[Leased]) -> tuple[Sequence[Leased], Mapping[str, Sequence[Leased]]]:
        """Items that the worker can run, and the others by their tasks' names."""
        names = [task_name(item.record, item.record.index(b"\n") + 1) for item in items]
        if self._known.issuperset(names):
            return items, {}
        known = []
        held: dict[str, list[Leased]] = defaultdict(list)
        for item, name in zip(items, names, strict=True):
            if name in self._known:
                known.append(item)
            else:
                held[name.decode()].append(item)
        return known, held

    def delay_us(self, name: str, *, elsewhere: bool) -> int:
        """How long items of an unknown task that has come up now are to be held back, in microseconds.

        Args:
            name: of the task.
            elsewhere: another connected worker knows it.
        """
        now = time.monotonic()
        state = self._names.get(name)
        if state is None:
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            state = self._names[name] = _Name()
        elif now >= state.grows_at:
            # All items of a round wait equally long; those that come back after it wait twice as long.
            state.delay_us = min(state.delay_us * 2, _MOST_US)
        if now >= state.grows_at:
            state.grows_at = now + state.delay_us / 1e6
        if now >= state.told_again_at:
            state.told_again_at = now + _TELL_S
            self.untold.append(name)
            self._tell()
        return _ELSEWHERE_US if elsewhere else state.delay_us
