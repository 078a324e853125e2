"""What a task process tells its connector.

A slot with nothing more to do writes by itself; one with more rings for a thread that does, so that it can go on.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NoReturn

from .. import frames
from ..entries import Entries
from .slots import Slots

_log = logging.getLogger("dibs.worker")

#: How often what waits is looked after, while there is anything.
_LOOK_EVERY_S = 0.25
_MODULO = 1 << 32


class Reporter:
    """Writes frames. It is the bell of the entries, too.

    Args:
        stream: to the connector.

    Attributes:
        armed: as of a bell.
        gone: the connector is; nobody can be told anything any more.
    """

    def __init__(self, stream: socket.socket) -> None:
        self.armed = True
        self.gone = False
        self.entries = Entries(self)
        self._stream = stream
        #: Held by who writes.
        self._writing = threading.Lock()
        self._wake: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._slots: Slots | None = None
        self._told: tuple[int, int, int] | None = None
        #: The thread waits for as long as it takes, because there was nothing to look after.
        self._resting = False
        #: What was measured has been forgotten, for want of items.
        self._rested = True
        self._looked_at = 0.0

    def start(self, slots: Slots, hello: bytes) -> None:
        """Sends the hello, and starts the thread."""
        self._slots = slots
        self._write(hello)
        threading.Thread(target=self._work, name="dibs-up", daemon=True).start()

    def ring(self) -> None:
        """Reports, here or in the thread. From any thread."""
        self.armed = False
        assert self._slots is not None
        if self._slots.ready:
            self._wake.put(None)
        else:
            self.flush()

    def items_came(self) -> None:
        """Sees to it that they are looked after."""
        if self._resting:
            self._resting = False
            self._rested = False
            self._wake.put(None)

    def soon(self, action: Callable[[], None]) -> None:
        """Has something done in the thread. For handlers of signals: takes no lock."""
        self._wake.put(action)

    def retire(self) -> None:
        """Asks for no more items."""
        with self._writing:
            self._write(frames.frame(frames.RETIRE))

    def flush(self) -> None:
        """Sends everything that has gathered."""
        slots = self._slots
        assert slots is not None
        with self._writing:
            while True:
                ranges, parts = slots.gather()
                standing = slots.standing()
                if ranges or parts or standing[1:] != (self._told or standing)[1:]:
                    self._send(slots, standing, ranges, parts)
                self._told = standing
                self.armed = True
                if not slots.something:
                    return
                self.armed = False

    def _send(
        self,
        slots: Slots,
        standing: tuple[int, int, int],
        ranges: list[tuple[int, int]],
        parts: list[tuple[int, bytes]],
    ) -> None:
        dealt, room, ahead = standing
        prefix = frames.STANDING.pack(dealt % _MODULO, room, ahead)
        released = slots.released % _MODULO
        # Positions go with the last message: when they are read, all of their entries have been.
        for entries, data in parts[:-1]:
            self._write(frames.frame(frames.DONE, entries, 0, released, prefix + data))
        entries, data = parts[-1] if parts else (0, b"")
        places = b"".join([frames.RANGE.pack(*one) for one in ranges])
        self._write(frames.frame(frames.DONE, entries, len(ranges), released, prefix + places + data))

    def _write(self, data: bytes) -> None:
        if self.gone:
            return
        try:
            self._stream.sendall(data)
        except ConnectionError:
            # The reader sees the end, too, and ends the process.
            self.gone = True
        except OSError:
            # A task has closed what is not its own. Its connector sees to what this process held.
            _log.exception("the stream to the connector cannot be written, ending the process")
            leave()

    def _work(self) -> None:
        try:
            while True:
                self._step()
        except Exception:  # noqa: BLE001 - a process that reports nothing would only look alive
            _log.exception("reporting failed, ending the process")
            leave()

    def _step(self) -> None:
        slots = self._slots
        assert slots is not None
        self._resting = True
        if slots.held or not self._rested:
            self._resting = False
        action: Callable[[], None] | None = None
        with suppress(Empty):
            action = self._wake.get(timeout=None if self._resting else _LOOK_EVERY_S)
        if action is not None:
            action()
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._rested = not slots.held
            slots.look_after(now)
            if self._rested:
                slots.rest()
        self.flush()


def leave() -> NoReturn:
    """Ends the process, whatever its threads are at."""
    logging.shutdown()
    os._exit(os.EX_SOFTWARE)
