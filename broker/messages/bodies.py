"""What the broker reads in an item's body without taking all of it apart: a body is a serialized `Content`."""

from __future__ import annotations

#: Bytes in front of a task's name: its tag and its length.
HEAD_BYTES = 4
#: Tag of `Content.task_name`, which the broker writes first.
_TASK_NAME = 0x0A


def task_name(data: bytes, at: int = 0) -> bytes:
    """The task's name, in UTF-8, of the body that begins in `data` at a place; empty for a data item.

    Takes about 0.3 µs: it runs for every item that is sent to a worker.
    """
    if len(data) <= at or data[at] != _TASK_NAME:
        return b""
    length = data[at + 1]
    at += 2
    if length > 0x7F:
        length = length & 0x7F | (data[at] & 0x7F) << 7
        if data[at] > 0x7F:
            length |= data[at + 1] << 14
            at += 1
        at += 1
    return data[at : at + length]
