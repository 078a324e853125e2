"""Files that are read again while the broker runs: what does not serve changes nothing, and is told once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

#: Seconds between looks at the files.
LOOK_S = 10.0


class FileWatch(Generic[_T]):
    """What files held when they last served, and the looks at them.

    Args:
        what: the files, by their options.
        read: reads them; may block.
        refusal: what `read` raises, with one sentence for a person, when they do not serve.
        kept: what that means for those who call, behind a semicolon.
        look_s: seconds between looks.
        first: what is in use before the first look, which is at once then. Default: they are read here and now.

    Attributes:
        current: what is in use.
        complaint: why the files as they are now do not serve, in one sentence; "": they do.

    Raises:
        Exception: as `read`.
    """

    def __init__(
        self,
        what: str,
        read: Callable[[], _T],
        refusal: type[Exception],
        kept: str,
        *,
        look_s: float = LOOK_S,
        first: _T | None = None,
    ) -> None:
        self._what = what
        self._read = read
        self._refusal = refusal
        self._kept = kept
        self._look_s = look_s
        self.current = read() if first is None else first
        self._at_once = first is not None
        self.complaint = ""
        self._hasten = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look at the files now and then."""
        self._task = asyncio.create_task(self._follow(), name=f"dibs-watch-{self._what}")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def hasten(self) -> None:
        """Look at the files now, and say what came of it."""
        self._hasten.set()

    async def look(self) -> bool:
        """Look at the files; whether new ones were taken."""
        try:
            # Files may lie on a disk that does not answer.
            found = await asyncio.to_thread(self._read)
        except self._refusal as error:
            return self._complain(str(error))
        except Exception as error:  # noqa: BLE001  # the looks go on, whatever a file has brought about
            return self._complain(f"{self._what} cannot be read: {error!r}")
        if self.complaint:
            _log.info("%s: in order again", self._what)
            self.complaint = ""
        if found == self.current:
            return False
        self.current = found
        self.taken()
        return True

    def taken(self) -> None:
        """There is something new in `current`."""

    def _complain(self, text: str) -> bool:
        """Says it once. Always False: nothing was taken."""
        if text != self.complaint:
            _log.error("%s; %s", text, self._kept)
        self.complaint = text
        return False

    def pause_s(self) -> float:
        """Seconds until the next look."""
        return self._look_s

    async def _follow(self) -> None:
        if self._at_once:
            await self.look()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.pause_s()):
                    await self._hasten.wait()
            asked = self._hasten.is_set()
            self._hasten.clear()
            if not await self.look() and asked:
                _log.info("%s: %s", self._what, self.complaint or "nothing has changed")
