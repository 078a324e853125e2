"""From a gRPC status to an exception of this package: the one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import grpc
from google.rpc import error_details_pb2, status_pb2

from ..errors import (
    AlreadyExists,
    BrokerError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from .no_connection import why_not_connected
from .targets import TLS_SCHEME

_DETAILS_KEY = "grpc-status-details-bin"

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

#: The exception of each gRPC code; a code that is not here is a plain BrokerError.
CLASSES: dict[grpc.StatusCode, type[BrokerError]] = {
    cls.code: cls
    for cls in (
        AlreadyExists,
        DeadlineExceeded,
        FailedPrecondition,
        InvalidArgument,
        LimitExceeded,
        NotFound,
        PermissionDenied,
        Unauthenticated,
        Unavailable,
    )
}
#: Nobody here asked for it: a server with too many calls that are not begun, or a proxy that goes away, ends them so.
CLASSES[grpc.StatusCode.CANCELLED] = Unavailable


def error_from_call(error: grpc.RpcError, place: str) -> BrokerError:
    """The exception for a call that ended with an error, with what its details say.

    Args:
        error: how it ended.
        place: where the call went, as `Connection.place` says it, for what gRPC says by itself because no broker did.
    """
    code: grpc.StatusCode = error.code()
    text: str = error.details() or ""
    # grpc's typing gives the entries no type; they are pairs.
    trailing: Iterable[tuple[str, bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    for key, value in trailing:
        if key == _DETAILS_KEY:
            status = status_pb2.Status.FromString(value)
            if status.code == code.value[0]:
                return error_from_status(status)
    text = text or _plain(code)
    why = why_not_connected(text, tls=place.startswith(TLS_SCHEME))
    said = {
        grpc.StatusCode.UNAVAILABLE: f"no broker answers at {place}: {why}",
        grpc.StatusCode.DEADLINE_EXCEEDED: f"no answer from {place} in time: {text}",
        grpc.StatusCode.CANCELLED: f"{place} ended the call before it was answered: {text}",
    }
    return CLASSES.get(code, BrokerError)(said.get(code, text), code=code)


def error_from_status(status: status_pb2.Status) -> BrokerError:
    """The exception for a status that came inside a message."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    found = _unpack(status, (info, bad, retry))
    text = status.message
    field = bad.field_violations[0].field if bad.field_violations else ""
    if not text and bad.field_violations:
        text = bad.field_violations[0].description
    retry_after = retry.retry_delay.ToTimedelta() if id(retry) in found else None
    return CLASSES.get(code, BrokerError)(
        text or _plain(code),
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        field=field,
        retry_after=retry_after,
    )


_Detail: TypeAlias = error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo


def _unpack(status: status_pb2.Status, into: Iterable[_Detail]) -> set[int]:
    found = set()
    for packed in status.details:
        for detail in into:
            if packed.Unpack(detail):
                found.add(id(detail))
    return found


def _plain(code: grpc.StatusCode) -> str:
    return code.name.replace("_", " ").lower()
