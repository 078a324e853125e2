"""The queue engine: one method an operation, one script call a batch. Speaks Redis and nothing else.

It is one object in several files, a base class for each subject: ``calls.py`` (the connections), upon it
``namespaces.py`` (what is known to be in use, and time's own work there), and upon that what is done with items,
``enqueueing.py``, ``leasing.py``, ``settling.py`` and ``lookups.py``, which do not use each other. Base classes and not
parts that are asked: all of them need the same connections, hints and clock, and passing those around, with a method
here for each one there, would be more to read than what it divides. What has a word of its own (queues, locks,
schedules, ...) is a part, and an attribute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from . import keys
from .calls import MAX_BATCH
from .cancel_wishes import CancelWishes
from .checks import Advice, advices, check_rights, check_server, server_name
from .commands import Commands
from .config import EngineConfig
from .dead_letters import DeadLetters
from .enqueueing import Enqueueing
from .errors import Refused, ScriptBug, Unavailable, UnsuitableRedis
from .leasing import Leasing
from .locks import Locks
from .lookups import Lookups
from .queues import Queues
from .removal import Removal
from .settling import Settling
from .snapshots import Snapshots
from .tasks import Tasks
from .workers import Workers

__all__ = ["MAX_BATCH", "Engine", "ServerState"]


class ServerState(NamedTuple):
    """How Redis stands: what it is, its clock and how long a script took, memory in use and at most (0: no limit)."""

    name: str
    now_us: int
    latency_s: float
    memory_bytes: int
    max_memory_bytes: int
    advices: Sequence[Advice]


class Engine(Enqueueing, Leasing, Settling, Lookups):
    """A queue on Redis. Batches of at most `MAX_BATCH` in and out; every method raises `EngineError`."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._hearing = ExitStack()
        self._coalescers = (self._enqueues, self._acks, self._nacks, self._refreshes, self._begun)
        self.cancel_wishes = CancelWishes(self._read_cancel_wishes)
        self.commands = Commands(self._publish)
        self.queues = Queues(self._call, self._call_known)
        self.dead_letters = DeadLetters(self._call)
        self.workers = Workers(self._call, self._call_known)
        self.tasks = Tasks(self._call, self._call_known, config.task_retention_us, self.quotas)
        self.snapshots = Snapshots(self._call)
        self.locks = Locks(self._call, self._call_known, self.quotas)
        self.removal = Removal(self._call, self._command, config.key_prefix, self._tell_deleted)

    async def start(self) -> None:
        """Connect and begin to look after what is in Redis.

        May be called again after `Unavailable`. Until it has returned, operations raise `EngineNotStarted`.

        Raises:
            UnsuitableRedis: this Redis must not be used, or does not let the broker in.
            Unavailable: it is not there, or does not answer in time.
        """
        try:
            async with asyncio.timeout(self.config.timeout_s):
                version = await check_server(self._client, allow_eviction=self.config.allow_eviction)
                await self.hints.check()
            self._scripts.prepare(version)
            self._open = True
            await check_rights(self._call, self._pipe, self._channels[0])
            self._timers.see_clock(await self._call("probe", "probe", ()))
            await self._learn_namespaces()
        except TimeoutError:
            raise Unavailable(f"no answer from Redis within {self.config.timeout_s:g} s") from None
        except (Refused, ScriptBug) as error:
            # The simplest script there is: where that does not run, none does.
            raise UnsuitableRedis(f"this Redis is not open to the broker: {error}") from error
        self._hearing.enter_context(self.hints.on_cancelled(self.cancel_wishes.hear))
        self._hearing.enter_context(self.hints.on_command(self.commands.hear, self.commands.hear_answer))
        # The next call to each of them puts it among those in use again.
        self._hearing.enter_context(self.peers.on_data_lost(self._namespaces.clear))
        self._hearing.enter_context(self.hints.on_deleted(self._forget))
        self.cancel_wishes.start()
        self.hints.start()
        self.peers.start()
        self._timers.start()

    async def close(self) -> None:
        """Finishes what is in flight and disconnects."""
        self._closed = True
        await self._timers.close()
        await self.cancel_wishes.close()
        await self.commands.close()
        self._hearing.close()
        await self.peers.close()
        await self.quotas.close()
        await self.receipts.close(0)
        await self.hints.close()
        await asyncio.gather(*(one.close() for one in self._coalescers))
        self._open = False
        await self._pipe.close()
        await self._client.aclose()

    def tidy(self) -> None:
        """Forgets what is kept for namespaces where nothing is under way; it is made anew when it is needed."""
        for one in self._coalescers:
            one.tidy()
        self.receipts.tidy()
        self._scripts.tidy()
        self.quotas.tidy()

    async def ready(self) -> None:
        """Run a real script that Redis would refuse if it could not take writes."""
        await self._call("probe", "probe", ())

    async def server_state(self) -> ServerState:
        """How Redis stands now."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        now_us = await self._call("probe", "probe", ())
        latency_s = loop.time() - begun
        async with self._translated("info"), asyncio.timeout(self.config.timeout_s):
            info = await self._client.info()
        return ServerState(
            server_name(info), now_us, latency_s, info["used_memory"], info.get("maxmemory", 0), advices(info)
        )

    async def known_by_workers(self, namespace: str, tasks: Sequence[str]) -> set[str]:
        """Which of at most `MAX_BATCH` tasks some connected worker, of any broker, can run now."""
        counts = await self.workers.count(namespace, tasks)
        return {task for task, count in zip(tasks, counts, strict=True) if count}

    async def _read_cancel_wishes(self, namespace: str) -> list[bytes]:
        self._check_open("cancel wishes")
        async with self._translated("cancel wishes"):
            wishes: list[bytes] = await self._pipe.call(
                "LRANGE", keys.cancel_wishes(self.config.key_prefix, namespace), 0, -1
            )
        return wishes
