"""How many task processes there are: a number, or as many as the work wants within two numbers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from dibs.contract.standing import Standing
from dibs.errors import BrokerError

from ..shared.hello import Hello
from ..shared.logs import Said
from ..shared.settings import MAX_PROCESSES, WorkerSettings
from .waiting import asking

_log = logging.getLogger("dibs.worker")

#: How often it is looked what waits. A process takes some of that to load its tasks.
LOOK_S = 2.0
#: Looks in a row at which there was too little to do before a process ends.
_QUIET_LOOKS = 5


@dataclass(frozen=True)
class Scale:
    """How many processes there are at least and at most.

    Raises:
        ValueError: out of range; the text names it.
    """

    least: int
    most: int

    def __post_init__(self) -> None:
        """Check the range."""
        if not 1 <= self.least <= self.most <= MAX_PROCESSES:
            raise ValueError(
                f"processes must be 1 to {MAX_PROCESSES:,}, and the least no more than the most, "
                f"not {self.least}:{self.most}"
            )

    @classmethod
    def of(cls, text: str) -> Scale:
        """From ``MIN:MAX``.

        Raises:
            ValueError: it is not that.
        """
        least, colon, most = text.partition(":")
        if not (colon and least.isascii() and least.isdecimal() and most.isascii() and most.isdecimal()):
            raise ValueError(f"--autoscale is MIN:MAX, such as 1:8, not {text!r}")
        return cls(int(least), int(most))


class Scaled(Protocol):
    """A worker whose processes can become more and fewer."""

    @property
    def size(self) -> int:
        """How many processes there shall be."""

    @property
    def full(self) -> bool:
        """Whether no process has room in all of its lanes."""

    def idle_one(self) -> bool:
        """Whether the process that would end first has nothing to do."""

    def resize(self, processes: int) -> None:
        """Have so many."""


def more(size: int, waiting: int, slots: int, scale: Scale) -> int:
    """How many processes there shall be when all are busy and so many items wait: twice as many at most."""
    wanted = size + -(-waiting // slots)
    return max(size, min(wanted, 2 * size, scale.most))


async def keep_scaled(greeting: Awaitable[Hello], settings: WorkerSettings, scale: Scale, worker: Scaled) -> None:
    """Have as many processes as the work wants, looking every two seconds.

    More when all are busy and items wait, one fewer when there has been nothing to do for the last of them, and
    nothing waited, for ten seconds.

    Args:
        greeting: what a process can do, once that is known.
        settings: of the worker.
        scale: how many there may be.
        worker: the worker.
    """
    failing = Standing(_log, "it is told again what waits")
    hello = await greeting
    slots = sum(lane.slots for lane in hello.lanes.values())
    quiet = 0
    async with asking(hello, settings.queues) as asked:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                waiting = await asked.count()
            except BrokerError as error:
                failing.note(None, Said("no broker tells what waits, processes stay as they are", reason=str(error)))
                continue
            failing.end(None)
            size = worker.size
            quiet = quiet + 1 if not waiting and worker.idle_one() else 0
            wanted = size
            if waiting and worker.full:
                wanted = more(size, waiting, slots, scale)
            elif quiet >= _QUIET_LOOKS and size > scale.least:
                wanted, quiet = size - 1, 0
            if wanted != size:
                _log.info(Said("processes are scaled", before=size, now=wanted, waiting=waiting))
                worker.resize(wanted)
