"""Tasks that wait for other tasks hold a slot meanwhile; if all do, nothing is left to run what they wait for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Protocol


class SlotWaits(Protocol):
    """What a worker keeps of its tasks that wait."""

    def waiting(self, child: str) -> AbstractContextManager[Callable[[], object]]:
        """Note, inside the with, that the running task waits for a call of another.

        Args:
            child: name of the task that it waits for.

        Returns:
            To be called while that waits: says in the log, once, if no slot is left for it here.
        """


#: Of the worker in which this thread or asyncio task runs a task; None elsewhere.
SLOT_WAITS: ContextVar[SlotWaits | None] = ContextVar("dibs_slot_waits", default=None)


def waiting_for(child: str) -> AbstractContextManager[Callable[[], object]]:
    """As `SlotWaits.waiting`, of the worker in which this runs, if it does."""
    waits = SLOT_WAITS.get()
    return nullcontext(_nothing) if waits is None or not child else waits.waiting(child)


def _nothing() -> None:
    """Elsewhere there are no slots."""
