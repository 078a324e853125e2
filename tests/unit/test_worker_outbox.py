"""What is finished and not yet known to the broker."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from dibs.contract.limits import CONTRACT, Limits
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.connector.outbox import Outbox, Part
from dibs.worker.shared.bell import LoopBell
from dibs.worker.shared.entries import Entries
from dibs.worker.shared.limits import MAX_BYTES, MAX_ENTRIES


def delivery(id: str = "a", token: int = 7) -> tpb.Delivery:
    return tpb.Delivery(id=id, lease_token=token)


def acks(*ids: str) -> bytes:
    return pb.WorkRequest(acks=[pb.AckEntry(id=id, lease_token=7) for id in ids]).SerializeToString()


def ids(parts: list[Part] | None) -> list[str]:
    return [entry.id for part in parts or () for entry in part.entries()]


def test_one_message_carries_everything_that_has_gathered() -> None:
    entries = Entries(LoopBell())
    entries.ack(delivery("plain"))
    entries.ack(delivery("result"), b"1")
    entries.nack(delivery("failed"), pb.NACK_REASON_FAILED, "broken", delay=timedelta(seconds=2))
    entries.refresh(delivery("longer"), 1.5)
    request, about = entries.take()
    assert [(ack.id, ack.HasField("result")) for ack in request.acks] == [("plain", False), ("result", True)]
    assert [(nack.id, nack.error, nack.delay.seconds) for nack in request.nacks] == [("failed", "broken", 2)]
    assert [(one.id, one.lease_timeout.ToMilliseconds()) for one in request.refreshes] == [("longer", 1500)]
    assert [one.id for one in about] == ["plain", "result", "failed", "longer"]
    assert len(entries) == 0


def test_entries_never_make_a_message_over_the_limits() -> None:
    entries = Entries(LoopBell())
    for number in range(MAX_ENTRIES + 1):
        entries.ack(delivery(f"i{number}"))
    for number in range(2):
        entries.ack(delivery(f"large{number}"), b"x" * 2_000_000)
    counts = []
    while entries:
        counts.append(len(entries.take()[0].acks))
    assert counts == [MAX_ENTRIES, 2, 1]


def test_what_has_no_lease_has_nothing_to_give_back() -> None:
    entries = Entries(LoopBell())
    entries.nack(delivery(token=0), pb.NACK_REASON_RELEASED)
    assert not entries


def test_what_processes_have_written_goes_on_together_within_the_limits() -> None:
    outbox = Outbox()
    for id in ("a", "b"):
        outbox.add(acks(id), 1)
    outbox.add(acks(*(f"i{number}" for number in range(MAX_ENTRIES))), MAX_ENTRIES)
    outbox.add(b"", MAX_ENTRIES)
    outbox.add(bytes(MAX_BYTES), 1)
    taken = []
    while (parts := outbox.take(CONTRACT)) is not None:
        taken.append([part.count for part in parts])
    assert taken == [[1, 1], [MAX_ENTRIES], [MAX_ENTRIES], [1]]
    assert outbox.unsettled == 2 * MAX_ENTRIES + 3


def test_what_is_settled_is_forgotten() -> None:
    outbox = Outbox()
    outbox.entries.ack(delivery())
    parts = outbox.take(CONTRACT)
    assert parts is not None
    outbox.settled(parts)
    assert (outbox.unsettled, outbox.pending()) == (0, False)


def test_messages_of_a_broken_stream_go_first_on_the_next_one() -> None:
    outbox = Outbox()
    messages = []
    for id in ("a", "b"):
        outbox.add(acks(id), 1)
        messages.append(outbox.take(CONTRACT))
    outbox.add(acks("c"), 1)
    outbox.give_back([message for message in messages if message], refused=False)
    again = outbox.take(CONTRACT)
    assert ids(again) == ["a", "b", "c"]
    assert [part.again for part in again or ()] == [True, True, False]


def test_what_was_refused_goes_alone_and_is_given_up_when_brokers_keep_refusing_it() -> None:
    outbox = Outbox()
    for id in ("bad", "good"):
        outbox.add(acks(id), 1)
    refusals = []
    while (parts := outbox.take(CONTRACT)) is not None:
        refusals.append(ids(parts))
        outbox.give_back([parts], refused="bad" in ids(parts))
        if ids(parts) == ["good"]:
            break
    assert refusals == [["bad", "good"], ["bad"], ["bad"], ["good"]]


def test_a_part_that_a_broker_does_not_take_whole_goes_in_several() -> None:
    outbox = Outbox()
    outbox.add(acks(*(f"i{number}" for number in range(7))), 7)
    counts = []
    while (parts := outbox.take(Limits(max_batch_items=3))) is not None:
        counts.append(ids(parts))
    assert counts == [["i0", "i1", "i2"], ["i3", "i4", "i5"], ["i6"]]
    assert outbox.unsettled == 7


def test_a_small_message_carries_as_many_results_as_fit() -> None:
    entries = Entries(LoopBell())
    outbox = Outbox()
    for number in range(30):
        entries.ack(delivery(f"i{number}"), b"x" * 10_000)
    request, _ = entries.take()
    outbox.add(request.SerializeToString(), 30)
    limits = Limits(max_message_bytes=64 * 1024)
    sizes = []
    while (parts := outbox.take(limits)) is not None:
        sizes.append(sum(len(part.data) for part in parts))
    assert max(sizes) <= limits.entry_bytes
    assert len(sizes) == 6


def test_a_result_that_fits_no_message_fails_its_task() -> None:
    entries = Entries(LoopBell())
    outbox = Outbox()
    entries.ack(delivery("large"), b"x" * 100_000)
    entries.ack(delivery("small"), b"x")
    outbox.add(entries.take()[0].SerializeToString(), 2)
    parts = outbox.take(Limits(max_payload_bytes=10_000, max_message_bytes=64 * 1024))
    (large, small) = sorted((entry for part in parts or () for entry in part.entries()), key=lambda one: one.id)
    assert isinstance(large, pb.NackEntry)
    assert (large.id, large.reason) == ("large", pb.NACK_REASON_FAILED)
    assert "takes no result of that size" in large.error
    assert small.id == "small"


def test_what_brokers_refuse_goes_again_in_halves_until_only_the_bad_entry_is_left() -> None:
    outbox = Outbox()
    outbox.add(acks(*(f"i{number}" for number in range(5))), 5)
    refused, taken = 0, []
    while (parts := outbox.take(CONTRACT)) is not None:
        if "i3" in ids(parts):
            outbox.give_back([parts], refused=True)
            refused += 1
        else:
            outbox.settled(parts)
            taken += ids(parts)
    assert sorted(taken) == ["i0", "i1", "i2", "i4"]
    assert outbox.unsettled == 0
    assert refused <= 8


async def test_the_bell_wakes_the_loop_from_another_thread() -> None:
    bell, rung = LoopBell(), asyncio.Event()
    bell.connect(asyncio.get_running_loop(), rung.set)
    bell.armed = True
    await asyncio.to_thread(bell.ring)
    await asyncio.wait_for(rung.wait(), 10)
    assert not bell.armed
