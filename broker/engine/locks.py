"""Locks: by name, held by an owner for a time of Redis's clock."""

from __future__ import annotations

from typing import NamedTuple

from .connections import Argument
from .quotas import QuotaWatch, checked
from .scripts import Call


class HeldLock(NamedTuple):
    """A lock that is held by `owner` until `ends_us`."""

    name: str
    owner: str
    ends_us: int


class Locks:
    """The locks of all namespaces.

    Args:
        call: runs a script.
        create: the same for what makes a namespace one that is in use.
        quotas: how many there may be.
    """

    def __init__(self, call: Call, create: Call, quotas: QuotaWatch) -> None:
        self._call = call
        self._create = create
        self._quotas = quotas

    async def acquire(self, namespace: str, name: str, owner: str, length_us: int) -> HeldLock:
        """Take a lock if it is free, or start its time anew if the owner holds it. Answer who holds it now.

        Raises:
            QuotaExceeded: so many others are held.
        """
        args: list[Argument] = [name, owner, length_us, self._quotas.of(namespace).locks]
        _, holder, ends = checked(namespace, await self._create("acquire_lock", namespace, args))
        return HeldLock(name, holder.decode(), ends)

    async def refresh(self, namespace: str, name: str, owner: str, length_us: int | None = None) -> int | None:
        """Start the time of a lock anew (None: as long as it was taken for): its end; None: the owner has lost it."""
        ends: int = await self._call("refresh_lock", namespace, [name, owner, "" if length_us is None else length_us])
        return None if ends < 0 else ends

    async def release(self, namespace: str, name: str, owner: str) -> bool:
        """Frees a lock; False: the owner did not hold it."""
        return bool(await self._call("release_lock", namespace, [name, owner]))

    async def page(self, namespace: str, wanted: int, after: str = "") -> tuple[list[HeldLock], str]:
        """Held locks by name, and the name after which to go on ("" the end)."""
        names, values, ends, last = await self._call("list_locks", namespace, [wanted, after])
        return [
            HeldLock(name.decode(), value.partition(b" ")[2].decode(), int(end))
            for name, value, end in zip(names, values, ends, strict=True)
        ], last.decode()
