"""Responses that are put together from bytes (see `dibs.contract.wire`) and sent as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NewType, TypeVar

from google.protobuf.message import Message

_T = TypeVar("_T", bound=Message)

#: A whole message as the wire has it.
Encoded = NewType("Encoded", bytes)


def writer(serialize: Callable[[_T], bytes]) -> Callable[[_T | Encoded], bytes]:
    """Write messages of one type, by its own way, and let through what is encoded already."""
    return lambda message: message if isinstance(message, bytes) else serialize(message)
