"""Lines that are written to a file, a FIFO or standard error without anybody waiting for that.

A thread writes them. While that fails (a full disk, a FIFO that nobody reads) so many wait, and further ones are lost,
counted and told: in the log, in `GetServerInfo`, and in the next line that can be written.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

_log = logging.getLogger(__name__)

#: Lines that wait to be written; beyond that they are lost.
MOST_WAITING = 10_000
#: Seconds between attempts to write.
_AGAIN_S = 1.0
#: Lines of one write, which all readers of a FIFO can take at once.
_MOST_AT_ONCE = 100
#: What stands for standard error.
STDERR = "stderr"
_STDERR_FD = 2


class CannotWrite(Exception):
    """The file cannot be written; the text is one sentence that says why."""


class AuditLog:
    """Writes lines.

    Args:
        where: path of a file, to be appended to, or ``stderr``.
        lost_line: makes the line that says how many were lost.

    Attributes:
        complaint: why lines are not written at the moment, in one sentence; "": they are.

    Raises:
        CannotWrite: the file cannot be opened. A FIFO that nobody reads can, later.
    """

    def __init__(self, where: str, lost_line: Callable[[int], bytes]) -> None:
        self._where = where
        self._lost_line = lost_line
        self.complaint = ""
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        #: Written by who says lines.
        self._lost = 0
        #: Of those the reader of the file knows. The rest is the thread's, too.
        self._told = 0
        self._torn = False
        self._fd = _STDERR_FD if where == STDERR else -1
        self._reopen = False
        self._stopping = threading.Event()
        try:
            self._open()
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise CannotWrite(f"--audit-log {where} cannot be written: {error.strerror}") from None
        self._thread = threading.Thread(target=self._work, name="dibs-audit", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Lines that were not written, and will not be."""
        return self._lost

    def say(self, line: bytes) -> None:
        """Have a line written, with its end. Never blocks; from one thread."""
        if self._queue.qsize() >= MOST_WAITING:
            self._lost += 1
        else:
            self._queue.put(line)

    def reopen(self) -> None:
        """Write to what is at the path now."""
        self._reopen = True

    def close(self, timeout_s: float) -> None:
        """Write what waits, within that time."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        self._stopping.set()
        left = self._queue.qsize()
        if self._thread.is_alive() or left:
            _log.error("--audit-log %s: the broker ends with at least %d lines not written", self._where, max(left, 1))

    def _work(self) -> None:
        waiting: deque[bytes] = deque()
        ending = False
        while not ending or waiting:
            if not waiting and not ending:
                line = self._queue.get()
                ending = line is None
                waiting.extend(() if line is None else (line,))
            while not self._queue.empty() and len(waiting) < _MOST_AT_ONCE and not ending:
                line = self._queue.get()
                ending = line is None
                waiting.extend(() if line is None else (line,))
            try:
                self._write_all(waiting)
            except OSError as error:
                self._complain(error)
                if self._stopping.wait(_AGAIN_S):
                    return
        if self._fd not in (-1, _STDERR_FD):
            os.close(self._fd)

    def _write_all(self, waiting: deque[bytes]) -> None:
        """Write lines, and take out those that were written."""
        self._open()
        lost = self._lost
        if lost > self._told:
            self._write(self._lost_line(lost - self._told))
            self._told = lost
        while waiting:
            self._write(waiting[0])
            waiting.popleft()
        if self.complaint:
            _log.info("--audit-log %s: lines are written again; %d were lost so far", self._where, lost)
            self.complaint = ""

    def _write(self, line: bytes) -> None:
        # What follows a line that was cut off by a full disk begins with a line of its own.
        data = b"\n" + line if self._torn else line
        while data:
            done = os.write(self._fd, data)
            self._torn = done < len(data)
            data = data[done:]
        self._torn = False

    def _open(self) -> None:
        """Have the path open, as it is now: whoever rotates the file renames it."""
        if self._where == STDERR:
            return
        if self._fd != -1 and not self._reopen:
            with suppress(OSError):
                here, there = os.fstat(self._fd), os.stat(self._where)
                if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                    return
        self._reopen = False
        # Without waiting for who reads a FIFO; files do not care.
        found = os.open(self._where, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        if self._fd != -1:
            os.close(self._fd)
        self._fd = found
        self._torn = False

    def _complain(self, error: OSError) -> None:
        text = f"--audit-log {self._where} cannot be written: {error.strerror}"
        if text != self.complaint:
            _log.error("%s; %d lines wait at most, further ones are lost and counted", text, MOST_WAITING)
        self.complaint = text
        if self._fd not in (-1, _STDERR_FD):
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1
