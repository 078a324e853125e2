"""Tasks that go on in spite of their time limit: their process is replaced, and what becomes of all that it held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.waiting import until
from . import lasting_jobs as jobs
from .crash_scene import SOON_S, Scene, children, error_of, running_scene

#: A process is replaced a second after the time limit.
HARD = ("--hard", "1")
OVER = "TimeLimitExceeded: the run took longer than its time limit of 0.5 s and did not end within 1 s more"


@pytest.fixture
def scene(redis_programs: dict[int, str], tmp_path: Path) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path) as scene:
        scene.module = "tests.acceptance.lasting_jobs:app"
        yield scene


@pytest.mark.parametrize(
    "task", [jobs.hang, jobs.hold_for_ever, jobs.ahang, jobs.aignore], ids=lambda task: str(task.name)
)
def test_a_task_that_nothing_ends_has_failed_and_the_worker_goes_on(scene: Scene, task: Any) -> None:
    with scene.worker(*HARD) as worker:
        first = children(worker)[0].pid
        assert error_of(scene.on(task).execute("hung")).startswith(OVER)
        assert scene.on(jobs.frail).execute("after").get(timeout=SOON_S) != first
        assert scene.counts() == {"hung": 1, "after": 1}
        assert "crashed" not in worker.output
        line = next(line for line in worker.output.splitlines() if "goes on after its time limit" in line)
        assert f"task={task.name}" in line
        assert f"pid={first}" in line
        if task is jobs.hang:  # what does not hold the interpreter is shown where it stands
            assert "in hang" in worker.output


@pytest.mark.parametrize("neighbour", [jobs.neighbour, jobs.aneighbour], ids=lambda task: str(task.name))
def test_its_neighbours_are_not_to_blame(scene: Scene, neighbour: Any) -> None:
    with scene.worker(*HARD, "--threads", "2") as worker:
        beside = scene.on(neighbour).execute("beside")
        first = scene.until_run("beside")
        hung = scene.on(jobs.hang).execute("hung")
        assert error_of(hung).startswith(OVER)
        # It was stopped, which is an attempt, and no crash of its own.
        second = scene.until_run("beside", 2)
        assert second != first
        scene.let("beside")
        assert beside.get(timeout=SOON_S) == second
        assert children(worker)[0].pid == second


def test_what_had_not_begun_there_goes_back_and_uses_no_attempt(scene: Scene) -> None:
    with scene.worker(*HARD, "--horizon", "10", "--stale-after", "600"):
        with scene.client.batch():
            for n in range(300):
                scene.on(jobs.frail).execute(f"warm{n}")
            hung = scene.on(jobs.hang).execute("hung")
            waiting = [scene.on(jobs.frail).execute(f"frail{n}") for n in range(50)]
        first = scene.until_run("hung")
        until(lambda: not scene.waiting(), "all are taken", SOON_S)
        assert error_of(hung).startswith(OVER)
        ran = {handle.get(timeout=SOON_S) for handle in waiting}
        assert len(ran) == 1
        assert ran != {first}
        assert all(scene.counts()[f"frail{n}"] == 1 for n in range(50))


def test_at_most_once_stays_at_most_once(scene: Scene) -> None:
    with scene.worker(*HARD) as worker:
        handle = scene.on(jobs.hang_once).execute("once")
        worker.until_printed("worker process was stopped while it ran a task")
        assert scene.on(jobs.frail).execute("after").get(timeout=SOON_S) > 0
        assert handle.taskid in worker.output
    assert scene.counts() == {"once": 1, "after": 1}


def test_a_worker_that_stops_while_a_task_hangs_says_what_it_was(scene: Scene) -> None:
    with scene.worker(*HARD, "--wait", "30") as worker:
        hung = scene.on(jobs.hang).execute("hung")
        scene.until_run("hung")
        worker.terminate()
        assert worker.wait() == 0
    assert error_of(hung).startswith(OVER)
