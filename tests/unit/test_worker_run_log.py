"""The log of a worker has a line for each run that took long enough, with what came of it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

import dibs
from dibs.contract.log_lines import Said
from dibs.v1 import types_pb2 as tpb
from dibs.worker.process.item import by_sort
from dibs.worker.process.slots import Slots
from dibs.worker.process.waits import Waits
from dibs.worker.shared.bell import LoopBell
from dibs.worker.shared.entries import Entries
from dibs.worker.shared.memory import Table
from dibs.worker.shared.settings import WorkerSettings

from ..support.waiting import until
from ..support.workers import Job


def run(function: Callable[..., Any], caplog: pytest.LogCaptureFixture, log_runs: float) -> list[dict[str, Any]]:
    """The lines of one run of a function."""
    tasks = {"work": Job("work", function, asyncio.iscoroutinefunction(function))}
    settings = WorkerSettings(log_runs=log_runs)
    (sort,) = [sort for sort, some in by_sort(tasks).items() if some]
    slots = Slots(sort, tasks, settings, Entries(LoopBell()), Table.new(), Waits(tasks, settings))
    content = tpb.Content(task_name="work", payload=b"{}")
    item = tpb.Delivery(
        id="i", lease_token=7, content=content, attempt=2, attempts=3, lease_timeout=Duration(seconds=30)
    )
    slots.start()
    with caplog.at_level(logging.INFO, "dibs.worker"):
        slots.deal([item], 0, time.monotonic(), 0)
        until(lambda: not slots.held, "the run ends")
        slots.stop(5)  # what a slot says of its last run it has said
    said = [record.msg for record in caplog.records if isinstance(record.msg, Said)]
    return [one.fields for one in said if one.text == "task ran"]


def plain() -> None: ...


async def coroutine() -> None: ...


def fails() -> None:
    raise ValueError


async def fails_too() -> None:
    raise ValueError


def rejects() -> None:
    raise dibs.Reject("no")


def snoozes() -> None:
    raise dibs.Snooze(1)


def retries() -> None:
    raise dibs.Retry


@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        (plain, "succeeded"),
        (coroutine, "succeeded"),
        (fails, "failed"),
        (fails_too, "failed"),
        (rejects, "rejected"),
        (snoozes, "snoozed"),
        (retries, "retried"),
    ],
)
def test_a_line_has_the_task_the_attempt_the_time_and_the_outcome(
    function: Callable[..., Any], outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    [fields] = run(function, caplog, 0)
    assert 0 <= fields.pop("seconds") < 30
    assert fields == {"task": "work", "id": "i", "attempt": 2, "outcome": outcome}


@pytest.mark.parametrize("function", [plain, coroutine])
def test_a_quick_run_has_none(function: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    assert run(function, caplog, 30) == []


def test_a_run_that_takes_long_has_one(caplog: pytest.LogCaptureFixture) -> None:
    [fields] = run(lambda: threading.Event().wait(0.06), caplog, 0.05)
    assert fields["seconds"] >= 0.05


def test_seconds_are_checked() -> None:
    with pytest.raises(ValueError, match="log_runs"):
        WorkerSettings(log_runs=-1)
    assert WorkerSettings().log_runs == 1.0
