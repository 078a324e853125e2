"""The namespaces that an engine knows to be in use: heard of, looked after in time, forgotten when they are deleted.

A broker learns of them when it starts and with the first call to each. Whatever may have made that untrue - hints were
missed, Redis has lost its data - has it learn them again, a call at a time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from . import keys
from .calls import MAX_BATCH, Calls
from .config import EngineConfig
from .connections import Argument
from .hints import Hints
from .peers import Peers
from .quotas import QuotaWatch
from .schedules import Schedules
from .timers import Timers
from .types import Kind

#: Looks at namespaces where somebody waits, for all of them together: beyond that the pauses between them grow.
_MOST_LOOKS_A_SECOND = 1000


class Namespaces(Calls):
    """The part of an engine that knows the namespaces and what goes on in them (see ``engine.py``)."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, lambda: self.hints.renew())
        self._timers = Timers(self._look, self._pause_s)
        #: Known to be among those in use.
        self._namespaces: set[str] = set()
        # Without hints it may have been missed that some are gone.
        self.hints = Hints(self._client, *self._channels, self._timers.hasten, self._namespaces.clear)
        self.peers = Peers(self._count_listeners, self._read_generation, self._read_uncounted, self.hints.subscribed)
        self.quotas = QuotaWatch(self._call, config.quotas, lambda: self.peers.current, lambda: self.peers.uncounted_us)
        self.schedules = Schedules(self._call, self._call_known, self.quotas)

    def redis_now_us(self) -> int:
        """Redis's clock now in microseconds, as far as its last reply told."""
        return self._timers.redis_now_us()

    async def namespaces(self, most: int | None = None) -> list[str]:
        """The namespaces in use, by name; up to `most` of them."""
        self._check_open("namespaces")
        return sorted(await self._read_namespaces())[:most]

    async def _call_known(self, script: str, namespace: str, args: Sequence[Argument]) -> Any:
        """As `_call`, for what makes a namespace one that is in use."""
        await self._know(namespace)
        return await self._call(script, namespace, args)

    async def _know(self, namespace: str) -> None:
        if namespace not in self._namespaces:
            self._check_open("namespaces")
            key = keys.namespaces(self.config.key_prefix)
            async with self._translated("namespaces"):
                # Looked up first: nothing can be added while memory is full, and what another broker knows is there.
                if not await self._pipe.call("SISMEMBER", key, namespace):
                    await self._pipe.call("SADD", key, namespace)
            self._namespaces.add(namespace)
            self._timers.add(namespace)

    async def _tell_deleted(self, namespace: str) -> None:
        await self._command("SREM", keys.namespaces(self.config.key_prefix), namespace)
        await self._publish("d", namespace, "-")
        self._forget(namespace)

    async def _publish(self, what: str, namespace: str, rest: str) -> None:
        """Say something to all brokers; see include/events.lua."""
        await self._command("PUBLISH", self._channels[0], f"{what} {namespace} {rest}")

    def _forget(self, namespace: str) -> None:
        """The namespace is gone; the next call to it puts it among those in use again."""
        self._namespaces.discard(namespace)
        # That somebody waits there is gone from Redis, too.
        self.hints.resync(namespace)

    async def _is_used(self, namespace: str) -> bool:
        """Whether to go on looking after a namespace: it may have been deleted, and used again since."""
        if namespace in self._namespaces or namespace in self.hints.waiting:
            return True
        async with self._translated("namespaces"):
            if await self._pipe.call("SISMEMBER", keys.namespaces(self.config.key_prefix), namespace):
                self._namespaces.add(namespace)
        return namespace in self._namespaces

    async def _learn_namespaces(self) -> None:
        for namespace in await self._read_namespaces():
            self._namespaces.add(namespace)
            self._timers.add(namespace)

    async def _read_namespaces(self) -> list[str]:
        async with self._translated("namespaces"):
            known: list[bytes] = await self._pipe.call("SMEMBERS", keys.namespaces(self.config.key_prefix))
        return [namespace.decode() for namespace in known]

    async def _count_listeners(self) -> tuple[int, int]:
        self._check_open("peers")
        async with self._translated("peers"):
            _, listening, _, knowing = await self._pipe.call("PUBSUB", "NUMSUB", *self._channels)
        return listening, knowing

    async def _read_generation(self) -> bytes:
        self._check_open("peers")
        key = keys.generation(self.config.key_prefix)
        async with self._translated("peers"):
            found: bytes | None = await self._pipe.call("GET", key)
            if found is None:
                await self._pipe.call("SET", key, f"{self.hints.origin} {time.time_ns()}", "NX")
                found = await self._pipe.call("GET", key)
        return found or b""

    async def _read_uncounted(self, there_now: bool) -> int:
        self._check_open("peers")
        key = keys.uncounted(self.config.key_prefix)
        async with self._translated("peers"):
            if there_now:
                await self._pipe.call("SET", key, self.redis_now_us())
            found: bytes | None = await self._pipe.call("GET", key)
        return int(found) if found and found.isdigit() else 0

    def _pause_s(self, namespace: str) -> float:
        """Most seconds between looks at a namespace: where nobody waits here, what is left behind is missed by nobody.

        A lease looks for itself, and those who wait at another broker have that one look.
        """
        waiting = self.hints.waiting
        if namespace in waiting:
            return max(self.config.poll_interval_s, len(waiting) / _MOST_LOOKS_A_SECOND)
        return max(self.config.poll_interval_s, self.config.idle_poll_interval_s)

    async def _look(self, namespace: str) -> tuple[int, int] | None:
        if await self._is_used(namespace):
            return await self._advance(namespace)
        self._timers.remove(namespace)
        return None

    async def _advance(self, namespace: str) -> tuple[int, int]:
        due, now, look, *ready = await self._call("advance", namespace, (MAX_BATCH,))
        self.schedules.see_due(namespace, look, now)
        for kind, queues in zip(Kind, ready, strict=True):
            for queue in queues:
                self.hints.ready(namespace, kind.value, queue.decode())
        return due, now
