"""The one table from what the broker and its engine raise to gRPC statuses.

    RequestError             the request cannot be done as it stands
    ├── InvalidField         a field is out of range or malformed
    ├── NotFound             it names something that is not there
    ├── PreconditionFailed   it does not fit the present state of what it names
    ├── Unauthenticated      it carries no valid credentials
    │   ├── TokenMissing     it carries none
    │   └── TokenUnknown     it carries a token that nobody has
    ├── PermissionDenied     its credentials do not allow it
    ├── TooLate              the client has not said in time what it wants
    ├── OverLimit            its caller uses as much of this broker as it may
    ├── Busy                 this broker has as much of it as it may
    ├── NotPassedOn          no broker has passed on what a worker is to do
    ├── Draining             this broker is going away
    └── Silent               nothing has been heard of the client for too long

and the engine's tree (`dibs.broker.engine.errors`). Errors are matched by class along the method resolution
order, so a derived class has the status of its base until it gets a row of its own. Clients branch on the code
and on the machine-readable `reason` of the ErrorInfo detail, never on the text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from ..engine import errors as engine

#: Domain of every ErrorInfo detail.
DOMAIN = "dibs"
#: Longest text sent to a client, in characters: a status travels in a header, and headers are small.
MAX_TEXT = 500

_log = logging.getLogger(__name__)


class RequestError(Exception):
    """The request cannot be done as it stands; the text is for the client."""

    #: What a client had better wait before it tries again; None: a retry does not help.
    retry_after: timedelta | None = None


class InvalidField(RequestError):
    """A field of a request is out of range or malformed.

    Args:
        field: Path of the field in the request, such as `items[3].policy.lease_timeout`; empty: the request itself.
        description: What the field must be, as the rest of a sentence that begins with its name.
        limit: Name and value of the limit that it is beyond, as `dibs.v1.Limits` has them, so that a client that did
            not know it can keep to it.
    """

    def __init__(self, field: str, description: str, limit: tuple[str, int | float] | None = None) -> None:
        super().__init__(f"{field or 'request'}: {description}")
        self.field = field
        self.description = description
        self.limit = limit

    def under(self, path: str) -> InvalidField:
        """The same error seen from the message that holds the checked one at `path`."""
        return InvalidField(f"{path}.{self.field}" if self.field else path, self.description, self.limit)


class NotFound(RequestError):
    """The request names something that is not there.

    Args:
        what: Type of the thing, such as `queue`.
        name: Its name.
    """

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"{what} {name!r} is not known")
        self.what = what
        self.name = name


class PreconditionFailed(RequestError):
    """The request does not fit the present state of what it names.

    Args:
        reason: Machine-readable, in UPPER_SNAKE_CASE.
        description: One sentence for a person.
    """

    def __init__(self, reason: str, description: str) -> None:
        super().__init__(description)
        self.reason = reason


class Unauthenticated(RequestError):
    """The request carries no valid credentials."""


class TokenMissing(Unauthenticated):
    """The request carries no token, and its connection no certificate of anybody who is known.

    Args:
        certificate: what stands in the certificate that was shown.
    """

    def __init__(self, certificate: Sequence[str] = ()) -> None:
        shown = f", and the certificate of {certificate[0]!r:.100} is nobody's who is known here" if certificate else ""
        super().__init__(
            f"this broker wants to know who calls, and no token came{shown}: set DIBS_TOKEN, or send "
            "`authorization: Bearer TOKEN`"
        )


class TokenUnknown(Unauthenticated):
    """The request carries a token that no principal has, or has any longer."""

    def __init__(self) -> None:
        super().__init__("nobody has this token, or has it any longer: ask those who run the broker for another one")


class TokenExpired(Unauthenticated):
    """The token that came with the request was good until some time ago."""

    def __init__(self) -> None:
        super().__init__("this token has expired: get another one from its issuer")


class TokenRefused(Unauthenticated):
    """The request carries a token that its issuer has not signed, not for this broker, or not for now."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this token is not taken: {why}")


class KeysMissing(RequestError):
    """The keys to verify a token with are not here yet; they are being looked at."""

    retry_after = timedelta(seconds=1)

    def __init__(self) -> None:
        super().__init__("the keys to verify this token with are not here yet: try again in a moment")


