"""Well-formed requests with extreme values, generated from the descriptors of the contract."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from dibs.contract.fields import is_repeated

from .requests import GOOD, METHODS, places

#: Names and texts that mean something to a broker, those that might to Redis, to Lua, to a terminal or a file system,
#: and those at limits of length.
TEXTS = (
    *(
        "",
        "a",
        "q",
        "task",
        "default",
        "good",
        "dead",
        "*",
        ".",
        "..",
        "../../etc/passwd",
        "a" * 128,
        "a" * 129,
        "x" * 5000,
    ),
    *("{a}", "{", "}", ":", "\0", "\n", " ", "\x1b]0;x\x07", "\u202e", "é", "\U0010ffff", "%s%n", "nil", "true", "-1"),
    *("1e999", "9" * 40, "0 0 1 1 *", "* * * * *", "0 0 29 2 1#5", "@reboot", "UTC", "Europe/Vienna", "'; return 1 --"),
)
BYTES = (b"", b"\0", b"{}", b"null", b"\xff" * 100, b"[" * 20_000, b"x" * (256 * 1024), b"x" * (256 * 1024 + 1))
INTEGERS: dict[int, Sequence[int]] = {
    bits: (0, 1, 2, 999, 1000, 1001, 10_000, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), -1) for bits in (32, 64)
}
UNSIGNED: dict[int, Sequence[int]] = {bits: (0, 1, 1000, 2 ** (bits - 1), 2**bits - 1) for bits in (32, 64)}
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan)
SECONDS = (0, 1, 59, 3600, 86_400 * 366, 2**31, 253_402_300_799, 315_576_000_000, 2**63 - 1, -1, -(2**63))
NANOS = (0, 1, 999, 1_000_000, 999_999_999, 10**9, 2**31 - 1, -1, -(2**31))
#: How many entries lists get, more often few than many.
LENGTHS = (0, 1, 1, 2, 3, 33, 1001)
#: Messages in messages, deeper than anything in the contract.
DEPTH = 6

_SHOWN = 1500
_SIGNED_32 = (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SFIXED32)
_UNSIGNED = (
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
)


@dataclass(frozen=True)
class Messages:
    """What is sent in one call."""

    all: Sequence[Message]

    def __repr__(self) -> str:
        """As protobuf writes it, cut where nobody would read on."""
        return "\n".join(f"{type(message).__name__}: {str(message)[:_SHOWN]}" for message in self.all[:5])


def requests(method: str) -> st.SearchStrategy[Messages]:
    """What to send in one call of a method: something good with something extreme in it, or all of it extreme."""
    return st.one_of(_changed(method), _changed(method), _made(method)).map(Messages)


@st.composite
def _changed(draw: st.DrawFn, method: str) -> list[Message]:
    """A good call, some fields of which have other values."""
    messages: list[Message] = [_copy(message) for message in GOOD[method]]
    for _ in range(draw(st.integers(1, 4))):
        message = draw(st.sampled_from(messages))
        found = list(places(message))
        if found:
            place = draw(st.sampled_from(found))
            owner = place.within(message)
            owner.ClearField(place.field.name)
            _fill(draw, owner, place.field, DEPTH)
    if METHODS[method].client_streaming and draw(st.booleans()):
        messages += draw(_made(method))
    return messages


@st.composite
def _made(draw: st.DrawFn, method: str) -> list[Message]:
    """A call of which nothing was good."""
    count = draw(st.sampled_from((1, 1, 2, 5))) if METHODS[method].client_streaming else 1
    return [_message(draw, METHODS[method].input_type, DEPTH) for _ in range(count)]


def _message(draw: st.DrawFn, descriptor: Descriptor, depth: int) -> Message:
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if draw(st.integers(0, 2)) == 0:
            _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, owner: Any, field: FieldDescriptor, depth: int) -> None:
    """Gives a field of a message a value."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        for _ in range(draw(st.sampled_from(LENGTHS))):
            getattr(owner, field.name)[draw(st.text(max_size=4) | st.sampled_from(TEXTS))] = draw(
                st.sampled_from(TEXTS)
            )
    elif is_repeated(field):
        _fill_list(draw, getattr(owner, field.name), field, depth)
    elif kind is None:
        setattr(owner, field.name, draw(_scalar(field)))
    elif kind.full_name in ("google.protobuf.Duration", "google.protobuf.Timestamp"):
        time = getattr(owner, field.name)
        time.seconds, time.nanos = draw(st.sampled_from(SECONDS)), draw(st.sampled_from(NANOS))
    elif depth:
        getattr(owner, field.name).CopyFrom(_message(draw, kind, depth - 1))


def _fill_list(draw: st.DrawFn, entries: Any, field: FieldDescriptor, depth: int) -> None:
    length = draw(st.sampled_from(LENGTHS))
    if not length or not depth:
        return
    # A thousand that are all drawn would take Hypothesis longer than the broker: a few, again and again.
    few = min(length, 3)
    if field.message_type is None:
        drawn = [draw(_scalar(field)) for _ in range(few)]
    else:
        drawn = [_message(draw, field.message_type, depth - 1) for _ in range(few)]
    large = sum(
        len(one) if isinstance(one, str | bytes) else one.ByteSize() if isinstance(one, Message) else 8 for one in drawn
    )
    # What is larger than gRPC lets through tells nothing of the broker.
    entries.extend((drawn * length)[: length if large < 3000 else few])


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return st.sampled_from([*known, *known, 99, 2**31 - 1, -1])
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.sampled_from(TEXTS) | st.text(max_size=20)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.sampled_from(BYTES) | st.binary(max_size=50)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return st.sampled_from(FLOATS) | st.floats(width=32 if field.type == FieldDescriptor.TYPE_FLOAT else 64)
    bits = 32 if field.type in (*_SIGNED_32, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_FIXED32) else 64
    if field.type in _UNSIGNED:
        return st.sampled_from(UNSIGNED[bits])
    return st.sampled_from(INTEGERS[bits]) | st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _copy(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
