"""What a connector knows of the items of a process, and what becomes of them when it has died."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence

import pytest

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.connector.envelope import Envelope
from dibs.worker.connector.held import Batch, Held
from dibs.worker.connector.settling import Settled, Verdict, how_ended, settle
from dibs.worker.shared.begun import BEGUN, ENDED, NOT_BEGUN, RING
from dibs.worker.shared.memory import Table

BACK = Settled(Verdict.NACK, pb.NACK_REASON_NOT_BEGUN)
CRASHED = Settled(Verdict.NACK, pb.NACK_REASON_CRASHED, "worker process crashed (SIGSEGV)", lost=True)
STOPPED = Settled(Verdict.STOPPED, lost=True)


@pytest.mark.parametrize(
    ("mark", "token", "stopped", "settled"),
    [
        pytest.param(NOT_BEGUN, 7, False, BACK, id="not begun"),
        pytest.param(NOT_BEGUN, 7, True, BACK, id="not begun, stopped"),
        pytest.param(NOT_BEGUN, 0, False, Settled(Verdict.RUN_HERE), id="not begun, nobody knows it"),
        pytest.param(NOT_BEGUN, 0, True, Settled(Verdict.RUN_HERE), id="not begun, nobody knows it, stopped"),
        pytest.param(BEGUN, 7, False, CRASHED, id="begun"),
        pytest.param(BEGUN, 7, True, STOPPED, id="begun, stopped"),
        pytest.param(BEGUN, 0, False, Settled(Verdict.NOTHING, lost=True), id="begun, nobody knows it"),
        pytest.param(BEGUN, 0, True, Settled(Verdict.NOTHING, lost=True), id="begun, nobody knows it, stopped"),
        pytest.param(ENDED, 7, False, Settled(Verdict.ACK), id="ended"),
        pytest.param(ENDED, 7, True, Settled(Verdict.ACK), id="ended, stopped"),
        pytest.param(ENDED, 0, False, Settled(Verdict.NOTHING), id="ended, nobody knows it"),
        pytest.param(ENDED, 0, True, Settled(Verdict.NOTHING), id="ended, nobody knows it, stopped"),
    ],
)
def test_every_cell_of_the_table(mark: int, token: int, stopped: bool, settled: Settled) -> None:
    assert settle(mark, token, "SIGSEGV", stopped=stopped) == settled


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize(
    ("mark", "token", "settled"),
    [
        (NOT_BEGUN, 7, BACK),
        (NOT_BEGUN, 0, Settled(Verdict.RUN_HERE)),
        (BEGUN, 7, Settled(Verdict.NACK, pb.NACK_REASON_FAILED, "took too long", lost=True)),
        (BEGUN, 0, Settled(Verdict.NOTHING, lost=True)),
        (ENDED, 7, Settled(Verdict.ACK)),
    ],
)
def test_what_went_on_after_its_limit_has_failed_if_it_still_runs(
    mark: int, token: int, settled: Settled, stopped: bool
) -> None:
    assert settle(mark, token, "SIGKILL", stopped=stopped, over="took too long") == settled


@pytest.mark.parametrize(
    ("code", "how"), [(7, "exit code 7"), (0, "exit code 0"), (-signal.SIGKILL, "SIGKILL"), (-99, "signal 99")]
)
def test_how_a_process_ended_is_told_in_words(code: int, how: str) -> None:
    assert how_ended(code) == how


def deliveries(*ids: str) -> list[tpb.Delivery]:
    return [tpb.Delivery(id=id, lease_token=7) for id in ids]


def held_ids(held: Held) -> list[str]:
    return [delivery.id for delivery, _ in held.unreported()]


def test_an_envelope_is_the_message_with_its_items_unread() -> None:
    message = pb.WorkResponse(
        batch=3,
        deliveries=deliveries("a", "b"),
        done_sequence=4,
        outcomes=[tpb.EntryOutcome(id="x", outcome=tpb.OUTCOME_NOT_FOUND, cancel_requested=True)],
        cancelled=[pb.CancelledLease(id="c", lease_token=9)],
        drain=True,
        unknown_task_names=["t"],
        limits=tpb.Limits(max_batch_items=20),
    )
    raw = message.SerializeToString()
    envelope = Envelope.FromString(raw)
    assert [tpb.Delivery.FromString(one) for one in envelope.deliveries] == list(message.deliveries)
    for field in pb.WorkResponse.DESCRIPTOR.fields:
        if field.name != "deliveries":
            assert str(getattr(envelope, field.name)) == str(getattr(message, field.name)), field.name
    assert envelope.SerializeToString() == raw


class Said:
    def __init__(self) -> None:
        self.about: Sequence[Batch] = ()


def report(held: Held, *ranges: tuple[int, int]) -> Sequence[Batch]:
    """What was said before is about these batches."""
    said = Said()
    held.said(said)
    held.report(ranges)
    return said.about


def test_of_what_is_said_while_nothing_ends_the_newest_is_kept() -> None:
    held = Held(Table.new())
    (batch,) = held.place(Batch.of(deliveries("a"), 0.0))
    refreshes = [Said() for _ in range(1500)]
    for one in refreshes:
        held.said(one)
    held.report([(batch.first, 1)])
    assert [list(one.about) for one in refreshes] == [[]] * 500 + [[batch]] * 1000


def test_items_are_held_until_they_are_reported() -> None:
    table = Table.new()
    marks = table.marks
    held = Held(table)
    (first,) = held.place(Batch.of(deliveries("a", "b", "c"), 0.0))
    (second,) = held.place(Batch.of(deliveries("d"), 0.0))
    marks[first.first + 2] = BEGUN
    assert report(held, (first.first + 1, 1), (second.first, 1)) == [first, second]
    assert [(delivery.id, mark) for delivery, mark in held.unreported()] == [("a", NOT_BEGUN), ("c", BEGUN)]
    assert (held.count, held.reported) == (2, 2)
    assert report(held, (first.first, 1), (first.first + 2, 1)) == [first]
    assert (held.count, held_ids(held)) == (0, [])


def test_a_range_may_go_over_several_batches() -> None:
    held = Held(Table.new())
    batches = [held.place(Batch.of(deliveries(id), 0.0))[0] for id in "abc"]
    assert report(held, (batches[0].first, 3)) == batches
    assert held.count == 0


def test_a_range_may_go_over_a_position_that_a_later_batch_has_taken() -> None:
    held = Held(Table.new())
    (long,) = held.place(Batch.of(deliveries("a", "b", "c"), 0.0))
    held.report([(1, 1)])
    # Goes round once, and finds the one that is free.
    (rest,) = held.place(Batch.of(deliveries(*("x" for _ in range(RING - 3))), 0.0))
    held.report([(rest.first, rest.count)])
    (later,) = held.place(Batch.of(deliveries("d"), 0.0))
    assert later.first == 1
    assert report(held, (0, 2)) == [long, later]
    assert (held.count, held_ids(held)) == (1, ["c"])
    assert report(held, (2, 1)) == [long]
    assert (held.count, held_ids(held)) == (0, [])


@pytest.mark.parametrize("position", [5, RING, RING + 5])
def test_a_report_of_what_is_not_held_is_refused(position: int) -> None:
    held = Held(Table.new())
    with pytest.raises(ValueError, match=f"position {position}"):
        held.report([(position, 1)])


def test_a_position_is_never_used_twice_at_once_however_long_an_item_takes() -> None:
    table = Table.new()
    marks = table.marks
    held = Held(table)
    chance = random.Random(11)
    running: dict[int, str] = {}
    number = 0
    while number < 5 * RING:
        ids = [f"i{number + n}" for n in range(chance.choice([1, 7, 300, 1000]))]
        number += len(ids)
        for piece in held.place(Batch.of(deliveries(*ids), 0.0)):
            for position, delivery in enumerate(piece.deliveries, piece.first):
                assert marks[position] == NOT_BEGUN
                assert position not in running
                running[position] = delivery.id
                marks[position] = ENDED
        # Here and there one stays for ever; some 3,000 in all.
        done = [position for position in running if int(running[position][1:]) % 100 and chance.random() < 0.9]
        for position in done:
            held.report([(position, 1)])
            del running[position]
    assert len(running) > 3000
    assert sorted(held_ids(held)) == sorted(running.values())


def test_a_batch_is_split_where_there_is_no_room_for_all_of_it_at_once() -> None:
    held = Held(Table.new())
    (everything,) = held.place(Batch.of(deliveries(*(f"i{n}" for n in range(RING))), 0.0))
    # Every fifth is free.
    held.report([(everything.first + position, 1) for position in range(0, RING, 5)])
    pieces = held.place(Batch.of(deliveries("a", "b", "c"), 1.5))
    assert [[one.id for one in piece.deliveries] for piece in pieces] == [["a"], ["b"], ["c"]]
    assert len({piece.first for piece in pieces}) == 3
    assert {piece.arrived for piece in pieces} == {1.5}


def new_batch(*ids: str) -> Batch:
    deliveries = [tpb.Delivery(id=id, lease_token=7) for id in ids]
    return Batch.of(deliveries, 0.0)


def test_what_has_begun_is_told_once_when_two_looks_have_seen_it() -> None:
    table = Table.new()
    held, marks = Held(table), table.marks
    held.place(new_batch("a", "b", "c"))
    marks[0] = marks[1] = BEGUN
    assert held.newly_begun() == []
    marks[1], marks[2] = ENDED, BEGUN
    assert held.newly_begun() == [("a", 7)]
    assert held.newly_begun() == [("c", 7)]
    assert held.newly_begun() == []


def test_what_was_told_is_told_again_when_it_may_have_been_lost() -> None:
    table = Table.new()
    held, marks = Held(table), table.marks
    held.place(new_batch("a", "b"))
    marks[1] = BEGUN
    assert (held.newly_begun(), held.newly_begun()) == ([], [("b", 7)])
    held.forget_told()
    assert held.newly_begun() == [("b", 7)]


def test_a_position_that_is_used_again_is_that_of_another_item() -> None:
    table = Table.new()
    held, marks = Held(table), table.marks
    held.place(new_batch("a"))
    marks[0] = BEGUN
    assert (held.newly_begun(), held.newly_begun()) == ([], [("a", 7)])
    held.report([(0, 1)])
    assert held.newly_begun() == []
    held.place(new_batch(*(f"b{n}" for n in range(RING - 1))))
    held.place(new_batch("c"))
    marks[0] = BEGUN
    assert (held.newly_begun(), held.newly_begun()) == ([], [("c", 7)])


def test_of_what_has_no_token_nothing_is_told() -> None:
    table = Table.new()
    held, marks = Held(table), table.marks
    held.place(Batch.of([tpb.Delivery(id="a")], 0.0))
    marks[0] = BEGUN
    assert (held.newly_begun(), held.newly_begun()) == ([], [])