class PermissionDenied(RequestError):
    """The principal that calls may not do this.

    Args:
        principal: who calls.
        roles: each of them would do.
        namespace: where; "": anywhere.
        queue: of which queue; "": of all of them; None: that it may do it for some is not the question.
        is_named: whether the request names that queue. If not, it is not told: it is that of something which it names.

    Attributes:
        principal: as given.
        queue: as given, for those who run the broker.
        metadata: of the ErrorInfo.
    """

    def __init__(
        self,
        principal: str,
        roles: Sequence[str],
        namespace: str = "",
        queue: str | None = None,
        *,
        is_named: bool = True,
    ) -> None:
        needed = " or ".join(roles)
        where = f"in namespace {namespace!r:.140}" if namespace else "in any namespace"
        text = f"principal {principal!r} does not have the role {needed} {where}"
        if queue and not is_named:
            text += " for the queue of what the request names"
        elif queue:
            text += f" for queue {queue!r:.140}"
        elif queue is not None:
            text += " for every queue: name those that it has"
        super().__init__(text)
        self.principal = principal
        self.queue = queue
        self.metadata = {"role": ",".join(roles)}
        if namespace:
            self.metadata["namespace"] = namespace[:140]
        if queue and is_named:
            self.metadata["queue"] = queue[:140]


class TooLate(RequestError):
    """The client has not said in time what it wants."""


class OverLimit(RequestError):
    """Whoever makes the call uses as much of this broker as it may.

    Args:
        quota: of what.
        limit: how much it may use.
        retry_after: when it may be tried again.
    """

    def __init__(self, quota: str, limit: float, retry_after: timedelta) -> None:
        super().__init__(f"this caller may use no more: its {quota} are limited to {limit:g}")
        self.quota = quota
        self.limit = limit
        self.retry_after = retry_after


class Busy(RequestError):
    """This broker has as much of something as it may; another one, or this one later, will serve the request."""

    retry_after = timedelta(seconds=1)


class NotPassedOn(RequestError):
    """No broker has passed a command on to a worker in time: the worker, or its broker, may be about to go.

    Args:
        worker: its name.
    """

    retry_after = timedelta(seconds=1)

    def __init__(self, worker: str) -> None:
        super().__init__(f"no broker has passed the command on to worker {worker!r}: see if it is there, and try again")


class Draining(RequestError):
    """This broker is going away; another one, or this one in a moment, will serve the request."""

    retry_after = timedelta(milliseconds=100)

    def __init__(self) -> None:
        super().__init__("this broker is shutting down: call another one")


