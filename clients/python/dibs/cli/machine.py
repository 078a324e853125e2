"""Replies of the broker as JSON for programs (``--json``).

The names are those of the contract (`proto/dibs/v1/`), and stay. Lengths of time are seconds under a name that ends in
``_seconds``; times are RFC 3339 text in UTC; enum values are words without their prefix (``WAITING``); what is absent
is null. Payloads and results are given as the JSON that they hold; what is not JSON goes under a name that ends in
``_base64``, and what is encoded and needs a key has the codecs under one that ends in ``_codec``.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ..contract.fields import is_repeated
from ..contract.texts import json_text
from ..errors import CodecError, PayloadError
from ..rpc.codec import decode_json
from .words import readable


def dump(value: object) -> str:
    """`value` as one line of JSON."""
    return json_text(value)


def as_json(message: Message) -> dict[str, Any]:
    """All fields of a message as JSON values, in the order of the contract."""
    fields: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        name = field.name
        if field.message_type is not None and field.message_type.full_name == Duration.DESCRIPTOR.full_name:
            name += "_seconds"
        value = getattr(message, name if name == field.name else field.name)
        if _is_map(field):
            fields[name] = dict(value)
        elif is_repeated(field):
            fields[name] = [_value(field, one) for one in value]
        elif field.has_presence and not message.HasField(field.name):
            fields[name] = None
        elif field.type == FieldDescriptor.TYPE_BYTES:
            fields.update(_payload(name, value))
        else:
            fields[name] = _value(field, value)
    return fields


def enum_word(field: Any, number: int) -> str:
    """The name of an enum's value without what all its names begin with, such as ``TASK``."""
    known = field.enum_type.values_by_number.get(number)
    if known is None:
        return str(number)
    prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(known.name.removeprefix(prefix))


def _payload(name: str, data: bytes) -> dict[str, Any]:
    if not data:
        return {name: None}
    try:
        return {name: decode_json(readable(data))}
    except CodecError as error:
        return {name: None, f"{name}_base64": base64.b64encode(data).decode(), f"{name}_codec": error.codec}
    except PayloadError:
        return {name: None, f"{name}_base64": base64.b64encode(data).decode()}


def _value(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    if isinstance(value, Duration):
        return value.seconds + value.nanos / 1e9
    if isinstance(value, Message):
        return as_json(value)
    if field.enum_type is not None:
        return enum_word(field, value)
    return value


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
