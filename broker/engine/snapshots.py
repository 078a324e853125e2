"""Which tasks are queued at a moment, read step by step while the queues go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from .connections import Argument
from .scripts import Call
from .types import Kind

#: Ids that one script call reads.
_STEP = 1000
#: Leases that one call reads; more than can end at the same time, since one call leases `_STEP` at most.
_LEASES = 2 * _STEP


class Snapshots:
    """Reads ids of tasks. What comes meanwhile may be among them; what was there and has not started is.

    Args:
        call: runs a script.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    async def tasks(
        self, namespace: str, queue: str, *, delayed_too: bool, leased_too: bool
    ) -> AsyncIterator[Sequence[str]]:
        """Ids of the tasks in a queue, some of them twice.

        Args:
            namespace: where.
            queue: which task queue.
            delayed_too: make delayed ones due now and include them.
            leased_too: include those that had begun when it began. Those that begin since then always are, and so are
                those that a worker has and has not begun.
        """
        begun, _, *_ = await self._call("snapshot", namespace, [queue, "ready", 1, 0])
        if delayed_too:
            async for ids in self._hasten(namespace, queue):
                yield ids
        # From the end to the head: what is leased meanwhile moves the rest towards the head, which is still to come.
        _, length, *_ = await self._call("snapshot", namespace, [queue, "ready", 1, 0])
        while length > 0:
            args: list[Argument] = [queue, "ready", max(length - _STEP, 0), length - 1]
            _, _, found, *_ = await self._call("snapshot", namespace, args)
            yield [id.decode() for id in found]
            length -= _STEP
        async for ids in self._parked(namespace, queue):
            yield ids
        after = 0
        while True:
            args = [queue, "leased", after, _LEASES]
            _, _, found, tokens, on, unbegun = await self._call("snapshot", namespace, args)
            # Tokens never lag behind the clock.
            yield [
                id.decode()
                for id, token, waits in zip(found, tokens, unbegun, strict=True)
                if leased_too or waits or int(token) > begun
            ]
            if not on:
                return
            after = max(int(on), after + 1)

    async def _parked(self, namespace: str, queue: str) -> AsyncIterator[Sequence[str]]:
        _, _, _, tasks, _ = await self._call("snapshot", namespace, [queue, "parked", ""])
        for task in tasks:
            after: Argument = 0
            while after != b"":
                args = [queue, "parked", task, after, _STEP]
                _, _, found, _, after = await self._call("snapshot", namespace, args)
                yield [id.decode() for id in found]

    async def _hasten(self, namespace: str, queue: str) -> AsyncIterator[Sequence[str]]:
        left = None
        while left is None or left > 0:
            args: list[Argument] = [Kind.TASK.value, queue, _STEP]
            found, behind = await self._call("hasten", namespace, args)
            yield [id.decode() for id in found]
            # Only those that were there at the first step.
            left = behind if left is None else min(left - len(found), behind)
