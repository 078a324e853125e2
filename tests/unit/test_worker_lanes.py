"""Lanes, and which items they hand back."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.contract.limits import CONTRACT
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import types_pb2 as tpb
from dibs.worker.execution import Execution
from dibs.worker.outbox import Outbox
from dibs.worker.settings import WorkerSettings
from dibs.worker.slots import Slots
from dibs.worker.unknown import UnknownTasks

from ..support.waiting import until
from ..support.workers import Job

MakeSlots = Callable[..., tuple[Slots, Outbox]]


def delivery(id: str, task: str = "task", *, lease_s: int = 30) -> tpb.Delivery:
    content = tpb.Content(task_name=task, payload=b"{}")
    return tpb.Delivery(id=id, lease_token=7, content=content, lease_timeout=Duration(seconds=lease_s))


@pytest.fixture
def make_slots() -> Iterator[MakeSlots]:
    made: list[Slots] = []

    def make(*, start: bool = True, threads: int = 1, **functions: Callable[..., Any]) -> tuple[Slots, Outbox]:
        outbox = Outbox()
        tasks = {
            name: Job(name, function, asyncio.iscoroutinefunction(function)) for name, function in functions.items()
        }
        slots = Slots(tasks, WorkerSettings(threads=threads, stale_after=1), Execution(outbox), outbox)
        made.append(slots)
        if start:
            slots.start()
        return slots, outbox

    yield make
    for slots in made:
        slots.stop(5)


def said(outbox: Outbox) -> pb.WorkRequest:
    sent = outbox.take(CONTRACT)
    return sent.request() if sent else pb.WorkRequest()


def test_plain_and_coroutine_functions_run_each_in_their_lane(make_slots: MakeSlots) -> None:
    names: list[str] = []

    def plain() -> None:
        names.append(threading.current_thread().name)

    async def coroutine() -> None:
        names.append(threading.current_thread().name)

    slots, outbox = make_slots(plain=plain, coroutine=coroutine)
    slots.deal([delivery("a", "plain"), delivery("b", "coroutine")], time.monotonic())
    until(lambda: slots.held == 0)
    assert sorted(names) == ["dibs-async", "dibs-slot-1"]
    assert {ack.id for ack in said(outbox).acks} == {"a", "b"}


def test_no_more_run_at_once_than_there_are_threads(make_slots: MakeSlots) -> None:
    running: list[int] = []
    most: list[int] = []

    def task() -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.001)
        running.pop()

    slots, _ = make_slots(task=task, threads=3)
    slots.deal([delivery(f"i{n}") for n in range(50)], time.monotonic())
    until(lambda: slots.held == 0)
    assert (max(most) <= 3, len(most)) == (True, 50)


def test_only_items_that_waited_too_long_and_may_come_again_are_taken_out(make_slots: MakeSlots) -> None:
    slots, _ = make_slots(start=False, task=lambda: None)
    slots.deal([delivery("old"), delivery("once", lease_s=0)], now=100.0)
    slots.deal([delivery("young")], now=100.9)
    assert [item[0].id for item in slots.take_stale(now=101.0)] == ["old"]
    assert slots.held == 2


def test_an_item_whose_lease_is_short_goes_back_when_half_of_it_has_passed(make_slots: MakeSlots) -> None:
    slots, _ = make_slots(start=False, task=lambda: None)
    slots.deal([delivery("short", lease_s=1), delivery("long")], now=100.0)
    assert [item[0].id for item in slots.take_stale(now=100.6)] == ["short"]


def test_an_item_whose_lease_ran_out_before_it_began_does_not_run(make_slots: MakeSlots) -> None:
    ran: list[int] = []
    slots, outbox = make_slots(task=lambda: ran.append(1))
    slots.deal([delivery("late", lease_s=1)], now=time.monotonic() - 1.5)
    until(lambda: slots.held == 0)
    assert ran == []
    assert [(nack.id, nack.reason) for nack in said(outbox).nacks] == [("late", pb.NACK_REASON_RELEASED)]


def test_an_item_that_was_cancelled_before_it_began_does_not_run(make_slots: MakeSlots) -> None:
    ran: list[int] = []
    slots, outbox = make_slots(task=lambda: ran.append(1))
    slots.cancel([("a", 7)], time.monotonic())
    slots.deal([delivery("a")], time.monotonic())
    until(lambda: slots.held == 0)
    assert ran == []
    assert [nack.reason for nack in said(outbox).nacks] == [pb.NACK_REASON_CANCELLED]


def test_a_notice_of_an_earlier_lease_is_not_about_this_one(make_slots: MakeSlots) -> None:
    slots, outbox = make_slots(task=lambda: None)
    slots.cancel([("a", 6)], time.monotonic())
    slots.deal([delivery("a")], time.monotonic())
    until(lambda: slots.held == 0)
    assert [ack.id for ack in said(outbox).acks] == ["a"]


def test_credit_is_for_free_slots_and_never_over_the_limit(make_slots: MakeSlots) -> None:
    slots, _ = make_slots(start=False, task=lambda: None, threads=3)
    assert slots.credit_change(0, 10_000) == 3
    assert slots.credit_change(0, 2) == 2
    slots.deal([delivery("a")], time.monotonic())
    assert slots.credit_change(2, 10_000) == 0


def test_unknown_tasks_are_handed_back_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox()
    unknown = UnknownTasks(outbox)
    for _ in range(3):
        unknown.held_back(["there"])
        unknown.hand_back(delivery("a", "here"))
    unknown.hand_back(delivery("once", "gone", lease_s=0))
    nacks = said(outbox).nacks
    assert [nack.reason for nack in nacks] == [pb.NACK_REASON_RELEASED] * 3 + [pb.NACK_REASON_REJECTED]
    assert all(nack.delay.seconds for nack in nacks[:3])
    levels = [(record.levelno, record.getMessage().rpartition("task=")[2]) for record in caplog.records]
    assert levels == [(logging.WARNING, "there"), (logging.WARNING, "here"), (logging.ERROR, "gone id=once")]
