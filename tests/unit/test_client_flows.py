"""Flows, driven by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from dibs import AlreadyExists, BrokerError, InvalidArgument, LimitExceeded, TaskNotFinished, Unavailable
from dibs.enqueueing.flows import enqueue
from dibs.rpc import flow as flows
from dibs.rpc.flow import drive
from dibs.rpc.operations import Operation
from dibs.tasks.result_flows import get_result, wait_for
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb


def request(*ids: str) -> pb.EnqueueRequest:
    return pb.EnqueueRequest(request_id="first", items=[pb.EnqueueItem(id=id) for id in ids])


class Broker:
    """Refuses items of some ids, one at a time, as a broker does; takes the rest."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.taken: list[str] = []
        self.request_ids: list[str] = []

    def __call__(self, operation: Operation[Any]) -> Sequence[pb.EnqueuedItem]:
        assert isinstance(operation.request, pb.EnqueueRequest)
        self.request_ids.append(operation.request.request_id)
        for place, item in enumerate(operation.request.items):
            if item.id in self.refused:
                raise InvalidArgument(item.id, field=f"items[{place}].queue")
        self.taken += [item.id for item in operation.request.items]
        return [pb.EnqueuedItem(id=item.id) for item in operation.request.items]


def test_refused_items_are_left_out_and_the_rest_goes_as_new_requests() -> None:
    broker = Broker("b", "d")

    refusals = drive(enqueue(request("a", "b", "c", "d")), broker)

    assert broker.taken == ["a", "c"]
    assert [str(error) for error in refusals] == ["b", "d"]
    assert len(set(broker.request_ids)) == 3


def test_a_batch_of_which_nothing_is_left_is_not_sent() -> None:
    broker = Broker("a")

    assert len(drive(enqueue(request("a")), broker)) == 1
    assert broker.request_ids == ["first"]


@pytest.mark.parametrize(
    "error", [LimitExceeded("full"), InvalidArgument("no", field="namespace"), Unavailable("away")]
)
def test_a_batch_that_is_refused_as_a_whole_raises(error: BrokerError) -> None:
    def broker(_: Operation[Any]) -> Any:
        raise error

    with pytest.raises(type(error)):
        drive(enqueue(request("a", "b")), broker)


def test_a_refusal_that_is_known_is_not_asked_for_again() -> None:
    broker = Broker()

    refusals = drive(enqueue(request("a", "b"), InvalidArgument("a", field="items[0].queue")), broker)

    assert [str(error) for error in refusals] == ["a"]
    assert broker.taken == ["b"]


def test_items_that_must_not_be_there_and_are_count_as_refused() -> None:
    def broker(_: Operation[Any]) -> Any:
        return [
            pb.EnqueuedItem(id="a", outcome=pb.ENQUEUE_OUTCOME_CREATED),
            pb.EnqueuedItem(id="b", outcome=pb.ENQUEUE_OUTCOME_CONFLICT),
        ]

    (refusal,) = drive(enqueue(request("a", "b")), broker)

    assert isinstance(refusal, AlreadyExists)
    assert "b" in str(refusal)


def test_a_wait_without_end_asks_again_and_again() -> None:
    states = iter([tpb.ITEM_STATE_WAITING, tpb.ITEM_STATE_WAITING, tpb.ITEM_STATE_STARTED])
    asked: list[pb.ResultRequest] = []

    def broker(operation: Operation[Any]) -> Any:
        assert isinstance(operation.request, pb.ResultRequest)
        asked.append(operation.request)
        return [pb.ItemResult(id="a", state=next(states))]

    assert drive(wait_for("n", "a", "task", "started", None), broker)
    assert len(asked) == 3
    assert all(one.until == pb.WAIT_UNTIL_STARTED and one.timeout.seconds <= 60 for one in asked)


def test_a_long_wait_is_asked_for_in_parts_and_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000.0]
    monkeypatch.setattr("dibs.rpc.waiting.time.monotonic", lambda: clock[0])
    waits: list[float] = []

    def broker(operation: Operation[Any]) -> Any:
        clock[0] += operation.wait
        waits.append(operation.wait)
        return [pb.ItemResult(id="a", state=tpb.ITEM_STATE_STARTED)]

    with pytest.raises(TaskNotFinished, match="started after 120 s"):
        drive(get_result("n", "a", "task", timedelta(minutes=2)), broker)
    assert sum(waits) == 120
    assert max(waits) <= flows.LONGEST_WAIT_SECONDS


def test_what_to_wait_for_is_started_or_done() -> None:
    with pytest.raises(ValueError, match="until"):
        drive(wait_for("n", "a", "task", "finished", 1), Broker())  # type: ignore[arg-type]
