"""How calls end, and what streams say before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol, TypeVar, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

T_co = TypeVar("T_co", covariant=True)


async def refused(
    call: Awaitable[Any],
    code: grpc.StatusCode,
    *,
    field: str = "",
    reason: str = "",
    retry: bool = False,
    says: str = "",
) -> None:
    """The call must end with a status and, if given, that text, and that field, reason or RetryInfo in its details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code, caught.value
    assert says in (caught.value.details() or "")
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # an AioRpcError has what it needs
    assert status is not None
    fields, reasons = [], []
    for detail in status.details:
        bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        retry = retry and not detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)
        if detail.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
        elif detail.Unpack(info):
            reasons.append(info.reason)
    assert not field or fields == [field]
    assert not reason or reasons == [reason]
    assert not retry


class Readable(Protocol[T_co]):
    """A stream of responses."""

    async def read(self) -> Any:
        """The next response, or EOF."""

    def __aiter__(self) -> AsyncIterator[T_co]:
        """The responses."""


async def next_of(stream: Readable[T_co]) -> T_co:
    """The next message of a stream that must not have ended."""
    async with asyncio.timeout(20):
        message = await stream.read()
    assert message is not grpc.aio.EOF
    return cast(T_co, message)
