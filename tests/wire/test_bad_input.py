"""Whatever comes in, the answer is a status that names the field, the broker serves on, and nothing is lost."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from ..support.bad_values import bad_values
from ..support.broker_thread import serving
from ..support.redis import running
from ..support.requests import GOOD, METHODS, Place, places

TASK, DATA = tpb.QUEUE_KIND_TASK, tpb.QUEUE_KIND_DATA
STOCK = "stock"
INVALID = grpc.StatusCode.INVALID_ARGUMENT
SCHEDULE = apb.Schedule(name="s", queue="q", content=tpb.Content(task_name="t"))
SCHEDULED = apb.Schedule(name="s", queue="q", content=tpb.Content(task_name="t"), cron="0 0 * * *")


class Broker:
    """Calls a broker by names of methods, with bytes."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def raw(self, method: str, *messages: bytes, timeout_s: float = 20) -> tuple[grpc.StatusCode, str, list[bytes]]:
        """How the call ended: its code, the field that is to blame, what came before."""
        descriptor = METHODS[method]
        path = f"/{descriptor.containing_service.full_name}/{method}"
        call: Any = self._channel.stream_stream if descriptor.client_streaming else self._channel.unary_stream
        argument = iter(messages) if descriptor.client_streaming else messages[0]
        replies: list[bytes] = []
        try:
            replies.extend(call(path, _as_is, _as_is)(argument, timeout=timeout_s))
        except grpc.RpcError as error:
            metadata: Any = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]  # its entries are pairs
            status = status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b""))
            return error.code(), _field(status), replies
        if method == "EnqueueStream":
            # An error stands in the reply, since it does not end the stream.
            status = pb.EnqueueStreamResponse.FromString(replies[-1]).error
            code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
            return code, _field(status), replies
        return grpc.StatusCode.OK, "", replies

    def call(self, method: str, *messages: Message) -> tuple[grpc.StatusCode, str, list[bytes]]:
        """As `raw`."""
        return self.raw(method, *(message.SerializeToString() for message in messages))

    def reply(self, method: str, request: Message) -> Any:
        """The only reply to a good request."""
        code, field, replies = self.call(method, request)
        assert code is grpc.StatusCode.OK, (code, field)
        return message_factory.GetMessageClass(METHODS[method].output_type).FromString(replies[0])

    def stock(self) -> str:
        """Everything that was put in at the beginning, as it stands now."""
        ids = ["ready", "late", "held", "dead", "odd"]
        results = self.reply("Result", pb.ResultRequest(namespace=STOCK, ids=ids, include_content=True))
        queues = self.reply("ListQueues", apb.ListQueuesRequest(namespace=STOCK))
        dead = self.reply("ListDeadLetters", apb.ListDeadLettersRequest(namespace=STOCK, kind=TASK))
        return f"{results}{queues}{dead}"


def _as_is(data: bytes) -> bytes:
    return data


def _field(status: status_pb2.Status) -> str:
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(bad):
            return str(bad.field_violations[0].field)
    return "(none)"


def put(id: str, **others: Any) -> pb.EnqueueItem:
    content = tpb.Content(task_name="task", payload=b"\xff{ no JSON")
    policy = tpb.DeliveryPolicy(attempts=1, lease_timeout=Duration(seconds=3600), use_dead_letter=True)
    return pb.EnqueueItem(id=id, content=content, **{"queue": id, "kind": TASK, "policy": policy, **others})


@pytest.fixture(scope="module")
def broker(redis_program: str) -> Iterator[Broker]:
    """One broker for all tests, with something in every state in it; at the end all of that must be there still."""
    with running(redis_program) as redis, serving(redis.url) as thread, grpc.insecure_channel(thread.target) as channel:
        broker = Broker(channel)
        items = [put("ready"), put("late", delay=Duration(seconds=3600)), put("held"), put("dead"), put("odd")]
        broker.reply("Enqueue", pb.EnqueueRequest(namespace=STOCK, items=items))
        tokens = {}
        for id in ("held", "dead"):
            lease = broker.reply("Lease", pb.LeaseRequest(namespace=STOCK, kind=TASK, queues=[id]))
            tokens[id] = lease.deliveries[0].lease_token
        entry = pb.NackEntry(id="dead", lease_token=tokens["dead"])
        broker.reply("Nack", pb.NackRequest(namespace=STOCK, entries=[entry]))
        stock = broker.stock()
        yield broker
        assert broker.stock() == stock
        entries = [pb.AckEntry(id="held", lease_token=tokens["held"])]
        acked = broker.reply("Ack", pb.AckRequest(namespace=STOCK, entries=entries))
        assert acked.outcomes[0].outcome == tpb.OUTCOME_OK


