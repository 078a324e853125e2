from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

from .conftest import Stub, item
from .statuses import refused


async def test_an_item_goes_over_the_wire_and_its_result_comes_back(
    stub: Stub,
) -> None:
    await stub.Enqueue(pb.EnqueueRequest(request_id="r", items=[item("a")]))
    call = stub.Lease(pb.LeaseRequest(kind=tpb.QUEUE_KIND_TASK, max_items=10, get_timeout=Duration(seconds=5)))
    (delivery,) = (await anext(aiter(call))).deliveries
    acked = await stub.Ack(pb.AckRequest(entries=[pb.AckEntry(id="a", lease_token=delivery.lease_token, result=b"1")]))
    reply = await stub.Result(pb.ResultRequest(ids=["a", "b"]))
    assert delivery.content.task_name == "task"
    assert [one.outcome for one in acked.outcomes] == [tpb.OUTCOME_OK]
    assert [one.state for one in reply.results] == [tpb.ITEM_STATE_SUCCEEDED, tpb.ITEM_STATE_UNKNOWN]
    assert reply.results[0].result == b"1"


@pytest.mark.parametrize("ids", [["a", "b", "c"], ["a"]])
async def test_a_request_id_of_a_request_with_more_or_fewer_items_is_refused(stub: Stub, ids: list[str]) -> None:
    await stub.Enqueue(pb.EnqueueRequest(request_id="r", items=[item("a"), item("b")]))
    other = pb.EnqueueRequest(request_id="r", items=[item(id) for id in ids])
    await refused(stub.Enqueue(other), grpc.StatusCode.INVALID_ARGUMENT, field="request_id", says="2 items")


@pytest.mark.parametrize(
    ("request_message", "field"),
    [
        (pb.EnqueueRequest(items=[item("a", "bra{ce")]), "items[0].queue"),
        (pb.EnqueueRequest(items=[item("a", "")]), "items[0].queue"),
        (pb.EnqueueRequest(items=[item(f"i{n}") for n in range(1001)]), "items"),
        (pb.EnqueueRequest(namespace="x" * 129, items=[item("a")]), "namespace"),
    ],
)
async def test_bad_input_is_refused_naming_the_field(
    stub: Stub, request_message: pb.EnqueueRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Enqueue(request_message)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith(field + ":")
