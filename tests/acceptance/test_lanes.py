"""Plain and ``async`` tasks of one worker: what one sort does takes nothing from the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ..support.waiting import until
from . import crash_jobs as jobs
from .crash_scene import SOON_S, Scene, running_scene

#: Brokers report their workers every 5 s, and each look starts a program.
REPORTED_S = 60


@pytest.fixture
def scene(redis_programs: dict[int, str], tmp_path: Path) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path) as scene:
        yield scene


@pytest.mark.parametrize("processes", ["0", "1", "2"])
@pytest.mark.parametrize(
    ("option", "hold", "same", "other"),
    [
        pytest.param("--threads=1", jobs.hold, jobs.kept, jobs.akept, id="plain is busy"),
        pytest.param("--async-tasks=1", jobs.ahold, jobs.akept, jobs.kept, id="async is busy"),
    ],
)
def test_a_sort_of_tasks_that_is_busy_does_not_stop_the_other(
    scene: Scene, processes: str, option: str, hold: Any, same: Any, other: Any
) -> None:
    with scene.worker(option, "--processes", processes) as worker:
        labels = [f"busy{n}" for n in range(max(1, int(processes)))]
        with scene.client.batch():
            busy = [scene.on(hold).execute(label) for label in labels]
        for label in labels:
            scene.until_run(label)
        with scene.client.batch():
            # All in one queue, so that each sort stands in the way of the other.
            behind = [(scene.on(same).execute(f"same{n}"), scene.on(other).execute(f"other{n}")) for n in range(200)]
        for _, handle in behind:
            assert handle.get(timeout=SOON_S)
        assert not [label for label in scene.counts() if label.startswith("same")]
        for label in labels:
            scene.let(label)
        assert all(handle.get(timeout=SOON_S) for handle in [*busy, *(one for one, _ in behind)])
        assert set(scene.counts().values()) == {1}
        # Each lane knows half of the tasks; together they know all.
        assert "not known here" not in worker.output


@pytest.mark.parametrize("processes", ["0", "1"])
def test_plain_tasks_of_one_thread_begin_in_their_order_beside_async_ones(scene: Scene, processes: str) -> None:
    with scene.client.batch():
        for n in range(300):
            scene.on(jobs.akept).execute(f"a{n:03}")
            scene.on(jobs.plain).execute(f"p{n:03}")
    with scene.worker("--processes", processes):
        until(lambda: len(scene.runs) == 600, "every item run", SOON_S)
    plain = [label for label, _ in scene.runs if label.startswith("p")]
    assert plain == sorted(plain)


@pytest.mark.parametrize("processes", ["0", "1"])
def test_operators_see_which_lane_a_stream_is_of(scene: Scene, processes: str) -> None:
    with scene.worker("--processes", processes, "--worker-id", "shop"):
        name = "shop" if processes == "0" else "shop-1"
        until(
            lambda: [one.worker_id for one in scene.workers()] == [f"{name}/async-tasks", f"{name}/threads"],
            "both lanes are there",
            SOON_S,
        )
        names = {one.worker_id: set(one.task_names) for one in scene.workers()}
        assert "akept" in names[f"{name}/async-tasks"]
        assert "kept" in names[f"{name}/threads"]
        assert not names[f"{name}/async-tasks"] & names[f"{name}/threads"]


@pytest.mark.parametrize("processes", ["0", "1"])
def test_what_runs_although_its_lease_is_over_is_shown_until_it_ends(scene: Scene, processes: str) -> None:
    with scene.worker("--processes", processes):
        for task, lane in ((jobs.late, "threads"), (jobs.alate, "async-tasks")):
            handle = scene.on(task).execute(f"late-{lane}")
            scene.until_run(f"late-{lane}")
            until(lambda h=handle: h.taskid in scene.doctor(), f"late in {lane}", REPORTED_S)  # type: ignore[misc]
            (line,) = [line for line in scene.shown("workers").splitlines() if handle.taskid in line]
            assert f"/{lane} runs {task.name} {handle.taskid}, whose lease has been over for" in line
            scene.let(f"late-{lane}")
            until(lambda h=handle: h.taskid not in scene.shown("workers"), f"ended in {lane}", REPORTED_S)  # type: ignore[misc]


def test_a_process_that_gives_no_sign_of_life_is_told_of_and_left_alone(scene: Scene) -> None:
    with scene.worker() as worker:
        handle = scene.on(jobs.hold).execute("held")
        frozen = psutil.Process(scene.until_run("held"))
        assert "sign of life" not in scene.doctor()
        frozen.suspend()
        worker.until_printed("worker process gives no sign of life")
        (line,) = [line for line in worker.output.splitlines() if "sign of life" in line]
        assert f"pid={frozen.pid}" in line
        assert f'running="hold {handle.taskid}"' in line
        until(lambda: "has given no sign of life for" in scene.doctor(), "told by doctor", REPORTED_S)
        assert "has given no sign of life for" in scene.shown("workers")
        frozen.resume()
        worker.until_printed("worker process is alive again")
        until(lambda: "sign of life" not in scene.doctor(), "well again", REPORTED_S)
        scene.let("held")
        assert handle.get(timeout=SOON_S) == frozen.pid
        assert worker.output.count("sign of life") == 1
