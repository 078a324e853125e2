"""Lists that come in pages, as flows: a page at a time, asked for when it is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from ..errors import BrokerError
from .flow import Flow, do, part_size
from .known_limits import KnownLimits, is_too_much
from .operations import Operation

M = TypeVar("M")

#: Bytes that a name takes of a request beyond its own.
_NAME_OVERHEAD = 8


class Pages(Generic[M]):
    """A list of the broker's, from its beginning or from a page on. Of one caller.

    Args:
        ask: makes the call for a page, given its token.
        token: of the first page; empty: the beginning.

    Attributes:
        token: of the next page; empty: there is none, or nothing has been asked for yet.
    """

    def __init__(self, ask: Callable[[str], Operation[tuple[Sequence[M], str]]], token: str = "") -> None:
        self._ask = ask
        self.token = token
        self._over = False

    def next(self) -> Flow[Sequence[M] | None]:
        """The next page, which may be empty; None: there are no more."""
        if self._over:
            return None
        page, self.token = yield from do(self._ask(self.token))
        self._over = not self.token
        return page


class NamedPages(Generic[M]):
    """As `Pages`, of what has one of many names: in as many requests as the broker's limits make of them.

    Args:
        ask: makes the call for a page, given names and the page's token.
        names: any number of them.
        limits: what the broker takes.
    """

    def __init__(
        self,
        ask: Callable[[Collection[str], str], Operation[tuple[Sequence[M], str]]],
        names: Iterable[str],
        limits: KnownLimits,
    ) -> None:
        self._ask = ask
        self._limits = limits
        wanted = list(names)
        self._left = deque([wanted] if wanted else [])
        self._token = ""

    def next(self) -> Flow[Sequence[M] | None]:
        """As `Pages.next`."""
        while self._left:
            names = self._left[0]
            most = self._most(names)
            if not self._token and len(names) > most:
                self._divide(most)
                continue
            try:
                page, self._token = yield from do(self._ask(names, self._token))
            except BrokerError as error:
                if not is_too_much(error) or len(names) < 2:
                    raise
                self._divide(part_size(error, len(names)))
                continue
            if not self._token:
                self._left.popleft()
            return page
        return None

    def _most(self, names: Sequence[str]) -> int:
        longest = max(len(name.encode(errors="surrogatepass")) for name in names) + _NAME_OVERHEAD
        return max(1, min(self._limits.batch_items, self._limits.entry_bytes // longest))

    def _divide(self, most: int) -> None:
        names = iter(self._left.popleft())
        parts = []
        while part := list(islice(names, most)):
            parts.append(part)
        self._left.extendleft(reversed(parts))


def whole(pages: Pages[M] | NamedPages[M]) -> Flow[list[M]]:
    """All entries of a list."""
    found: list[M] = []
    while (page := (yield from pages.next())) is not None:
        found += page
    return found
