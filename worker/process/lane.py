"""A lane: a set of slots of one sort, and the items that are ready for them."""

from __future__ import annotations

import abc
import logging
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ..shared.bell import Bell
from ..shared.logs import Said
from .execution import Execution
from .item import Item
from .leased import LeasedTask
from .waits import Waits

_log = logging.getLogger("dibs.worker")


class Progress:
    """How far the items of a lane are, for those who report it.

    Attributes:
        marks: a byte for each position, written by slots; see `dibs.worker.shared.begun`.
        ended: positions of items that are done, behind whose entries they are put. Filled by slots.
    """

    __slots__ = ("ended", "marks")

    def __init__(self, marks: memoryview) -> None:
        self.marks = marks
        self.ended: deque[int] = deque()


class Lane(abc.ABC):
    """Common to both sorts.

    Whoever deals items submits them and takes back those that have not begun; slots pop them. What a pop of either side
    yields is that side's alone, so no item is both run and released.

    Attributes:
        slots: how many items run at once.
        ready: items that have not begun, oldest first. Filled by who deals, popped by slots and who deals.
        low_water: when fewer items than this are ready, a slot that finishes one rings the bell even if there is
            nothing to report, so that more is asked for. Written by who deals, read by slots.
    """

    def __init__(self, slots: int, execution: Execution, bell: Bell, progress: Progress, waits: Waits) -> None:
        self.slots = slots
        self.ready: deque[Item] = deque()
        self.low_water = 1
        #: Items submitted and not taken back; for who deals only.
        self._submitted = 0
        self._execution = execution
        self._bell = bell
        self._progress = progress
        self._waits = waits
        #: This is a child that a task has forked. To ask for the process each time would cost 5 % of a small task.
        self._forked = False
        os.register_at_fork(after_in_child=_forked_setter(weakref.ref(self)))

    @abc.abstractmethod
    def start(self) -> None:
        """Start threads."""

    @abc.abstractmethod
    def totals(self) -> tuple[int, float]:
        """Items run so far, and seconds that slots spent on them."""

    @abc.abstractmethod
    def running(self) -> Sequence[LeasedTask]:
        """What runs now."""

    @abc.abstractmethod
    def held_up_s(self, now: float) -> float:
        """For how long every slot has been busy with its item, at least; 0 if one is free."""

    @abc.abstractmethod
    def cancel(self, id: str, token: int) -> None:
        """Tells the item of that id, if it runs here under that lease token or an older one, that it is cancelled."""

    @abc.abstractmethod
    def abandon(self) -> None:
        """Cancel what can be cancelled, and report of it what it makes of that. Nothing is ready any more."""

    def lose(self, now: float) -> None:
        """Tells what runs although its lease is over, as far as it has not been told."""
        for running in self.running():
            if not running.lost and running.is_over(now):
                self._execution.lose(running)

    @abc.abstractmethod
    def stop(self, timeout_s: float) -> None:
        """End idle threads and wait for them; blocks. What runs is left alone after the timeout."""

    @abc.abstractmethod
    def wake(self, count: int) -> None:
        """Sees to it that idle slots look for `count` items."""

    def submit(self, items: Iterable[Item], count: int) -> None:
        """Add items."""
        self._submitted += count
        self.ready.extend(items)
        self.wake(count)

    def take_back(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Take items out that have not begun. The others keep their order."""
        if not any(wanted(item) for item in tuple(self.ready)):
            return []
        taken: list[Item] = []
        kept: list[Item] = []
        while self.ready:
            try:
                item = self.ready.popleft()
            except IndexError:  # a slot was faster
                break
            (taken if wanted(item) else kept).append(item)
        if kept:
            # What slots did not find in the meantime they must be told of.
            self.ready.extendleft(reversed(kept))
            self.wake(len(kept))
        self._submitted -= len(taken)
        return taken

    def held(self) -> int:
        """Items here, running or not."""
        return self._submitted - self.totals()[0]

    def leave_if_forked(self, running: LeasedTask, code: int) -> None:
        """End a child that a task has forked and that comes back from it: two would report the same items."""
        if self._forked:
            _log.error(Said("a forked child came back from its task; it had better end itself", task=running.name))
            os._exit(code)


def _forked_setter(lane: weakref.ref[Lane]) -> Callable[[], None]:
    """What is to be called in a child. Does not keep the lane."""

    def note() -> None:
        found = lane()
        if found is not None:
            found._forked = True

    return note
