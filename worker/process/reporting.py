"""What a task process tells its connector.

A slot with nothing more to do writes by itself; one with more rings for a thread that does, so that it can go on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NoReturn

from ..shared import frames
from ..shared.entries import Entries
from ..shared.memory import SharedMemory
from ..shared.sorts import Sort
from .own_stream import OwnStream
from .slots import Slots

_log = logging.getLogger("dibs.worker")

#: How often what waits is looked after, while there is anything.
_LOOK_EVERY_S = 0.25
#: How often the process says that it is alive.
_ALIVE_EVERY_S = 1.0


class Reporter:
    """Writes frames, and signs of life.

    Args:
        stream: to the connector.
        memory: where signs of life go.

    Attributes:
        lanes: what each has to tell.
        gone: the connector is; nobody can be told anything any more.
    """

    def __init__(self, stream: OwnStream, memory: SharedMemory) -> None:
        self.gone = False
        self.lanes = {sort: LaneReport(sort, self) for sort in Sort}
        self._stream = stream
        self._memory = memory
        #: Held by who writes.
        self._writing = threading.Lock()
        self._wake: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._slots: Sequence[Slots] = ()
        #: The thread waits for as long as it can, because there was nothing to look after.
        self._resting = False
        #: What was measured has been forgotten, for want of items.
        self._rested = True
        self._looked_at = 0.0

    def start(self, slots: Sequence[Slots], hello: bytes) -> None:
        """Send the hello, and start the thread."""
        self._slots = slots
        for one in slots:
            self.lanes[one.sort].slots = one
        self._memory.alive_at = time.monotonic()
        self.write(hello)
        threading.Thread(target=self._work, name="dibs-up", daemon=True).start()

    def items_came(self) -> None:
        """Sees to it that they are looked after."""
        if self._resting:
            self._resting = False
            self._rested = False
            self._wake.put(None)

    def soon(self, action: Callable[[], None] | None = None) -> None:
        """Has something done in the thread, and everything sent. For handlers of signals, too: takes no lock."""
        self._wake.put(action)

    def retire(self) -> None:
        """Asks for no more items."""
        self.write(frames.frame(frames.RETIRE))

    def flush(self) -> None:
        """Send everything that has gathered."""
        for lane in self.lanes.values():
            lane.flush()

    def write(self, *data: bytes) -> None:
        """Write frames that belong together, unless the connector is gone."""
        try:
            with self._writing:
                for one in data:
                    if not self.gone:
                        self._stream.send(one)
        except ConnectionError:
            # The reader sees the end, too, and ends the process.
            self.gone = True
        except BaseException:  # noqa: BLE001 - what is written now makes no sense any more, or goes to somebody else
            # A task has closed what is not its own, or interrupts threads. The connector sees to what was held here.
            _log.exception("the stream to the connector cannot be written, ending the process")
            leave()

    def _work(self) -> None:
        try:
            while True:
                self._step()
        except BaseException:  # noqa: BLE001 - a process that reports nothing would only look alive
            _log.exception("reporting failed, ending the process")
            leave()

    def _step(self) -> None:
        slots = self._slots
        self._resting = True
        if not self._rested or any(one.held for one in slots):
            self._resting = False
        action: Callable[[], None] | None = None
        with suppress(Empty):
            action = self._wake.get(timeout=_ALIVE_EVERY_S if self._resting else _LOOK_EVERY_S)
        if action is not None:
            action()
        now = time.monotonic()
        if now - self._memory.alive_at >= _ALIVE_EVERY_S:
            # Without its stream a process that has nothing to tell would only look alive.
            self._stream.check()
            self._memory.alive_at = now
        if not self._resting and now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._rested = not any(one.held for one in slots)
            for one in slots:
                one.look_after(now)
                if self._rested:
                    one.rest()
        self.flush()


class LaneReport:
    """What one lane has to tell. It is the bell of its entries, too.

    Args:
        sort: of the lane.
        reporter: writes.

    Attributes:
        armed: as of a bell.
        entries: filled by slots.
        slots: of the lane.
    """

    slots: Slots

    def __init__(self, sort: Sort, reporter: Reporter) -> None:
        self.armed = True
        self.entries = Entries(self)
        self._sort = sort
        self._reporter = reporter
        #: Held by who gathers, until it is written: an item's entry comes no later than its position.
        self._gathering = threading.Lock()
        self._told: tuple[int, int, int] | None = None

    def ring(self) -> None:
        """Report, here or in the thread. From any thread."""
        self.armed = False
        if self.slots.ready:
            self._reporter.soon()
        else:
            self.flush()

    def flush(self) -> None:
        """Send everything that has gathered."""
        try:
            with self._gathering:
                self._flush()
        except BaseException:  # noqa: BLE001 - what was taken and is not written is lost
            _log.exception("what came of tasks cannot be told, ending the process")
            leave()

    def _flush(self) -> None:
        slots = self.slots
        while True:
            ranges, parts = slots.gather()
            standing = slots.standing()
            if ranges or parts or standing[1:] != (self._told or standing)[1:]:
                self._reporter.write(*self._frames(standing, ranges, parts))
            self._told = standing
            self.armed = True
            if not slots.something:
                return
            self.armed = False

    def _frames(
        self, standing: tuple[int, int, int], ranges: list[tuple[int, int]], parts: list[tuple[int, bytes]]
    ) -> list[bytes]:
        dealt, room, ahead = standing
        prefix = frames.STANDING.pack(dealt % frames.MODULO, room, ahead)
        released = self.slots.released % frames.MODULO
        # Positions go with the last message: when they are read, all of their entries have been.
        made = [
            frames.frame(frames.DONE, entries, 0, released, prefix + data, lane=self._sort)
            for entries, data in parts[:-1]
        ]
        entries, data = parts[-1] if parts else (0, b"")
        places = b"".join([frames.RANGE.pack(*one) for one in ranges])
        made.append(frames.frame(frames.DONE, entries, len(ranges), released, prefix + places + data, lane=self._sort))
        return made


def leave() -> NoReturn:
    """End the process, whatever its threads are at."""
    logging.shutdown()
    os._exit(os.EX_SOFTWARE)
