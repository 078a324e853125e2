"""When a worker is idle: not as long as anything that was enqueued can still run."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

import dibs
from dibs.testing import WithWorker
from dibs.testing import working as module
from dibs.worker.runtime import LocalHands

app = dibs.Dibs()
ran: list[int] = []
begun, go = threading.Event(), threading.Event()


@app.task
def note(number: int) -> None:
    ran.append(number)
    if number:
        note.execute(number - 1)


@app.task
def stays() -> None:
    begun.set()
    assert go.wait(20)


@pytest.fixture
def dibs_instances() -> Sequence[dibs.Dibs]:
    ran.clear()
    return [app]


def test_it_is_not_while_one_task_enqueues_the_next(dibs_worker: WithWorker) -> None:
    for number in range(20):
        note.execute(number)
    dibs_worker.run_until_idle()
    assert len(ran) == 210


def test_it_is_not_while_items_are_on_their_way(dibs_worker: WithWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item that keeps nothing is in neither broker nor worker for a while, here for longer than is looked."""
    deal = LocalHands.deal

    def late(self: LocalHands, *batch: object) -> None:
        time.sleep(3 * module._ON_THE_WAY_S)
        deal(self, *batch)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalHands, "deal", late)
    note.execute(1)
    dibs_worker.run_until_idle()
    assert ran == [1, 0]


def test_what_does_not_end_is_told(dibs_worker: WithWorker) -> None:
    stays.execute()
    assert begun.wait(20)
    with pytest.raises(dibs.DibsError, match=r"not idle after 0\.1 s: 1 with the worker"):
        dibs_worker.run_until_idle(0.1)
    go.set()
    dibs_worker.run_until_idle()


def test_what_was_cancelled_is_not_waited_for(dibs_worker: WithWorker) -> None:
    note.options(delay=60).execute(5).cancel()
    dibs_worker.run_until_idle(timeout=10)
    assert ran == []
