"""Handing items out, looking at those that would be handed out next, and putting back what never left."""

from __future__ import annotations

from collections.abc import Sequence

from .connections import Argument
from .errors import LateCall
from .namespaces import Namespaces
from .replies import lease_reply
from .types import Kind, LeaseCall, Leased, LeaseQuery, LeaseReply, Record, decode_record

_UNTRACKED = LeaseCall("", 0)


class Leasing(Namespaces):
    """The part of an engine that hands items out (see ``engine.py``)."""

    async def lease(
        self,
        namespace: str,
        query: LeaseQuery,
        max_items: int,
        *,
        note_hunger: bool = False,
        call: LeaseCall = _UNTRACKED,
    ) -> LeaseReply:
        """Take up to `max_items` items, at most `reply_bytes` of them (but at least one).

        Args:
            namespace: where.
            query: which queues, and overrides.
            max_items: 1 to `MAX_BATCH`; of a call with a name also 0, which only answers what it did when it was asked
                before.
            note_hunger: when the queues are empty, have the next item published as a hint.
            call: how the call is told from others; untracked: what it leases counts as received.

        Raises:
            LateCall: it came after its time, or a later one has overtaken it; it was not carried out.
        """
        await self._know(namespace)
        args: list[Argument] = [
            query.kind.value,
            max_items,
            self.config.reply_bytes,
            self.config.item_bytes,
            "" if query.lease_us is None else query.lease_us,
            "" if query.attempts is None else query.attempts,
            self.config.once_retention_us,
            self.config.share_from if self.peers.current else 0,
            int(note_hunger),
            call.caller,
            call.sequence,
            "" if call.not_after_us is None else call.not_after_us,
            call.keep_ms,
            call.skills,
            int(call.sift),
            int(call.says_begun),
            "" if query.default_attempts is None else query.default_attempts,
            query.default_dead or "",
            len(call.shares),
            *call.shares,
            len(call.receipts),
            *call.receipts,
            len(query.queues),
            *query.queues,
        ]
        due, again, now, ids, records, stretches, parked = await self._call("lease", namespace, args)
        if again == 2:
            # Redis's clock may have made a step; the next call then goes by the new one.
            self._timers.see_clock(now)
            raise LateCall("lease: the call came too late, or a later one has overtaken it")
        if due >= 0:
            self._timers.due(namespace, due)
        return lease_reply(max_items, now, again, ids, records, stretches, parked)

    async def peek(self, namespace: str, kind: Kind, queues: Sequence[str], max_items: int) -> list[tuple[str, Record]]:
        """Look at ready items without taking them, in the order in which they would be leased."""
        room, most = self.config.reply_bytes, self.config.item_bytes
        args: list[Argument] = [kind.value, max_items, room, most, len(queues), *queues]
        ids, records = await self._call("peek", namespace, args)
        return [(id.decode(), decode_record(record)) for id, record in zip(ids, records, strict=True)]

    async def restore(
        self, namespace: str, items: Sequence[Leased], *, delay_us: int = 0, name: str = "", keep_ms: int = 600_000
    ) -> None:
        """Put back at-most-once items (token 0) that were leased and never left this process.

        May be repeated under the same name.
        """
        args: list[Argument] = [name, keep_ms, delay_us, len(items)]
        for item in items:
            args += (item.id, item.record, item.attempt - 1, item.attempts, item.last_error)
        due, _ = await self._call("restore", namespace, args)
        self._timers.due(namespace, due)
