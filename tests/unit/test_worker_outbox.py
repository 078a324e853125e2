"""What is finished and not yet known to the broker."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.outbox import MAX_ENTRIES, Bell, Outbox


def delivery(id: str = "a", token: int = 7) -> tpb.Delivery:
    return tpb.Delivery(id=id, lease_token=token)


def test_one_message_carries_everything_that_has_gathered() -> None:
    outbox = Outbox()
    outbox.ack(delivery("plain"))
    outbox.ack(delivery("result"), b"1")
    outbox.nack(delivery("failed"), pb.NACK_REASON_FAILED, "broken", delay=timedelta(seconds=2))
    outbox.refresh(delivery("longer"), 1.5)
    sent = outbox.take()
    assert sent is not None
    assert [(ack.id, ack.HasField("result")) for ack in sent.request.acks] == [("plain", False), ("result", True)]
    assert [(nack.id, nack.error, nack.delay.seconds) for nack in sent.request.nacks] == [("failed", "broken", 2)]
    assert [(one.id, one.lease_timeout.ToMilliseconds()) for one in sent.request.refreshes] == [("longer", 1500)]
    assert (outbox.take(), outbox.unsettled, bool(outbox)) == (None, 4, False)
    outbox.settled(sent)
    assert outbox.unsettled == 0


def test_a_message_is_never_over_the_limits() -> None:
    outbox = Outbox()
    for number in range(MAX_ENTRIES + 1):
        outbox.ack(delivery(f"i{number}"))
    for number in range(2):
        outbox.ack(delivery(f"large{number}"), b"x" * 2_000_000)
    counts = []
    while (sent := outbox.take()) is not None:
        counts.append(len(sent.request.acks))
    assert counts == [MAX_ENTRIES, 2, 1]


def test_what_has_no_lease_has_nothing_to_give_back() -> None:
    outbox = Outbox()
    outbox.nack(delivery(token=0), pb.NACK_REASON_RELEASED)
    assert not outbox


def test_messages_of_a_broken_stream_go_first_on_the_next_one() -> None:
    outbox = Outbox()
    messages = []
    for id in ("a", "b"):
        outbox.ack(delivery(id))
        messages.append(outbox.take())
    outbox.ack(delivery("c"))
    first, second = messages
    assert first is not None
    assert second is not None
    first.request.add_credit = 5
    outbox.give_back([first, second], refused=False)
    again = [outbox.take(), outbox.take(), outbox.take()]
    assert [[ack.id for ack in sent.request.acks] for sent in again if sent] == [["a"], ["b"], ["c"]]
    assert [(sent.again, sent.request.add_credit) for sent in again if sent] == [(True, 0), (True, 0), (False, 0)]


def test_a_message_that_brokers_keep_refusing_is_given_up() -> None:
    outbox = Outbox()
    outbox.ack(delivery())
    refusals = 0
    while (sent := outbox.take()) is not None:
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
