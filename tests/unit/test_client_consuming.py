"""What a consumer holds and says, and which leases are remembered, without a broker."""

from __future__ import annotations

import time

import pytest

from dibs.data.batch import DataBatch, Marks, ack, release
from dibs.data.holding import Holding
from dibs.data.leases import Leases
from dibs.rpc.known_limits import KnownLimits
from dibs.rpc.times import to_duration
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb


def items(*ids: str, batch: int = 1) -> pb.WorkResponse:
    return pb.WorkResponse(batch=batch, deliveries=[tpb.Delivery(id=id, lease_token=7) for id in ids])


def begin(holding: Holding) -> pb.WorkRequest:
    """A stream to a broker that says at once what it takes."""
    hello = holding.begin()
    holding.receive(pb.WorkResponse(limits=tpb.Limits(max_credit=10_000)))
    return hello


def consumer(lease_s: float = 30, prefetch: int = 1_000) -> Holding:
    holding = Holding("default", "q", tpb.QUEUE_KIND_DATA, lease_s, prefetch, KnownLimits())
    hello = begin(holding).hello
    assert (list(hello.queues), hello.lease_timeout.ToTimedelta().total_seconds()) == (["q"], lease_s)
    return holding


def work(holding: Holding, count: int, *, times: int = 1) -> None:
    """As many quick batches."""
    for n in range(times):
        holding.want(count)
        holding.receive(items(*(f"{n}-{at}" for at in range(count)), batch=n + 1))
        holding.finish([delivery.id for delivery in holding.take(count)])
        holding.message()


def credit(holding: Holding) -> int:
    message = holding.message()
    return 0 if message is None else message.add_credit


def test_credit_is_there_while_a_batch_is_wanted_and_goes_with_its_first_items() -> None:
    holding = consumer()
    assert holding.message() is None
    holding.want(10)
    assert credit(holding) == 10
    assert holding.message() is None
    holding.receive(items("a", "b"))
    assert [delivery.id for delivery in holding.take(10)] == ["a", "b"]
    message = holding.message()
    assert message is not None
    assert (message.add_credit, message.received_batch) == (-8, 1)


def test_what_was_on_its_way_is_the_next_batch() -> None:
    holding = consumer()
    holding.want(5)
    assert credit(holding) == 5
    holding.receive(items("a"))
    holding.take(5)
    assert credit(holding) == -4
    holding.receive(items("b", "c", batch=2))  # sent before the broker heard of that
    assert credit(holding) == 0
    assert [delivery.id for delivery in holding.take(5)] == ["b", "c"]
    holding.want(5)
    assert credit(holding) == 7  # the broker is at -2


def test_what_a_broken_stream_left_unconfirmed_is_said_again() -> None:
    holding = consumer()
    holding.receive(items("a", "b", "c"))
    holding.take(10)
    holding.mark(["a"], ack)
    first = holding.message()
    holding.finish(["a", "b"])
    second = holding.message()
    assert first is not None
    assert second is not None
    assert ([entry.id for entry in first.acks], [entry.id for entry in second.acks]) == (["a"], ["b"])
    holding.receive(pb.WorkResponse(done_sequence=first.sequence))
    begin(holding)
    again = holding.message()
    assert again is not None
    assert [entry.id for entry in again.acks] == ["b"]
    assert not holding.settled
    holding.receive(pb.WorkResponse(done_sequence=again.sequence))
    assert holding.settled


def test_who_leaves_gives_back_what_is_held() -> None:
    holding = consumer()
    holding.want(3)
    holding.receive(items("a", "b"))
    holding.take(1)
    holding.leave()
    holding.receive(items("late", batch=2))
    message = holding.message()
    assert message is not None
    assert {entry.id for entry in message.nacks} == {"a", "b"}
    assert {entry.reason for entry in message.nacks} == {pb.NACK_REASON_RELEASED}
    assert message.received_batch == 1  # the broker keeps what came too late


def test_leases_are_refreshed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    holding = consumer(lease_s=30)
    assert holding.look() is None
    holding.receive(items("early"))
    now = 104.0
    holding.receive(items("late", "done", batch=2))
    holding.take(10)
    holding.mark(["done"], ack)
    holding.message()
    assert holding.look() == 6.0
    now = 110.0
    assert holding.look() == 0
    message = holding.message()
    assert message is not None
    assert [entry.id for entry in message.refreshes] == ["early"]
    assert holding.look() == 4.0
    now = 114.0
    holding.look()
    message = holding.message()
    assert message is not None
    assert [entry.id for entry in message.refreshes] == ["late"]
    holding.finish(["early", "late"])
    holding.message(last=True)
    now = 120.0
    assert holding.look() is None


