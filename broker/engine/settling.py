"""What becomes of items that were handed out: calls that arrive together share a script call, receipts ride on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .calls import MAX_BATCH, WEIGHED_BYTES
from .coalesce import Coalescers
from .config import EngineConfig
from .connections import Argument
from .namespaces import Namespaces
from .receipts import Receipts
from .types import Ack, Begun, Nack, Outcome, Refresh, Refreshed

# Looked up for every entry; calling the enum takes ten times as long.
_OUTCOMES = tuple(Outcome)


class Settling(Namespaces):
    """The part of an engine that hears of items which were handed out (see ``engine.py``)."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        #: Told how items were settled ("ack", or the reason of a nack) and with what outcomes, if it is set.
        self.on_settled: Callable[[str, Sequence[Outcome]], None] | None = None
        self.receipts = Receipts(self.arrived)
        self._acks = Coalescers(self._ack, MAX_BATCH, _weigh_acks)
        self._nacks = Coalescers(self._nack, MAX_BATCH)
        self._refreshes = Coalescers(self._refresh, MAX_BATCH)
        self._begun = Coalescers(self._begin, MAX_BATCH)

    async def ack(self, namespace: str, entries: Sequence[Ack]) -> Sequence[Outcome]:
        """Finishes leased items."""
        return await self._acks.submit(namespace, entries)

    async def nack(self, namespace: str, entries: Sequence[Nack]) -> Sequence[Outcome]:
        """Give leased items back."""
        return await self._nacks.submit(namespace, entries)

    async def refresh(self, namespace: str, entries: Sequence[Refresh]) -> Sequence[Refreshed]:
        """Lengthens leases."""
        return await self._refreshes.submit(namespace, entries)

    async def begun(self, namespace: str, entries: Sequence[Begun]) -> Sequence[None]:
        """Says that workers have begun items. Of one that is not leased under its token any more nothing changes."""
        return await self._begun.submit(namespace, entries)

    async def arrived(
        self, namespace: str, calls: Sequence[tuple[str, int]] = (), receipts: Sequence[int] = ()
    ) -> None:
        """Says that answers of lease calls (caller, sequence) have arrived and shares have been received."""
        args: list[Argument] = [len(calls)]
        for call in calls:
            args += call
        await self._call("arrived", namespace, [*args, *receipts])

    async def _ack(self, namespace: str, entries: list[Ack]) -> list[Outcome]:
        if any(entry.result is not None for entry in entries):
            args: list[Argument] = [len(entries), 3]
            for id, token, result in entries:
                args += (id, "" if token is None else token, "-" if result is None else b"R" + result)
        else:
            args = [len(entries), 2]
            for id, token, _ in entries:
                args += (id, "" if token is None else token)
        with self.receipts.carried(namespace) as receipts:
            if receipts:
                args += receipts
            outcomes = [_OUTCOMES[code] for code in await self._call("ack", namespace, args)]
        if self.on_settled is not None:
            self.on_settled("ack", outcomes)
        return outcomes

    async def _nack(self, namespace: str, entries: list[Nack]) -> list[Outcome]:
        args: list[Argument] = [len(entries)]
        for id, token, reason, delay_us, error in entries:
            args += (id, token, reason.value, "" if delay_us is None else delay_us, error)
        with self.receipts.carried(namespace) as receipts:
            due, codes = await self._call("nack", namespace, [*args, *receipts])
        self._timers.due(namespace, due)
        outcomes = [_OUTCOMES[code] for code in codes]
        if self.on_settled is not None:
            for entry, outcome in zip(entries, outcomes, strict=True):
                self.on_settled(entry.reason.name.lower(), (outcome,))
        return outcomes

    async def _refresh(self, namespace: str, entries: list[Refresh]) -> list[Refreshed]:
        args: list[Argument] = [len(entries)]
        for id, token, lease_us in entries:
            args += (id, "" if token is None else token, "" if lease_us is None else lease_us)
        with self.receipts.carried(namespace) as receipts:
            codes, cancelled = await self._call("refresh", namespace, [*args, *receipts])
        return [Refreshed(_OUTCOMES[code], flag == 1) for code, flag in zip(codes, cancelled, strict=True)]

    async def _begin(self, namespace: str, entries: list[Begun]) -> list[None]:
        args: list[Argument] = [len(entries)]
        for entry in entries:
            args += entry
        with self.receipts.carried(namespace) as receipts:
            await self._call("begun", namespace, [*args, *receipts])
        return [None] * len(entries)


def _weigh_acks(entries: Sequence[Ack]) -> int:
    size = sum(len(entry.result) for entry in entries if entry.result)
    return max(len(entries), size // WEIGHED_BYTES)
