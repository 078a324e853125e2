"""What goes back to Redis: leased for somebody who did not get it. In the background, until Redis has it.

Nothing is kept here that was not leased before, so that an outage of Redis makes it grow no further.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from dibs.contract.pauses import Pauses
from dibs.contract.standing import Standing

from ..engine.engine import MAX_BATCH, Engine
from ..engine.errors import EngineError
from ..engine.types import Leased, Nack, NackReason

_log = logging.getLogger(__name__)

#: How long a receipt is waited for when the stream broke on which items were sent: a worker that is still there says in
#: the first message of its next stream what it has.
RECEIPT_WAITS_S = 1.0
#: How long Redis remembers that at-most-once items were put back under a name. Whether an older call was carried out
#: can no longer be found out: it is not repeated that long, since "never twice" goes before "never lost".
_NAME_KEPT_MS = 3_600_000
_REPEATED_FOR_S = 3_000.0
#: How long a lease waits for what goes back to the same queues.
_ORDER_WAITS_S = 1.0

#: The id of an item and the token of its lease.
Lease = tuple[str, int]


def returnable(items: Sequence[Leased]) -> list[Lease]:
    """Those that go back if they were sent and not received: not at-most-once ones, somebody may have begun them."""
    return [(item.id, item.token) for item in items if item.token and item.lease_us]


def tokens_of(leases: Sequence[Lease]) -> set[int]:
    """Tokens of the shares that leases belong to."""
    return {token for _, token in leases}


class Returns:
    """Gives back, by namespace."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._life = uuid.uuid4().hex
        self._names = 0
        self._lines: dict[str, _Line] = {}
        self._waits = Standing(_log, "nothing that goes back waits for Redis any more")

    def unseen(self, namespace: str, items: Sequence[Leased], *, delay_us: int = 0) -> None:
        """Return items that never left this process to the heads of their queues; no attempt is used up.

        Args:
            namespace: theirs.
            items: what was leased, at least or at most once.
            delay_us: have them wait this long instead.
        """
        leased = [Nack(item.id, item.token, NackReason.UNSEEN, delay_us) for item in items if item.token]
        if leased:
            self._line(namespace).nack(leased)
        taken = [item for item in items if not item.token]
        for at in range(0, len(taken), MAX_BATCH):
            self._names += 1
            name = f"{self._life}:{self._names}"
            self._line(namespace).restore(_Restore(name, taken[at : at + MAX_BATCH], delay_us, _now()))

    def unreceived(self, namespace: str, leases: Sequence[Lease]) -> None:
        """Return what was sent and not received, in a moment, as far as Redis has no receipt of it either."""
        if leases:
            nacks = [Nack(id, token, NackReason.UNRECEIVED, 0) for id, token in leases]
            self._line(namespace).nack_at(_now() + RECEIPT_WAITS_S, nacks)

    async def until_back(self, namespace: str) -> None:
        """Wait until what goes back to a namespace now is back, for a second at most: its order is worth no more."""
        line = self._lines.get(namespace)
        if line is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ORDER_WAITS_S):
                    await line.idle.wait()

    async def close(self, within_s: float) -> None:
        """Wait until everything is back, and give up after so many seconds."""
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=within_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for line in self._lines.values():
            line.give_up()

    def tidy(self) -> None:
        """Forgets namespaces to which nothing goes back."""
        self._lines = {name: line for name, line in self._lines.items() if line.task is not None}

    def _line(self, namespace: str) -> _Line:
        line = self._lines.get(namespace)
        if line is None:
            line = self._lines[namespace] = _Line(self._engine, namespace, self._waits)
        return line


class _Restore(NamedTuple):
    """At-most-once items to put back under a name, and since when."""

    name: str
    items: Sequence[Leased]
    delay_us: int
    since: float


class _Line:
    """What goes back to one namespace.

    Attributes:
        task: sends it, while there is something.
        idle: set while nothing is to go back now.
    """

    def __init__(self, engine: Engine, namespace: str, waits: Standing) -> None:
        self.task: asyncio.Task[None] | None = None
        self._engine = engine
        self._namespace = namespace
        self._waits = waits
        self._nacks: deque[Nack] = deque()
        self._restores: deque[_Restore] = deque()
        #: With the times from which on they may go, first ones first.
        self._later: deque[tuple[float, Sequence[Nack]]] = deque()
        self._more = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    def nack(self, nacks: Sequence[Nack]) -> None:
        self.idle.clear()
        self._nacks.extend(nacks)
        self._go()

    def nack_at(self, at: float, nacks: Sequence[Nack]) -> None:
        self._later.append((at, nacks))
        self._go()

    def restore(self, one: _Restore) -> None:
        self.idle.clear()
        self._restores.append(one)
        self._go()

    def give_up(self) -> None:
        """Forgets what is left, and says so."""
        leased = len(self._nacks) + sum(len(nacks) for _, nacks in self._later)
        taken = sum(len(one.items) for one in self._restores)
        if leased or taken:
            _log.error(
                "could not give back in namespace %s: %d items come back when their leases run out, their attempts "
                "unused; %d at-most-once items are lost",
                self._namespace,
                leased,
                taken,
            )

    def _go(self) -> None:
        self._more.set()
        if self.task is None:
            self.task = asyncio.create_task(self._run(), name=f"dibs-return-{self._namespace}")

    async def _run(self) -> None:
        pauses = Pauses()
        try:
            while self._nacks or self._restores or self._later:
                self._more.clear()
                while self._later and self._later[0][0] <= _now():
                    self._nacks.extend(self._later.popleft()[1])
                try:
                    if self._nacks:
                        await self._send_nacks()
                    elif self._restores:
                        await self._send_restore()
                    else:
                        self.idle.set()
                        await self._wait_for_more()
                    pauses.reset()
                    self._waits.end(self._namespace)
                except EngineError as error:
                    self._waits.note(
                        self._namespace, "giving back in namespace %s waits for Redis: %s", self._namespace, error
                    )
                    await asyncio.sleep(pauses.next_s())
        finally:
            self.task = None
            self.idle.set()

    async def _send_nacks(self) -> None:
        batch = [self._nacks[at] for at in range(min(len(self._nacks), MAX_BATCH))]
        try:
            if any(nack.reason is NackReason.UNRECEIVED for nack in batch):
                # Whatever was received must be known before it is said that it was not.
                await self._engine.receipts.tell(self._namespace)
            await self._engine.nack(self._namespace, batch)
        except EngineError:
            # Others first, should it be for something in this batch.
            self._nacks.rotate(-len(batch))
            raise
        for _ in batch:
            self._nacks.popleft()

    async def _send_restore(self) -> None:
        one = self._restores[0]
        if _now() - one.since > _REPEATED_FOR_S:
            _log.error("namespace %s: %d at-most-once items are lost: Redis is away", self._namespace, len(one.items))
        else:
            try:
                await self._engine.restore(
                    self._namespace, one.items, delay_us=one.delay_us, name=one.name, keep_ms=_NAME_KEPT_MS
                )
            except EngineError:
                self._restores.rotate(-1)
                raise
        self._restores.popleft()

    async def _wait_for_more(self) -> None:
        try:
            async with asyncio.timeout_at(self._later[0][0]):
                await self._more.wait()
        except TimeoutError:
            return


def _now() -> float:
    return asyncio.get_running_loop().time()
