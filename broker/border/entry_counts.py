"""Counts the entries of a request, and finds fields that nobody knows, on the wire, before anything is made of it.

An entry that says nothing takes two bytes of a request and a hundred of the broker, and walking over two million of
them takes seconds. So a request's bytes are gone through field by field, up to the first field with too many entries.
Even that is done only where it may be needed: as a rule the bytes that begin entries are too few to be too many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from dibs.contract.fields import is_repeated

from ..config.limits import Limits
from ..engine.engine import MAX_BATCH
from .errors import InvalidField

#: Most names of tasks that a worker may say.
MOST_TASK_NAMES = 10_000
#: Most leases that a worker may bring along from an earlier stream.
MOST_HELD = 10_000

#: Most entries, and the name of the limit if clients know it by one.
_Most: TypeAlias = Callable[[Limits], tuple[int, str]]


def _batch(limits: Limits) -> tuple[int, str]:
    return limits.batch_items, "max_batch_items"


#: What each repeated field of a request may have, unless it is a batch.
_MOST: Mapping[str, _Most] = MappingProxyType(
    {
        "dibs.v1.Content.headers": lambda limits: (limits.max_headers, ""),
        "dibs.v1.LeaseRequest.queues": lambda limits: (limits.max_queues_per_lease, "max_queues_per_lease"),
        "dibs.v1.WorkHello.queues": lambda limits: (limits.max_queues_per_lease, "max_queues_per_lease"),
        "dibs.v1.WorkHello.task_names": lambda _: (MOST_TASK_NAMES, ""),
        "dibs.v1.WorkHello.received_tokens": lambda _: (MOST_HELD, ""),
        "dibs.v1.ListQueuesRequest.names": lambda _: (MAX_BATCH, ""),
        "dibs.v1.ListTasksRequest.names": lambda _: (MAX_BATCH, ""),
        "dibs.v1.FlushRequest.queues": lambda _: (MAX_BATCH, ""),
    }
)
#: Fields of an item or a schedule that are no headers, with room to spare.
_FIELDS_OF_AN_ENTRY = 48

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
_WIRE_TYPES = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FIXED64: _FIXED64,
    FieldDescriptor.TYPE_SFIXED64: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_FIXED32: _FIXED32,
    FieldDescriptor.TYPE_SFIXED32: _FIXED32,
    FieldDescriptor.TYPE_STRING: _BYTES,
    FieldDescriptor.TYPE_BYTES: _BYTES,
    FieldDescriptor.TYPE_MESSAGE: _BYTES,
}
#: Unknown fields of a message that are named.
_NAMED = 10
#: Bytes that end no varint.
_UNFINISHED = bytes(range(128, 256))


class Malformed(Exception):
    """The bytes are no message."""


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """One field of a message.

    Attributes:
        most: entries that it may have; 0: it is not repeated.
        inside: the fields of the message that it is; None: it is none.
        free: fields of that message which are not counted: name and value of a header.
    """

    name: str
    wire_type: int
    packable: bool
    most: int
    limit: str
    inside: _Shape | None
    free: int


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """The fields of a message type by their numbers, and whether it or one inside has repeated ones."""

    fields: dict[int, _Field]
    has_entries: bool


class EntryCounts:
    """Goes through requests of one type.

    Args:
        message: the type.
        limits: how many entries are allowed.
    """

    def __init__(self, message: Descriptor, limits: Limits) -> None:
        self._most_fields = limits.batch_items * (limits.max_headers + _FIELDS_OF_AN_ENTRY)
        self._beginnings: set[int] = set()
        self._packed = False
        self._shape = self._shape_of(message, limits, {})

    def suspicious(self, data: bytes) -> bool:
        """Whether there may be so many entries that they have to be counted; False is certain."""
        most = self._most_fields
        size = len(data)
        if size <= most:
            return False
        if self._packed:
            return True
        return sum(map(data.count, self._beginnings)) > most

    def check(self, data: bytes, *, deep: bool = False) -> None:
        """Count the entries of a request.

        Args:
            data: its bytes.
            deep: also look for fields that the types do not have, in every message inside.

        Raises:
            InvalidField: there are too many of some field, or fields that this version does not know.
            Malformed: the bytes are no message of the type.
        """
        try:
            self._walk(data, 0, len(data), self._shape, "", deep, self._most_fields)
        except IndexError:
            raise Malformed from None

    def _shape_of(self, message: Descriptor, limits: Limits, known: dict[str, _Shape]) -> _Shape:
        shape = known.get(message.full_name)
        if shape is None:
            fields = {field.number: self._field_of(field, limits, known) for field in message.fields}
            entries = any(field.most or (field.inside and field.inside.has_entries) for field in fields.values())
            shape = known[message.full_name] = _Shape(fields, bool(entries))
        return shape

    def _field_of(self, field: FieldDescriptor, limits: Limits, known: dict[str, _Shape]) -> _Field:
        most, limit = 0, ""
        wire_type = _WIRE_TYPES.get(field.type, _VARINT)
        if is_repeated(field):
            most, limit = _MOST.get(field.full_name, _batch)(limits)
            # A number may be written in more bytes than it takes: then the first one has its highest bit set.
            first = field.number << 3 & 0x7F | wire_type
            self._beginnings |= {first, first | 0x80}
            self._packed = self._packed or wire_type != _BYTES
        inside, free = None, 0
        kind: Any = field.message_type
        if kind is not None:
            inside = self._shape_of(kind, limits, known)
            free = 2 if kind.GetOptions().map_entry else 0
        return _Field(field.name, wire_type, is_repeated(field) and wire_type != _BYTES, most, limit, inside, free)

    def _walk(self, data: bytes, at: int, end: int, shape: _Shape, path: str, deep: bool, left: int) -> int:
        """Goes through the fields of one message; how many more there may be after it."""
        counts: dict[int, int] = {}
        unknown: set[int] = set()
        fields = shape.fields
        while at < end:
            left -= 1
            if left < 0:
                raise InvalidField("", f"has more than {self._most_fields} fields")
            key = data[at]
            at += 1
            if key > 0x7F:
                key, at = _varint(data, at - 1)
            wire_type = key & 7
            start = at
            if wire_type == _BYTES:
                size = data[at]
                at += 1
                if size > 0x7F:
                    size, at = _varint(data, at - 1)
                start = at
                at += size
            elif wire_type == _VARINT:
                while data[at] > 0x7F:
                    at += 1
                at += 1
            elif wire_type == _FIXED32:
                at += 4
            elif wire_type == _FIXED64:
                at += 8
            elif wire_type != _GROUP:
                raise Malformed
            if at > end:
                raise Malformed
            number = key >> 3
            field = fields.get(number)
            if field is None or not (wire_type == field.wire_type or (field.packable and wire_type == _BYTES)):
                unknown.add(number)
                if wire_type == _GROUP:
                    # No field of ours is one, and where it ends is not worth finding out.
                    raise _unknown(unknown, path)
                continue
            if field.most:
                count = counts[number] = counts.get(number, 0) + _entries(field, data, wire_type, start, at)
                if count > field.most:
                    raise _too_many(field, path)
            if field.inside is not None and (deep or field.inside.has_entries):
                here = f"{path}.{field.name}" if path else field.name
                if field.most:
                    here += f"[{count - 1}]"
                left = min(left, self._walk(data, start, at, field.inside, here, deep, left + field.free))
        if unknown and deep:
            raise _unknown(unknown, path)
        return left


def _entries(field: _Field, data: bytes, wire_type: int, start: int, end: int) -> int:
    """How many entries one field on the wire has; numbers may come packed."""
    if not field.packable or wire_type != _BYTES:
        return 1
    if field.wire_type == _VARINT:
        return len(data[start:end].translate(None, _UNFINISHED))
    return (end - start) // (4 if field.wire_type == _FIXED32 else 8)


def _too_many(field: _Field, path: str) -> InvalidField:
    told = (field.limit, field.most) if field.limit else None
    here = f"{path}.{field.name}" if path else field.name
    return InvalidField(here, f"has more than {field.most} entries, must have at most {field.most}", told)


def _unknown(numbers: set[int], path: str) -> InvalidField:
    named = ", ".join(str(number) for number in sorted(numbers)[:_NAMED])
    return InvalidField(path, f"carries fields that this broker does not know: number {named}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number on the wire, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise Malformed
