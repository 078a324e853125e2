"""How calls to a broker in memory are answered: at once, after what is to run has run, or when time has passed.

Waits cost no time. Who waits has whatever is ready run, as far as somebody runs anything; then the clock is moved to
the next moment at which something changes, and so on until the wait is over.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from google.protobuf.message import Message

from .service import Service, Waiting

#: How often it is looked whether another thread or coroutine is done with what somebody waits for.
_LOOK_S = 0.001


class Runs(ABC):
    """Whoever runs what is ready, and knows the time of all brokers of a test."""

    @abstractmethod
    def enqueued(self) -> None:
        """Run what is ready in this thread, if it is to run as soon as it is: a call may have made it so."""

    @abstractmethod
    async def enqueued_async(self) -> None:
        """As `enqueued`, in this event loop."""

    @abstractmethod
    def awaited(self) -> None:
        """Run what is ready in this thread, if it is to run when somebody waits for it."""

    @abstractmethod
    async def awaited_async(self) -> None:
        """As `awaited`, in this event loop."""

    @abstractmethod
    def waiting(self) -> AbstractContextManager[None]:
        """For a with around a wait: what runs here, if anything does, is held up by it."""

    @abstractmethod
    def is_busy_elsewhere(self) -> bool:
        """Whether something runs in another thread or coroutine that is not held up itself."""

    @abstractmethod
    def pass_time(self, until: float) -> bool:
        """Move the clock to the next moment at which something changes, or to that one; False: nothing has changed."""


class Answering:
    """Answers calls of clients.

    Args:
        service: knows the answers.
        runs: runs what is ready.
    """

    def __init__(self, service: Service, runs: Runs) -> None:
        self._service = service
        self._runs = runs

    def answer(self, method: str, request: Message) -> Sequence[Message]:
        """The replies to a call.

        Raises:
            Refusal: it is refused.
        """
        said = self._service.answer(method, request)
        if not isinstance(said, Waiting):
            self._runs.enqueued()
            return said
        wait = _Wait(self._service, self._runs, said)
        with self._runs.waiting():
            while (found := wait.look()) is None:
                self._runs.awaited()
                if (found := wait.look()) is not None:
                    break
                wait.pass_time()
                if wait.busy:
                    time.sleep(_LOOK_S)
        return found

    async def answer_async(self, method: str, request: Message) -> Sequence[Message]:
        """As `answer`, for an event loop."""
        said = self._service.answer(method, request)
        if not isinstance(said, Waiting):
            await self._runs.enqueued_async()
            return said
        wait = _Wait(self._service, self._runs, said)
        with self._runs.waiting():
            while (found := wait.look()) is None:
                await self._runs.awaited_async()
                if (found := wait.look()) is not None:
                    break
                wait.pass_time()
                await asyncio.sleep(_LOOK_S if wait.busy else 0)
        return found


class _Wait:
    """One call that waits.

    Attributes:
        busy: another thread or coroutine is at something that may bring the answer.
    """

    def __init__(self, service: Service, runs: Runs, waiting: Waiting) -> None:
        self._service = service
        self._runs = runs
        self._waiting = waiting
        self._until = service.clock.now() + waiting.seconds
        self.busy = False

    def look(self) -> Sequence[Message] | None:
        """The answer if it is there, or if the time for it is over."""
        with self._service.lock:
            found = self._waiting.look()
            if found is None and self._service.clock.now() >= self._until:
                found = self._waiting.otherwise()
            return found

    def pass_time(self) -> None:
        """Let time pass, unless somebody is busy."""
        self.busy = self._runs.is_busy_elsewhere()
        before = self._service.clock.now()
        if not self.busy and not self._runs.pass_time(self._until):
            self._service.idle(self._until - before)
