"""From bytes to requests."""

from __future__ import annotations

import random

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from dibs.broker.border.errors import InvalidField
from dibs.broker.border.reading import reader, whole
from dibs.broker.config.limits import Limits
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

#: The fields 99 and 100, which nobody has.
STRANGE = b"\x98\x06\x01\xa0\x06\x01"
READ = reader(pb.EnqueueRequest.FromString, Limits())


def request() -> pb.EnqueueRequest:
    policy = tpb.DeliveryPolicy(attempts=3, retry=tpb.RetryPolicy(initial_delay=Duration(seconds=1)))
    content = tpb.Content(task_name="t", payload=b"x" * 200, headers={"a": "b", "c": ""})
    items = [pb.EnqueueItem(id=id, queue="q", kind=tpb.QUEUE_KIND_TASK, content=content, policy=policy) for id in "ab"]
    return pb.EnqueueRequest(namespace="n", items=items)


def error_of(data: bytes) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        whole(READ(data))
    return caught.value


def test_a_request_is_read_as_it_was_written() -> None:
    assert whole(READ(request().SerializeToString())) == request()
    assert whole(READ(b"")) == pb.EnqueueRequest()


def test_a_request_may_be_written_in_another_way() -> None:
    # Twice the same field, of which the last counts, and a length in more bytes than it takes.
    data = b"\x0a\x01a" + b"\x0a\x81\x00n" + request().SerializeToString()
    assert whole(READ(data)) == request()


@pytest.mark.parametrize("path", ["", "items[1]", "items[1].content", "items[0].policy", "items[0].policy.retry"])
def test_a_field_that_the_contract_does_not_have_is_told_with_its_place_and_number(path: str) -> None:
    message = request()
    inside: Message = message
    for step in path.replace("[", ".").replace("]", "").split(".") if path else ():
        inside = inside[int(step)] if step.isdecimal() else getattr(inside, step)  # type: ignore[index]
    inside.MergeFromString(STRANGE)

    error = error_of(message.SerializeToString())

    assert error.field == path
    assert error.description == "carries fields that this broker does not know: number 99, 100"


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x0a\x01\xff", random.Random(1).randbytes(1000)])
def test_bytes_that_are_no_request_are_told_as_that(data: bytes) -> None:
    error = error_of(data)

    assert (error.field, error.description) == ("", "is no message of type dibs.v1.EnqueueRequest")


def test_a_field_can_be_told_as_seen_from_inside() -> None:
    read = reader(pb.EnqueueStreamRequest.FromString, Limits())
    outer = pb.EnqueueStreamRequest(request=request())
    outer.request.items[1].MergeFromString(STRANGE)

    with pytest.raises(InvalidField) as caught:
        whole(read(outer.SerializeToString()), inside="request")

    assert caught.value.field == "items[1]"
