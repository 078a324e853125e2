"""Large requests are begun one after the other, the callers in turn, with room between them for everybody else.

All of a broker happens in one thread, and to read and check a request of a thousand entries takes milliseconds of it.
Of those that have come together one is begun, then the event loop goes round a few times, in which all that is small
gets on, then comes the next one, of another caller if there is one. Nothing stands still for it: a loop that has
nothing else to do goes round in microseconds. Where namespaces share the broker, each caller has a quarter of the
thread's time for its large requests and no more, so that what is small finds it free.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable

#: Bytes from which on a request is large: some hundred names or small items.
LARGE_BYTES = 4096
#: How often the loop goes round between two of them: as often as a small call needs it, about.
_ROUNDS = 6
#: How much longer than a request took its caller waits until the next is begun, where namespaces share the broker.
_PAUSE = 3
#: Longest time that counts of one: whoever took longer was most likely held up by something else.
_LONGEST_S = 0.02


class Pacer:
    """Whose large request is begun next. The event loop alone touches it.

    Args:
        is_shared: whether calls of several namespaces have come lately, so that somebody gains by a pause.
    """

    def __init__(self, is_shared: Callable[[], bool] = lambda: False) -> None:
        self._is_shared = is_shared
        #: Who has requests waiting, in the order of their turns.
        self._lines: dict[Hashable, deque[asyncio.Future[None]]] = {}
        #: When those may go on who have had their share.
        self._free_at: dict[Hashable, float] = {}
        #: Something is begun, or the next look is set.
        self._busy = False
        self._look: asyncio.TimerHandle | None = None

    async def turn(self, caller: Hashable) -> None:
        """Return when a request of that caller may be begun; those of one caller are in the order of these calls."""
        loop = asyncio.get_running_loop()
        if not self._busy and not self._lines and caller not in self._free_at:
            self._begin(loop, caller)
            return
        mine = loop.create_future()
        self._lines.setdefault(caller, deque()).append(mine)
        if not self._busy:
            self._next(loop)
        await mine

    def _begin(self, loop: asyncio.AbstractEventLoop, caller: Hashable) -> None:
        self._busy = True
        loop.call_soon(self._begun, loop, caller, loop.time())

    def _begun(self, loop: asyncio.AbstractEventLoop, caller: Hashable, began: float) -> None:
        """What a request does before it waits for anything is done."""
        if self._is_shared():
            now = loop.time()
            self._free_at[caller] = now + _PAUSE * min(now - began, _LONGEST_S)
        self._go_round(loop, _ROUNDS)

    def _go_round(self, loop: asyncio.AbstractEventLoop, left: int) -> None:
        if left:
            loop.call_soon(self._go_round, loop, left - 1)
        else:
            self._busy = False
            self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the first that may be begun, or look again when there will be one."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        now = loop.time()
        for caller in [caller for caller, at in self._free_at.items() if at <= now]:
            del self._free_at[caller]
        for caller in tuple(self._lines):
            if caller in self._free_at:
                continue
            line = self._lines.pop(caller)
            while line:
                mine = line.popleft()
                if not mine.done():
                    if line:
                        self._lines[caller] = line
                    mine.set_result(None)
                    self._begin(loop, caller)
                    return
        if self._free_at:
            self._look = loop.call_at(min(self._free_at.values()), self._next_unless_busy, loop)

    def _next_unless_busy(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look = None
        if not self._busy:
            self._next(loop)
