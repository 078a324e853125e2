"""The table from exceptions to statuses."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from dibs.broker.border import errors
from dibs.broker.engine import errors as engine

T = TypeVar("T", bound=Message)

RAISED: list[Exception] = [
    errors.InvalidField("items[3].queue", "must not be empty"),
    errors.NotFound("queue", "mail"),
    errors.PreconditionFailed("LOCK_HELD", "somebody else holds the lock"),
    errors.Unauthenticated("no token"),
    errors.TokenMissing(),
    errors.TokenUnknown(),
    errors.PermissionDenied("shop", ["produce"], "other"),
    errors.TooLate("hello: must come within 10s"),
    errors.OverLimit("calls_per_second", 10, timedelta(seconds=0.1)),
    errors.Busy("queues: too many"),
    errors.Draining(),
    errors.Silent(15.0),
    engine.Unavailable("connection refused at 10.1.2.3"),
    engine.NotSent("connection refused at 10.1.2.3"),
    engine.Crowded("no turn within 2 s"),
    engine.Refused("WRONGPASS for user secret"),
    engine.ReadOnly("READONLY script: 0123"),
    engine.LateCall("late"),
    engine.EngineClosed("closed"),
    engine.EngineNotStarted("not yet"),
    engine.TooFewReplicas("0 of 1"),
    engine.QuotaExceeded("shop", "items", 10, 10),
    engine.OutOfMemory("OOM command not allowed"),
    engine.UnsuitableRedis("5.0"),
    engine.ScriptBug("user_script:7"),
    ValueError("secret"),
]


def derived(cls: type[Exception]) -> Iterator[type[Exception]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from derived(sub)


def detail(status: status_pb2.Status, kind: type[T]) -> T | None:
    for packed in status.details:
        found = kind()
        if packed.Unpack(found):
            return found
    return None


def test_every_error_of_the_engine_and_of_the_broker_has_a_row_of_its_own() -> None:
    classes = {*derived(engine.EngineError), *derived(errors.RequestError)}
    own = {cls for cls in classes if cls.__module__.startswith("dibs.broker")}

    assert own
    assert own <= set(errors.TABLE)


def test_a_derived_error_has_the_status_of_its_nearest_base() -> None:
    class Refused(engine.Unavailable):
        pass

    assert errors.row_of(Refused("x")) is errors.TABLE[engine.Unavailable]
    assert errors.row_of(engine.EngineError("x")).code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_every_status_carries_an_error_info_of_the_domain(error: Exception) -> None:
    info = detail(errors.status_of(error), error_details_pb2.ErrorInfo)

    assert info is not None
    assert info.domain == "dibs"
    assert info.reason.isupper()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (engine.Unavailable("x"), grpc.StatusCode.UNAVAILABLE),
        (engine.TooFewReplicas("x"), grpc.StatusCode.UNAVAILABLE),
        (engine.OutOfMemory("x"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (engine.ScriptBug("x"), grpc.StatusCode.INTERNAL),
        (errors.InvalidField("a", "b"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.Draining(), grpc.StatusCode.UNAVAILABLE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_the_code_is_the_one_that_a_grpc_user_expects(error: Exception, code: grpc.StatusCode) -> None:
    assert errors.status_of(error).code == code.value[0]


def test_an_invalid_field_is_named_with_its_full_path() -> None:
    error = errors.InvalidField("lease_timeout", "must not be negative").under("policy").under("items[3]")

    request = detail(errors.status_of(error), error_details_pb2.BadRequest)

    assert request is not None
    assert request.field_violations[0].field == "items[3].policy.lease_timeout"
    assert request.field_violations[0].description == "must not be negative"


@pytest.mark.parametrize("error", [engine.Unavailable("x"), engine.OutOfMemory("x"), errors.Draining()])
def test_retry_info_is_there_where_a_retry_helps(error: Exception) -> None:
    assert detail(errors.status_of(error), error_details_pb2.RetryInfo) is not None


def test_retry_info_says_what_the_engine_said() -> None:
    error = engine.Unavailable("x", retry_after=timedelta(seconds=7))

    retry = detail(errors.status_of(error), error_details_pb2.RetryInfo)

    assert retry is not None
    assert retry.retry_delay.ToTimedelta() == timedelta(seconds=7)


def test_a_retry_is_not_suggested_where_it_does_not_help() -> None:
    assert detail(errors.status_of(errors.InvalidField("a", "b")), error_details_pb2.RetryInfo) is None


def test_a_precondition_has_its_own_reason() -> None:
    info = detail(errors.status_of(errors.PreconditionFailed("LOCK_HELD", "x")), error_details_pb2.ErrorInfo)

    assert info is not None
    assert info.reason == "LOCK_HELD"


@pytest.mark.parametrize("error", [ValueError("secret"), engine.ScriptBug("secret"), engine.Unavailable("secret")])
def test_texts_that_are_not_meant_for_clients_stay_in_the_broker(error: Exception) -> None:
    assert "secret" not in str(errors.status_of(error))


def test_an_unexpected_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    errors.status_of(ValueError("secret"), "BrokerService.Ack")

    (record,) = caplog.records
    assert "BrokerService.Ack" in record.getMessage()
    assert record.exc_info is not None


def test_texts_are_short_enough_for_a_header() -> None:
    status = errors.status_of(errors.InvalidField("id", "x" * 100_000))

    assert status.ByteSize() < 4096
