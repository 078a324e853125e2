"""How calls end that are refused."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


async def refused(call: Awaitable[Any], code: grpc.StatusCode, *, field: str = "", reason: str = "") -> None:
    """The call must end with a status and, if given, with that field or that reason in its details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is code, caught.value
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # an AioRpcError has what it needs
    assert status is not None
    fields, reasons = [], []
    for detail in status.details:
        bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        if detail.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
        elif detail.Unpack(info):
            reasons.append(info.reason)
    assert not field or fields == [field]
    assert not reason or reasons == [reason]
