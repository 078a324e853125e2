"""Headers that dibs itself gives a delivery."""

from __future__ import annotations

from collections.abc import Mapping

#: Header of an item that `Task.retry` enqueued: the attempts that were used up before it.
ATTEMPTS_BEFORE = "dibs-attempts-before"
#: Header of an item that `Task.retry` enqueued: why the attempt before it failed.
LAST_ERROR = "dibs-last-error"


def attempts_before(headers: Mapping[str, str]) -> int:
    """Attempts that were used up before an item was enqueued; 0 unless `Task.retry` enqueued it."""
    before = headers.get(ATTEMPTS_BEFORE, "")
    return int(before) if before.isascii() and before.isdecimal() and len(before) < 8 else 0
