"""Workers that stop when there is nothing left to do: for tests, cron, and jobs of a batch system."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Protocol

from dibs.contract.standing import Standing
from dibs.errors import BrokerError

from ..shared.hello import Hello
from ..shared.logs import Said
from .waiting import asking

_log = logging.getLogger("dibs.worker")

#: How often it is looked whether anything is left.
_LOOK_S = 0.2
#: Looks in a row at which nothing must run here: what is on its way arrives between two of them.
_LOOKS = 2
#: After so long without anything to do it does not matter what a broker counts: it comes to nobody here.
_LONG_S = 5.0


class Works(Protocol):
    """A worker."""

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits here or is to be told."""

    def stop(self) -> None:
        """Take no more items, and end."""


async def until_empty(greeting: Awaitable[Hello], queues: Sequence[str], worker: Works) -> None:
    """Stop a worker when nothing runs there and nothing waits for it.

    Args:
        greeting: what it can do, once that is known.
        queues: those that it serves; empty: all.
        worker: the worker.
    """
    failing = Standing(_log, "it is told again what waits")
    loop = asyncio.get_running_loop()
    async with asking(await greeting, queues) as waiting:
        idle, since = 0, 0.0
        while True:
            await asyncio.sleep(_LOOK_S)
            if not worker.idle:
                idle = 0
                continue
            idle += 1
            if idle == 1:
                since = loop.time()
            if idle < _LOOKS:
                continue
            try:
                left = await waiting.count()
            except BrokerError as error:
                failing.note(None, Said("no broker tells what waits, going on", reason=str(error)))
                idle = 0
                continue
            failing.end(None)
            if worker.idle and (not left or loop.time() - since >= _LONG_S):
                _log.info(Said("nothing waits any more, stopping", left=left))
                worker.stop()
                return
