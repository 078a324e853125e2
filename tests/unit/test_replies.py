"""Replies that are put together from bytes are those that the message classes make."""

from __future__ import annotations

import pytest

from dibs.broker.engine.types import Enqueued, NewItem, Outcome
from dibs.broker.messages.enqueue import enqueue_response, enqueue_stream_response
from dibs.broker.messages.settle import ack_response
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb

IDS = ("a", "i" * 32, "i" * 127, "i" * 128, "i" * 1024)


@pytest.mark.parametrize("outcome", Enqueued)
def test_what_became_of_enqueued_items(outcome: Enqueued) -> None:
    items = [NewItem(id, "", "", "k", b"") for id in IDS]
    expected = pb.EnqueueOutcome.Value(f"ENQUEUE_OUTCOME_{outcome.name}")
    made = pb.EnqueueResponse(items=[pb.EnqueuedItem(id=id, outcome=expected) for id in IDS])
    response = enqueue_response(items, [outcome] * len(items))
    assert pb.EnqueueResponse.FromString(response) == made
    streamed = pb.EnqueueStreamResponse.FromString(enqueue_stream_response(response))
    assert streamed == pb.EnqueueStreamResponse(response=made)


@pytest.mark.parametrize("outcome", Outcome)
def test_what_became_of_acks_and_of_those_that_the_engine_never_saw(outcome: Outcome) -> None:
    request = pb.AckRequest(entries=[pb.AckEntry(id=id, lease_token=1) for id in IDS])
    expected = tpb.Outcome.Value(f"OUTCOME_{outcome.name}")
    response = pb.AckResponse.FromString(ack_response(request, {1}, [outcome] * (len(IDS) - 1)))
    assert [(one.id, one.outcome) for one in response.outcomes] == [
        (id, tpb.OUTCOME_RESULT_TOO_LARGE if id == IDS[1] else expected) for id in IDS
    ]


def test_an_id_that_comes_twice_and_is_refused_once_keeps_both_answers_apart() -> None:
    request = pb.AckRequest(entries=[pb.AckEntry(id=id, lease_token=1) for id in ("a", "a", "b")])
    response = pb.AckResponse.FromString(ack_response(request, {0}, [Outcome.OK, Outcome.NOT_FOUND]))
    assert [one.outcome for one in response.outcomes] == [
        tpb.OUTCOME_RESULT_TOO_LARGE,
        tpb.OUTCOME_OK,
        tpb.OUTCOME_NOT_FOUND,
    ]
