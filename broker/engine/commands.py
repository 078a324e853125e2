"""Commands of operators to workers, passed from the broker that was asked to those that have streams of the worker.

Nothing is kept in Redis: a command is repeated until a broker says that it has passed it on, or the time is over. So it
reaches whoever is there now, and never a worker that is started later under the same name.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from .errors import EngineError

_log = logging.getLogger(__name__)

#: Seconds until a command is said again, and how often it is said.
_AGAIN_S = 1.0
_TIMES = 4


class Commands:
    """Passes commands on.

    Args:
        publish: says something on the channel of hints: what, namespace, rest.
    """

    def __init__(self, publish: Callable[[str, str, str], Awaitable[None]]) -> None:
        self._publish = publish
        #: Who is to be told, by namespace and worker.
        self._tells: dict[tuple[str, str], set[Callable[[bytes], None]]] = defaultdict(set)
        #: Commands whose word is waited for.
        self._sent: dict[str, asyncio.Event] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Say nothing more."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    @contextmanager
    def on_command(self, namespace: str, worker: str, tell: Callable[[bytes], None]) -> Iterator[None]:
        """Call `tell(command)` with what a worker of that name is to do. The same may come more than once."""
        key = namespace, worker
        self._tells[key].add(tell)
        try:
            yield
        finally:
            self._tells[key].discard(tell)
            if not self._tells[key]:
                del self._tells[key]

    async def send(self, namespace: str, worker: str, command: bytes) -> bool:
        """Have a command passed on; whether a broker says that it has been. Raises `EngineError`."""
        id = os.urandom(8).hex()
        passed_on = self._sent[id] = asyncio.Event()
        rest = f"{id} {_text(worker.encode())} {_text(command)}"
        try:
            for _ in range(_TIMES):
                await self._publish("w", namespace, rest)
                try:
                    async with asyncio.timeout(_AGAIN_S):
                        await passed_on.wait()
                    return True
                except TimeoutError:
                    continue
            return False
        finally:
            del self._sent[id]

    def hear(self, namespace: str, rest: str) -> None:
        """Take a command, if it is for a worker that has a stream here.

        Raises:
            ValueError: it is none.
        """
        id, worker, command = rest.split(" ")
        try:
            key = namespace, base64.b64decode(worker, validate=True).decode()
            content = base64.b64decode(command, validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from error
        tells = tuple(self._tells.get(key, ()))
        for tell in tells:
            tell(content)
        if tells:
            task = asyncio.create_task(self._answer(namespace, id), name="dibs-command-answer")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def hear_answer(self, id: str) -> None:
        """Take the word that a command has been passed on."""
        if id in self._sent:
            self._sent[id].set()

    async def _answer(self, namespace: str, id: str) -> None:
        try:
            await self._publish("k", namespace, id)
        except EngineError as error:
            # Who sent it says it again.
            _log.warning("could not say that a command was passed on: %s", error)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
