"""What runs although its lease is over, and how it is told."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.broker.border.errors import InvalidField
from dibs.broker.config.limits import Limits as BrokerLimits
from dibs.broker.messages.worker_states import ToldState
from dibs.contract.limits import CONTRACT
from dibs.v1 import types_pb2 as tpb
from dibs.worker.connector.condition import Condition, Overdue
from dibs.worker.connector.held import Batch, Held
from dibs.worker.process.leased import LeasedTask
from dibs.worker.shared.begun import BEGUN, ENDED
from dibs.worker.shared.bell import LoopBell
from dibs.worker.shared.entries import Entries
from dibs.worker.shared.memory import OtherVersion, SharedMemory, Table, new_memory
from dibs.worker.shared.sorts import Sort

from ..support.workers import Job


def delivery(id: str, lease_s: float) -> tpb.Delivery:
    made = tpb.Delivery(id=id, lease_token=7, content=tpb.Content(task_name="task", payload=b"{}"))
    made.lease_timeout.FromTimedelta(timedelta(seconds=lease_s))
    return made


def test_only_what_has_begun_and_has_a_lease_that_is_over_is_overdue() -> None:
    table = Table.new()
    held = Held(table)
    items = [delivery("short", 30), delivery("long", 100), delivery("once", 0), delivery("waits", 30)]
    (batch,) = held.place(Batch.of([*items, delivery("done", 30)], 1000.0))
    for position, mark in enumerate([BEGUN, BEGUN, BEGUN, 0, ENDED], batch.first):
        table.marks[position] = mark
    assert held.overdue(1029.0) == ()
    assert held.overdue(1031.0) == (Overdue(1030.0, "task", "short"),)
    table.ends[batch.first] = 1050.0
    assert held.overdue(1031.0) == ()
    assert held.overdue(1051.0) == (Overdue(1050.0, "task", "short"),)
    held.report([(batch.first, 1)])
    assert held.overdue(1051.0) == ()


def test_a_position_that_is_used_again_has_no_lease_of_its_predecessor() -> None:
    table = Table.new()
    table.ends[0] = 5000.0
    held = Held(table)
    (batch,) = held.place(Batch.of([delivery("a", 30)], 1000.0))
    table.marks[batch.first] = BEGUN
    assert held.overdue(1031.0) == (Overdue(1030.0, "task", "a"),)


def leased(arrived: float, table: Table) -> LeasedTask:
    item = (delivery("a", 30), arrived, Job("task", print), 3)
    return LeasedTask(item, [], {}, Entries(LoopBell()), table.ends)


def test_a_refresh_says_until_when() -> None:
    table = Table.new()
    task = leased(time.monotonic(), table)
    task.refresh()
    assert table.ends[3] == pytest.approx(time.monotonic() + 30, abs=5)
    task.refresh(100)
    assert table.ends[3] == pytest.approx(time.monotonic() + 100, abs=5)


def test_a_refresh_that_comes_too_late_changes_nothing() -> None:
    table = Table.new()
    leased(time.monotonic() - 31, table).refresh()
    assert table.ends[3] == 0


def test_both_ends_of_the_memory_see_the_same() -> None:
    memory = new_memory()
    ours, theirs = SharedMemory(os.dup(memory)), SharedMemory(memory)
    for number, sort in enumerate(Sort, 1):
        theirs.tables[sort].marks[65_535] = number
        theirs.tables[sort].ends[65_535] = number / 2
    theirs.alive_at = 12.5
    assert [ours.tables[sort].marks[65_535] for sort in Sort] == [1, 2]
    assert [ours.tables[sort].ends[65_535] for sort in Sort] == [0.5, 1.0]
    assert ours.alive_at == 12.5


def test_memory_of_another_version_is_refused_in_a_sentence() -> None:
    memory = os.memfd_create("other")
    os.ftruncate(memory, 16_384)
    with pytest.raises(OtherVersion, match="of another version: restart the worker"):
        SharedMemory(memory)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(memory)


def test_a_condition_is_told_with_those_first_that_are_overdue_longest() -> None:
    overdue = tuple(Overdue(100.0 - n, "task", f"i{n}") for n in range(30))
    state = Condition(overdue, silent_since=90.0).message(110.0, CONTRACT)
    assert (len(state.overdue), state.overdue_count) == (20, 30)
    assert (state.overdue[0].id, state.overdue[0].overdue.ToTimedelta().total_seconds()) == ("i29", 39.0)
    assert state.silence == Duration(seconds=20)


def test_a_condition_fits_beside_entries_and_names_nothing_that_the_broker_would_refuse() -> None:
    overdue = (Overdue(1.0, "t" * 300, "a"), Overdue(2.0, "task", "x" * 200), Overdue(3.0, "task", "fits"))
    state = Condition(overdue).message(10.0, CONTRACT)
    assert ([one.id for one in state.overdue], state.overdue_count) == (["fits"], 3)
    many = tuple(Overdue(n, "ü" * 256, f"{n:0128}") for n in range(20))
    assert Condition(many).message(100.0, CONTRACT).ByteSize() < CONTRACT.margin_bytes / 2


def test_what_was_told_goes_on_until_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told = ToldState()
    assert told.now() is None
    told.take(Condition((Overdue(990.0, "task", "a"),), silent_since=980.0).message(1000.0, CONTRACT), BrokerLimits())
    now[0] += 5
    state = told.now()
    assert state is not None
    assert (state.overdue[0].overdue, state.silence) == (Duration(seconds=15), Duration(seconds=25))
    told.take(Condition().message(1005.0, CONTRACT), BrokerLimits())
    assert told.now() is None


def test_more_than_are_named_are_refused() -> None:
    state = tpb.WorkerState(overdue=[tpb.OverdueItem(id="a", task_name="task")] * 21)
    with pytest.raises(InvalidField, match=r"state\.overdue"):
        ToldState().take(state, BrokerLimits())
