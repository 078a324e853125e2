"""When leases are renewed, what is made of the answers, and what is let be."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import pytest

from dibs.contract.limits import CONTRACT
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.connector.held import Batch, Held
from dibs.worker.connector.outbox import Outbox, Part
from dibs.worker.connector.outcomes import take_up
from dibs.worker.connector.renewing import Renewing
from dibs.worker.shared.begun import BEGUN, ENDED
from dibs.worker.shared.memory import Table

LEASE_S = 30.0
BEGAN = 1_000.0


class Bench:
    """A lane that was dealt items at `BEGAN`, a clock, and a broker that has not answered yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table = Table.new()
        self.held = Held(self.table)
        self.outbox = Outbox()
        self.renewing = Renewing(self.held, self.outbox)
        self.now = BEGAN
        self.limits = CONTRACT
        monkeypatch.setattr("dibs.worker.connector.renewing.time.monotonic", lambda: self.now)

    def deal(self, *ids: str, renew: bool = True, begun: bool = True, token: int = 7) -> Batch:
        deliveries = [tpb.Delivery(id=id, lease_token=token, renew=renew) for id in ids]
        for delivery in deliveries:
            delivery.lease_timeout.FromMilliseconds(int(LEASE_S * 1000))
        (batch,) = self.held.place(Batch.of(deliveries, self.now))
        if begun:
            self.table.marks[batch.first : batch.first + batch.count] = bytes([BEGUN]) * batch.count
        return batch

    def look(self, now: float) -> None:
        self.now = now
        self.renewing.look(now)

    def sent(self) -> list[Part]:
        """What goes to the broker now."""
        return self.outbox.take(self.limits) or []

    def renewed(self, now: float) -> list[str]:
        """Ids that are renewed at a time, which the broker confirms at once."""
        self.look(now)
        parts = self.sent()
        self.outbox.settled(parts)
        return ids_of(parts)

    def end_of(self, batch: Batch) -> float:
        return self.table.ends[batch.first]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def ids_of(parts: Sequence[Part]) -> list[str]:
    return [entry.id for part in parts for entry in part.entries()]


def test_what_runs_is_renewed_each_time_that_a_third_of_its_lease_has_passed(bench: Bench) -> None:
    batch = bench.deal("a", "b")
    times = [BEGAN + 0.25 * step for step in range(200)]
    renewed_at = [now for now in times if bench.renewed(now) == ["a", "b"]]
    assert renewed_at == [BEGAN + 10 * turn for turn in (1, 2, 3, 4)]
    assert bench.end_of(batch) == BEGAN + 40 + LEASE_S


@pytest.mark.parametrize(
    ("renew", "begun", "token"),
    [
        pytest.param(False, True, 7, id="not to be renewed"),
        pytest.param(True, False, 7, id="not begun"),
        pytest.param(True, True, 0, id="nobody knows it"),
    ],
)
def test_other_items_are_not_renewed(bench: Bench, renew: bool, begun: bool, token: int) -> None:
    bench.deal("a", renew=renew, begun=begun, token=token)
    assert bench.renewed(BEGAN + LEASE_S / 2) == []


def test_the_length_of_a_lease_is_left_as_the_task_may_have_changed_it(bench: Bench) -> None:
    batch = bench.deal("a")
    bench.table.ends[batch.first] = longer = BEGAN + 600
    bench.look(BEGAN + 11)
    (part,) = bench.sent()
    (entry,) = part.entries()
    assert isinstance(entry, pb.RefreshEntry)
    assert not entry.HasField("lease_timeout")
    bench.outbox.settled([part])
    assert bench.end_of(batch) == longer


def test_one_that_is_not_settled_is_not_asked_for_again(bench: Bench) -> None:
    bench.deal("a")
    bench.look(BEGAN + 11)
    assert ids_of(bench.sent()) == ["a"]
    bench.look(BEGAN + 22)
    assert bench.sent() == []


