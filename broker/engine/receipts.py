"""What Redis has to be told of deliveries: shares that were received, and answers of lease calls that have arrived.

It rides on calls that go there anyway; what none of them takes along in a moment goes by itself, together with
everything else that there is to tell of the namespace.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from dibs.contract.pauses import Pauses
from dibs.contract.standing import Standing

from .errors import EngineError

_log = logging.getLogger(__name__)

#: How long a receipt, and the news that an answer has arrived, wait for a call to ride on.
_RECEIPT_WAITS_S = 0.005
_ANSWER_WAITS_S = 0.05
#: Tokens and answers that one call tells at most.
_MOST_TOLD = 1000
#: Receipts of one namespace that wait while Redis is away; of more the oldest are dropped, and those deliveries count
#: as not received unless something else proves them.
_MOST_WAITING = 100_000

#: Tells Redis of a namespace: answers (caller, number of its call) and tokens of shares; raises `EngineError`.
Tell = Callable[[str, Sequence[tuple[str, int]], Sequence[int]], Awaitable[None]]


class Receipts:
    """Gathers what is to be told, by namespace; nothing is left running where there is nothing to tell.

    Args:
        tell: carries it to Redis; harmless if it is done twice.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._untold: dict[str, _Untold] = {}
        self._waits = Standing(_log, "no receipts wait for Redis any more")

    def received(self, namespace: str, tokens: Iterable[int]) -> None:
        """Says that shares have been received, by their tokens."""
        self._of(namespace).received(tokens)

    def answered(self, namespace: str, caller: str, sequence: int, *, kept: bool) -> None:
        """Says that the answer to a lease call has arrived.

        Args:
            namespace: where it was.
            caller: who called.
            sequence: number of the call; Redis has by it learned of all earlier ones.
            kept: there is something in it that Redis need not keep any longer.
        """
        self._of(namespace).answered(caller, sequence, kept=kept)

    @contextmanager
    def carried(self, namespace: str) -> Iterator[Sequence[int]]:
        """Tokens for the call inside the with to take along; they stay to be told if it fails."""
        untold = self._untold.get(namespace)
        tokens = untold.take_tokens() if untold is not None else ()
        try:
            yield tokens
        except BaseException:
            if tokens:
                self.received(namespace, tokens)
            raise

    async def tell(self, namespace: str) -> None:
        """Tells what there is to tell of a namespace, now; not what comes meanwhile. Raises `EngineError`."""
        untold = self._untold.get(namespace)
        if untold is not None:
            for _ in range(untold.calls):
                await untold.tell_some()

    async def close(self, within_s: float) -> None:
        """Tells everything, and gives up after so many seconds."""
        untold = tuple(self._untold.values())
        for one in untold:
            one.hasten()
        tasks = [one.task for one in untold if one.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for one in untold:
            one.stop()

    def tidy(self) -> None:
        """Forgets namespaces of which there is nothing to tell."""
        for namespace in [name for name, one in self._untold.items() if not one and one.task is None]:
            self._untold.pop(namespace).stop()

    def _of(self, namespace: str) -> _Untold:
        untold = self._untold.get(namespace)
        if untold is None:
            untold = self._untold[namespace] = _Untold(namespace, self._tell, self._waits)
        return untold


class _Untold:
    """What Redis has to be told of one namespace. The event loop alone touches it.

    Attributes:
        task: tells it, while something is left that no call has taken along.
    """

    def __init__(self, namespace: str, tell: Tell, waits: Standing) -> None:
        self.task: asyncio.Task[None] | None = None
        self._namespace = namespace
        self._tell = tell
        self._waits = waits
        #: Oldest first, each once.
        self._tokens: dict[int, None] = {}
        self._tokens_since = 0.0
        #: Callers, those that were answered longest ago first, with the number of the call and the time of its answer.
        self._answers: dict[str, tuple[int, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._hasty = False

    def __bool__(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._tokens or self._answers)

    @property
    def calls(self) -> int:
        """How many calls it takes to tell it."""
        return math.ceil(max(len(self._tokens), len(self._answers)) / _MOST_TOLD)

    def received(self, tokens: Iterable[int]) -> None:
        if not self._tokens:
            self._tokens_since = asyncio.get_running_loop().time()
        self._tokens.update(dict.fromkeys(tokens))
        while len(self._tokens) > _MOST_WAITING:
            del self._tokens[next(iter(self._tokens))]
        if self._tokens:
            self._tell_at(self._tokens_since + _RECEIPT_WAITS_S)

    def answered(self, caller: str, sequence: int, *, kept: bool) -> None:
        self._answers.pop(caller, None)
        if kept:
            now = asyncio.get_running_loop().time()
            self._answers[caller] = (sequence, now)
            self._tell_at(now + _ANSWER_WAITS_S)

    def take_tokens(self) -> Sequence[int]:
        """The oldest, as many as one call takes along."""
        tokens = tuple(self._tokens)
        if len(tokens) <= _MOST_TOLD:
            self._tokens.clear()
            return tokens
        for token in tokens[:_MOST_TOLD]:
            del self._tokens[token]
        return tokens[:_MOST_TOLD]

    async def tell_some(self) -> None:
        """Tells as much as fits into one call; what could not be told stays. Raises `EngineError`."""
        tokens = self.take_tokens()
        answers = [(caller, sequence) for caller, (sequence, _) in self._answers.items()][:_MOST_TOLD]
        try:
            await self._tell(self._namespace, answers, tokens)
        except BaseException:
            if tokens:
                self.received(tokens)
            raise
        for caller, sequence in answers:
            if self._answers.get(caller, (0, 0.0))[0] == sequence:
                del self._answers[caller]

    def hasten(self) -> None:
        """Tells whatever there is, from now on without waiting."""
        self._hasty = True
        self.stop()
        if self and self.task is None:
            self._start()

    def stop(self) -> None:
        """End the wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due_at(self) -> float:
        """When the first of it has waited long enough, on the loop's clock; infinite: there is nothing."""
        if self._hasty and self:
            return 0.0
        tokens = self._tokens_since + _RECEIPT_WAITS_S if self._tokens else math.inf
        if not self._answers:
            return tokens
        return min(tokens, next(iter(self._answers.values()))[1] + _ANSWER_WAITS_S)

    def _tell_at(self, at: float) -> None:
        if self.task is None and at < math.inf and (self._timer is None or at < self._timer.when()):
            self.stop()
            self._timer = asyncio.get_running_loop().call_at(at, self._look)

    def _look(self) -> None:
        """Begins to tell, unless calls have taken along what has waited long enough."""
        self._timer = None
        at = self._due_at()
        if at <= asyncio.get_running_loop().time():
            self._start()
        else:
            self._tell_at(at)

    def _start(self) -> None:
        self.task = asyncio.create_task(self._run(), name=f"dibs-receipts-{self._namespace}")

    async def _run(self) -> None:
        pauses = Pauses()
        try:
            while self._due_at() <= asyncio.get_running_loop().time():
                try:
                    await self.tell_some()
                except EngineError as error:
                    self._waits.note(
                        self._namespace, "receipts of namespace %s wait for Redis: %s", self._namespace, error
                    )
                    await asyncio.sleep(pauses.next_s())
        finally:
            self.task = None
        self._waits.end(self._namespace)
        self._tell_at(self._due_at())
