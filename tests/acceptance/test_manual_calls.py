"""What the manual of rpqueue shows of tasks, on real processes: waiting, results, arguments, cancelling."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import dibs

from ..support.waiting import until
from . import manual_jobs as jobs
from .manual_scene import LONG_S, Scene, running_scene


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


# Waiting for task execution


def test_waiting_for_task_execution(scene: Scene, label: str) -> None:
    executing_task = jobs.my_task.execute(label)
    assert executing_task.wait(LONG_S)
    assert status(executing_task) == "started"
    assert not executing_task.wait(0.05, until="done")
    scene.let(label)
    assert executing_task.wait(LONG_S, until="done")
    assert executing_task.wait(0)
    assert status(executing_task) == "done"


def test_waiting_with_a_deadline(scene: Scene, label: str) -> None:
    executing_task = jobs.my_task.execute(label, delay=0.3)
    assert not executing_task.wait(0.05)
    assert executing_task.cancel() is dibs.Cancelled.NEVER_RUNS
    # Past the time at which it would have begun.
    time.sleep(0.4)
    assert executing_task.status == "done"
    assert scene.noted("my_task", label) == []


# Automatically storing results of tasks


def test_automatically_storing_results_of_tasks(scene: Scene) -> None:
    etask = jobs.task_with_results.execute()
    assert etask.wait(5, until="done")
    assert etask.result == 5
    assert dibs.result(etask.taskid) == 5


def test_results_of_many_at_once(scene: Scene) -> None:
    with dibs.batch():
        handles = [jobs.task_with_results.execute([n, {"ö": None}]) for n in range(50)]
    assert all(handle.wait(LONG_S, until="done") for handle in handles)
    taskids = [handle.taskid for handle in handles]
    assert dibs.results([*taskids, "never.heard.of"]) == [*([n, {"ö": None}] for n in range(50)), None]


def test_results_expire(scene: Scene) -> None:
    with dibs.Dibs(scene.broker.address) as app:
        soon_forgotten = app.task(name=jobs.task_with_results.name, save_results=0.3)(lambda: None)
        taskid = soon_forgotten.execute().taskid
    etask = dibs.default().handle(taskid)
    until(lambda: dibs.result(etask.taskid) == 5, "a result")
    until(lambda: dibs.result(etask.taskid) is None, "the end of the result")
    with pytest.raises(dibs.ResultUnavailable):
        etask.get(1)


# call_task, known_tasks, get_task


def test_call_task_without_its_code(scene: Scene) -> None:
    with dibs.Dibs(scene.broker.address) as stranger:
        assert stranger.registry.names() == []
        t = stranger.call_task("manual.add", None, 2, b=3)
        # As its worker knows it: from that queue, with a result.
        assert (t.queue, t.get(LONG_S), t.status) == ("sums", 5, "done")
        with pytest.raises(ValueError, match=r"manual\.subtract"):
            stranger.call_task("manual.subtract", None, 2, 3, _verify_call=True)
        assert "manual.add" in stranger.known_tasks()
        with pytest.raises(ValueError, match=r"manual\.add"):
            stranger.get_task("manual.add")


def test_get_task(scene: Scene) -> None:
    assert dibs.get_task("manual.add") is jobs.add
    assert dibs.get_task("manual.add").execute(20, 22).get(LONG_S) == 42


# EnqueuedTask


def test_args_of_what_has_not_run(scene: Scene, label: str) -> None:
    handle = jobs.add.execute(1, delay=60, b=2, taskid=label)
    assert handle.taskid == label
    assert handle.args == ([1], {"b": 2})
    assert handle.cancel() is dibs.Cancelled.NEVER_RUNS
    assert handle.args is None


def test_cancel_of_what_does_not_run(scene: Scene, label: str) -> None:
    waiting = jobs.add.execute(1, 2, delay=60)
    assert waiting.cancel() is dibs.Cancelled.NEVER_RUNS
    assert waiting.state is dibs.State.CANCELLED
    done = jobs.add.execute(1, 2)
    assert done.get(LONG_S) == 3
    assert done.cancel() == -1
    assert done.result is None
    assert dibs.default().handle(label).cancel() is dibs.Cancelled.NOT_KNOWN


def test_cancel_of_a_running_coroutine(scene: Scene, label: str) -> None:
    handle = jobs.endless.execute(label)
    assert handle.wait(LONG_S)
    assert handle.cancel() is dibs.Cancelled.TOLD
    with pytest.raises(dibs.TaskCancelled):
        handle.get(LONG_S)
    assert handle.state is dibs.State.CANCELLED
    # It may have been cancelled before its first step.
    assert len(scene.noted("endless", label, "cancelled")) <= 1


def test_the_id_of_a_cancelled_task_may_be_used_again_at_once(scene: Scene, label: str) -> None:
    for _ in range(5):
        handle = jobs.endless.execute(label, taskid=label)
        assert handle.wait(LONG_S)
        assert handle.cancel() is dibs.Cancelled.TOLD
        # Instead of the one that may still be running.
        anew = jobs.add.options(taskid=label, on_conflict="replace").execute(1, 2)
        assert anew.get(LONG_S) == 3
        assert anew.cancel() == -1


def test_cancel_of_a_running_function_that_looks_around(scene: Scene, label: str) -> None:
    handle = jobs.looks_around.execute(label)
    scene.until_noted("looks_around", label)
    assert handle.cancel() is dibs.Cancelled.TOLD
    assert handle.wait(LONG_S, until="done")
    assert handle.state is dibs.State.CANCELLED
    assert scene.noted("looks_around", label, "saw it")


def test_a_cancelled_task_does_not_come_again_by_its_retry(scene: Scene, label: str) -> None:
    handle = jobs.retries_when_cancelled.execute(label)
    scene.until_noted("retries", label)
    assert handle.cancel() is dibs.Cancelled.TOLD
    scene.let(label)
    assert handle.wait(LONG_S, until="done")
    assert handle.state is dibs.State.CANCELLED
    assert scene.noted("retries", label) == [f"retries {label}", f"retries {label} None"]