def test_after_a_broken_stream_it_counts_from_when_it_went_out_again(bench: Bench) -> None:
    batch = bench.deal("a")
    bench.look(BEGAN + 11)
    parts = bench.sent()
    bench.outbox.give_back([parts], refused=False)
    bench.now = BEGAN + 20
    bench.outbox.settled(bench.sent())
    assert bench.end_of(batch) == BEGAN + 20 + LEASE_S


def test_a_broker_of_small_messages_gets_them_in_several(bench: Bench) -> None:
    batch = bench.deal("a", "b", "c")
    bench.limits = dataclasses.replace(CONTRACT, max_batch_items=2)
    bench.look(BEGAN + 11)
    first, second = bench.sent(), bench.sent()
    assert (ids_of(first), ids_of(second)) == (["a", "b"], ["c"])
    bench.outbox.settled(first)
    bench.outbox.settled(second)
    assert list(bench.table.ends[batch.first : batch.first + 3]) == [BEGAN + 11 + LEASE_S] * 3


def refuse(bench: Bench, parts: Sequence[Part], outcome: tpb.Outcome.ValueType) -> None:
    said = [tpb.EntryOutcome(id="a", lease_token=7, outcome=outcome)]
    take_up(said, parts, (delivery for delivery, _ in bench.held.unreported()), bench.outbox.entries)
    bench.outbox.settled(parts)


@pytest.mark.parametrize(
    "outcome", [tpb.OUTCOME_LEASE_EXPIRED, tpb.OUTCOME_LEASE_SUPERSEDED, tpb.OUTCOME_NOT_FOUND], ids=str
)
def test_a_lease_that_the_broker_does_not_renew_is_over(
    bench: Bench, outcome: tpb.Outcome.ValueType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    batch = bench.deal("a")
    bench.look(BEGAN + 11)
    refuse(bench, bench.sent(), outcome)
    assert bench.end_of(batch) == BEGAN + 11
    assert "a lease is not renewed" in caplog.text
    assert bench.renewed(BEGAN + 12) == []


def test_the_refusal_for_what_has_ended_meanwhile_is_no_news(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    batch = bench.deal("a")
    bench.look(BEGAN + 11)
    parts = bench.sent()
    bench.table.marks[batch.first] = ENDED
    refuse(bench, parts, tpb.OUTCOME_NOT_FOUND)
    assert bench.end_of(batch) == 0
    assert not caplog.records


def test_an_answer_does_not_reach_who_has_the_position_by_then(bench: Bench) -> None:
    first = bench.deal("a")
    bench.look(BEGAN + 11)
    parts = bench.sent()
    bench.held.report([(first.first, 1)])
    bench.held._next = first.first
    second = bench.deal("b")
    assert second.first == first.first
    bench.outbox.settled(parts)
    assert bench.end_of(second) == 0
    assert bench.renewed(BEGAN + 22) == ["b"]


def test_a_lease_that_ended_while_nobody_could_be_asked_is_not_renewed(bench: Bench) -> None:
    bench.deal("a")
    assert bench.renewed(BEGAN + LEASE_S) == []


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if "nears the end of its vis_timeout" in line]


def test_it_is_warned_once_when_80_percent_of_a_lease_that_is_not_renewed_are_over(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.deal("a", "b", renew=False)
    bench.look(BEGAN + 0.79 * LEASE_S)
    assert not warnings_of(caplog)
    bench.look(BEGAN + 0.8 * LEASE_S)
    bench.look(BEGAN + 0.9 * LEASE_S)
    (line,) = warnings_of(caplog)
    assert f"vis_timeout={LEASE_S}" in line
    assert "id=a" in line


def test_nobody_is_warned_of_a_lease_that_the_task_has_lengthened(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    batch = bench.deal("a", renew=False)
    bench.table.ends[batch.first] = BEGAN + 600
    bench.look(BEGAN + 0.9 * LEASE_S)
    assert not warnings_of(caplog)