def test_there_is_a_good_request_for_every_method() -> None:
    assert GOOD.keys() == METHODS.keys()


@pytest.mark.parametrize("method", GOOD)
def test_a_good_request_is_not_refused(broker: Broker, method: str) -> None:
    code, field, _ = broker.call(method, *GOOD[method])
    # Some find nothing there.
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION), field


@pytest.mark.parametrize("method", GOOD)
def test_a_bad_value_is_refused_naming_its_field(broker: Broker, method: str) -> None:
    stock = broker.stock()
    wrong = []
    for at in range(len(GOOD[method])):
        for path, word, change in bad_values(method, at):
            messages = [_copy(message) for message in GOOD[method]]
            change(messages[at])
            code, field, _ = broker.call(method, *messages)
            if (code, field) != (INVALID, path.removeprefix("request.")):
                wrong.append(f"{path} {word}: {code.name} {field}")
    assert wrong == []
    assert broker.stock() == stock


@pytest.mark.parametrize("method", GOOD)
def test_a_field_that_nobody_knows_is_refused_naming_where_it_is(broker: Broker, method: str) -> None:
    for at, message in enumerate(GOOD[method]):
        owners = {place.steps: place.path.rpartition(".")[0] for place in places(message)} or {(): ""}
        for steps, path in owners.items():
            messages = [_copy(message) for message in GOOD[method]]
            Place("", None, steps).within(messages[at]).MergeFromString(b"\x98\x06\x01")
            blamed = "" if path == "request" else path.removeprefix("request.")
            assert broker.call(method, *messages)[:2] == (INVALID, blamed)


@pytest.mark.parametrize("method", GOOD)
def test_random_bytes_are_refused(broker: Broker, method: str) -> None:
    chance = random.Random(method)
    stock = broker.stock()
    for length in (1, 2, 5, 10, 50, 200, 1000, 5000):
        data = b"\xff" + chance.randbytes(length)
        assert broker.raw(method, data)[:2] == (INVALID, "")
    assert broker.stock() == stock


@pytest.mark.parametrize("method", GOOD)
def test_damaged_requests_are_refused_or_served_and_never_a_fault_of_the_broker(broker: Broker, method: str) -> None:
    chance = random.Random(method)
    stock = broker.stock()
    answers = {grpc.StatusCode.OK, INVALID, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}
    # Some would wait for long.
    answers |= {grpc.StatusCode.DEADLINE_EXCEEDED}
    for _ in range(40):
        messages = [bytearray(message.SerializeToString()) for message in GOOD[method]]
        damaged = chance.choice(messages)
        for _ in range(chance.choice((1, 1, 2, 5)) if damaged else 0):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if chance.random() < 0.3:
            del damaged[chance.randrange(len(damaged) + 1) :]
        code, _, _ = broker.raw(method, *map(bytes, messages), timeout_s=0.2)
        assert code in answers, (code, messages)
    assert broker.stock() == stock


def test_a_payload_is_opaque_and_comes_out_as_it_went_in(broker: Broker) -> None:
    result = broker.reply("Result", pb.ResultRequest(namespace=STOCK, ids=["odd"], include_content=True))
    assert result.results[0].content.payload == b"\xff{ no JSON"


def test_a_payload_of_just_the_limit_is_taken(broker: Broker) -> None:
    item = put("large")
    item.content.payload = b"x" * 256 * 1024
    put_in = broker.reply("Enqueue", pb.EnqueueRequest(items=[item]))
    assert put_in.items[0].outcome == pb.ENQUEUE_OUTCOME_CREATED


