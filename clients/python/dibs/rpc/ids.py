"""New ids for items and requests: 128 random bits in hexadecimal."""

from __future__ import annotations

import os


def new_id() -> str:
    """One new id."""
    return os.urandom(16).hex()


def new_ids(count: int) -> list[str]:
    """New ids, from one call to the operating system."""
    pool = os.urandom(16 * count).hex()
    return [pool[at : at + 32] for at in range(0, 32 * count, 32)]


class Ids:
    """New ids, a thousand from one call to the operating system. For one thread."""

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = ""
        self._at = 0

    def new(self) -> str:
        """A new id: 128 random bits in hexadecimal, as `new_id` makes them one by one."""
        at = self._at
        if at == len(self._pool):
            self._pool = os.urandom(16_000).hex()
            at = 0
        self._at = at + 32
        return self._pool[at : at + 32]

    def forget(self) -> None:
        """Drop ids made in advance: after a fork another process has the same."""
        self._pool = ""
        self._at = 0
