"""Workers that run until nothing is left, that grow and shrink with the work, and that load changed code."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.processes import run_dibs, running_dibs
from ..support.waiting import until
from . import stop_jobs as jobs
from .crash_scene import SOON_S, Scene, children, running_scene
from .test_stopping import both, working

TASK = """
import os, dibs

@dibs.task(name="versioned", save_results=600)
def task() -> str:
    return "{version}"
"""


@pytest.fixture
def scene(redis_programs: dict[int, str], tmp_path: Path) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path) as scene:
        yield scene


@both
def test_a_burst_runs_what_waits_and_ends(scene: Scene, processes: str) -> None:
    with scene.client.batch():
        for n in range(200):
            scene.on(jobs.quick).execute(f"quick{n}")
            scene.on(jobs.aquick).execute(f"aquick{n}")
        # Neither what is due later nor what nobody here knows is waited for.
        scene.on(jobs.quick).execute("later", delay=3600)
    scene.client.call_task("nobody.knows", None)
    with working(scene, "--processes", processes, "--burst") as worker:
        assert worker.wait() == 0
        assert "nothing waits any more, stopping" in worker.output
    assert len(scene.runs) == 400
    assert set(scene.counts().values()) == {1}


@both
def test_a_burst_ends_what_it_runs_and_what_that_puts_in(scene: Scene, processes: str) -> None:
    with working(scene, "--processes", processes, "--burst") as worker:
        scene.on(jobs.again).execute("long")
        scene.until_run("long")
        time.sleep(1.5)  # several looks at queues in which nothing is
        assert worker.process.poll() is None
        scene.on(jobs.quick).execute("after")
        scene.let("long")
        assert worker.wait() == 0
    assert set(scene.counts()) == {"long", "after"}


def test_a_burst_of_nothing_ends_at_once(scene: Scene) -> None:
    with working(scene, "--burst", "--processes", "2") as worker:
        assert worker.wait() == 0


def test_processes_become_more_with_the_work_and_fewer_without(scene: Scene) -> None:
    with working(scene, "--autoscale", "1:3", "--threads", "1") as worker:
        assert len(children(worker)) == 1
        with scene.client.batch():
            held = [scene.on(jobs.again).execute(f"held{n}") for n in range(5)]
        until(lambda: len(scene.runs) == 3, "three run at once", SOON_S)
        assert len(children(worker)) == 3
        for n in range(5):
            scene.let(f"held{n}")
        assert [handle.get(timeout=SOON_S) for handle in held] == [1] * 5
        until(lambda: len(children(worker)) == 1, "one is left", SOON_S)
        assert set(scene.counts().values()) == {1}
        assert "crashed" not in worker.output
        assert scene.on(jobs.again).execute("held0").get(timeout=SOON_S) == 1


def test_changed_code_is_loaded_and_what_runs_is_not_cut_off(scene: Scene) -> None:
    module = scene.folder / "changing.py"
    module.write_text(TASK.format(version="one"))
    words = ("worker", str(module), "--target", scene.target, "--reload", "--wait", "0.1")
    with running_dibs(*words, cwd=scene.folder) as worker:
        worker.until_printed("registered")

        def answer() -> object:
            return scene.client.call_task("versioned", None).get(timeout=SOON_S)

        assert answer() == "one"
        module.write_text(TASK.format(version="two"))
        until(lambda: answer() == "two", "the new code", SOON_S)
        module.write_text("1 / 0")
        worker.until_printed("ZeroDivisionError")
        assert answer() == "two"
        module.write_text(TASK.format(version="three"))
        until(lambda: answer() == "three", "the mended code", SOON_S)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--autoscale", "4"), "--autoscale is MIN:MAX"),
        (("--autoscale", "1:4", "--processes", "2"), "leave out --processes"),
        (("--autoscale", "1:4", "--processes", "0"), "do not go with --processes 0"),
        (("--reload", "--processes", "0"), "do not go with --processes 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[str, ...], words: str) -> None:
    done = run_dibs("worker", "tests.acceptance.stop_jobs", *options)
    assert done.returncode == 78
    assert words in done.stderr


def test_operators_see_what_runs_resize_a_worker_and_stop_it(scene: Scene) -> None:
    with working(scene, "--worker-id", "web-1", "--processes", "2", "--wait", "30") as worker:
        held = scene.on(jobs.again).execute("held")
        pid = scene.until_run("held")
        until(lambda: re.search(r"again \d", scene.shown("workers")), "what runs, and for how long", SOON_S)
        assert "has been told to run 3" in scene.shown("worker-resize", "web-1", "3")
        until(lambda: len(children(worker)) == 3, "three", SOON_S)
        assert "has been told to run 1" in scene.shown("worker-resize", "web-1", "1")
        until(lambda: len(children(worker)) <= 2, "fewer", SOON_S)
        assert "has been told to stop" in scene.shown("worker-stop", "web-1")
        worker.until_printed("an operator wants it")
        scene.let("held")
        assert held.get(timeout=SOON_S) == 1
        assert worker.wait() == 0
        assert [run for run in scene.runs if run[0] == "held"] == [("held", pid)]
