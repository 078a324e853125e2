"""What is finished and not yet known to the broker."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from dibs.contract.limits import CONTRACT, Limits
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.outbox import Bell, Outbox


def delivery(id: str = "a", token: int = 7) -> tpb.Delivery:
    return tpb.Delivery(id=id, lease_token=token)


def test_one_message_carries_everything_that_has_gathered() -> None:
    outbox = Outbox()
    outbox.ack(delivery("plain"))
    outbox.ack(delivery("result"), b"1")
    outbox.nack(delivery("failed"), pb.NACK_REASON_FAILED, "broken", delay=timedelta(seconds=2))
    outbox.refresh(delivery("longer"), 1.5)
    sent = outbox.take(CONTRACT)
    assert sent is not None
    assert [(ack.id, ack.HasField("result")) for ack in sent.request().acks] == [("plain", False), ("result", True)]
    assert [(nack.id, nack.error, nack.delay.seconds) for nack in sent.request().nacks] == [("failed", "broken", 2)]
    assert [(one.id, one.lease_timeout.ToMilliseconds()) for one in sent.request().refreshes] == [("longer", 1500)]
    assert (outbox.take(CONTRACT), outbox.unsettled, bool(outbox)) == (None, 4, False)
    outbox.settled(sent)
    assert outbox.unsettled == 0


def test_a_message_is_never_over_the_limits() -> None:
    large = Limits(max_payload_bytes=3_000_000)
    outbox = Outbox()
    for number in range(CONTRACT.max_batch_items + 1):
        outbox.ack(delivery(f"i{number}"))
    for number in range(2):
        outbox.ack(delivery(f"large{number}"), b"x" * 2_000_000)
    counts = []
    while (sent := outbox.take(large)) is not None:
        counts.append(len(sent.request().acks))
    assert counts == [CONTRACT.max_batch_items, 2, 1]


def test_what_has_no_lease_has_nothing_to_give_back() -> None:
    outbox = Outbox()
    outbox.nack(delivery(token=0), pb.NACK_REASON_RELEASED)
    assert not outbox


def test_messages_of_a_broken_stream_go_first_on_the_next_one() -> None:
    outbox = Outbox()
    messages = []
    for id in ("a", "b"):
        outbox.ack(delivery(id))
        messages.append(outbox.take(CONTRACT))
    outbox.ack(delivery("c"))
    first, second = messages
    assert first is not None
    assert second is not None
    outbox.give_back([first, second], refused=False)
    again = [outbox.take(CONTRACT), outbox.take(CONTRACT), outbox.take(CONTRACT)]
    assert [[ack.id for ack in sent.request().acks] for sent in again if sent] == [["a"], ["b"], ["c"]]
    assert [sent.again for sent in again if sent] == [True, True, False]


def test_a_smaller_limit_holds_for_what_goes_again_too() -> None:
    outbox = Outbox()
    for number in range(7):
        outbox.ack(delivery(f"i{number}"))
    sent = outbox.take(CONTRACT)
    assert sent is not None
    outbox.give_back([sent], refused=False)
    counts = []
    while (sent := outbox.take(Limits(max_batch_items=3))) is not None:
        counts.append([ack.id for ack in sent.request().acks])
    assert counts == [["i0", "i1", "i2"], ["i3", "i4", "i5"], ["i6"]]


def test_a_result_that_the_broker_would_not_take_fails_its_task() -> None:
    outbox = Outbox()
    outbox.ack(delivery("a"), b"x" * 11)
    outbox.ack(delivery("b"), b"x" * 10)
    sent = outbox.take(Limits(max_payload_bytes=10))
    assert sent is not None
    request = sent.request()
    assert [ack.id for ack in request.acks] == ["b"]
    assert [(nack.id, nack.reason) for nack in request.nacks] == [("a", pb.NACK_REASON_FAILED)]
    assert "takes no result of that size" in request.nacks[0].error


def test_messages_that_brokers_refuse_go_again_in_halves() -> None:
    outbox = Outbox()
    for number in range(5):
        outbox.ack(delivery(f"i{number}"))
    refused, taken = 0, []
    while (sent := outbox.take(CONTRACT)) is not None:
        ids = [ack.id for ack in sent.request().acks]
        if "i3" in ids:
            outbox.give_back([sent], refused=True)
            refused += 1
        else:
            outbox.settled(sent)
            taken += ids
    assert taken == ["i0", "i1", "i2", "i4"]
    assert outbox.unsettled == 0
    assert refused == 5  # of five entries, of two, and of one alone three times


def test_an_entry_that_brokers_keep_refusing_is_given_up() -> None:
    outbox = Outbox()
    outbox.ack(delivery())
    refusals = 0
    while (sent := outbox.take(CONTRACT)) is not None:
        outbox.give_back([sent], refused=True)
        refusals += 1
    assert (refusals, outbox.unsettled) == (3, 0)


async def test_the_bell_wakes_the_loop_from_another_thread() -> None:
    bell, rung = Bell(), asyncio.Event()
    bell.connect(asyncio.get_running_loop(), rung.set)
    bell.armed = True
    await asyncio.to_thread(bell.ring)
    await asyncio.wait_for(rung.wait(), 10)
    assert not bell.armed
