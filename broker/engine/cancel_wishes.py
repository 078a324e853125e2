"""Wishes to cancel what is running: heard of as hints, and looked up every few seconds, since a hint may be lost.

Redis keeps the latest wishes of each namespace for a minute (``cancel.lua``). Only namespaces where somebody runs
something are looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from dibs.contract.standing import Standing

from .errors import EngineError

_log = logging.getLogger(__name__)

#: Seconds between two looks.
_LOOK_S = 3.0


class CancelWishes:
    """Tells those who run something.

    Args:
        read: the latest wishes of a namespace, each ``<id> <token>``.
    """

    def __init__(self, read: Callable[[str], Awaitable[list[bytes]]]) -> None:
        self._read = read
        #: Who is to be told, by namespace, each with what it was told, for as long as Redis still has that.
        self._tells: dict[str, dict[Callable[[str, int], None], set[tuple[str, int]]]] = defaultdict(dict)
        self._failing = Standing(_log, "wishes to cancel are looked up again")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._loop(), name="dibs-cancel-wishes")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @contextmanager
    def on_cancelled(self, namespace: str, tell: Callable[[str, int], None]) -> Iterator[None]:
        """Call `tell(id, token)` when an item that runs under that token in the namespace is cancelled."""
        self._tells[namespace][tell] = set()
        try:
            yield
        finally:
            del self._tells[namespace][tell]
            if not self._tells[namespace]:
                del self._tells[namespace]
                self._failing.end(namespace)

    def hear(self, namespace: str, id: str, token: int) -> None:
        """Take a hint."""
        for tell, told in tuple(self._tells.get(namespace, {}).items()):
            if (id, token) not in told:
                told.add((id, token))
                tell(id, token)

    async def look(self, namespace: str) -> None:
        """Look now. Raises `EngineError`."""
        found = {wish for text in await self._read(namespace) if (wish := _parsed(text)) is not None}
        for id, token in found:
            self.hear(namespace, id, token)
        for told in self._tells.get(namespace, {}).values():
            told.intersection_update(found)

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            for namespace in tuple(self._tells):
                try:
                    await self.look(namespace)
                except EngineError as error:
                    # The last of them may have left meanwhile.
                    if namespace in self._tells:
                        text = "could not look for wishes to cancel in namespace %s: %s"
                        self._failing.note(namespace, text, namespace, error)
                else:
                    self._failing.end(namespace)


def _parsed(wish: bytes) -> tuple[str, int] | None:
    """Id and token; None: it is none of ours, which must not keep the others from being told."""
    try:
        id, _, token = wish.decode().rpartition(" ")
        return id, int(token)
    except ValueError:
        return None
