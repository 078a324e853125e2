"""Whether this process may open connections; tests that run without a broker forbid it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DibsError

_reasons: list[str] = []


def check() -> None:
    """Do nothing, unless it is forbidden.

    Raises:
        DibsError: it is; the text says why, and what to do.
    """
    if _reasons:
        raise DibsError(_reasons[-1])


@contextmanager
def forbidden(reason: str) -> Iterator[None]:
    """Inside the with no connection is opened; those that are open stay."""
    _reasons.append(reason)
    try:
        yield
    finally:
        _reasons.remove(reason)