def test_a_quick_caller_is_asked_ahead_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    holding = consumer()
    holding.want(10)
    assert credit(holding) == 10
    holding.receive(items(*"abcdefghij"))
    holding.finish([delivery.id for delivery in holding.take(10)])
    assert credit(holding) == 10
    holding.want(10)
    assert credit(holding) == 10
    holding.receive(items(*(str(number) for number in range(20)), batch=2))
    assert len(holding.take(10)) == 10
    assert credit(holding) == 0  # ten are ready


@pytest.mark.parametrize("prefetch", [0, 15])
def test_never_more_is_asked_for_ahead_than_allowed(prefetch: int) -> None:
    holding = consumer(prefetch=prefetch)
    work(holding, 10, times=5)
    holding.want(10)
    holding.message()
    holding.receive(items(*(str(number) for number in range(10)), batch=6))
    holding.take(10)
    holding.message(last=True)
    assert holding._credit == prefetch


def test_no_more_is_held_ahead_than_is_soon_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    holding = consumer()
    holding.want(100)
    assert credit(holding) == 100
    holding.receive(items(*(str(number) for number in range(100))))
    holding.take(100)
    now += 1
    holding.finish([str(number) for number in range(100)])
    assert credit(holding) == 5  # at 10 ms an item those of the next 50 ms


def test_while_a_body_takes_long_what_was_asked_for_ahead_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    holding = consumer()
    work(holding, 10, times=3)
    holding.want(10)
    holding.message()
    holding.receive(items("a", "b", "c", batch=4))
    assert [delivery.id for delivery in holding.take(2)] == ["a", "b"]
    holding.message(last=True)
    pause = holding.look()
    assert pause is not None
    assert 0 < pause < 0.5
    now += pause
    holding.look()
    message = holding.message()
    assert message is not None
    assert [(entry.id, entry.reason) for entry in message.nacks] == [("c", pb.NACK_REASON_RELEASED)]
    assert message.add_credit < 0
    assert credit(holding) == 0
    assert holding.take(10) == []


def test_after_a_pause_nothing_is_asked_for_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    holding = consumer()
    work(holding, 10, times=3)
    holding.want(10)
    assert credit(holding) == 10  # to what there is ahead
    pause = holding.look()
    assert pause is not None
    now += pause
    assert holding.look() is not None
    message = holding.message()
    assert message is not None
    assert message.add_credit < 0
    assert credit(holding) == 0


def test_what_a_quick_caller_finishes_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    holding = consumer()
    work(holding, 100, times=3)
    holding.want(10)
    holding.message(last=True)
    holding.look()
    for batch, id in enumerate(("a", "b"), start=4):
        holding.receive(items(id, batch=batch))
        holding.take(10)
        holding.finish([id])
        assert holding.message() is None
    assert holding.restless
    pause = holding.look()
    assert pause is not None
    assert 0 < pause < 0.05
    assert not holding.restless
    now += pause
    message = holding.message()
    assert message is not None
    assert ([entry.id for entry in message.acks], message.received_batch) == (["a", "b"], 5)


