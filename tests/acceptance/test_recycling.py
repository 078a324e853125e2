"""Task processes that are replaced in their time: nothing is cut off, nothing runs twice."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ..support.processes import run_dibs
from ..support.waiting import until
from . import stop_jobs as jobs
from .crash_scene import SOON_S, Scene, children, running_scene
from .test_stopping import working


@pytest.fixture
def scene(redis_programs: dict[int, str], tmp_path: Path) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path) as scene:
        yield scene


def until_another(scene: Scene, seen: set[int]) -> int:
    """The process that works now, when it is none of these."""
    for number in itertools.count():
        label = f"probe{len(seen)}-{number}"
        assert scene.on(jobs.quick).execute(label).wait(SOON_S, until="done")
        if (pid := scene.until_run(label)) not in seen:
            return pid
        time.sleep(0.1)  # while the next one loads; nothing outside tells when it has
    raise AssertionError


def test_a_process_is_replaced_after_its_tasks_and_ends_what_it_runs(scene: Scene) -> None:
    with working(scene, "--max-tasks-per-process", "100", "--threads", "2", "--wait", "0.1") as worker:
        long = scene.on(jobs.again).execute("long")
        old = scene.until_run("long")
        seen = {old}
        for number in range(3):
            with scene.client.batch():
                quick = [scene.on(jobs.quick).execute(f"quick{number}-{n}") for n in range(100)]
            assert all(handle.wait(SOON_S, until="done") for handle in quick)
            seen.add(until_another(scene, seen))
        assert len(seen) == 4
        assert old in {one.pid for one in children(worker)}
        scene.let("long")
        assert long.get(timeout=SOON_S) == 1
        until(lambda: old not in {one.pid for one in children(worker)}, "it ends when it is done", SOON_S)
        assert set(scene.counts().values()) == {1}
        assert "crashed" not in worker.output
        assert "was stopped" not in worker.output


def test_a_process_that_has_grown_is_replaced(scene: Scene) -> None:
    with working(scene, "--max-memory-per-process", "200MiB") as worker:
        first = scene.on(jobs.grows).execute(250).get(timeout=SOON_S)
        until(lambda: first not in {one.pid for one in children(worker)}, "another one", SOON_S)
        assert scene.on(jobs.grows).execute(1).get(timeout=SOON_S) != first
        assert "of memory" in worker.output
        (process,) = children(worker)
        time.sleep(2.5)  # it is looked at each second
        assert [one.pid for one in children(worker)] == [process.pid]


def test_what_runs_in_a_process_that_retires_can_be_cancelled(scene: Scene) -> None:
    with working(scene, "--max-tasks-per-process", "10") as worker:
        long = scene.on(jobs.tidies).execute("long")
        old = scene.until_run("long")
        with scene.client.batch():
            quick = [scene.on(jobs.quick).execute(f"quick{n}") for n in range(30)]
        assert all(handle.wait(SOON_S, until="done") for handle in quick)
        until_another(scene, {old})
        long.cancel()
        assert long.wait(SOON_S, until="done")
        assert long.state.name == "CANCELLED"
        until(lambda: not psutil.pid_exists(old), "it is done", SOON_S)
        assert "tidied long" in (scene.folder / "journal").read_text()
        assert worker.process.poll() is None


def test_a_stop_ends_what_runs_in_a_process_that_retires(scene: Scene) -> None:
    with working(scene, "--max-tasks-per-process", "10", "--wait", "0.2") as worker:
        long = scene.on(jobs.tidies).execute("long")
        old = scene.until_run("long")
        with scene.client.batch():
            quick = [scene.on(jobs.quick).execute(f"quick{n}") for n in range(30)]
        assert all(handle.wait(SOON_S, until="done") for handle in quick)
        until_another(scene, {old})
        worker.terminate()
        assert worker.wait() == 0
        assert long.state.name == "WAITING"
        assert "tidied long" in (scene.folder / "journal").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-tasks-per-process", "-1"), "max_tasks_per_process must be between 0"),
        (("--max-memory-per-process", "1MiB"), "max_memory_per_process must be between"),
        (("--max-memory-per-process", "much"), "--max-memory-per-process must be an amount of bytes"),
        (("--processes", "0", "--max-tasks-per-process", "5"), "do not go with --processes 0"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: tuple[str, ...], words: str) -> None:
    done = run_dibs("worker", "tests.acceptance.stop_jobs", *options)
    assert done.returncode == 78
    assert words in done.stderr
