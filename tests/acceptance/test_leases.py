"""Leases that last as long as the work: renewed while the task runs, and noticed when its worker is dead."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dibs import Dibs

from ..support.fleet import Fleet
from ..support.redis import RedisServer
from ..support.waiting import until
from . import lasting_jobs
from .crash_scene import SOON_S, Scene, children, running_scene
from .lasting_jobs import LEASE_S


@pytest.fixture
def scene(redis_programs: dict[int, str], tmp_path: Path) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path) as scene:
        scene.module = "tests.acceptance.lasting_jobs:app"
        yield scene


def until_renewed(scene: Scene, times: int) -> None:
    """Returns when the lease of the only item has been given another end so many times."""
    ends: set[Any] = set()

    def look() -> bool:
        ends.update(item.next_time for item in scene.client.admin.items("default", section="leased"))
        return len(ends) > times

    until(look, f"{times} renewals", SOON_S)


@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize("name", ["last", "alast"])
def test_a_lease_lasts_as_long_as_the_task_runs(scene: Scene, name: str, processes: str) -> None:
    with scene.worker("--processes", processes) as worker:
        handle = scene.on(getattr(lasting_jobs, name)).execute("long")
        scene.until_run("long")
        # Each is a third of a lease later than the one before.
        until_renewed(scene, 5)
        scene.let("long")
        assert handle.get(timeout=SOON_S)
        assert scene.counts() == {"long": 1}
        assert "lease" not in worker.output


def test_a_task_that_holds_the_interpreter_keeps_its_lease(scene: Scene) -> None:
    with scene.worker() as worker:
        handle = scene.on(lasting_jobs.holder).execute(2 * LEASE_S)
        assert handle.get(timeout=3 * SOON_S) >= 2 * LEASE_S
        assert scene.counts() == {"holding": 1}
        assert "lease" not in worker.output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "frozen"])
def test_a_worker_that_is_gone_is_noticed_when_the_lease_ends(scene: Scene, number: signal.Signals) -> None:
    with scene.worker() as first:
        handle = scene.on(lasting_jobs.last).execute("passed-on")
        scene.until_run("passed-on")
        until_renewed(scene, 3)
        pids = [*(child.pid for child in children(first)), first.process.pid]
        for pid in pids:
            os.kill(pid, number)
        with scene.worker() as second:
            assert scene.until_run("passed-on", 2) == children(second)[0].pid
            scene.let("passed-on")
            assert handle.get(timeout=SOON_S) == children(second)[0].pid
            if number is signal.SIGSTOP:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
                # It ends before or after it has heard.
                until(lambda: "is dropped" in first.output or "too late" in first.output, "a word of it", SOON_S)
    assert scene.counts() == {"passed-on": 2}
    assert handle.status == "done"


def test_what_waits_behind_a_held_interpreter_runs_elsewhere_when_its_lease_ends(scene: Scene) -> None:
    with scene.worker(*("--horizon", "10", "--stale-after", "600")) as first:
        with scene.client.batch():
            for n in range(300):
                scene.on(lasting_jobs.brief).execute(f"warm{n}")
            holding = scene.on(lasting_jobs.holder).execute(20.0)
            waiting = [scene.on(lasting_jobs.brief).execute(f"brief{n}") for n in range(50)]
        until(lambda: not scene.waiting(), "all are taken", SOON_S)
        pid = children(first)[0].pid
        with scene.worker() as second:
            ran = [handle.get(timeout=SOON_S) for handle in waiting]
            assert set(ran) == {children(second)[0].pid}
            assert holding.status == "started"
            assert pid == children(first)[0].pid
    assert all(scene.counts()[f"brief{n}"] == 1 for n in range(50))


def test_leases_are_renewed_by_way_of_another_broker(scene: Scene, redis_server: RedisServer) -> None:
    with Fleet(redis_server.url) as fleet:
        fleet.start()
        first, second = fleet.members
        scene.target = f"ipv4:{','.join(fleet.addresses)}"
        with scene.worker() as worker, Dibs(second.address) as client:
            scene.client = client
            handle = scene.on(lasting_jobs.steady).execute("moved")
            scene.until_run("moved")
            until_renewed(scene, 1)
            first.end()
            until_renewed(scene, 4)
            scene.let("moved")
            assert handle.get(timeout=SOON_S)
            assert scene.counts() == {"moved": 1}
            assert "lease" not in worker.output
