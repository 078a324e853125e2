"""A worker freezes for longer than leases last: nothing begins under a lease that is over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dibs import Dibs, Task

from ..support import redis as redis_support
from ..support.processes import Broker, running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker


def nothing(label: str) -> None:
    """Stands for a task whose code is the worker's."""


@pytest.fixture
def broker() -> Iterator[Broker]:
    programs = redis_support.found_programs()
    with redis_support.running(programs[max(programs)]) as server, running_broker("--redis", server.url) as broker:
        yield broker


def delivered(app: Dibs) -> int:
    """What the workers have been sent, in all."""
    return sum(worker.delivered for worker in app.admin.workers())


@pytest.mark.parametrize("frozen", ["whole worker", "task process"])
def test_what_a_frozen_worker_was_sent_meanwhile_runs_once(broker: Broker, frozen: str, tmp_path: Path) -> None:
    def runs(label: str) -> int:
        path = tmp_path / "journal"
        return sum(line.startswith(label + " ") for line in path.read_text().splitlines()) if path.exists() else 0

    with (
        running_worker(broker.address, tmp_path, module="tests.acceptance.frozen_jobs") as worker,
        Dibs(broker.address) as app,
    ):
        make = app.task(name="plain", vis_timeout=2, attempts=5, save_results=60)
        make_other = app.task(name="coroutine", vis_timeout=2, attempts=5, save_results=60)
        tasks: dict[str, Task[[str], None]] = {"plain": make(nothing), "coroutine": make_other(nothing)}
        for name, task in tasks.items():
            task.execute(f"{name}-before").get(timeout=20)
        processes = psutil.Process(worker.process.pid).children(recursive=True)
        if frozen == "whole worker":
            processes.append(psutil.Process(worker.process.pid))
        for process in processes:
            process.suspend()
        handles = {name: task.execute(f"{name}-meanwhile") for name, task in tasks.items()}
        # Longer than its lease, whatever the first one was worth.
        time.sleep(5)
        for process in processes:
            process.resume()
        for name, handle in handles.items():
            handle.get(timeout=20)
            assert runs(f"{name}-meanwhile") == 1


def test_a_slow_rhythm_of_heartbeats_makes_nothing_older_than_it_is(tmp_path: Path) -> None:
    programs = redis_support.found_programs()
    slow = ("--heartbeat-interval", "15s", "--heartbeat-timeout", "45s")
    with (
        redis_support.running(programs[max(programs)]) as server,
        running_broker("--redis", server.url, *slow) as broker,
        running_worker(broker.address, tmp_path, module="tests.acceptance.frozen_jobs"),
        Dibs(broker.address) as app,
    ):
        until(app.admin.workers, "the worker is there", 20)
        # Idle for longer than a lease lasts.
        time.sleep(8)
        task = app.task(name="plain", vis_timeout=5, attempts=5, save_results=60)(nothing)
        task.execute("at-once").get(timeout=20)
        until(lambda: delivered(app), "its broker has said what it delivered", 20)
        # It was not handed back as one whose lease is over.
        assert delivered(app) == 1
