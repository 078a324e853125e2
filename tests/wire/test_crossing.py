"""Exceptions of handlers of every form, seen through a real channel."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from dibs.broker.border.crossing import Border
from dibs.broker.border.errors import InvalidField
from dibs.broker.config.limits import Limits
from dibs.broker.engine.errors import OutOfMemory, Unavailable
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc as stubs

Context = grpc.aio.ServicerContext[Any, Any]


class Failing(stubs.BrokerServiceServicer):
    """Raises what it is told to, in a handler of each form."""

    def __init__(self) -> None:
        self.error: Exception = ValueError("secret")
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        self.ended: list[str] = []

    async def Ack(self, request: pb.AckRequest, context: Context) -> pb.AckResponse:
        raise self.error

    async def Nack(self, request: pb.NackRequest, context: Context) -> pb.NackResponse:
        await context.abort(grpc.StatusCode.ABORTED, "by hand")

    async def Result(self, request: pb.ResultRequest, context: Context) -> pb.ResultResponse:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            self.left.set()
            raise
        raise AssertionError("not reached")

    async def Lease(self, request: pb.LeaseRequest, context: Context) -> AsyncIterator[pb.LeaseResponse]:
        try:
            yield pb.LeaseResponse()
            raise self.error
        finally:
            self.ended.append("lease")

    async def Work(self, request_iterator: AsyncIterator[pb.WorkRequest], context: Context) -> None:  # type: ignore[override]
        await context.read()
        await context.write(pb.WorkResponse(batch=1))
        raise self.error

    async def Enqueue(self, request: pb.EnqueueRequest, context: Context) -> pb.EnqueueResponse:
        raise self.error

    async def Refresh(self, request: pb.RefreshRequest, context: Context) -> pb.RefreshResponse:
        raise self.error

    async def Cancel(self, request: pb.CancelRequest, context: Context) -> pb.CancelResponse:
        raise self.error

    async def EnqueueStream(
        self, request_iterator: AsyncIterator[pb.EnqueueStreamRequest], context: Context
    ) -> AsyncIterator[pb.EnqueueStreamResponse]:
        async for _ in request_iterator:
            yield pb.EnqueueStreamResponse()
            raise self.error


@pytest.fixture
async def failing() -> AsyncIterator[tuple[Failing, stubs.BrokerServiceAsyncStub]]:
    servicer = Failing()
    server = grpc.aio.server()
    border: Any = Border(server, Limits())
    stubs.add_BrokerServiceServicer_to_server(servicer, border)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield servicer, stubs.BrokerServiceStub(channel)  # type: ignore[misc]
    await server.stop(None)


async def reply_of(stub: stubs.BrokerServiceAsyncStub, form: str) -> Any:
    if form == "unary":
        return await stub.Ack(pb.AckRequest())
    if form == "server stream":
        return [reply async for reply in stub.Lease(pb.LeaseRequest())]
    if form == "bidirectional coroutine":
        work = stub.Work(iter([pb.WorkRequest()]))
        return [reply async for reply in work]
    return [reply async for reply in stub.EnqueueStream(iter([pb.EnqueueStreamRequest()]))]


FORMS = ["unary", "server stream", "bidirectional coroutine", "bidirectional generator"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidField("items[0].queue", "must not be empty"), grpc.StatusCode.INVALID_ARGUMENT),
        (Unavailable("gone"), grpc.StatusCode.UNAVAILABLE),
        (OutOfMemory("full"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (ValueError("secret"), grpc.StatusCode.INTERNAL),
    ],
    ids=["invalid", "unavailable", "full", "unexpected"],
)
async def test_an_exception_becomes_its_status_with_details(
    failing: tuple[Failing, stubs.BrokerServiceAsyncStub],
    form: str,
    error: Exception,
    code: grpc.StatusCode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    servicer, stub = failing
    servicer.error = error

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reply_of(stub, form)

    assert caught.value.code() is code
    assert "secret" not in (caught.value.details() or "")
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "dibs"
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == (1 if code is grpc.StatusCode.INTERNAL else 0)


async def test_an_abort_of_the_handler_itself_goes_through(
    failing: tuple[Failing, stubs.BrokerServiceAsyncStub],
) -> None:
    _, stub = failing

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Nack(pb.NackRequest())

    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert caught.value.details() == "by hand"


async def test_a_cancelled_call_stays_cancelled(
    failing: tuple[Failing, stubs.BrokerServiceAsyncStub], caplog: pytest.LogCaptureFixture
) -> None:
    servicer, stub = failing
    call = stub.Result(pb.ResultRequest())
    await servicer.entered.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await servicer.left.wait()

    assert servicer.ended == ["cancelled"]
    assert not caplog.records


async def test_a_write_to_a_broken_stream_is_no_failure_of_the_broker(
    failing: tuple[Failing, stubs.BrokerServiceAsyncStub], caplog: pytest.LogCaptureFixture
) -> None:
    servicer, stub = failing
    # What gRPC raises when the operation fails before the handler learns of the cancellation.
    servicer.error = grpc.aio.InternalError("Failed grpc_call_start_batch")

    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        async with asyncio.timeout(5):
            await reply_of(stub, "bidirectional coroutine")

    assert not caplog.records


async def test_a_generator_is_closed_when_it_raises(failing: tuple[Failing, stubs.BrokerServiceAsyncStub]) -> None:
    servicer, stub = failing

    with pytest.raises(grpc.aio.AioRpcError):
        await reply_of(stub, "server stream")

    assert servicer.ended == ["lease"]


async def test_only_asynchronous_handlers_are_taken() -> None:
    def plain(request: pb.AckRequest, context: Context) -> pb.AckResponse:
        """A handler of the thread-pool server."""
        return pb.AckResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        plain,
        request_deserializer=pb.AckRequest.FromString,
        response_serializer=pb.AckResponse.SerializeToString,
    )
    with pytest.raises(TypeError, match="plain"):
        Border(grpc.aio.server(), Limits()).add_registered_method_handlers("dibs.v1.Some", {"Ack": handler})


@pytest.mark.parametrize("name", ["Ack", "Lease"])
async def test_of_a_refused_request_nothing_waits_for_the_collector(
    failing: tuple[Failing, stubs.BrokerServiceAsyncStub], name: str
) -> None:
    service, stub = failing
    service.error = InvalidField("entries", "is wrong")
    request: Any = pb.AckRequest(namespace="kept") if name == "Ack" else pb.LeaseRequest(namespace="kept")
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await (stub.Ack(request) if name == "Ack" else until_end(stub.Lease(request)))
        service.error = ValueError("another")
        kept = [one for one in gc.get_objects() if isinstance(one, type(request)) and one.namespace == "kept"]
    finally:
        gc.enable()
    assert kept == [request]


async def until_end(call: Any) -> None:
    async for _ in call:
        pass
