"""From the bytes of a request to its message, whole and known to the last field, or to the error that says why not.

gRPC answers UNKNOWN, and logs a traceback, when bytes are no message; protobuf keeps silent about fields that it does
not know, although leaving them out would do less than was asked for; and it makes an object of each of two million
empty entries. Here, in one place for every method, all of that becomes an `InvalidField` that takes the place of the
message, so that handlers raise it like any other.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from ..config.limits import Limits
from .entry_counts import EntryCounts, Malformed
from .errors import InvalidField, RequestError

_T = TypeVar("_T")
_Parse: TypeAlias = Callable[[bytes], Message]


def whole(message: _T, *, inside: str = "") -> _T:
    """The message, if it is one.

    Args:
        message: what came in the place of one.
        inside: path of the message that the caller is about; fields of the error are told as seen from there.

    Raises:
        InvalidField: it could not be read.
        Exception: something else is the matter with it.
    """
    if isinstance(message, Exception):
        if isinstance(message, InvalidField):
            raise InvalidField(message.field.removeprefix(inside).lstrip("."), message.description, message.limit)
        raise message
    return message


def reading(handler: Any, read: Callable[[bytes], Any], *, streams: bool) -> Any:
    """A handler of messages, as one that takes requests as bytes, or as errors that came in their places.

    Args:
        handler: of a method.
        read: makes a message of bytes.
        streams: whether many requests come.
    """

    async def messages(source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for data in source:
            yield data if isinstance(data, RequestError) else read(data)

    def given(data: Any) -> Any:
        return messages(data) if streams else whole(read(data))

    if inspect.isasyncgenfunction(handler):

        @wraps(handler)
        async def generate(data: Any, context: Any) -> AsyncGenerator[Any, None]:
            async with aclosing(handler(given(data), context)) as responses:
                async for response in responses:
                    yield response

        return generate

    @wraps(handler)
    async def respond(data: Any, context: Any) -> Any:
        return await handler(given(data), context)

    return respond


def reader(parse: _Parse, limits: Limits, *, strict: bool = True) -> Callable[[bytes], Message | InvalidField]:
    """Read messages of one type.

    Args:
        parse: `FromString` of the type.
        limits: how many entries a message may have.
        strict: whether fields that the type does not have are an error.
    """
    descriptor: Any = parse(b"").DESCRIPTOR
    counts = EntryCounts(descriptor, limits)

    def read(data: bytes) -> Message | InvalidField:
        try:
            if counts.suspicious(data):
                counts.check(data)
            message = parse(data)
            if not strict:
                return message
            message.DiscardUnknownFields()
            # As long as before: nothing was discarded. Much cheaper than to look into every message.
            if message.ByteSize() != len(data):
                # Or it was written in another way than ours, such as with zeros that say nothing.
                counts.check(data, deep=True)
        except (DecodeError, Malformed):
            return InvalidField("", f"is no message of type {descriptor.full_name}")
        except InvalidField as error:
            return error
        return message

    return read
