"""Putting items into their queues: requests that arrive together share a script call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from .calls import MAX_BATCH, WEIGHED_BYTES
from .coalesce import Coalescers
from .config import EngineConfig
from .connections import Argument
from .namespaces import Namespaces
from .quotas import checked
from .types import OPEN_WORD, Enqueued, NewItem

# Looked up for every entry; calling the enum takes ten times as long.
_ENQUEUED = {outcome.value: outcome for outcome in Enqueued}
#: What the items of a group have in common; see enqueue.lua.
_TERMS = attrgetter("spec", "due", "conflict")


class EnqueueCall(NamedTuple):
    """One Enqueue request: its id ("" for none) and its items."""

    request_id: str
    items: Sequence[NewItem]


class Enqueueing(Namespaces):
    """The part of an engine that takes items in (see ``engine.py``)."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._enqueues = Coalescers(self._enqueue, MAX_BATCH, _weigh_enqueues)

    async def enqueue(self, namespace: str, request_id: str, items: Sequence[NewItem]) -> list[Enqueued]:
        """Put items into their queues, durable when this returns.

        Args:
            namespace: where.
            request_id: a second call with it answers as the first did and does nothing; "" for none.
            items: at most `MAX_BATCH`.

        Raises:
            QuotaExceeded: there is no room for all of them; none was put in.
        """
        (codes,) = await self._enqueues.submit(namespace, (EnqueueCall(request_id, items),))
        return [_ENQUEUED[code] for code in checked(namespace, codes).decode()]

    async def _enqueue(self, namespace: str, calls: list[EnqueueCall]) -> list[bytes]:
        # Here and not before: calls must not overtake each other while the first one waits for this.
        await self._know(namespace)
        quotas = self.quotas.text(namespace)
        if quotas and self.quotas.is_uncounted(namespace):
            await self.quotas.count(namespace)
        args: list[Argument] = [self.config.request_window_ms, self.hints.origin, quotas, len(calls)]
        extend: Callable[[Sequence[Argument]], None] = args.extend
        knows_words = self.peers.current
        for call in calls:
            groups = [(terms, tuple(items)) for terms, items in groupby(call.items, _TERMS)]
            extend((call.request_id, len(groups)))
            for (spec, due, conflict), items in groups:
                # Brokers of earlier versions, if there are any, could not read that word.
                extend((len(items), spec if knows_words else spec.partition(OPEN_WORD)[0], due, conflict))
                for item in items:
                    extend((item.id, item.body))
        # Those who wait here need no hint from Redis: their lease goes down the same connection, right behind this.
        queues = {tuple(item.spec.split(" ", 2)[:2]) for call in calls for item in call.items if not item.due}
        sent_whole = self._scripts.sent_whole
        for kind, queue in queues:
            self.hints.ready(namespace, kind, queue)
        due, uncounted, *codes = await self._call("enqueue", namespace, args)
        if self._scripts.sent_whole != sent_whole:  # then their lease may have come before it
            for kind, queue in queues:
                self.hints.ready(namespace, kind, queue)
        self._timers.due(namespace, due)
        if uncounted:
            self.quotas.distrust(namespace)
        return list(codes)


def _weigh_enqueues(calls: Sequence[EnqueueCall]) -> int:
    weight = 0
    for call in calls:
        size = 0
        for item in call.items:
            size += len(item.body)
        weight += max(len(call.items), size // WEIGHED_BYTES)
    return weight
