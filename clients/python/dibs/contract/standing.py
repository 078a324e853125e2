"""Log lines about what stays wrong for a while: few while it lasts, and one when it is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable

#: Least seconds between two lines about the same condition, at its beginning and when it has lasted long.
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class Standing:
    """One condition, in which one or many (namespaces, streams, ...) can be.

    The first to be in it is logged at once; after that at most one line a second for all of them together, and less
    and less often.

    Args:
        log: where to.
        over: text for when nobody is in it any more.
        level: of the lines while it lasts.
    """

    def __init__(self, log: logging.Logger, over: object, level: int = logging.WARNING) -> None:
        self._log = log
        self._over = over
        self._level = level
        self._who: set[Hashable] = set()
        self._logged = False
        self._pause_s = _FIRST_PAUSE_S
        self._next_at = 0.0

    def __bool__(self) -> bool:
        """Whether anybody is in it."""
        return bool(self._who)

    def note(self, who: Hashable, text: object, *args: object) -> None:
        """Says that somebody is in it, still or anew; the text is logged unless one was a moment ago."""
        self._who.add(who)
        now = time.monotonic()
        if now < self._next_at:
            return
        self._log.log(self._level, text, *args, stacklevel=2)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S) if self._logged else _FIRST_PAUSE_S
        self._next_at = now + self._pause_s
        self._logged = True

    def end(self, who: Hashable) -> None:
        """Says that somebody is not in it (any more)."""
        if who not in self._who:
            return
        self._who.discard(who)
        if self._who or not self._logged:
            return
        self._log.info(self._over, stacklevel=2)
        self._logged = False
        # The next condition may be told of soon, but not at every turn of one that comes and goes.
        self._next_at = min(self._next_at, time.monotonic() + _FIRST_PAUSE_S)
