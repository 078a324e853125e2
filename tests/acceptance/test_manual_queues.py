"""What the manual of rpqueue shows of tasks, on real processes: flushing, priorities, sizes, locks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import dibs

from ..support.worker_process import running_worker
from . import manual_jobs as jobs
from . import ordered_jobs
from .manual_scene import LONG_S, THREADS, Scene, running_scene


@pytest.fixture(scope="module")
def scene(redis_programs: dict[int, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path_factory.mktemp("manual")) as started:
        yield started


@pytest.fixture
def label(scene: Scene) -> Iterator[str]:
    with scene.label() as name:
        yield name


# flush_tasks


def test_flush_tasks_has_three_lists(scene: Scene, label: str) -> None:
    holding = [jobs.my_task.execute(label).taskid for _ in range(THREADS)]
    scene.until_noted("my_task", label, times=THREADS)
    # The broker hears of it a moment later.
    assert all(dibs.handle(id).wait(LONG_S) for id in holding)
    waiting = [jobs.task_with_results.execute(n).taskid for n in range(3)]
    delayed = jobs.task_with_results.execute(delay=60)
    assert dibs.flush_tasks(timeout=0.1) == ([], [], waiting)
    lists = dibs.flush_tasks(complete=True, wait_on_hidden=True, timeout=0.1)
    assert [sorted(ids) for ids in lists] == [[], sorted(holding), sorted(waiting)]
    scene.let(label)
    done, started, left = dibs.flush_tasks(complete=True, wait_on_hidden=True, timeout=LONG_S)
    assert (started, left) == ([], [])
    assert set(done) <= {*holding, *waiting}
    assert dibs.results(waiting) == [0, 1, 2]
    assert delayed.status == "early"
    assert dibs.flush_tasks(complete=True, force_delayed=True, timeout=LONG_S) == ([delayed.taskid], [], [])
    assert delayed.result == 5


# set_priority, known_queues, queue_sizes, clear_queue


def test_priorities_are_strict_and_new_queues_are_picked_up(scene: Scene, label: str) -> None:
    options = ("--processes", "0", "--threads", "1", "--prefetch", "0", "--namespace", label)
    with (
        running_worker(scene.broker.address, scene.folder, *options, module="tests.acceptance.ordered_jobs"),
        dibs.Dibs(scene.broker.address, label) as app,
    ):
        ordered_jobs.hold.on(app).execute(label)
        scene.until_noted("begun", label)
        for queue in ("b-without", "a-without", "second", "first"):
            for number in range(2):
                ordered_jobs.in_order.on(app).options(queue=queue).execute(f"{label} {queue} {number}")
        app.set_priority("second", 2)
        app.set_priority("first", 1)
        assert app.known_queues() == ["first", "second", "a-without", "b-without", "default"]
        scene.let(label)
        scene.until_noted("in_order", label, times=8)
    assert scene.noted("in_order", label) == [
        f"in_order {label} {queue} {number}"
        for queue in ("first", "second", "a-without", "b-without")
        for number in range(2)
    ]


def test_queues_are_known_sized_and_cleared(scene: Scene, label: str) -> None:
    handles = [jobs.add.execute(1, 2, delay=60, _queue=label.encode()) for _ in range(3)]
    assert label in dibs.known_queues()
    assert (label, 3, 3) in dibs.queue_sizes()
    assert dibs.clear_queue(label) == 3
    assert (label, 0, 3) in dibs.queue_sizes()
    assert dibs.clear_queue(label, delete=True) == 0
    assert label not in dibs.known_queues()
    assert {handle.status for handle in handles} == {"done"}


# SimpleLock


def test_simple_lock(scene: Scene, label: str) -> None:
    with dibs.SimpleLock(None, label, duration=30) as lock:
        lock.refresh()
        with pytest.raises(dibs.NoLock), dibs.SimpleLock(None, label):
            raise AssertionError
        # Nor does anybody else get it.
        assert jobs.under_lock.execute(label).get(LONG_S) is False
    assert jobs.under_lock.execute(label).get(LONG_S) is True
