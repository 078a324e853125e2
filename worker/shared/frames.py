"""Frames between a connector and a task process: a head of 20 bytes and a body, on a stream socket."""

from __future__ import annotations

import struct
from typing import NamedTuple

from .sorts import Sort

#: Kind, lane (a `Sort`; 0 where it is of none), length of the body, and three numbers whose meaning the kind says.
HEAD = struct.Struct("<HHIIII")
#: Numbers that only grow go round here.
MODULO = 1 << 32
#: First position and count of items that follow each other.
RANGE = struct.Struct("<II")
#: How a lane stands: items that it was dealt in all (modulo 2**32), room for more, items that it holds ahead.
STANDING = struct.Struct("<III")

#: Up, once, when its tasks are loaded: see `hello`.
HELLO = 1
#: Down: a = first position, b = credit that the broker has, c = when they arrived, in ms of the monotonic clock (modulo
#: 2**32). Body: a WorkResponse, as it came; its deliveries have the positions from the first on.
ITEMS = 2
#: Up: a = entries, b = ranges, c = items handed back in all (modulo 2**32). Body: a STANDING, ranges of positions that
#: are done, a WorkRequest with entries. An item's entry comes no later than its position.
DONE = 3
#: Down: a, b = lease token, low and high half. Body: id of an item that somebody has cancelled.
CANCEL = 4
#: Down: hand back what has not begun and can go back.
TAKE = 5
#: Up: no more items, please; followed by whatever is still to be reported.
RETIRE = 6
#: Down: no more items follow; end when everything is done, or within a milliseconds. May come again with less time.
STOP = 7

#: Longest body. What a broker sends in a message is far below it.
MAX_LENGTH = 1 << 30


class Frame(NamedTuple):
    """One frame, taken apart."""

    kind: int
    lane: int
    a: int
    b: int
    c: int
    body: bytes


class FrameError(Exception):
    """What came is no frame: the other end is not what it should be."""


def frame(kind: int, a: int = 0, b: int = 0, c: int = 0, body: bytes = b"", *, lane: int = 0) -> bytes:
    """One frame, as bytes."""
    return HEAD.pack(kind, lane, len(body), a, b, c) + body


class Reader:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        """The frames that are complete now.

        Raises:
            FrameError: a head that cannot be one.
        """
        rest = self._rest
        rest += data
        at, end = 0, len(rest)
        frames: list[Frame] = []
        with memoryview(rest) as view:
            while end - at >= HEAD.size:
                kind, lane, length, a, b, c = HEAD.unpack_from(rest, at)
                if not HELLO <= kind <= STOP or lane >= len(Sort) or length > MAX_LENGTH:
                    raise FrameError(f"a head of kind {kind}, lane {lane} and length {length:,}")
                stop = at + HEAD.size + length
                if stop > end:
                    break
                frames.append(Frame(kind, lane, a, b, c, bytes(view[at + HEAD.size : stop])))
                at = stop
        if at:
            del rest[:at]
        return frames


def ranges(positions: list[int]) -> list[tuple[int, int]]:
    """First position and count of each run of positions that follow each other; sorts the list.

    Args:
        positions: at least one, none twice.
    """
    positions.sort()
    first = last = positions[0]
    if positions[-1] - first == len(positions) - 1:
        return [(first, len(positions))]
    found: list[tuple[int, int]] = []
    for position in positions[1:]:
        if position != last + 1:
            found.append((first, last - first + 1))
            first = position
        last = position
    found.append((first, last - first + 1))
    return found
