"""Pieces of the protobuf wire format, for messages of many entries that are put together as bytes.

Making a message object for every entry of a batch costs several times what the entry's bytes cost. Where that shows,
client and broker join messages from bytes. Field numbers come from the generated descriptors, and tests compare the
result with what the message classes make. Depends on nothing of the package.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor

VARINT, LENGTH_DELIMITED = 0, 2
#: Numbers below this have their varint in `VARINTS`.
SMALL = 1 << 14


def varint(number: int) -> bytes:
    """A number, 0 or more, as the wire has it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def tag(message: Descriptor, field: str, wire_type: int = LENGTH_DELIMITED) -> bytes:
    """What stands before a field's value."""
    return varint(message.fields_by_name[field].number << 3 | wire_type)


def field(field_tag: bytes, value: bytes) -> bytes:
    """A length-delimited field."""
    size = len(value)
    return b"%b%b%b" % (field_tag, VARINTS[size] if size < SMALL else varint(size), value)


VARINTS = [varint(number) for number in range(SMALL)]


def id_entry(entry_tag: bytes, id: str, rest: bytes) -> bytes:
    """An entry of a list whose first field is an id, of at most 1,024 characters, followed by encoded fields."""
    name = id.encode()
    size = len(name)
    head = VARINTS[size]
    return b"%b%b\x0a%b%b%b" % (entry_tag, VARINTS[1 + len(head) + size + len(rest)], head, name, rest)