def test_a_receipt_waits_a_moment_for_company(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    holding = consumer()
    holding.want(1)
    assert credit(holding) == 1
    holding.receive(items("a"))
    assert holding.message() is None
    pause = holding.look()
    assert pause is not None
    assert 0 < pause < 0.05
    now += pause
    message = holding.message()
    assert message is not None
    assert message.received_batch == 1


def test_a_receipt_goes_with_the_last_words_of_a_stream() -> None:
    holding = consumer()
    holding.want(1)
    assert credit(holding) == 1
    holding.receive(items("a"))
    message = holding.message(last=True)
    assert message is not None
    assert message.received_batch == 1


def test_a_lost_lease_is_told_and_not_settled() -> None:
    holding = consumer()
    holding.receive(items("a", "b"))
    holding.take(10)
    lost = tpb.EntryOutcome(id="a", outcome=tpb.OUTCOME_LEASE_SUPERSEDED, lease_token=7)
    holding.receive(pb.WorkResponse(outcomes=[lost]))
    assert holding.lost == {"a"}
    holding.finish(["a", "b"])
    message = holding.message()
    assert message is not None
    assert [entry.id for entry in message.acks] == ["b"]


def test_what_became_of_an_earlier_delivery_does_not_touch_the_one_that_is_held() -> None:
    holding = consumer()
    holding.receive(items("a"))
    holding.finish([delivery.id for delivery in holding.take(10)])
    begin(holding)  # The stream broke: the broker has taken the item back, and delivers it again.
    again = pb.WorkResponse(batch=1, deliveries=[tpb.Delivery(id="a", lease_token=9)])
    holding.receive(again)
    late = tpb.EntryOutcome(id="a", outcome=tpb.OUTCOME_LEASE_SUPERSEDED, lease_token=7)
    holding.receive(pb.WorkResponse(outcomes=[late]))
    assert [delivery.lease_token for delivery in holding.take(10)] == [9]
    assert not holding.lost


def test_only_what_was_said_once_is_told_to_be_late(caplog: pytest.LogCaptureFixture) -> None:
    holding = consumer()
    holding.receive(items("a", "b"))
    holding.take(10)
    holding.mark(["a"], ack)
    assert holding.message() is not None
    begin(holding)
    holding.finish(["b"])
    for id in ("a", "b"):
        assert caplog.text == ""
        gone = tpb.EntryOutcome(id=id, outcome=tpb.OUTCOME_NOT_FOUND, lease_token=7)
        holding.receive(pb.WorkResponse(outcomes=[gone]))
    assert "1 items of q were settled too late" in caplog.text


def test_an_item_that_failed_and_has_come_again_is_not_done_with_its_old_batch() -> None:
    holding = consumer()
    holding.receive(items("a", "b"))
    holding.take(10)
    holding.mark(["a"], release)
    holding.receive(pb.WorkResponse(batch=2, deliveries=[tpb.Delivery(id="a", lease_token=9)]))
    holding.mark(["a"], ack)
    holding.finish(["a", "b"])
    message = holding.message(last=True)
    assert message is not None
    assert [entry.id for entry in message.acks] == ["b"]
    assert [delivery.lease_token for delivery in holding.take(10)] == [9]


def test_an_item_that_has_come_again_over_another_stream_is_done_with_its_batch() -> None:
    holding = consumer()
    holding.receive(items("a"))
    holding.take(10)
    begin(holding)  # The stream broke before the receipt: the broker has taken the item back, and delivers it again.
    holding.receive(pb.WorkResponse(batch=1, deliveries=[tpb.Delivery(id="a", lease_token=9)]))
    holding.finish(["a"])
    message = holding.message(last=True)
    assert message is not None
    assert [(entry.id, entry.lease_token) for entry in message.acks] == [("a", 9)]
    assert holding.take(10) == []


def test_a_large_batch_is_settled_in_several_messages() -> None:
    holding = consumer()
    ids = [str(number) for number in range(2_500)]
    holding.receive(items(*ids))
    holding.take(len(ids))
    holding.finish(ids)
    sizes = []
    while (message := holding.message()) is not None:
        sizes.append(len(message.acks))
    assert sizes == [1_000, 1_000, 500]


def test_a_batch_is_a_dictionary() -> None:
    batch = DataBatch([("a", 1), ("b", 2)], Marks())
    assert batch == {"a": 1, "b": 2}
    assert not batch.lost


def test_the_oldest_leases_are_forgotten() -> None:
    leases = Leases(most=3)
    leases.remember(items("a", "b").deliveries)
    leases.remember(items("c", "d").deliveries)
    assert len(leases) == 3
    assert [(entry.id, entry.lease_token, entry.unfenced) for entry in leases.acks(["a", "d"])] == [
        ("a", 0, True),
        ("d", 7, False),
    ]


def test_a_lost_lease_stays_known_so_that_nobody_is_disturbed() -> None:
    leases = Leases()
    leases.remember(items("a", "b").deliveries)
    leases.finish(
        [
            tpb.EntryOutcome(id="a", outcome=tpb.OUTCOME_LEASE_EXPIRED),
            tpb.EntryOutcome(id="b", outcome=tpb.OUTCOME_OK),
        ]
    )
    assert [entry.unfenced for entry in leases.refreshes(["a", "b"])] == [False, True]


def test_what_was_taken_has_no_lease() -> None:
    leases = Leases()
    leases.remember([tpb.Delivery(id="a")])
    assert len(leases) == 0


def announced(holding: Holding, **limits: int) -> None:
    holding.receive(pb.WorkResponse(limits=tpb.Limits(**limits)))  # type: ignore[arg-type]  # all are numbers


def test_nothing_is_said_before_the_broker_has_said_what_it_takes() -> None:
    holding = Holding("default", "q", tpb.QUEUE_KIND_DATA, 30, 1_000, KnownLimits())
    holding.begin()
    holding.want(10)
    assert holding.message() is None
    announced(holding, max_credit=3, max_batch_items=2)
    assert holding.restless
    assert credit(holding) == 3
    holding.receive(items("a", "b", "c"))
    holding.finish([delivery.id for delivery in holding.take(10)])
    said = [[ack.id for ack in message.acks] for message in (holding.message(), holding.message()) if message]
    assert said == [["a", "b"], ["c"]]


def test_a_broker_that_announces_nothing_is_waited_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dibs.data.holding.ANNOUNCED_WITHIN_SECONDS", 0.02)
    holding = Holding("default", "q", tpb.QUEUE_KIND_DATA, 30, 1_000, KnownLimits())
    holding.begin()
    holding.want(10)
    pause = holding.look()
    assert pause is not None
    assert 0 < pause <= 0.02
    time.sleep(pause)
    holding.look()
    assert credit(holding) == 10


class Time:
    """The clock of a consumer that has heartbeats."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def consumer(self, lease_s: float) -> Holding:
        holding = Holding("default", "q", tpb.QUEUE_KIND_DATA, lease_s, 0, KnownLimits())
        holding.begin()
        beats = tpb.Heartbeats(interval=to_duration(5), timeout=to_duration(15))
        holding.receive(pb.WorkResponse(limits=tpb.Limits(max_credit=10_000), heartbeats=beats))
        return holding

    def awake(self, holding: Holding, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.now += 0.25
            holding.look()


def leased(at: float, *ids: str, batch: int = 1) -> pb.WorkResponse:
    """Items that were leased then, by Redis's clock."""
    response = items(*ids, batch=batch)
    response.lease_time.FromMicroseconds(int(at * 1e6))
    return response


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def released(holding: Holding) -> list[str]:
    message = holding.message()
    return [] if message is None else [nack.id for nack in message.nacks]


def test_what_came_during_a_freeze_goes_back_if_its_lease_is_over(clock: Time) -> None:
    holding = clock.consumer(lease_s=10)
    holding.receive(leased(clock.now, "before"))
    holding.finish([delivery.id for delivery in holding.take(10)])
    holding.want(10)
    holding.message()
    clock.awake(holding, 3)
    frozen_at = clock.now
    clock.now += 30
    holding.receive(leased(frozen_at + 1, "over", batch=2))
    holding.receive(leased(frozen_at + 25, "good", batch=3))
    assert [delivery.id for delivery in holding.take(10)] == ["good"]
    assert released(holding) == ["over"]
    # Its lease is refreshed as if it had come when it was leased.
    clock.awake(holding, 1)
    message = holding.message()
    assert message is not None
    assert [refresh.id for refresh in message.refreshes] == ["good"]


def test_what_waited_through_a_freeze_goes_back_if_its_lease_is_over(clock: Time) -> None:
    holding = clock.consumer(lease_s=10)
    holding.want(10)
    holding.receive(leased(clock.now, "a", "b"))
    clock.now += 30
    # Whoever is awake first.
    holding.look()
    assert holding.take(10) == []
    assert sorted(released(holding)) == ["a", "b"]


def test_more_is_asked_for_when_it_is_certain_how_old_it_is(clock: Time) -> None:
    holding = clock.consumer(lease_s=10)
    holding.want(1)
    assert credit(holding) == 1
    clock.awake(holding, 3)
    clock.now += 30
    holding.receive(leased(clock.now, "a"))  # nobody can tell: nothing had come before
    assert holding.take(1) == []
    holding.want(1)
    assert credit(holding) == 0
    clock.awake(holding, 3)
    assert credit(holding) == 1
    holding.receive(leased(clock.now, "a", batch=2))
    assert [delivery.id for delivery in holding.take(1)] == ["a"]


def test_consumers_look_at_the_time_often_enough_whatever_the_heartbeats(clock: Time) -> None:
    holding = Holding("default", "q", tpb.QUEUE_KIND_DATA, 30, 0, KnownLimits())
    holding.begin()
    beats = tpb.Heartbeats(interval=to_duration(60), timeout=to_duration(180))
    holding.receive(pb.WorkResponse(limits=tpb.Limits(max_credit=10_000), heartbeats=beats))
    pause = holding.look()
    assert pause is not None
    assert pause <= 0.5
