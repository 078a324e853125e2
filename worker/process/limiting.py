"""Time limits of plain functions: an exception that is raised in the thread that runs one.

Only that ends a thread's function from outside, and only between two of its steps: a call into C, such as a sleep or a
long regular expression, is ended by the connector, together with its process.
"""

from __future__ import annotations

import ctypes
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

from dibs.errors import TimeLimitExceeded

R = TypeVar("R")


class _Limit:
    """The limit of one call. The thread of the call and that of the clock look at each other's flags, in this order."""

    __slots__ = ("done", "fired", "firing", "ident", "when")

    def __init__(self, when: float) -> None:
        self.when = when
        self.ident = threading.get_ident()
        #: Set by the call's thread when it has ended.
        self.done = False
        #: Set by the clock before it looks whether it has, and when it has raised or not.
        self.firing = False
        self.fired = False

    def strike(self) -> None:
        """Raise in the thread, unless the call has ended."""
        self.firing = True
        if not self.done:
            _raise_in(self.ident, TimeLimitExceeded)
        self.fired = True

    def end(self) -> None:
        """See to it that nothing strikes any more; to be called in the thread."""
        while True:
            try:
                self.done = True
                while self.firing and not self.fired:
                    time.sleep(0)
                if self.fired:
                    _raise_in(self.ident, None)
                return
            except TimeLimitExceeded:  # it strikes once, and the call has ended already
                continue


class Limits:
    """Ends calls of the threads of a lane when their time is over. Its own thread starts with the first call."""

    def __init__(self) -> None:
        self._running: dict[_Limit, None] = {}
        #: When the clock looks next. Set before it looks at what runs, so that who comes meanwhile wakes it.
        self._next = math.inf
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._starting = threading.Lock()
        self._started = False

    def run(self, seconds: float, call: Callable[[], R]) -> R:
        """Make a call in this thread.

        Raises:
            TimeLimitExceeded: it took longer; raised inside of the call, which may catch it. Hardly ever it strikes a
                call that has just returned.
        """
        if not self._started:
            self._start()
        limit = _Limit(time.monotonic() + seconds)
        try:
            try:
                self._running[limit] = None
                if limit.when < self._next:
                    self._wake.put(None)
                return call()
            finally:
                limit.end()
        finally:
            self._running.pop(limit, None)

    def _start(self) -> None:
        with self._starting:
            if not self._started:
                self._started = True
                threading.Thread(target=self._work, name="dibs-limits", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._next = math.inf
            now, first = time.monotonic(), math.inf
            for limit in tuple(self._running):
                if limit.when > now:
                    first = min(first, limit.when)
                elif not limit.firing:
                    limit.strike()
            self._next = first
            with suppress(Empty):
                self._wake.get(timeout=None if math.isinf(first) else max(0.0, first - now))


def _raise_in(ident: int, error: type[BaseException] | None) -> None:
    """Have an exception raised in a thread at its next step; None: take back one that has not been raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(ident), None if error is None else ctypes.py_object(error)
    )
