"""What the manual of rpqueue shows of tasks, section by section, on a real broker and real workers."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

import dibs
from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support import redis as redis_support
from ..support.processes import Broker, Dibs, environment, running_broker, running_dibs
from ..support.waiting import until
from ..support.worker_process import running_worker
from . import manual_jobs as jobs
from . import ordered_jobs

MODULE = "tests.acceptance.manual_jobs"
#: More than any test holds up at once.
THREADS = 4
LONG_S = 20


@dataclass(frozen=True)
class Scene:
    """One broker, one worker, and the folder of the journal; the default instance is connected."""

    broker: Broker
    worker: Dibs
    folder: Path

    def noted(self, *beginning: object) -> list[str]:
        """The lines of the journal that begin with these words, without the process that wrote them."""
        begin = " ".join(map(str, beginning))
        try:
            lines = [line.rpartition(" ")[0] for line in (self.folder / "journal").read_text().splitlines()]
        except FileNotFoundError:
            return []
        return [line for line in lines if line == begin or line.startswith(begin + " ")]

    def until_noted(self, *beginning: object, times: int = 1) -> None:
        until(lambda: len(self.noted(*beginning)) >= times, f"{beginning} in the journal, {times} times")

    def let(self, name: str) -> None:
        """Makes the file that a task waits for."""
        (self.folder / name).touch()


@pytest.fixture(scope="module")
def scene(redis_programs: dict[int, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("manual")
    with (
        redis_support.running(redis_programs[max(redis_programs)]) as server,
        running_broker("--redis", server.url) as broker,
        running_worker(
            broker.address,
            folder,
            # What waits shall wait in its queue.
            *("--processes", "0", "--threads", str(THREADS), "--prefetch", "0"),
            module=MODULE,
            ready=False,
        ) as worker,
    ):
        worker.until_printed(f"registered group={MODULE}")
        dibs.connect(broker.address, timeout=LONG_S)
        with jobs.second:
            jobs.second.connect(broker.address, "second", timeout=LONG_S)
            yield Scene(broker, worker, folder)
        dibs.close()


@pytest.fixture
def label(scene: Scene) -> Iterator[str]:
    """A name that no other test uses; what waits for a file of that name ends with the test."""
    name = uuid.uuid4().hex
    yield name
    scene.let(name)


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


# Crontab


def test_crontab(scene: Scene) -> None:
    @dibs.Dibs().cron_task("0 5 * * tue")
    def function2() -> None: ...

    due = function2.next(datetime(2026, 3, 4, 12, tzinfo=UTC))
    assert due == datetime(2026, 3, 10, 5, tzinfo=UTC)
    # That of the worker is due every second.
    scene.until_noted("function2", times=2)


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


# What goes wrong


def test_a_task_that_no_worker_knows_waits_and_does_not_spin(scene: Scene, label: str) -> None:
    handle = dibs.call_task(label, "strays")
    scene.worker.until_printed(f"task={label}")
    assert not handle.wait(0.5)
    assert not handle.state.has_started
    told = [line for line in scene.worker.output.splitlines() if label in line]
    assert len(told) == 1
    assert "is not known here" in told[0]
    assert dibs.clear_queue("strays", delete=True) == 1


def test_arguments_that_are_not_json(scene: Scene, label: str) -> None:
    with pytest.raises(dibs.PayloadError):
        jobs.task_with_results.execute(object())
    item = pb.EnqueueItem(id=label, queue="default", kind=tpb.QUEUE_KIND_TASK)
    item.content.task_name, item.content.payload = jobs.task_with_results.name, b"no json"
    item.policy.result_ttl.FromSeconds(30)
    with grpc.insecure_channel(scene.broker.address) as channel:
        broker_pb2_grpc.BrokerServiceStub(channel).Enqueue(pb.EnqueueRequest(items=[item]), timeout=LONG_S)
    with pytest.raises(dibs.TaskFailed, match="not JSON"):
        dibs.default().handle(label).get(LONG_S)


def test_a_result_that_is_not_json(scene: Scene) -> None:
    with pytest.raises(dibs.TaskFailed, match=rf"the result of task {jobs.no_json.name} cannot be written as JSON"):
        jobs.no_json.execute().get(LONG_S)


def test_cron_strings_and_periods_that_make_no_sense(scene: Scene) -> None:
    with pytest.raises(ValueError, match="crontab '0 5 tue"):
        dibs.cron_task("0 5 tue * *")
    with pytest.raises(ValueError, match="crontab"):
        dibs.cron_task("nonsense")
    with pytest.raises(ValueError, match="run_every"):
        dibs.periodic_task(0)
    with pytest.raises(ValueError, match="low_delay_okay"):
        dibs.periodic_task(0.5)
