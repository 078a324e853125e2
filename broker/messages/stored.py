"""Messages that brokers keep in Redis for each other: one that cannot be read must not take the others with it."""

from __future__ import annotations

import logging
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

_log = logging.getLogger(__name__)

_M = TypeVar("_M", bound=Message)


def read_stored(kind: type[_M], data: bytes, what: str) -> _M | None:
    """A message of a type from its bytes; None if they cannot be read, which is logged. Unknown fields do no harm.

    Args:
        kind: its type.
        data: as it was stored.
        what: it is, for the log.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        _log.warning("%s cannot be read: written by another version, or damaged", what)
        return None