class Silent(RequestError):
    """The client of a stream has sent nothing, not even heartbeats, for longer than both had agreed on."""

    retry_after = timedelta(milliseconds=100)

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing was heard for {seconds:g} s on this stream: open another one")


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of errors looks on the wire.

    Args:
        code: The gRPC status.
        reason: The ErrorInfo reason.
        text: Text for the client; None: the error's own, which then must be meant for clients.
        is_bug: Logged with its traceback, since it should not have happened.
    """

    code: grpc.StatusCode
    reason: str
    text: str | None = None
    is_bug: bool = False


_UNEXPECTED = Row(
    grpc.StatusCode.INTERNAL,
    "INTERNAL",
    "the broker failed to handle the request; its log says why",
    is_bug=True,
)

#: The table. A class without a row of its own has that of its nearest base.
TABLE: Mapping[type[Exception], Row] = MappingProxyType(
    {
        InvalidField: Row(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        NotFound: Row(grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        PreconditionFailed: Row(grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED"),
        Unauthenticated: Row(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
        TokenMissing: Row(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
        TokenUnknown: Row(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN"),
        TokenExpired: Row(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED"),
        TokenRefused: Row(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REFUSED"),
        KeysMissing: Row(grpc.StatusCode.UNAVAILABLE, "TOKEN_KEYS_MISSING"),
        PermissionDenied: Row(grpc.StatusCode.PERMISSION_DENIED, "MISSING_ROLE"),
        TooLate: Row(grpc.StatusCode.DEADLINE_EXCEEDED, "TOO_LATE"),
        OverLimit: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "CALLER_LIMIT"),
        Busy: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "BROKER_BUSY"),
        NotPassedOn: Row(grpc.StatusCode.UNAVAILABLE, "COMMAND_NOT_PASSED_ON"),
        Draining: Row(grpc.StatusCode.UNAVAILABLE, "BROKER_DRAINING"),
        Silent: Row(grpc.StatusCode.UNAVAILABLE, "CLIENT_SILENT"),
        engine.Unavailable: Row(grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE", "Redis does not answer the broker"),
        engine.NotSent: Row(grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE", "the broker does not reach Redis"),
        engine.Crowded: Row(
            grpc.StatusCode.UNAVAILABLE,
            "NAMESPACE_BUSY",
            "more calls of this namespace wait for Redis than it can do in time",
        ),
        engine.Refused: Row(
            grpc.StatusCode.UNAVAILABLE,
            "REDIS_UNAVAILABLE",
            "Redis does not let the broker in; the broker's log says why",
        ),
        engine.ReadOnly: Row(
            grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE", "the Redis that the broker reaches is read-only"
        ),
        engine.LateCall: Row(
            grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE", "Redis got the broker's call too late to carry it out"
        ),
        engine.EngineClosed: Row(
            grpc.StatusCode.UNAVAILABLE, "BROKER_DRAINING", "this broker is shutting down: call another one"
        ),
        engine.EngineNotStarted: Row(
            grpc.StatusCode.UNAVAILABLE, "REDIS_UNAVAILABLE", "Redis does not answer the broker"
        ),
        engine.TooFewReplicas: Row(
            grpc.StatusCode.UNAVAILABLE,
            "TOO_FEW_REPLICAS",
            "written, but too few replicas confirmed it: try again with the same ids",
        ),
        engine.QuotaExceeded: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA"),
        engine.OutOfMemory: Row(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "REDIS_OUT_OF_MEMORY",
            "Redis is full: no new items until others have been worked off",
        ),
        engine.UnsuitableRedis: Row(
            grpc.StatusCode.FAILED_PRECONDITION, "REDIS_UNSUITABLE", "Redis is not set up for the broker"
        ),
        engine.ScriptBug: Row(
            grpc.StatusCode.INTERNAL,
            "ENGINE_BUG",
            "a script of the broker failed; its log says why",
            is_bug=True,
        ),
        # A read or write of a handler failed under it, most often because the client is gone: no bug of the broker.
        grpc.aio.InternalError: Row(grpc.StatusCode.UNAVAILABLE, "STREAM_BROKEN", "the stream broke"),
        Exception: _UNEXPECTED,
    }
)


def row_of(error: Exception) -> Row:
    """The row of an error: that of the nearest class in its method resolution order."""
    for cls in type(error).__mro__:
        row = TABLE.get(cls)
        if row is not None:
            return row
    return _UNEXPECTED


def status_of(error: Exception, call: str = "") -> status_pb2.Status:
    """The `google.rpc.Status` of an error, as a call ends with it or as a stream carries it in-band.

    Errors that should not have happened are logged with their traceback.

    Args:
        error: What was raised.
        call: Name of the RPC, for the log.
    """
    row = row_of(error)
    if row.is_bug:
        _log.error("%s failed: %r", call or "a call", error, exc_info=error)
    text = (row.text or str(error))[:MAX_TEXT]
    status = status_pb2.Status(code=row.code.value[0], message=text)
    for detail in _details(error, row):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _details(error: Exception, row: Row) -> list[Message]:
    reason = error.reason if isinstance(error, PreconditionFailed) else row.reason
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    details: list[Message] = [info]
    if isinstance(error, InvalidField):
        if error.limit is not None:
            name, value = error.limit
            info.metadata.update({"limit": name, "value": f"{value:.15g}"})
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.description[:MAX_TEXT]
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    elif isinstance(error, PermissionDenied):
        info.metadata.update(error.metadata)
    elif isinstance(error, OverLimit):
        info.metadata.update({"quota": error.quota, "limit": f"{error.limit:.15g}"})
    elif isinstance(error, engine.QuotaExceeded):
        info.metadata.update({"quota": error.quota, "limit": str(error.limit), "used": str(error.used)})
    elif isinstance(error, NotFound):
        details.append(error_details_pb2.ResourceInfo(resource_type=error.what, resource_name=error.name[:MAX_TEXT]))
    if isinstance(error, RequestError | engine.EngineError) and error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        details.append(retry)
    return details
