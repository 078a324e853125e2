"""What the manual of rpqueue shows of tasks, on real processes: the first steps, schedules, instances, asyncio."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import dibs

from ..support.processes import environment, running_dibs
from ..support.worker_process import running_worker
from . import manual_jobs as jobs
from .manual_scene import LONG_S, MODULE, Scene, running_scene


@pytest.fixture(scope="module")
def scene(redis_programs: dict[int, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path_factory.mktemp("manual")) as started:
        yield started


@pytest.fixture
def label(scene: Scene) -> Iterator[str]:
    with scene.label() as name:
        yield name


def status(handle: dibs.EnqueuedTask[Any]) -> str:
    """Asked anew: a type checker believes that what it has seen stays."""
    return handle.status


# Getting started


USERTASKS = """
from dibs import task

@task
def echo_to_stdout(message):
    print(message, flush=True)
"""

PROGRAM = """
import os
from usertasks1 import echo_to_stdout
import dibs

dibs.connect(os.environ["BROKER"], namespace="getting-started")
dibs.execute_tasks()
"""


def test_getting_started_in_a_program(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "usertasks1.py").write_text(USERTASKS)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with dibs.Dibs(scene.broker.address, "getting-started") as elsewhere:
        elsewhere.call_task("usertasks1.echo_to_stdout", None, "hello, program")
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, env=environment({"BROKER": scene.broker.address})
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"hello, program\n"
        finally:
            process.terminate()
    assert process.returncode == 0


def test_getting_started_with_the_command(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "usertasks1.py").write_text(USERTASKS)
    (tmp_path / "tasks.py").write_text("import usertasks1\n")
    options = ("--processes", "0", "--target", scene.broker.address, "--namespace", "command")
    with running_dibs("worker", "tasks", *options, cwd=tmp_path) as worker:
        with dibs.Dibs(scene.broker.address, "command") as elsewhere:
            elsewhere.call_task("usertasks1.echo_to_stdout", None, "hello, command")
        worker.until_printed("hello, command")


# Example uses


def test_example_uses_execute(scene: Scene, label: str) -> None:
    jobs.echo_to_stdout.execute(f"now {label}")
    scene.worker.until_printed(f"now {label}")


def test_example_uses_delay(scene: Scene, label: str) -> None:
    handle = jobs.echo_to_stdout.execute(f"later {label}", delay=0.3)
    assert status(handle) == "early"
    assert f"later {label}" not in scene.worker.output
    scene.worker.until_printed(f"later {label}")
    assert status(handle) == "done"


def test_example_uses_a_periodic_task(scene: Scene) -> None:
    due = jobs.function1.next()
    assert due is not None
    assert 24 < (due - datetime.now(UTC)).total_seconds() <= 25
    # Sooner than in 25 seconds, from the queue 'low'.
    dibs.flush_tasks(force_delayed=True, timeout=0.1)
    scene.until_noted("function1")
    assert "low" in dibs.known_queues()


# Crontab


def test_crontab(scene: Scene) -> None:
    @dibs.Dibs().cron_task("0 5 * * tue", name="function2")
    def function2() -> None: ...

    due = function2.next(datetime(2026, 3, 4, 12, tzinfo=UTC))
    assert due == datetime(2026, 3, 10, 5, tzinfo=UTC)
    # That of the worker is due every second.
    scene.until_noted("function2", times=2)


# new_rpqueue


def test_another_instance_has_a_namespace_of_its_own(scene: Scene, label: str) -> None:
    with running_worker(scene.broker.address, scene.folder, "--processes", "0", module=f"{MODULE}:second"):
        assert jobs.greet.execute("you", taskid=label).get(LONG_S) == "hello you from second"
        assert jobs.second.result(label) == "hello you from second"
        assert dibs.result(label) is None
        assert jobs.greet.name not in dibs.known_tasks()
        assert jobs.second.known_tasks() == [jobs.greet.name]
        # A task called through another instance than its own.
        with dibs.Dibs(scene.broker.address, "second") as another:
            assert jobs.greet.on(another).execute("them").get(LONG_S) == "hello them from second"
        with dibs.Dibs(scene.broker.address) as another:
            assert jobs.add.on(another).execute(1, 2).get(LONG_S) == 3
    with jobs.second.batch():
        stray = jobs.add.on(jobs.second).execute(1, 2)
    assert (stray.status, dibs.default().handle(stray.taskid).state) == ("waiting", dibs.State.UNKNOWN)


# execute_inline_now, AFTER_FORK, asyncio


def test_execute_inline_now(scene: Scene, label: str) -> None:
    assert jobs.add.execute(1, 2, taskid=label, execute_inline_now=True) == 3
    assert dibs.default().handle(label).state is dibs.State.UNKNOWN


def test_after_fork_runs_in_each_process_before_its_tasks(scene: Scene, tmp_path: Path, label: str) -> None:
    assert len(scene.noted("after fork")) >= 1
    options = ("--processes", "2", "--namespace", label)
    with running_worker(scene.broker.address, tmp_path, *options, module=MODULE):
        here = Scene(scene.broker, scene.worker, tmp_path)
        here.until_noted("after fork", times=2)
        with dibs.Dibs(scene.broker.address, label) as app:
            assert jobs.add.on(app).execute(1, 2).get(LONG_S) == 3
        pids = {line.rpartition(" ")[2] for line in (tmp_path / "journal").read_text().splitlines()}
        assert len(pids) == 2


async def test_asyncio(scene: Scene) -> None:
    async with dibs.AsyncDibs(of=dibs.default()) as adibs:
        handle = await jobs.add_later.on(adibs).execute(1, 2)
        assert await handle.get(LONG_S) == 3
        assert await handle.status == "done"
        assert await adibs.results([handle.taskid]) == [3]
