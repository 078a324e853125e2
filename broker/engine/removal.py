"""Removes namespaces with everything that is in them, in steps that hold nobody up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from . import keys
from .scripts import Call

#: Keys of Redis, of all namespaces, that one step goes through.
_STEP = 1000
#: How often all of Redis is gone through at most, while something is put in again and again.
_MOST_PASSES = 5


class Use(NamedTuple):
    """Who works in a namespace: connected workers, and queues of which items are leased."""

    workers: int
    leased_queues: int


class Removal:
    """Removes namespaces.

    Args:
        call: runs a script.
        command: runs a command of Redis.
        key_prefix: start of every key.
        forgotten: called when a namespace is gone; tells every broker.
    """

    def __init__(
        self,
        call: Call,
        command: Callable[..., Awaitable[Any]],
        key_prefix: str,
        forgotten: Callable[[str], Awaitable[None]],
    ) -> None:
        self._call = call
        self._command = command
        self._key_prefix = key_prefix
        self._forgotten = forgotten

    async def use(self, namespace: str) -> Use:
        """Who works in a namespace now."""
        return Use(*await self._call("namespace_use", namespace, ()))

    async def remove(self, namespace: str) -> AsyncGenerator[tuple[int, bool]]:
        """Remove one: how many keys so far, and at the end whether it is gone. May be repeated.

        It is not if something is put in as fast as it is removed.
        """
        pattern = keys.namespace_prefix(self._key_prefix, namespace) + "*"
        removed = 0
        for _ in range(_MOST_PASSES):
            before = removed
            async for names in self._found(pattern):
                # Large ones are taken apart beside Redis's other work.
                removed += await self._command("UNLINK", *names)
                yield removed, False
            if removed == before:
                await self._forgotten(namespace)
                yield removed, True
                return
        yield removed, False

    async def _found(self, pattern: str) -> AsyncIterator[list[bytes]]:
        cursor = b"0"
        while True:
            cursor, names = await self._command("SCAN", cursor, "MATCH", pattern, "COUNT", _STEP)
            if names:
                yield names
            if cursor == b"0":
                return
