"""The first message of a stream, for which a broker does not wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TypeVar

from ..config.units import format_span
from .errors import TooLate

_T = TypeVar("_T")


async def first_message(requests: AsyncIterator[_T], within: timedelta, what: str) -> _T | None:
    """What comes first; None: the client has nothing to say.

    Args:
        requests: what comes.
        within: how long it may take.
        what: must come, for the error.

    Raises:
        TooLate: it did not come in time.
    """
    # Not under a timeout: a read that is cancelled takes the call with it, and the client would not learn why.
    reading = asyncio.ensure_future(anext(requests, None))
    try:
        await asyncio.wait((reading,), timeout=within.total_seconds())
    except asyncio.CancelledError:
        reading.cancel()
        raise
    if not reading.done():
        # The end of the call ends it.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise TooLate(f"{what}: must come within {format_span(within)} of the beginning of a stream")
    return reading.result()
