"""`WorkResponse` with its deliveries unread.

The same message on the wire, declared with deliveries as bytes: to take each apart costs more than all else that a
connector does with it, and only the process that runs the items has to.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from dibs.v1 import broker_pb2 as pb

_PACKAGE = "dibs.worker.envelope"
_FIELD = "deliveries"


def _made() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="dibs/worker/envelope.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[pb.DESCRIPTOR.name, *(one.name for one in pb.DESCRIPTOR.dependencies)],
    )
    message = file.message_type.add()
    pb.WorkResponse.DESCRIPTOR.CopyToProto(message)
    for field in message.field:
        if field.name == _FIELD:
            field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{message.name}"))


#: The class. `deliveries` are bytes; everything else is as in `WorkResponse`.
Envelope: Any = _made()
