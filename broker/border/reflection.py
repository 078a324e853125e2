"""`grpc.reflection.v1` and `v1alpha`: what this broker serves, told to programs such as grpcurl that have no stubs.

The package `grpcio-reflection` answers, over a pool that finds more than protobuf's own: that one knows no methods, and
enum values as `package.VALUE` alone, where grpcurl asks for `package.Enum.VALUE`. v1 is v1alpha under another name; the
package does not have it yet. It stands behind the same border as everything else: bytes that are no message, and
questions that are too long, become a status in words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

from .crossing import Border
from .errors import InvalidField
from .reading import whole

_ALPHA = reflection_pb2.DESCRIPTOR.package
_V1 = "grpc.reflection.v1"
_SERVICE = "ServerReflection"
#: Longest question in bytes: the answer repeats it.
_MOST_BYTES = 4096
#: Full names of the services that `add_reflection` adds.
NAMES = (f"{_V1}.{_SERVICE}", f"{_ALPHA}.{_SERVICE}")


def add_reflection(border: Border, names: Iterable[str]) -> None:
    """Add reflection to a server that has not started.

    Args:
        border: of the server.
        names: full names of its other services.
    """
    servicer = Reflection((*names, *NAMES), pool=Descriptors())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    for name in NAMES:
        border.add_registered_method_handlers(name, methods)


_Servicer: Any = reflection.aio.ReflectionServicer


class Reflection(_Servicer):  # type: ignore[misc]  # the package has no types
    """Answers questions."""

    async def ServerReflectionInfo(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        """An answer to each question."""
        async for reply in super().ServerReflectionInfo(_short(request_iterator), context):
            yield reply


async def _short(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if whole(request).ByteSize() > _MOST_BYTES:
            raise InvalidField("", f"must have at most {_MOST_BYTES} bytes")
        yield request


class Descriptors:
    """A pool for the package's servicer: the default one, and besides methods, values of enums, and reflection v1."""

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()
        # Of its own, as a later version of the package may bring the file itself.
        self._own: Any = descriptor_pool.DescriptorPool()
        self._own.Add(_reflection_v1())

    def FindFileByName(self, name: str) -> FileDescriptor:
        """The file; raise KeyError if there is none."""
        return self._first("FindFileByName", name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """The file that says what the full name means; raise KeyError if none does."""
        try:
            return self._first("FindFileContainingSymbol", symbol)
        except KeyError:
            holder, _, name = symbol.rpartition(".")
            file = self._first("FindFileContainingSymbol", holder)
            service = file.services_by_name.get(holder.removeprefix(f"{file.package}."))
            if (service is not None and name in service.methods_by_name) or self._has_value(holder, name):
                return file
            raise

    def __getattr__(self, name: str) -> Any:
        """What else the servicer asks a pool for, which is about extensions."""
        return getattr(self._pool, name)

    def _first(self, find: str, name: str) -> FileDescriptor:
        try:
            found = getattr(self._pool, find)(name)
        except KeyError:
            found = getattr(self._own, find)(name)
        assert isinstance(found, FileDescriptor)
        return found

    def _has_value(self, enum: str, name: str) -> bool:
        try:
            return name in self._pool.FindEnumTypeByName(enum).values_by_name
        except KeyError:
            return False


def _reflection_v1() -> descriptor_pb2.FileDescriptorProto:
    """The file of reflection v1, made of that of v1alpha."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = _V1
    file.ClearField("options")
    for message in file.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = field.type_name.replace(_ALPHA, _V1)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(_ALPHA, _V1)
        method.output_type = method.output_type.replace(_ALPHA, _V1)
    return file
