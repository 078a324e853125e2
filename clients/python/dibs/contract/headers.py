"""Headers that dibs itself gives a delivery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: Header of an item that `Task.retry` enqueued: the attempts that were used up before it.
ATTEMPTS_BEFORE = "dibs-attempts-before"
#: Header of an item that `Task.retry` enqueued: why the attempt before it failed.
LAST_ERROR = "dibs-last-error"
#: Header of an item whose payload codecs have encoded: which, and with which keys; see `sealed`.
CODEC = "dibs-codec"
#: Header of an item that was enqueued by a principal of the broker's: its name. Brokers set it, whatever clients send.
PRINCIPAL = "dibs-principal"

#: What the names of headers begin with that are not for users to set.
RESERVED = "dibs-"


def check_free(names: Iterable[str]) -> None:
    """Check that users may set headers of these names.

    Raises:
        ValueError: one begins with ``dibs-``.
    """
    for name in names:
        if name.startswith(RESERVED):
            raise ValueError(f"headers whose names begin with {RESERVED} are set by dibs itself: rename {name!r}")


def of_users(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that the producer passed along."""
    return {name: value for name, value in headers.items() if not name.startswith(RESERVED)}


def attempts_before(headers: Mapping[str, str]) -> int:
    """Attempts that were used up before an item was enqueued; 0 unless `Task.retry` enqueued it."""
    before = headers.get(ATTEMPTS_BEFORE, "")
    return int(before) if before.isascii() and before.isdecimal() and len(before) < 8 else 0
