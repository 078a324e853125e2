"""What fits into a message: lists and texts are cut to the room that there is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypeVar

from google.protobuf.message import Message

_M = TypeVar("_M", bound=Message)

#: Bytes that an entry of a list takes beyond its own: its tag and its length.
_ENTRY_HEAD = 8


def fitting(messages: Sequence[_M], room: int) -> Sequence[_M]:
    """As many of the first messages as fit into a reply, at least one."""
    for count, size in enumerate(accumulate(message.ByteSize() + _ENTRY_HEAD for message in messages)):
        if size > room:
            return messages[: max(count, 1)]
    return messages


def fitting_names(names: Sequence[str], room: int) -> Sequence[str]:
    """As many of the first names as fit into a reply."""
    for count, size in enumerate(accumulate(len(name.encode()) + _ENTRY_HEAD for name in names)):
        if size > room:
            return names[:count]
    return names


def trim(message: Message, room: int, *lists: str) -> None:
    """Cuts lists of a message, the first one first, from their ends until it fits into a reply."""
    for name in lists:
        entries: Any = getattr(message, name)
        while entries and message.ByteSize() > room:
            del entries[len(entries) // 2 :]
