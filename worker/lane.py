"""A lane: a set of slots of one sort, and the items that are ready for them."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from .execution import Execution, Item
from .leased import LeasedTask
from .outbox import Bell


class Lane(abc.ABC):
    """Common to both sorts.

    The loop of the stream submits items and takes back those that have not begun; slots pop them. What a pop of
    either side yields is that side's alone, so no item is both run and released.

    Attributes:
        slots: how many items run at once.
        ready: items that have not begun, oldest first. Filled by the loop, popped by slots and loop.
        low_water: when fewer items than this are ready, a slot that finishes one rings the bell even if there is
            nothing to report, so that the loop asks for more. Written by the loop, read by slots.
    """

    def __init__(self, slots: int, execution: Execution, bell: Bell) -> None:
        self.slots = slots
        self.ready: deque[Item] = deque()
        self.low_water = 1
        #: Items submitted and not taken back; for the loop only.
        self._submitted = 0
        self._execution = execution
        self._bell = bell

    @abc.abstractmethod
    def start(self) -> None:
        """Starts threads."""

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
    def stop(self, timeout_s: float) -> None:
        """Ends idle threads and waits for them; blocks. What runs is left alone after the timeout."""

    @abc.abstractmethod
    def wake(self, count: int) -> None:
        """Sees to it that idle slots look for `count` items."""

    def submit(self, items: Iterable[Item], count: int) -> None:
        """Adds items; called in the loop."""
        self._submitted += count
        self.ready.extend(items)
        self.wake(count)

    def take_back(self, wanted: Callable[[Item], bool]) -> list[Item]:
        """Takes items out that have not begun; called in the loop. The others keep their order."""
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
        """Items here, running or not; called in the loop."""
        return self._submitted - self.totals()[0]
