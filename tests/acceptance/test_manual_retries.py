"""What the manual of rpqueue shows of tasks, on real processes: retries and dead letters."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

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


# Retries


@pytest.mark.parametrize(
    ("value", "runs", "succeeds"),
    [
        # Value, attempts left with this one, attempt.
        (3, [(3, 3, 1), (2, 2, 2), (1, 1, 3)], False),
        (2, [(2, 3, 1), (1, 2, 2), (0, 1, 3)], True),
    ],
)
def test_retries(scene: Scene, value: int, runs: list[tuple[int, int, int]], succeeds: bool) -> None:
    handle = jobs.fail_until_zero.execute(value)
    assert handle.wait(LONG_S, until="done")
    noted = scene.noted("fail_until_zero", handle.taskid)
    assert noted == [f"fail_until_zero {handle.taskid} {value} {left} {attempt}" for value, left, attempt in runs]
    printed = f"succeeded {handle.taskid}"
    if succeeds:
        scene.worker.until_printed(printed)
    else:
        scene.worker.until_printed("is not tried again: that was the last attempt")
        assert printed not in scene.worker.output


# Automatic retries with vis_timeout


def test_automatic_retries_with_vis_timeout(scene: Scene) -> None:
    assert jobs.eventually_succeeds.execute(2).get(LONG_S) == ["done!", 3, 18]


def test_automatic_retries_of_what_raises(scene: Scene) -> None:
    assert "LookupError: attempt 2" in jobs.raises_until.execute(3).get(LONG_S)
    # All of its three attempts raise.
    with pytest.raises(dibs.TaskFailed, match="LookupError: attempt 3"):
        jobs.raises_until.execute(4).get(LONG_S)


# Deadletter task queue


@pytest.mark.parametrize(("how", "error"), [("raise", "is broken"), ("sleep", "")])
def test_deadletter_task_queue(scene: Scene, label: str, how: str, error: str) -> None:
    before = time.time()
    handle = jobs.fails_to_dead.execute(label, how=how)
    assert handle.wait(LONG_S, until="done")
    assert handle.state is dibs.State.DEAD
    task_deadletter = dibs.Data(dibs.DEADLETTER_QUEUE, is_tasks=True)
    dead_tasks = task_deadletter.get_data(items=5)
    assert list(dead_tasks) == [handle.taskid]
    taskid, name, args, kwargs, scheduled, attempts, last_error, died = dead_tasks[handle.taskid]
    assert (taskid, name, args, kwargs) == (handle.taskid, jobs.fails_to_dead.name, [label], {"how": how})
    assert attempts == 2
    assert error in last_error
    assert before - 1 < scheduled < died < time.time() + 1
    assert task_deadletter.get_data() == {}


def test_deadletter_task_queue_counts_all_attempts_whoever_asked_for_them(scene: Scene) -> None:
    handle = jobs.retries_to_dead.execute()
    assert handle.wait(LONG_S, until="done")
    dead = dibs.Data(dibs.DEADLETTER_QUEUE, is_tasks=True).get_data()[handle.taskid]
    assert dead[5] == 3
    assert "attempt 3 of 3" in dead[6]


def test_deadletter_task_queue_is_sent_back(scene: Scene) -> None:
    labels = [uuid.uuid4().hex for _ in range(3)]
    handles = [jobs.fails_to_dead.execute(label) for label in labels]
    task_deadletter = dibs.Data(dibs.DEADLETTER_QUEUE, is_tasks=True)
    until(lambda: task_deadletter.currently_available()[0] == 3, "three dead letters")
    for label in labels:
        scene.let(f"heal-{label}")
    assert task_deadletter.redrive([handles[0].taskid]) == 1
    assert handles[0].get(LONG_S) == "healed"
    assert task_deadletter.redrive() == 2
    assert [handle.get(LONG_S) for handle in handles] == ["healed"] * 3
