"""`AsyncBatch`: many calls in few requests, for asyncio."""

from __future__ import annotations

import asyncio
from collections import deque

from ..errors import BrokerError
from ..rpc.runner import AsyncRunner
from .flows import enqueue
from .gathering import IN_FLIGHT, Gathering


class AsyncBatch(Gathering[AsyncRunner]):
    """The asyncio face: `IN_FLIGHT` requests are under way while the next one gathers."""

    def __init__(self, owner: AsyncRunner) -> None:
        super().__init__(owner, owner.transport.limits, owner.sealing)
        self._sent: deque[asyncio.Task[list[BrokerError]]] = deque()

    async def send(self) -> None:
        """Send what has gathered, without waiting for the reply unless too much is under way.

        Raises:
            BrokerError: an earlier request was not taken.
        """
        for request in self.take(self.owner.namespace):
            while len(self._sent) >= IN_FLIGHT:
                await self._settle()
            sending = self.owner.run_now(enqueue(request.message(), heard=self.heard))
            self._sent.append(asyncio.create_task(sending, name="dibs-batch"))

    async def flush(self) -> None:
        """Send what has gathered, and wait until the broker has everything.

        Raises:
            BrokerError: a request was not taken.
        """
        await self.send()
        while self._sent:
            await self._settle()

    async def close(self) -> None:
        """End what is still under way; the batch gathers no more."""
        self.closed = True
        for task in self._sent:
            task.cancel()
        await asyncio.gather(*self._sent, return_exceptions=True)
        self._sent.clear()

    async def _settle(self) -> None:
        oldest = self._sent[0]
        await asyncio.wait((oldest,))
        if not self._sent or self._sent[0] is not oldest:
            return  # another coroutine that shares the batch was faster
        self._sent.popleft()
        try:
            self.refusals += oldest.result()
        except BaseException:
            self.broken = True
            raise