def test_a_zero_with_a_sign_is_a_zero(broker: Broker) -> None:
    policy = tpb.DeliveryPolicy(attempts=2, lease_timeout=Duration(seconds=1), retry=tpb.RetryPolicy(jitter=-0.0))
    put_in = broker.reply("Enqueue", pb.EnqueueRequest(items=[put("zero", policy=policy)]))
    assert put_in.items[0].outcome == pb.ENQUEUE_OUTCOME_CREATED
    found = broker.reply("ListItems", apb.ListItemsRequest(kind=TASK, queue="zero"))
    assert math.copysign(1, found.items[0].policy.retry.jitter) == 1
    assert broker.reply("SetPriority", apb.SetPriorityRequest(kind=TASK, queue="zero", priority=-0.0)) is not None


def test_what_is_not_known_and_tokens_that_are_not_current_change_nothing(broker: Broker) -> None:
    broker.reply("Enqueue", pb.EnqueueRequest(items=[put("a", queue="tokens")]))
    lease = pb.LeaseRequest(kind=TASK, queues=["tokens"])
    old = broker.reply("Lease", lease).deliveries[0].lease_token
    released = pb.NackEntry(id="a", lease_token=old, reason=pb.NACK_REASON_RELEASED)
    broker.reply("Nack", pb.NackRequest(entries=[released]))
    new = broker.reply("Lease", lease).deliveries[0].lease_token
    assert new > old
    superseded, unknown = tpb.OUTCOME_LEASE_SUPERSEDED, tpb.OUTCOME_NOT_FOUND
    tries = (("a", old, superseded), ("a", new + 1, superseded), ("a", 2**63 - 1, superseded), ("b", new, unknown))
    for id, token, outcome in tries:
        for method, request in (
            ("Ack", pb.AckRequest(entries=[pb.AckEntry(id=id, lease_token=token)])),
            ("Nack", pb.NackRequest(entries=[pb.NackEntry(id=id, lease_token=token)])),
            ("Refresh", pb.RefreshRequest(entries=[pb.RefreshEntry(id=id, lease_token=token)])),
        ):
            assert broker.reply(method, request).outcomes[0].outcome == outcome, (method, id, token)
    acked = broker.reply("Ack", pb.AckRequest(entries=[pb.AckEntry(id="a", lease_token=new)]))
    assert acked.outcomes[0].outcome == tpb.OUTCOME_OK
    cancelled = broker.reply("Cancel", pb.CancelRequest(ids=["b"]))
    assert cancelled.items[0].outcome == pb.CANCEL_OUTCOME_NOT_FOUND
    found = broker.reply("Result", pb.ResultRequest(ids=["b"]))
    assert found.results[0].state == tpb.ITEM_STATE_UNKNOWN


def test_a_queue_of_the_wrong_kind_is_another_queue(broker: Broker) -> None:
    code, _, replies = broker.call("Lease", pb.LeaseRequest(namespace=STOCK, kind=DATA, queues=["ready"]))
    assert (code, replies) == (grpc.StatusCode.OK, [])
    code, _, _ = broker.call("ListItems", apb.ListItemsRequest(namespace=STOCK, kind=DATA, queue="ready"))
    assert code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("method", "messages", "field"),
    [
        ("Work", [], "hello"),
        ("Work", [pb.WorkRequest(add_credit=1)], "hello"),
        ("Work", [GOOD["Work"][0], GOOD["Work"][0]], "hello"),
        ("Work", [GOOD["Work"][0], pb.WorkRequest(acks=[pb.AckEntry(id="a", lease_token=1)])], "sequence"),
        ("Lease", [pb.LeaseRequest(kind=TASK, peek=True, follow=True)], "peek"),
        ("Enqueue", [pb.EnqueueRequest(items=[put("a", lease_token=1)])], "items[0].lease_token"),
        ("Enqueue", [pb.EnqueueRequest(items=[put("a", kind=DATA)])], "items[0].content.task_name"),
        ("PutSchedules", [apb.PutSchedulesRequest(group="g", schedules=[SCHEDULE])], "schedules[0].interval"),
        ("PutSchedules", [apb.PutSchedulesRequest(group="g", schedules=[SCHEDULED] * 2)], "schedules[1].name"),
    ],
)
def test_what_does_not_go_together_is_refused(
    broker: Broker, method: str, messages: Sequence[Message], field: str
) -> None:
    assert broker.call(method, *messages)[:2] == (INVALID, field)


def _copy(message: Message) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
