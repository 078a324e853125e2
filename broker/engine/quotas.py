"""How much namespaces may hold: asked for by this broker, counted in Redis, so that all brokers count the same.

Items, queues, schedules, locks and tasks Redis counts anyway. Bytes are counted from when a broker first asks for them
(``lua/include/bytes.lua``): what was there before is counted step by step, and anew when a broker of an earlier
version, which counts nothing, has been beside this one. For so long nothing is refused for its bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .errors import EngineError, QuotaExceeded
from .scripts import Call

_log = logging.getLogger(__name__)

#: Bytes of records that one step of a count reads, about.
_STEP_BYTES = 512 * 1024
#: Steps that the first call in a namespace waits for: a namespace with little in it then has been counted.
_STEPS_WAITED = 10


class Quotas(NamedTuple):
    """How much one namespace may hold; 0: as much as there is room for.

    Attributes:
        items: in all states, dead letters as well, until they are finished, removed or taken.
        bytes: of these items as Redis holds them.
        queues: into which something was ever put, until they are deleted.
        schedules: known.
        locks: held.
        tasks: registered.
    """

    items: int = 0
    bytes: int = 0
    queues: int = 0
    schedules: int = 0
    locks: int = 0
    tasks: int = 0


#: As much as there is room for.
UNLIMITED = Quotas()


class QuotaTable:
    """The quotas of all namespaces, which may change at any time.

    Attributes:
        every: of namespaces that have none of their own.
        own: of namespaces that have.
    """

    def __init__(self, every: Quotas = UNLIMITED, own: Mapping[str, Quotas] = MappingProxyType({})) -> None:
        self.every = every
        self.own = own

    def of(self, namespace: str) -> Quotas:
        """The quotas of a namespace."""
        return self.own.get(namespace, self.every)


class Use(NamedTuple):
    """How much is in a namespace of what quotas are about; `bytes` None: nobody counts them, or not all are counted."""

    items: int
    bytes: int | None
    queues: int
    schedules: int
    locks: int
    tasks: int


def checked(namespace: str, reply: Any) -> Any:
    """The reply of a script. Raises `QuotaExceeded` if it is a refusal (see ``lua/include/quota.lua``)."""
    if type(reply) is bytes and reply.startswith(b"!"):
        quota, limit, used = reply[1:].decode().split(" ")
        raise QuotaExceeded(namespace, quota, int(limit), int(used))
    return reply


class QuotaWatch:
    """Says scripts what they may put in, and has bytes counted where that is needed.

    Args:
        call: runs a script.
        table: the quotas.
        is_counted: whether every broker that is there counts bytes.
        uncounted_us: when one last was there that does not, on Redis's clock; 0: none is known of.
    """

    def __init__(
        self, call: Call, table: QuotaTable, is_counted: Callable[[], bool], uncounted_us: Callable[[], int]
    ) -> None:
        self._call = call
        self._table = table
        self._is_counted = is_counted
        self._uncounted_us = uncounted_us
        #: Counts that go on, by namespace.
        self._counts: dict[str, asyncio.Task[None]] = {}
        #: Namespaces that have been counted, as far as it is known here, and what `uncounted_us` was then.
        self._counted: dict[str, int] = {}

    def of(self, namespace: str) -> Quotas:
        """The quotas of a namespace."""
        return self._table.of(namespace)

    def text(self, namespace: str) -> str:
        """For scripts that put items in; "": nothing is limited."""
        quotas = self._table.of(namespace)
        if quotas is UNLIMITED or not (quotas.items or quotas.bytes or quotas.queues):
            return ""
        return f"{quotas.items} {self._bytes_of(quotas)} {quotas.queues} {self._uncounted_us()}"

    def is_uncounted(self, namespace: str) -> bool:
        """Whether it is not known here that the bytes of a namespace have been counted, and they are limited."""
        return self._counted.get(namespace) != self._uncounted_us() and self._bytes_of(self._table.of(namespace)) > 0

    async def use(self, namespace: str) -> Use:
        """How much is in a namespace."""
        items, counted, *others = await self._call("quota_use", namespace, ())
        return Use(items, None if counted < 0 else counted, *others)

    async def count(self, namespace: str) -> None:
        """Begin to count a namespace's bytes, or go on; return when it is done, or soon if it takes long."""
        if namespace not in self._counts:
            for _ in range(_STEPS_WAITED):
                if await self._step(namespace):
                    return
            task = asyncio.create_task(self._count(namespace), name=f"dibs-weigh-{namespace}")
            self._counts[namespace] = task
            task.add_done_callback(lambda _: self._counts.pop(namespace, None))

    def distrust(self, namespace: str) -> None:
        """Says that they are not counted, or not to be trusted."""
        self._counted.pop(namespace, None)

    def tidy(self) -> None:
        """Forgets what is known of namespaces."""
        self._counted.clear()

    async def close(self) -> None:
        """Count no further; another broker goes on."""
        counts = tuple(self._counts.values())
        for one in counts:
            one.cancel()
        await asyncio.gather(*counts, return_exceptions=True)

    def _bytes_of(self, quotas: Quotas) -> int:
        """How many bytes scripts hold a namespace to; 0: none are, also while they cannot be counted."""
        return quotas.bytes if quotas.bytes and self._is_counted() else 0

    async def _count(self, namespace: str) -> None:
        try:
            while not await self._step(namespace):
                pass
        except EngineError as error:
            # The next item that is put in begins it again, where it was.
            _log.warning("the bytes of namespace %s could not be counted: %s", namespace, error)

    async def _step(self, namespace: str) -> bool:
        since_us = self._uncounted_us()
        done: int = await self._call("weigh", namespace, (since_us, _STEP_BYTES))
        if done:
            self._counted[namespace] = since_us
        return bool(done)
