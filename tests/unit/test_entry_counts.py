"""How many entries a request has is known before anything is made of them."""

from __future__ import annotations

import contextlib
import json
import random
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from dibs.broker.border.entry_counts import EntryCounts, Malformed
from dibs.broker.border.errors import InvalidField
from dibs.broker.border.reading import reader, whole
from dibs.broker.config.limits import Limits
from dibs.contract.fields import is_repeated
from dibs.contract.wire import VARINT, varint
from dibs.v1 import admin_pb2, broker_pb2, lock_pb2
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

LIMITS = Limits()
Way = tuple[FieldDescriptor, ...]
#: Of entries that do not stand alone in a batch.
OTHERS = {
    "headers": LIMITS.max_headers,
    "task_names": 10_000,
    "received_tokens": 10_000,
}


def ways(message: Descriptor, before: Way = ()) -> Iterator[Way]:
    """The ways to each repeated field of a message."""
    for field in message.fields:
        way = (*before, field)
        if is_repeated(field):
            yield way
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            yield from ways(field.message_type, way)


def every_way() -> Iterator[tuple[Descriptor, Way]]:
    for file in (broker_pb2, admin_pb2, lock_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                for way in ways(method.input_type):
                    yield method.input_type, way


EVERY_WAY = list(every_way())


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def entries(way: Way, count: int) -> bytes:
    """A message with so many empty entries at the end of a way."""
    last = way[-1]
    data = varint(last.number << 3 | 2) + b"\0"
    if last.type == FieldDescriptor.TYPE_INT64:
        data = varint(last.number << 3) + b"\1"
    data *= count
    for step in reversed(way[:-1]):
        data = field(step.number, data)
    return data


def path(way: Way) -> str:
    return ".".join(step.name + ("[0]" if is_repeated(step) and step is not way[-1] else "") for step in way)


def refused(counts: EntryCounts, data: bytes) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        counts.check(data)
    return caught.value


@pytest.mark.parametrize(("message", "way"), EVERY_WAY, ids=lambda one: getattr(one, "name", "") or path(one))
def test_every_repeated_field_has_a_most(message: Descriptor, way: Way) -> None:
    counts = EntryCounts(message, LIMITS)
    most = OTHERS.get(way[-1].name, 1000)

    counts.check(entries(way, most), deep=True)
    error = refused(counts, entries(way, most + 1))

    assert error.field == path(way)
    assert error.description == f"has more than {most} entries, must have at most {most}"


@pytest.mark.parametrize(("message", "way"), EVERY_WAY, ids=lambda one: getattr(one, "name", "") or path(one))
def test_a_million_entries_are_refused_at_the_cost_of_a_thousand(message: Descriptor, way: Way) -> None:
    read = reader(GetMessageClass(message).FromString, LIMITS)
    data = entries(way, 2_000_000) + b"\x0a\x00"
    began = time.process_time()

    with pytest.raises(InvalidField, match="has more than"):
        whole(read(data))

    assert time.process_time() - began < 0.1


def test_clients_are_told_the_limit() -> None:
    counts = EntryCounts(pb.EnqueueRequest.DESCRIPTOR, Limits(max_batch_items=7))
    assert refused(counts, b"\x1a\x00" * 8).limit == ("max_batch_items", 7)


@pytest.mark.parametrize("number", [b"\x1a", b"\x9a\x00", b"\x9a\x80\x80\x80\x00"], ids=len)
def test_a_field_counts_however_its_number_is_written(number: bytes) -> None:
    counts = EntryCounts(pb.EnqueueRequest.DESCRIPTOR, LIMITS)
    data = (number + b"\x00") * 500_000
    assert counts.suspicious(data)
    assert refused(counts, data).field == "items"


@pytest.mark.parametrize("packed", [False, True])
def test_numbers_count_packed_and_alone(packed: bool) -> None:
    counts = EntryCounts(pb.WorkRequest.DESCRIPTOR, LIMITS)
    tokens = b"\xff\x01" * 10_001
    tokens = field(7, tokens) if packed else b"\x38\xff\x01" * 10_001
    assert refused(counts, field(1, tokens)).field == "hello.received_tokens"


def test_entries_behind_a_group_that_nobody_knows_are_not_let_through() -> None:
    data = b"\x9b\x06\x9c\x06" + b"\x1a\x00" * 2_000_000
    with pytest.raises(InvalidField, match="does not know: number 99"):
        whole(reader(pb.EnqueueRequest.FromString, LIMITS)(data))


def test_a_field_that_says_nothing_again_and_again_is_refused() -> None:
    began = time.process_time()
    with pytest.raises(InvalidField, match="has more than 80000 fields"):
        whole(reader(pb.EnqueueRequest.FromString, LIMITS)(b"\x0a\x00" * 2_000_000))
    assert time.process_time() - began < 0.5


def test_a_header_is_not_lost_with_a_field_that_nobody_knows() -> None:
    # For protobuf the whole entry of the map is unknown then, and would be discarded.
    header = field(1, b"name") + field(2, b"value") + b"\xa0\x06\x01"
    with pytest.raises(InvalidField, match="does not know: number 100") as caught:
        whole(reader(pb.EnqueueRequest.FromString, LIMITS)(field(3, field(4, field(3, header)))))
    assert caught.value.field == "items[0].content.headers[0]"


def test_many_unknown_fields_are_refused_and_some_are_named() -> None:
    data = b"".join(varint(number << 3) + b"\0" for number in range(1000, 70_000))
    began = time.process_time()
    with pytest.raises(InvalidField, match="number 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009"):
        whole(reader(pb.EnqueueRequest.FromString, LIMITS)(data))
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("payload", [b"x", json.dumps(["text"] * 30_000).encode(), random.Random(1).randbytes(250_000)])
def test_a_full_batch_is_neither_suspicious_nor_refused(payload: bytes) -> None:
    content = tpb.Content(task_name="t", payload=payload, headers={f"name-{n}": "value" for n in range(32)})
    policy = tpb.DeliveryPolicy(attempts=2, use_dead_letter=True)
    items = [pb.EnqueueItem(queue="q", kind=tpb.QUEUE_KIND_TASK, content=content, policy=policy)]
    request = pb.EnqueueRequest(items=items * min(1000, 4_000_000 // (len(payload) + 600)))
    data = request.SerializeToString()
    counts = EntryCounts(pb.EnqueueRequest.DESCRIPTOR, LIMITS)

    assert not counts.suspicious(data)
    counts.check(data, deep=True)


@pytest.mark.parametrize("data", [b"\x1a", b"\x1a\x05abc", b"\x1a\xff", b"\x0e\x00", b"\x0d\x00", b"\xff" * 20])
def test_bytes_that_are_no_message_are_told_apart(data: bytes) -> None:
    with pytest.raises(Malformed):
        EntryCounts(pb.EnqueueRequest.DESCRIPTOR, LIMITS).check(data)


#: With which few entries are too many, and many fields are not.
FEW = Limits(max_batch_items=2, max_queues_per_lease=2, max_headers=1024)
#: Of which there may be 1,000 whatever a batch has.
NAMES = {"dibs.v1.ListQueuesRequest.names", "dibs.v1.ListTasksRequest.names", "dibs.v1.FlushRequest.queues"}
REQUESTS = list({message.full_name: message for message, _ in EVERY_WAY}.values())
Draw = Any


def drawn_number(draw: Draw, number: int) -> bytes:
    """A number, perhaps in more bytes than it takes."""
    found = varint(number)
    more = draw(st.integers(0, 2))
    return found if not more else found[:-1] + bytes((found[-1] | 0x80,)) + b"\x80" * (more - 1) + b"\0"


def drawn_value(draw: Draw, field: FieldDescriptor) -> tuple[int, bytes]:
    """Wire type and value of a field, of a packed one also several in one."""
    if field.message_type is not None:
        body = drawn(draw, field.message_type)
    elif field.type == FieldDescriptor.TYPE_STRING:
        body = draw(st.text(max_size=3)).encode()
    elif field.type == FieldDescriptor.TYPE_BYTES:
        body = draw(st.binary(max_size=3))
    elif field.type == FieldDescriptor.TYPE_DOUBLE:
        return 1, struct.pack("<d", draw(st.floats(allow_nan=False)))
    else:
        numbers = st.integers(0, 2**31 - 1)
        if not is_repeated(field) or draw(st.booleans()):
            return VARINT, drawn_number(draw, draw(numbers))
        body = b"".join(drawn_number(draw, one) for one in draw(st.lists(numbers, max_size=4)))
    return 2, drawn_number(draw, len(body)) + body


def drawn_strange(draw: Draw, message: Descriptor) -> bytes:
    """A field that the type does not have: of a number of its own, or of another's in a form that this never has."""
    wire_type, value = draw(st.sampled_from([(0, b"\x05"), (1, b"8 bytes!"), (2, b"\x03abc"), (5, b"four")]))
    taken = [field.number for field in message.fields if not is_repeated(field)] if wire_type == 5 else []
    return drawn_number(draw, draw(st.sampled_from([900, *taken])) << 3 | wire_type) + bytes(value)


def drawn(draw: Draw, message: Descriptor) -> bytes:
    """A message as somebody may write it; what may be there once is not there twice: of two protobuf makes one."""
    data, written = b"", set()
    for field in draw(st.lists(st.sampled_from([None, *message.fields, *message.fields]), max_size=5)):
        if field is None:
            data += drawn_strange(draw, message) if draw(st.booleans()) else b""
        elif (place := (field.containing_oneof or field).name) not in written:
            if not is_repeated(field):
                written.add(place)
            for _ in range(draw(st.integers(1, 3)) if is_repeated(field) else 1):
                wire_type, value = drawn_value(draw, field)
                data += drawn_number(draw, field.number << 3 | wire_type) + value
    return data


def has_too_many(message: Message) -> bool:
    for field, value in message.ListFields():
        some: Any = value if is_repeated(field) else [value]
        if len(some) > 2 and field.name not in OTHERS and field.full_name not in NAMES:
            return True
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.message_type is not None and not is_map and any(map(has_too_many, some)):
            return True
    return False


def has_strange(message: Message) -> bool:
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.ByteSize() != message.ByteSize()


@settings(max_examples=300)
@given(st.data(), st.sampled_from(REQUESTS))
def test_entries_and_unknown_fields_are_those_that_protobuf_finds(data: st.DataObject, kind: Descriptor) -> None:
    written = drawn(data.draw, kind)
    counts = EntryCounts(kind, FEW)
    message = GetMessageClass(kind).FromString(written)
    for deep, bad in ((False, has_too_many(message)), (True, has_too_many(message) or has_strange(message))):
        if bad:
            with pytest.raises(InvalidField):
                counts.check(written, deep=deep)
        else:
            counts.check(written, deep=deep)


@given(st.data(), st.sampled_from(REQUESTS))
def test_what_protobuf_reads_is_a_message_whatever_has_become_of_its_bytes(
    data: st.DataObject, kind: Descriptor
) -> None:
    written = bytearray(drawn(data.draw, kind))
    for _ in range(data.draw(st.integers(0, 3)) if written else 0):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    try:
        GetMessageClass(kind).FromString(bytes(written))
    except DecodeError:
        return
    with contextlib.suppress(InvalidField):
        EntryCounts(kind, FEW).check(bytes(written), deep=True)
