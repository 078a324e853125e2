"""Looking after queues: what is in them, their priorities, pausing, clearing. Step by step where it is much."""

from __future__ import annotations

import asyncio
import enum
import math
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from .connections import Argument
from .scripts import Call
from .types import IdList, Kind, State, StoredItem, decode_record, weight

#: Queues that one script call describes.
_MAX_DESCRIBED = 50
#: Items that one script call removes or moves: few enough that Redis is never held up for 20 ms, also where it is slow.
STEP = 200
#: Names that are put together without a pause.
_NAMES_AT_ONCE = 5000
#: Script calls that one page of items takes at most; a queue may hold nothing but stale entries.
_MAX_STEPS = 10


class Section(enum.StrEnum):
    """Which of a queue's items; the values are those of ``lua/list_items.lua``."""

    READY = "ready"
    DELAYED = "delayed"
    LEASED = "leased"
    DEAD = "dead"
    SET_ASIDE = "aside"


class ParkedTask(NamedTuple):
    """Items of a queue that wait for a worker which knows their task, and how many connected workers do."""

    name: str
    items: int
    workers: int


class QueueCounts(NamedTuple):
    """A known queue and what is in it."""

    name: str
    ready: int
    delayed: int
    leased: int
    dead: int
    seen: int
    done: int
    paused: bool
    priority: float | None
    oldest_ready_us: int | None
    set_aside: int = 0
    parked: Sequence[ParkedTask] = ()


class ItemPage(NamedTuple):
    """Items from a position on, and where to go on (None: the end). `known`: whether the queue is."""

    known: bool
    items: list[StoredItem]
    position: int | None


class Cleared(NamedTuple):
    """How far the clearing of a queue is: items removed, and about as many are left."""

    removed: int
    left: int


class RedrivenAside(NamedTuple):
    """Items that were set aside and are back in their queue, and how many still are set aside."""

    redriven: int
    left: int


class NoSuchItem(NamedTuple):
    """An item that was asked for and is not there."""

    id: str


