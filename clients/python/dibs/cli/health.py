"""`dibs health`: one question to a broker's health service, for scripts and for containers."""

from __future__ import annotations

from typing import Annotated, Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ..rpc.status import error_from_call
from .command import single
from .exits import Exit
from .session import Session

_Status = health_pb2.HealthCheckResponse.ServingStatus


def health(
    session: Session,
    service: Annotated[
        str, typer.Option(help="Full name of a service, such as dibs.v1.BrokerService. Default: the whole broker.")
    ] = "",
) -> Exit:
    """Ask whether the broker serves; it does not when its Redis is away, or when it is leaving.

    It is asked once, without a retry. Exit code 0: it serves; 1: it does not; 3: it has no such service; 4: no answer.
    """
    with session.connection.open_channel() as channel:
        # Its typing lacks the methods.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer: health_pb2.HealthCheckResponse = stub.Check(
                health_pb2.HealthCheckRequest(service=service),
                timeout=session.connection.timeout,
                metadata=session.connection.metadata,
            )
        except grpc.RpcError as error:
            raise error_from_call(error, session.connection.place) from None
    word = _Status.Name(answer.status)
    if session.as_json:
        session.document(status=word)
    else:
        session.say(word)
    return Exit.OK if answer.status == health_pb2.HealthCheckResponse.SERVING else Exit.NO


command = single(health)
