"""What is known of items by their ids, now or once they have come further; and cancelling them."""

from __future__ import annotations

import asyncio
import random

from .connections import Argument
from .namespaces import Namespaces
from .replies import bytes_told, item_status
from .types import Cancelled, IdList, ItemStatus, Until

#: How long a wish to hear of a change stays in Redis, and how often it is renewed (with a look at how things stand).
_WATCH_US = 60_000_000
_WATCH_LOOK_S = 5.0


class Lookups(Namespaces):
    """The part of an engine that is asked about single items (see ``engine.py``)."""

    async def cancel(self, namespace: str, ids: IdList) -> list[Cancelled]:
        """Cancel items."""
        return [Cancelled(code) for code in await self._call("cancel", namespace, [len(ids), *ids])]

    async def lookup(
        self,
        namespace: str,
        ids: IdList,
        *,
        until: Until = Until.NOW,
        timeout_s: float = 0.0,
        bodies: bool = False,
    ) -> list[ItemStatus]:
        """What is known of items, waiting up to `timeout_s` until all have come as far as `until`.

        Bodies, results and errors are left out of what is beyond `reply_bytes` in all.
        """
        if until is Until.NOW or timeout_s <= 0:
            return await self._lookup(namespace, ids, Until.NOW, bodies=bodies)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        found: dict[str, ItemStatus] = {}
        open_ids = set(ids)
        changed: set[str] = set(open_ids)
        wake = asyncio.Event()

        def tell(id: str) -> None:
            changed.add(id)
            wake.set()

        with self.hints.on_changed(namespace, open_ids, tell):
            while True:
                wake.clear()
                look = [id for id in open_ids if id in changed]
                changed.clear()
                for status in await self._lookup(namespace, look, until, bodies=bodies) if look else ():
                    found[status.id] = status
                    if until.reached(status.state):
                        open_ids.discard(status.id)
                left = deadline - loop.time()
                if not open_ids or left <= 0:
                    return [found[id] for id in ids]
                try:
                    async with asyncio.timeout(min(left, _WATCH_LOOK_S * random.uniform(0.75, 1.0))):
                        await wake.wait()
                except TimeoutError:
                    changed |= open_ids

    async def _lookup(self, namespace: str, ids: IdList, until: Until, *, bodies: bool) -> list[ItemStatus]:
        room, told = self.config.reply_bytes, False
        found: list[ItemStatus] = []
        while len(found) < len(ids):
            # One call reads only so much: what is left is asked for in the next, and others get their turn.
            some = ids[len(found) :]
            args: list[Argument] = [until.value, _WATCH_US, int(bodies), room, len(some), *some, int(told)]
            replies = await self._call("lookup", namespace, args)
            for id, reply in zip(some, replies, strict=False):
                status = item_status(id, reply)
                size = bytes_told(reply, bodies=bodies)
                room = 0 if status.truncated else max(room - size, 0)
                told = told or size > 0
                found.append(status)
        return found