class Queues:
    """The queues of all namespaces, for those who look after them.

    Args:
        call: runs a script.
        create: the same for what makes a namespace one that is in use.
    """

    def __init__(self, call: Call, create: Call) -> None:
        self._call = call
        self._create = create

    async def names(self, namespace: str, kind: Kind) -> list[tuple[float, str]]:
        """Known queues with their priorities (infinite: none) in the order in which they are served.

        Those that are there from beginning to end; it takes a step for each thousand, and holds nothing up.
        """
        priorities = {name: value async for step in self._scan(namespace, kind, "priority") for name, value in step}
        first = sorted((float(value), name.decode()) for name, value in priorities.items())
        others: set[bytes] = set()
        runs: list[list[str]] = []
        async for step in self._scan(namespace, kind, "seen"):
            names = {name for name, _ in step if name not in priorities and name not in others}
            others |= names
            runs.append(sorted(name.decode() for name in names))
            # Two that are in order are put together in no time; a run is about as long as all behind it.
            while len(runs) > 1 and len(runs[-2]) <= 2 * len(runs[-1]):
                runs[-2:] = [sorted(runs[-2] + runs[-1])]
        while len(runs) > 1:
            await asyncio.sleep(0)
            runs[-2:] = [sorted(runs[-2] + runs[-1])]
        found = list(first)
        for at in range(0, len(runs[0]) if runs else 0, _NAMES_AT_ONCE):
            found += [(math.inf, name) for name in runs[0][at : at + _NAMES_AT_ONCE]]
            await asyncio.sleep(0)
        return found

    async def _scan(self, namespace: str, kind: Kind, name: str) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """All fields of a hash by queues and what they hold, a step at a time; perhaps some of them twice."""
        cursor = b"0"
        while True:
            cursor, names, values = await self._call("scan_queues", namespace, [kind.value, name, cursor])
            yield list(zip(names, values, strict=True))
            if cursor == b"0":
                return

    async def describe(self, namespace: str, kind: Kind, names: Sequence[str]) -> list[QueueCounts | None]:
        """Counts of any number of queues; None for one that is not known."""
        counts: list[QueueCounts | None] = []
        for at in range(0, len(names), _MAX_DESCRIBED):
            some = names[at : at + _MAX_DESCRIBED]
            replies = await self._call("describe_queues", namespace, [kind.value, len(some), *some])
            for name, (known, *reply) in zip(some, replies, strict=True):
                counts.append(_counts(name, *reply) if known else None)
        return counts

    async def set_priority(self, namespace: str, kind: Kind, queue: str, priority: float | None, *, most: int) -> bool:
        """Set the priority of a queue, or take it away; the queue need not be known.

        Returns:
            False: `most` other queues of that kind have one, and nothing was done.
        """
        text = "" if priority is None else repr(float(priority))
        done = await self._create("set_priority", namespace, [kind.value, queue, text, most])
        return bool(done)

    async def redrive_aside(
        self, namespace: str, kind: Kind, queue: str, ids: IdList, *, most: int
    ) -> RedrivenAside | NoSuchItem:
        """Send items that were set aside back to the end of their queue, as new.

        Args:
            namespace: where.
            kind: of the queue.
            queue: its name.
            ids: which, at most 1,000; none: the first that were set aside.
            most: items at most when no ids are given.
        """
        done, left, missing = await self._call("redrive_aside", namespace, [kind.value, queue, most, len(ids), *ids])
        return NoSuchItem(missing.decode()) if missing else RedrivenAside(done, left)

    async def pause(self, namespace: str, kind: Kind, queue: str, *, paused: bool) -> bool | None:
        """Stop deliveries from a queue or start them again: whether that changed anything; None: it is not known."""
        reply = await self._call("pause", namespace, [kind.value, queue, int(paused)])
        return None if reply < 0 else reply == 1

    async def items(
        self,
        namespace: str,
        kind: Kind,
        queue: str,
        section: Section,
        wanted: int,
        *,
        position: int = 0,
        body_bytes: int,
        room: int,
        item_bytes: int,
    ) -> ItemPage:
        """A page of items, which may be short although there are more.

        Args:
            namespace: where.
            kind: of the queue.
            queue: name of the queue, or for `Section.DEAD` of the dead-letter queue.
            section: which of its items.
            wanted: 1 to 1,000.
            position: entry to begin at, from 0 or an earlier page.
            body_bytes: how much of each body.
            room: bytes of all of them together.
            item_bytes: bytes that the first may have instead; one that is larger comes without its body.
        """
        items: list[StoredItem] = []
        at = position
        for _ in range(_MAX_STEPS):
            before = at
            args: list[Argument] = [kind.value, queue, section.value, at, wanted - len(items), body_bytes, room]
            known, now, at, *columns = await self._call("list_items", namespace, [*args, 0 if items else item_bytes])
            place = (kind, "" if section is Section.DEAD else queue)
            rows = list(zip(*columns, strict=True))
            room -= sum(weight(id, record, error) for id, record, _, _, error, *_ in rows)
            items += [_stored(section, now, place, *row) for row in rows]
            if not known or at in (-1, before) or len(items) >= wanted or room <= 0:
                break
        return ItemPage(known == 1, items, None if at < 0 else at)

    async def delete_items(self, namespace: str, ids: IdList) -> list[bool]:
        """Remove items wherever they are, and whatever is kept of them; whether each was there."""
        there: list[bool] = []
        for at in range(0, len(ids), STEP):
            some = ids[at : at + STEP]
            there += [found == 1 for found in await self._call("delete", namespace, [len(some), *some])]
        return there

    async def clear(self, namespace: str, kind: Kind, queue: str) -> AsyncIterator[Cleared]:
        """Remove what was ready or delayed when it began, `STEP` items at a time; tell how far it is after each."""
        (counts,) = await self.describe(namespace, kind, [queue])
        ready = counts.ready if counts else 0
        removed = 0
        # The delayed ones first: those that become ready meanwhile stand at the end of what is cleared after them.
        sections = [(Section.DELAYED.value, ready), (Section.READY.value, 0)]
        if counts and counts.parked:
            sections.insert(1, ("parked", ready - sum(task.items for task in counts.parked)))
        for section, behind in sections:
            #: Entries of those that were there at the first step.
            entries: int | None = None
            while entries is None or entries > 0:
                args: list[Argument] = [kind.value, queue, section, min(entries or STEP, STEP)]
                passed, gone, left = await self._call("clear", namespace, args)
                removed += gone
                entries = left if entries is None else min(entries - passed, left)
                yield Cleared(removed, left + behind)

    async def forget(self, namespace: str, kind: Kind, queue: str) -> bool:
        """Delete a queue with its counts and its priority; False: something is in it, leased from it or set aside."""
        return bool(await self._call("forget_queue", namespace, [kind.value, queue]))


def _counts(
    name: str,
    ready: int,
    delayed: int,
    leased: int,
    dead: int,
    seen: int,
    done: int,
    paused: int,
    priority: bytes,
    oldest: bytes,
    set_aside: int,
    parked: Sequence[tuple[bytes, int, int]],
) -> QueueCounts:
    return QueueCounts(
        name,
        ready,
        delayed,
        leased,
        dead,
        seen,
        done,
        paused == 1,
        float(priority) if priority else None,
        int(oldest) if oldest else None,
        set_aside,
        [ParkedTask(task.decode(errors="replace"), items, workers) for task, items, workers in parked],
    )


def _stored(
    section: Section,
    now: int,
    place: tuple[Kind, str],
    id: bytes,
    record: bytes,
    deliveries: int,
    cancelled: int,
    error: bytes,
    time: bytes,
    unbegun: int,
) -> StoredItem:
    time_us = int(time) if time else None
    state = State.WAITING
    if section is Section.LEASED:
        state = State.WAITING if unbegun else State.STARTED
    elif section in (Section.DEAD, Section.SET_ASIDE):
        state = State.DEAD
    elif section is Section.DELAYED:
        state = State.SCHEDULED if time_us is not None and time_us > now else State.LATE
    text = error.decode(errors="replace")
    found = decode_record(record) if record else None
    return StoredItem(id.decode(), state, found, deliveries, cancelled == 1, text, time_us, *place)
