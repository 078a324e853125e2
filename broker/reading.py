"""From the bytes of a request to its message, whole and known to the last field, or to the error that says why not.

gRPC answers UNKNOWN, and logs a traceback, when bytes are no message; and protobuf keeps silent about fields that it
does not know, although leaving them out would do less than was asked for. Here, in one place for every method, both
become an `InvalidField` that takes the place of the message, so that handlers raise it like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from .encoded import writer
from .errors import InvalidField

_T = TypeVar("_T")
_Parse: TypeAlias = Callable[[bytes], Message]


def whole(message: _T, *, inside: str = "") -> _T:
    """The message, if it is one.

    Args:
        message: what came in the place of one.
        inside: path of the message that the caller is about; fields of the error are told as seen from there.

    Raises:
        InvalidField: it could not be read.
    """
    if isinstance(message, InvalidField):
        raise InvalidField(message.field.removeprefix(inside).lstrip("."), message.description)
    return message


def reader(parse: _Parse) -> Callable[[bytes], Message | InvalidField]:
    """Reads messages of one type.

    Args:
        parse: `FromString` of the type.
    """
    name = parse(b"").DESCRIPTOR.full_name

    def read(data: bytes) -> Message | InvalidField:
        try:
            message = parse(data)
        except DecodeError:
            return InvalidField("", f"is no message of type {name}")
        message.DiscardUnknownFields()
        # As long as before: nothing was discarded. Much cheaper than to look into every message.
        if message.ByteSize() != len(data):
            # Or it was written in another way than ours, such as with zeros that say nothing.
            for error in _unknown_fields(parse(data), ""):
                return error
        return message

    return read


def _unknown_fields(message: Message, path: str) -> Iterator[InvalidField]:
    unknown = UnknownFieldSet(message)
    if len(unknown):
        numbers = ", ".join(str(number) for number in sorted({unknown[at].field_number for at in range(len(unknown))}))
        yield InvalidField(path, f"carries fields that this broker does not know: number {numbers}")
    for field, value in message.ListFields():
        here = f"{path}.{field.name}" if path else field.name
        if isinstance(value, Message):
            yield from _unknown_fields(value, here)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for at, one in enumerate(value):
                yield from _unknown_fields(one, f"{here}[{at}]")


class ReadingServer:
    """Stands in for a server while services are added to it.

    Their requests are read by a `reader`, and their responses may be encoded already.

    Args:
        server: the real one.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server: Any = server

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Adds the methods of a service."""
        reading = {
            name: handler._replace(
                request_deserializer=reader(handler.request_deserializer),
                response_serializer=writer(handler.response_serializer),
            )
            for name, handler in handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, reading),))
        self._server.add_registered_method_handlers(service, reading)

    def add_generic_rpc_handlers(self, handlers: Iterable[object]) -> None:
        """Adds nothing: generated code adds the same methods in both ways, and the other one tells more."""
