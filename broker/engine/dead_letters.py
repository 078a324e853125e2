"""Dead letters: listing, taking, sending back, removing for good. Step by step where it is much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from .connections import Argument
from .queues import STEP
from .scripts import Call
from .types import IdList, Kind, State, StoredItem, decode_record

#: How long the letters of a request that has an id are kept for it, unless it says that they arrived.
KEEP_MS = 600_000
#: Dead-letter queues that are listed at most.
MAX_QUEUES = 10_000


class DeadQueue(NamedTuple):
    """A dead-letter queue that has something in it."""

    name: str
    size: int
    oldest_death_us: int


class Progress(NamedTuple):
    """How far a redrive or a purge is: dead letters done with, and about as many are left."""

    done: int
    left: int


class Taken(NamedTuple):
    """Letters that were taken. `over`: the request was confirmed before, so that it gets nothing any more."""

    letters: list[StoredItem]
    over: bool


class NoSuchLetter(NamedTuple):
    """An id that is not in the dead-letter queue; nothing was done."""

    id: str


class DeadLetters:
    """The dead-letter queues of all namespaces.

    Args:
        call: runs a script.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    async def queues(self, namespace: str, kind: Kind) -> list[DeadQueue]:
        """Dead-letter queues that have something in them, by name."""
        columns = await self._call("dead_queues", namespace, [kind.value, MAX_QUEUES])
        return sorted(DeadQueue(name.decode(), size, int(oldest)) for name, size, oldest in zip(*columns, strict=True))

    async def take(
        self,
        namespace: str,
        kind: Kind,
        queue: str,
        wanted: int,
        *,
        room: int,
        item_bytes: int,
        note_hunger: bool = False,
        request_id: str = "",
        received: str = "",
    ) -> Taken:
        """Remove up to `wanted` dead letters and hand them out, the oldest death first.

        Letters that no message holds are set aside.

        Args:
            namespace: where.
            kind: of the items.
            queue: name of the dead-letter queue.
            wanted: 0 to 1,000; 0 takes nothing.
            room: bytes of all of them together.
            item_bytes: bytes that the first may have instead.
            note_hunger: when there is none, have the next death published as a hint.
            request_id: the same call again within `KEEP_MS` gets the same letters; "": it gets others.
            received: id of a request whose letters have arrived, so that they need not be kept any longer; "" none.
        """
        args: list[Argument] = [kind.value, queue, wanted, room, item_bytes, int(note_hunger)]
        _, over, *columns = await self._call("take_dead", namespace, [*args, request_id, KEEP_MS, received])
        return Taken([_taken(*row) for row in zip(*columns, strict=True)], over == 1)

    def redrive(
        self, namespace: str, kind: Kind, queue: str, ids: IdList = ()
    ) -> AsyncIterator[Progress | NoSuchLetter]:
        """Send dead letters back to where they came from, as new; those named, or all that are there when it begins.

        Tells how far it is after each step of at most `STEP` items.
        """
        return self._steps("redrive", namespace, kind, queue, ids)

    def purge(self, namespace: str, kind: Kind, queue: str, ids: IdList = ()) -> AsyncIterator[Progress | NoSuchLetter]:
        """Remove dead letters for good; otherwise as `redrive`."""
        return self._steps("purge", namespace, kind, queue, ids)

    async def _steps(
        self, script: str, namespace: str, kind: Kind, queue: str, ids: IdList
    ) -> AsyncIterator[Progress | NoSuchLetter]:
        done = 0
        last = ""
        while True:
            args: list[Argument] = [kind.value, queue, last, STEP, len(ids), *ids]
            now, count, left, missing = await self._call(script, namespace, args)
            if missing:
                yield NoSuchLetter(missing.decode())
                return
            last = last or str(now)
            done += count
            yield Progress(done, 0 if ids else left)
            if ids or not left:
                return


def _taken(id: bytes, record: bytes, deliveries: int, error: bytes, time: bytes) -> StoredItem:
    text = error.decode(errors="replace")
    return StoredItem(id.decode(), State.DEAD, decode_record(record), deliveries, False, text, int(time))
