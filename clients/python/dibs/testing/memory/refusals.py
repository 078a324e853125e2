"""How a broker in memory refuses: the statuses of the contract, with the field or the reason that they name."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


class Refusal(grpc.RpcError, grpc.Call):
    """A call that was refused, as a client of gRPC sees it.

    Args:
        code: the status.
        text: what is wrong, and what to do.
        field: the field of the request that is out of range; "": none.
        reason: for programs; "": none.
    """

    def __init__(self, code: grpc.StatusCode, text: str, *, field: str = "", reason: str = "") -> None:
        super().__init__(text)
        self._code = code
        self._text = text
        self._field = field
        self._reason = reason

    def code(self) -> grpc.StatusCode:
        """The status."""
        return self._code

    def details(self) -> str:
        """What is wrong."""
        return self._text

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:  # type: ignore[override]  # grpc's typing has no bytes
        """The details of the status, as they stand on the wire."""
        status = status_pb2.Status(code=self._code.value[0], message=self._text)
        for detail in self._details():
            packed = Packed()
            packed.Pack(detail)
            status.details.append(packed)
        return ((_DETAILS_KEY, status.SerializeToString()),)

    def _details(self) -> list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest]:
        found: list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest] = []
        if self._reason:
            found.append(error_details_pb2.ErrorInfo(reason=self._reason, domain="dibs"))
        if self._field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self._field, description=self._text)
            found.append(error_details_pb2.BadRequest(field_violations=[violation]))
        return found

    # What else a call has; nobody asks one that is over.

    def initial_metadata(self) -> tuple[()]:
        """Nothing."""
        return ()

    def is_active(self) -> bool:
        """It is over."""
        return False

    def time_remaining(self) -> float:
        """It is over."""
        return 0.0

    def cancel(self) -> bool:
        """There is nothing to cancel."""
        return False

    def add_callback(self, callback: object) -> bool:
        """It is over already."""
        return False


def invalid(field: str, text: str) -> Refusal:
    """A value of the request is out of range."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"{field} {text}", field=field)


def not_found(text: str) -> Refusal:
    """What was named is not there."""
    return Refusal(grpc.StatusCode.NOT_FOUND, text)


def not_here(method: str) -> Refusal:
    """A call that only a real broker answers."""
    text = f"the broker in memory does not answer {method}: use the fixture dibs_broker or dibs_worker for this test"
    return Refusal(grpc.StatusCode.UNIMPLEMENTED, text)
