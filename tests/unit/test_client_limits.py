"""Limits as the client knows them, and operations in the parts that they make of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.duration_pb2 import Duration

from dibs import InvalidArgument, LimitExceeded
from dibs.broker.config.limits import Limits as Settings
from dibs.broker.engine.types import ITEM_OVERHEAD as ENGINE_OVERHEAD
from dibs.broker.messages.announcing import announcement
from dibs.contract.limits import CONTRACT, ITEM_OVERHEAD, Limits
from dibs.enqueueing.flows import enqueue
from dibs.errors import BrokerError
from dibs.rpc import admin_operations as admin
from dibs.rpc import operations
from dibs.rpc.connection import Connection
from dibs.rpc.dividing import divided
from dibs.rpc.flow import Flow, drive
from dibs.rpc.known_limits import KnownLimits, is_too_large, is_too_much
from dibs.rpc.operations import Operation
from dibs.rpc.repeating import is_repeatable, methods
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import lock_pb2
from dibs.v1 import types_pb2 as tpb

T = TypeVar("T")


def too_many(most: int, field: str = "ids") -> InvalidArgument:
    return InvalidArgument(f"{field}: too many", field=field, metadata={"limit": "max_batch_items", "value": str(most)})


def too_large(size: int, most: int) -> LimitExceeded:
    return LimitExceeded(f"SERVER: Received message larger than max ({size} vs. {most})")


class Broker:
    """Takes so many ids, and so many bytes, a request."""

    def __init__(self, most: int = 1000, most_bytes: int = 1 << 30, *, tells: bool = True) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.tells = tells
        self.sizes: list[int] = []
        self.refused = 0

    def __call__(self, operation: Operation[Any]) -> Any:
        request: Any = operation.request
        if request.ByteSize() > self.most_bytes:
            self.refused += 1
            raise too_large(request.ByteSize(), self.most_bytes)
        if len(request.ids) > self.most:
            self.refused += 1
            raise too_many(self.most) if self.tells else InvalidArgument("ids: has too many entries", field="ids")
        self.sizes.append(len(request.ids))
        return [pb.CancelledItem(id=id) for id in request.ids]


def carry(operation: Operation[T], limits: KnownLimits, broker: Callable[[Operation[T]], T]) -> T:
    parts: Flow[T] = divided(operation, limits)
    return drive(parts, broker)


IDS = [f"i{n}" for n in range(100)]


def test_what_fits_is_one_request() -> None:
    broker = Broker()
    assert [item.id for item in carry(operations.cancel("n", IDS), KnownLimits(), broker)] == IDS
    assert broker.sizes == [100]


def test_a_refused_operation_goes_again_in_parts_and_the_next_one_is_made_to_fit() -> None:
    broker, limits = Broker(30), KnownLimits()
    for refused in (1, 1):
        assert [item.id for item in carry(operations.cancel("n", IDS), limits, broker)] == IDS
        assert broker.refused == refused
    assert broker.sizes == [30, 30, 30, 10] * 2


def test_a_broker_that_does_not_say_how_many_it_takes_gets_halves() -> None:
    broker, limits = Broker(30, tells=False), KnownLimits()
    limits.hear(announcement(Limits(max_batch_items=100)))
    assert [item.id for item in carry(operations.cancel("n", IDS), limits, broker)] == IDS
    assert max(broker.sizes) <= 30
    assert broker.refused == 2


def test_a_message_that_is_too_large_goes_again_in_parts() -> None:
    broker = Broker(most_bytes=70_000)
    ids = [f"{n:0200}" for n in range(1000)]
    limits = KnownLimits()
    assert [item.id for item in carry(operations.cancel("n", ids), limits, broker)] == ids
    assert (broker.refused, limits.now.max_message_bytes) == (1, 70_000)


def test_one_entry_that_is_refused_is_not_tried_again() -> None:
    broker = Broker(0)
    with pytest.raises(InvalidArgument):
        carry(operations.cancel("n", ["a"]), KnownLimits(), broker)
    assert broker.refused == 1


def test_a_part_that_fails_tells_how_many_were_done() -> None:
    def broker(operation: Operation[Any]) -> Any:
        request: Any = operation.request
        if "i50" in request.ids:
            raise BrokerError("no")
        return request.ids

    limits = KnownLimits()
    limits.hear(announcement(Limits(max_batch_items=40)))
    with pytest.raises(BrokerError) as caught:
        carry(operations.cancel("n", IDS), limits, broker)
    assert caught.value.__notes__ == ["the first 40 of 100 entries were done"]


def test_a_wait_and_the_number_of_items_keep_to_the_limits() -> None:
    limits = KnownLimits()
    limits.hear(announcement(Limits(max_wait=2.5, max_batch_items=7)))
    lease = operations.lease("n", "q", tpb.QUEUE_KIND_DATA, max_items=100, lease_timeout=None, get_timeout=50)
    (asked,) = [next(divided(lease, limits))]
    request: Any = asked.request
    assert (request.max_items, request.get_timeout, asked.wait) == (7, Duration(seconds=2, nanos=500_000_000), 2.5)


def test_a_refused_wait_is_shortened_and_asked_for_again() -> None:
    waits: list[float] = []

    def broker(operation: Operation[Any]) -> Any:
        waits.append(operation.wait)
        if operation.wait > 1:
            raise InvalidArgument("timeout", field="timeout", metadata={"limit": "max_wait", "value": "1"})
        return []

    carry(operations.result("n", ["a"], until="done", timeout=50), KnownLimits(), broker)
    assert waits == [50, 1]


def test_a_refused_enqueue_goes_again_under_ids_of_its_own() -> None:
    requests: list[tuple[str, list[str]]] = []
    taken: list[str] = []
    flow = enqueue(pb.EnqueueRequest(request_id="r", items=[pb.EnqueueItem(id=id) for id in "abcde"]))
    operation = next(flow)
    refusals: list[BrokerError] | None = None
    while refusals is None:
        request: Any = operation.request
        ids = [item.id for item in request.items]
        requests.append((request.request_id, ids))
        try:
            if len(ids) > 2:
                operation = flow.throw(too_many(2, "items"))
            elif "d" in ids:
                operation = flow.throw(InvalidArgument("d", field=f"items[{ids.index('d')}].queue"))
            else:
                taken += ids
                operation = flow.send([pb.EnqueuedItem(id=id) for id in ids])
        except StopIteration as stop:
            refusals = stop.value
    assert [ids for _, ids in requests] == [["a", "b", "c", "d", "e"], ["a", "b"], ["c", "d"], ["c"], ["e"]]
    assert len({id for id, _ in requests}) == len(requests)
    assert (taken, [str(error) for error in refusals]) == (["a", "b", "c", "e"], ["d"])


@pytest.mark.parametrize(
    ("error", "much", "large"),
    [
        (too_many(5), True, False),
        (InvalidArgument("entries: has 5 entries", field="entries"), True, False),
        (InvalidArgument("x", field="items[3].id"), False, False),
        (InvalidArgument("x", field="queue"), False, False),
        (LimitExceeded("Received message larger than max (5 vs. 4)"), True, True),
        (LimitExceeded("CLIENT: Received message larger than max (5 vs. 4)"), False, False),
        (LimitExceeded("Sent message larger than max (5 vs. 4)"), False, False),
        (LimitExceeded("Redis is full", reason="REDIS_OUT_OF_MEMORY"), False, False),
    ],
    ids=str,
)
def test_what_a_smaller_request_would_help_is_told_apart(error: BrokerError, much: bool, large: bool) -> None:
    assert (is_too_much(error), is_too_large(error)) == (much, large)


def test_the_contract_is_what_a_broker_has_without_settings() -> None:
    settings = Settings()
    assert settings.announced == CONTRACT
    assert CONTRACT.with_message(announcement(settings.announced)) == CONTRACT
    assert ENGINE_OVERHEAD == ITEM_OVERHEAD


def test_what_is_announced_is_known_and_what_is_left_out_stays() -> None:
    limits = Limits(max_batch_items=3, max_credit=5, max_wait=1.5)
    assert CONTRACT.with_message(announcement(limits)) == limits
    assert CONTRACT.with_message(tpb.Limits(max_credit=9)) == Limits(max_credit=9)


# Which calls may be made again


def services() -> list[ServiceDescriptor]:
    return [service for file in (pb, apb, lock_pb2) for service in file.DESCRIPTOR.services_by_name.values()]


def test_the_table_of_what_may_be_made_again_has_every_method() -> None:
    assert methods() == {method.name for service in services() for method in service.methods}


@pytest.mark.parametrize(
    ("method", "request_message", "may"),
    [
        ("Enqueue", pb.EnqueueRequest(), False),
        ("Enqueue", pb.EnqueueRequest(request_id="r"), True),
        ("TakeDeadLetters", apb.TakeDeadLettersRequest(max_items=1), False),
        ("TakeDeadLetters", apb.TakeDeadLettersRequest(max_items=1, request_id="r"), True),
        ("TakeDeadLetters", apb.TakeDeadLettersRequest(received_request_id="r"), True),
        ("TakeDeadLetters", apb.TakeDeadLettersRequest(received_request_id="r", max_items=1), False),
        ("Flush", apb.FlushRequest(), True),
        ("Flush", apb.FlushRequest(force_delayed=True), False),
        ("RedriveDeadLetters", apb.RedriveDeadLettersRequest(), False),
        ("Work", pb.WorkRequest(), False),
        ("Ack", pb.AckRequest(), True),
    ],
)
def test_what_is_handed_out_or_done_for_good_is_not_repeated(method: str, request_message: Any, may: bool) -> None:
    assert is_repeatable(method, request_message) is may


def test_the_operations_of_the_client_that_hand_out_have_an_id() -> None:
    take = admin.take_dead_letters("n", "q", tpb.QUEUE_KIND_DATA, 5, 0, "r")
    assert take.safe
    assert admin.confirm_dead_letters("n", "q", tpb.QUEUE_KIND_DATA, "r").safe


def test_grpc_never_repeats_calls_by_itself() -> None:
    assert dict(Connection.build().options)["grpc.enable_retries"] == 0
    with pytest.raises(ValueError, match="stays off"):
        Connection.build(channel_options=[("grpc.enable_retries", 1)])
