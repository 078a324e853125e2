"""Lanes, and which items they hand back."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.process.execution import Execution
from dibs.worker.process.item import by_sort
from dibs.worker.process.slots import Slots
from dibs.worker.process.waits import Waits
from dibs.worker.shared.begun import BEGUN, ENDED, NOT_BEGUN
from dibs.worker.shared.bell import LoopBell
from dibs.worker.shared.entries import Entries
from dibs.worker.shared.memory import Table
from dibs.worker.shared.not_known_here import NotKnownHere
from dibs.worker.shared.settings import WorkerSettings
from dibs.worker.shared.sorts import Sort

from ..support.waiting import until
from ..support.workers import Job

MakeSlots = Callable[..., tuple[Slots, Entries]]


def delivery(id: str, task: str = "task", *, lease_s: int = 30) -> tpb.Delivery:
    content = tpb.Content(task_name=task, payload=b"{}")
    return tpb.Delivery(id=id, lease_token=7, content=content, lease_timeout=Duration(seconds=lease_s))


@pytest.fixture
def make_slots() -> Iterator[MakeSlots]:
    made: list[Slots] = []

    def make(
        *, start: bool = True, threads: int = 1, table: Table | None = None, **functions: Callable[..., Any]
    ) -> tuple[Slots, Entries]:
        entries = Entries(LoopBell())
        tasks = {
            name: Job(name, function, asyncio.iscoroutinefunction(function)) for name, function in functions.items()
        }
        (sort,) = [sort for sort, some in by_sort(tasks).items() if some]
        settings = WorkerSettings(threads=threads, stale_after=1)
        slots = Slots(sort, tasks, settings, entries, table or Table.new(), Waits(tasks, settings))
        made.append(slots)
        if start:
            slots.start()
        return slots, entries

    yield make
    for slots in made:
        slots.stop(5)


def said(entries: Entries) -> pb.WorkRequest:
    return entries.take()[0]


def deal(slots: Slots, *deliveries: tpb.Delivery, now: float | None = None) -> None:
    slots.deal(deliveries, slots.dealt, time.monotonic() if now is None else now, 0)


def test_plain_and_coroutine_functions_run_each_in_their_lane(make_slots: MakeSlots) -> None:
    names: list[str] = []

    def plain() -> None:
        names.append(threading.current_thread().name)

    async def coroutine() -> None:
        names.append(threading.current_thread().name)

    for function in (plain, coroutine):
        slots, entries = make_slots(task=function)
        deal(slots, delivery("a"))
        until(lambda slots=slots: slots.held == 0)  # type: ignore[misc]
        assert [ack.id for ack in said(entries).acks] == ["a"]
    assert names == ["dibs-slot-1", "dibs-async"]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_item_that_cannot_even_begin_keeps_no_slot(
    make_slots: MakeSlots, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    begin = Execution.begin

    def breaks(execution: Execution, item: Any, now: float) -> Any:
        if item[0].id == "bad":
            raise LookupError("a fault of the worker")
        return begin(execution, item, now)

    async def coroutine() -> None: ...

    monkeypatch.setattr(Execution, "begin", breaks)
    slots, entries = make_slots(task=coroutine if is_async else lambda: None)
    deal(slots, delivery("bad"), delivery("good"))
    until(lambda: slots.held == 0)
    told = said(entries)
    assert [ack.id for ack in told.acks] == ["good"]
    assert [(nack.id, "a fault of the worker" in nack.error) for nack in told.nacks] == [("bad", True)]
    assert "a fault of the worker" in caplog.text


@pytest.mark.parametrize("sort", list(Sort))
def test_a_lane_without_tasks_costs_no_thread_and_hands_everything_back(sort: Sort) -> None:
    entries = Entries(LoopBell())
    slots = Slots(sort, {}, WorkerSettings(), entries, Table.new(), Waits({}, WorkerSettings()))
    before = threading.active_count()
    slots.start()
    deal(slots, delivery("a"))
    slots.look_after(time.monotonic() + 10)
    assert (threading.active_count(), slots.held, slots.standing()) == (before, 0, (1, 0, 0))
    assert [(nack.id, nack.reason) for nack in said(entries).nacks] == [("a", pb.NACK_REASON_RELEASED)]
    slots.stop(0)


def test_no_more_run_at_once_than_there_are_threads(make_slots: MakeSlots) -> None:
    running: list[int] = []
    most: list[int] = []

    def task() -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.001)
        running.pop()

    slots, _ = make_slots(task=task, threads=3)
    deal(slots, *(delivery(f"i{n}") for n in range(50)))
    until(lambda: slots.held == 0)
    assert (max(most) <= 3, len(most)) == (True, 50)


def test_only_items_that_waited_too_long_and_may_come_again_are_taken_out(make_slots: MakeSlots) -> None:
    slots, entries = make_slots(start=False, task=lambda: None)
    deal(slots, delivery("old"), delivery("once", lease_s=0), now=100.0)
    deal(slots, delivery("young"), now=100.9)
    slots.look_after(101.0)
    assert [nack.id for nack in said(entries).nacks] == ["old"]
    assert slots.held == 2


def test_an_item_whose_lease_is_short_goes_back_when_half_of_it_has_passed(make_slots: MakeSlots) -> None:
    slots, entries = make_slots(start=False, task=lambda: None)
    deal(slots, delivery("short", lease_s=1), delivery("long"), now=100.0)
    slots.look_after(100.6)
    assert [nack.id for nack in said(entries).nacks] == ["short"]


def test_an_item_whose_lease_ran_out_before_it_began_does_not_run(make_slots: MakeSlots) -> None:
    ran: list[int] = []
    slots, entries = make_slots(task=lambda: ran.append(1))
    deal(slots, delivery("late", lease_s=1), now=time.monotonic() - 1.5)
    until(lambda: slots.held == 0)
    assert ran == []
    assert [(nack.id, nack.reason) for nack in said(entries).nacks] == [("late", pb.NACK_REASON_RELEASED)]


def test_an_item_that_was_cancelled_before_it_began_does_not_run(make_slots: MakeSlots) -> None:
    ran: list[int] = []
    slots, entries = make_slots(task=lambda: ran.append(1))
    slots.cancel([("a", 7)], time.monotonic())
    deal(slots, delivery("a"))
    until(lambda: slots.held == 0)
    assert ran == []
    assert [nack.reason for nack in said(entries).nacks] == [pb.NACK_REASON_RELEASED]


def test_a_notice_of_an_earlier_lease_is_not_about_this_one(make_slots: MakeSlots) -> None:
    slots, entries = make_slots(task=lambda: None)
    slots.cancel([("a", 6)], time.monotonic())
    deal(slots, delivery("a"))
    until(lambda: slots.held == 0)
    assert [ack.id for ack in said(entries).acks] == ["a"]


def test_there_is_room_for_as_many_as_there_are_free_slots(make_slots: MakeSlots) -> None:
    slots, _ = make_slots(start=False, task=lambda: None, threads=3)
    assert slots.standing() == (0, 3, 0)
    deal(slots, delivery("a"))
    assert slots.standing() == (1, 2, 0)


def test_unknown_tasks_are_handed_back_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    entries = Entries(LoopBell())
    unknown = NotKnownHere(entries)
    for _ in range(3):
        unknown.held_back(["there"])
        unknown.hand_back(delivery("a", "here"))
    unknown.hand_back(delivery("once", "gone", lease_s=0))
    nacks = said(entries).nacks
    assert [nack.reason for nack in nacks] == [pb.NACK_REASON_RELEASED] * 3 + [pb.NACK_REASON_REJECTED]
    assert all(nack.delay.seconds for nack in nacks[:3])
    levels = [(record.levelno, record.getMessage().rpartition("task=")[2]) for record in caplog.records]
    assert levels == [(logging.WARNING, "there"), (logging.WARNING, "here"), (logging.ERROR, "gone id=once")]


def test_what_is_done_is_told_by_its_position_and_never_before_its_entry(make_slots: MakeSlots) -> None:
    slots, _ = make_slots(task=lambda: None)
    slots.deal([delivery(f"i{n}") for n in range(1500)], 100, time.monotonic(), 0)
    seen: set[str] = set()
    positions: list[int] = []
    while len(positions) < 1500:
        ranges, parts = slots.gather()
        for count, data in parts:
            request = pb.WorkRequest.FromString(data)
            assert count == len(request.acks) <= 1000
            seen |= {ack.id for ack in request.acks}
        positions += [position for first, count in ranges for position in range(first, first + count)]
        assert {f"i{position - 100}" for position in positions} <= seen
    assert sorted(positions) == list(range(100, 1600))


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("keep_result", "result", "mark"),
    [(False, None, ENDED), (True, None, BEGUN), (False, LookupError("x"), BEGUN)],
    ids=["plain success", "with a result", "failure"],
)
def test_how_far_an_item_has_come_stands_at_its_position(
    make_slots: MakeSlots, is_async: bool, keep_result: bool, result: object, mark: int
) -> None:
    table = Table.new()
    marks = table.marks
    seen: list[int] = []

    def task() -> None:
        seen.append(marks[3])
        if isinstance(result, Exception):
            raise result

    async def coroutine() -> None:
        task()

    slots, _ = make_slots(table=table, task=coroutine if is_async else task)
    one = delivery("a")
    one.keep_result = keep_result
    before = marks[3]
    slots.deal([one], 3, time.monotonic(), 0)
    until(lambda: slots.held == 0)
    assert (before, seen, marks[3]) == (NOT_BEGUN, [BEGUN], mark)


def test_what_is_not_called_has_not_begun(make_slots: MakeSlots) -> None:
    table = Table.new()
    marks = table.marks
    slots, _ = make_slots(table=table, task=lambda: None)
    bad = delivery("bad")
    bad.content.payload = b"no json"
    deal(slots, bad)
    until(lambda: slots.held == 0)
    assert marks[0] == NOT_BEGUN


def test_what_has_not_begun_is_handed_back_if_it_can_be(make_slots: MakeSlots) -> None:
    slots, entries = make_slots(start=False, task=lambda: None)
    deal(slots, delivery("a"), delivery("once", lease_s=0), delivery("b"))
    slots.hand_back()
    assert ([nack.id for nack in said(entries).nacks], slots.held, slots.released) == (["a", "b"], 1, 2)
    assert slots.gather()[0] == [(0, 1), (2, 1)]


def test_items_that_come_one_after_the_other_each_find_a_thread(make_slots: MakeSlots) -> None:
    together = threading.Barrier(3, timeout=10)

    def task() -> None:
        together.wait()

    slots, _ = make_slots(threads=3, task=task)
    time.sleep(0.1)  # the threads have nothing to do
    before = sys.getswitchinterval()
    # So that the next one comes before the thread that the first one woke has got anywhere.
    sys.setswitchinterval(5)
    try:
        for id in "abc":
            deal(slots, delivery(id))
    finally:
        sys.setswitchinterval(before)
    deadline = time.monotonic() + 10
    while slots.held:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not together.broken
