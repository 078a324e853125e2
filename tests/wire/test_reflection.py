"""Reflection: a program without stubs finds every service, method, message and value of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2 as pb

from dibs.broker.border.crossing import Border
from dibs.broker.border.reflection import add_reflection
from dibs.broker.config.limits import Limits
from dibs.broker.config.settings import Settings
from dibs.broker.server import Server
from dibs.broker.services import Services
from dibs.v1 import admin_pb2, broker_pb2, lock_pb2, types_pb2

from ..support.processes import grpcurl_describe
from ..support.redis import RedisServer

V1 = "grpc.reflection.v1.ServerReflection"
ALPHA = "grpc.reflection.v1alpha.ServerReflection"
FILES = (admin_pb2, broker_pb2, lock_pb2, types_pb2)


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Where a server listens that has nothing but reflection."""
    server = grpc.aio.server()
    add_reflection(Border(server, Limits()), Services.names)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def ask(address: str, service: str, **requests: Any) -> list[Any]:
    """The replies to requests of one kind, made in one call."""
    ((kind, values),) = requests.items()
    async with grpc.aio.insecure_channel(address) as channel:
        method: Any = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request_serializer=pb.ServerReflectionRequest.SerializeToString,
            response_deserializer=pb.ServerReflectionResponse.FromString,
        )
        call = method(iter([pb.ServerReflectionRequest(**{kind: value}) for value in values]))
        return [reply async for reply in call]


def symbols() -> Iterator[tuple[str, str]]:
    """Every name of the contract and the file that has it."""
    for module in FILES:
        file = module.DESCRIPTOR
        for service in file.services_by_name.values():
            yield service.full_name, file.name
            yield from ((method.full_name, file.name) for method in service.methods)
        for message in file.message_types_by_name.values():
            yield message.full_name, file.name
            yield from ((field.full_name, file.name) for field in message.fields)
        for enum in file.enum_types_by_name.values():
            yield enum.full_name, file.name
            for value in enum.values:
                # As protobuf calls it, and as grpcurl does.
                yield f"{file.package}.{value.name}", file.name
                yield f"{enum.full_name}.{value.name}", file.name


@pytest.mark.parametrize("service", [V1, ALPHA])
async def test_every_name_of_the_contract_is_found(address: str, service: str) -> None:
    names = list(symbols())
    replies = await ask(address, service, file_containing_symbol=[name for name, _ in names])
    found = {
        (reply.original_request.file_containing_symbol, FileDescriptorProto.FromString(data).name)
        for reply in replies
        for data in reply.file_descriptor_response.file_descriptor_proto[:1]
    }
    assert set(names) - found == set()
    assert ("dibs.v1.BrokerService.Enqueue", "dibs/v1/broker.proto") in found


@pytest.mark.parametrize("service", [V1, ALPHA])
async def test_what_is_not_there_is_not_found(address: str, service: str) -> None:
    unknown = [
        "",
        "nothing",
        "dibs.v1",
        "dibs.v1.Nothing",
        "dibs.v1.BrokerService.Nothing",
        "dibs.v1.QueueKind.NOTHING",
    ]
    replies = await ask(address, service, file_containing_symbol=unknown)
    assert [reply.error_response.error_code for reply in replies] == [grpc.StatusCode.NOT_FOUND.value[0]] * len(unknown)


async def test_each_version_of_reflection_describes_itself(address: str) -> None:
    replies = await ask(address, V1, file_containing_symbol=[V1, ALPHA])
    for reply, name in zip(replies, (V1, ALPHA), strict=True):
        pool = DescriptorPool()
        for data in reply.file_descriptor_response.file_descriptor_proto:
            pool.Add(FileDescriptorProto.FromString(data))
        method = pool.FindServiceByName(name).methods[0]
        assert (method.name, method.input_type.file.package) == ("ServerReflectionInfo", name.rpartition(".")[0])


@pytest.mark.parametrize("service", [V1, ALPHA])
async def test_a_broker_lists_every_service(redis_server: RedisServer, service: str) -> None:
    async with Server(Settings(redis=redis_server.url, listen=("127.0.0.1:0",))) as server:
        (reply,) = await ask(server.addresses[0], service, list_services=[""])
        names = {one.name for one in reply.list_services_response.service}
        assert names == {*Services.names, "grpc.health.v1.Health", V1, ALPHA}


@pytest.mark.parametrize(
    ("symbol", "text"),
    [
        (
            "dibs.v1.BrokerService.Enqueue",
            "rpc Enqueue ( .dibs.v1.EnqueueRequest ) returns ( .dibs.v1.EnqueueResponse );",
        ),
        ("dibs.v1.QueueKind.QUEUE_KIND_TASK", "QUEUE_KIND_TASK = 1;"),
        ("dibs.v1.Outcome", "enum Outcome {"),
    ],
)
async def test_grpcurl_describes_it(address: str, symbol: str, text: str) -> None:
    done = await asyncio.to_thread(grpcurl_describe, address, symbol)
    assert text in done.stdout, done.stderr
