"""Task processes that die, freeze, fork and retire: what becomes of their items."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ..support.waiting import until
from ..support.worker_process import running_worker
from . import crash_jobs as jobs
from .crash_scene import SOON_S, Scene, children, error_of, running_scene


@pytest.fixture
def scene(redis_programs: dict[int, str], tmp_path: Path) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path) as scene:
        yield scene


def warm_up(scene: Scene, number: int = 300) -> list[Any]:
    """Quick tasks; while they run, more and more is held ahead."""
    return [scene.on(jobs.kept).execute(f"warm{n}") for n in range(number)]


def hold_behind_quick_ones(scene: Scene, task: Any = jobs.hold) -> tuple[Any, list[Any]]:
    """A task that runs, until it is let, and 200 of all sorts, most of them held behind it by the same process."""
    with scene.client.batch():
        warm_up(scene)
        running = scene.on(task).execute("running")
        waiting = []
        for n in range(50):
            waiting.append(scene.on(jobs.kept).execute(f"kept{n}"))
            waiting.append(scene.on(jobs.once_kept).execute(f"oncekept{n}"))
            scene.on(jobs.plain).execute(f"plain{n}")
            scene.on(jobs.once).execute(f"once{n}")
    scene.until_run("running")
    until(lambda: scene.waiting() <= 100, "most are taken", SOON_S)
    return running, waiting


#: Options with which a worker holds many ahead, and keeps them.
AHEAD = ("--horizon", "10", "--stale-after", "600")


@pytest.mark.parametrize(
    ("how", "words"), [("exit", "exit code 7"), ("kill", "SIGKILL"), ("segfault", "SIGSEGV")], ids=str
)
def test_what_kills_its_process_has_failed_and_is_buried_after_its_crashes(scene: Scene, how: str, words: str) -> None:
    with scene.worker() as worker:
        handle = scene.on(jobs.die).execute(how)
        assert error_of(handle) == f"worker process crashed ({words})"
        assert scene.counts()[how] == 3
        line = next(line for line in worker.output.splitlines() if "while it ran a task" in line)
        assert words in line
        assert f"task=die id={handle.taskid}" in line


def test_a_task_may_have_a_smaller_budget_of_crashes(scene: Scene) -> None:
    with scene.worker():
        assert error_of(scene.on(jobs.die_twice).execute()) == "worker process crashed (exit code 7)"
        assert scene.counts()["twice"] == 2


def test_of_what_a_dead_process_held_only_what_had_begun_has_failed(scene: Scene) -> None:
    with scene.worker(*AHEAD) as worker:
        running, waiting = hold_behind_quick_ones(scene)
        os.kill(scene.until_run("running"), signal.SIGKILL)
        assert error_of(running) == "worker process crashed (SIGKILL)"
        assert {handle.get(timeout=SOON_S) for handle in waiting} == {children(worker)[0].pid}
        until(lambda: len(scene.runs) == 300 + 1 + 200, "every item run", SOON_S)
        assert set(scene.counts().values()) == {1}


def test_what_runs_beside_the_one_that_crashes_fails_with_it(scene: Scene) -> None:
    with scene.worker("--threads", "4") as worker:
        with scene.client.batch():
            running = [scene.on(jobs.hold).execute(label) for label in "abc"]
        for label in "abc":
            scene.until_run(label)
        (process,) = children(worker)
        os.kill(process.pid, signal.SIGSEGV)
        assert {error_of(handle) for handle in running} == {"worker process crashed (SIGSEGV)"}
        assert all(f"id={handle.taskid}" in worker.output for handle in running)


def test_while_a_process_is_replaced_its_stream_stays_and_others_get_its_items(scene: Scene) -> None:
    with scene.worker() as one, scene.worker() as two:
        scene.on(jobs.hold).execute("running")
        pid = scene.until_run("running")
        broken, whole = (one, two) if pid == children(one)[0].pid else (two, one)
        scene.let("slowly")
        os.kill(pid, signal.SIGKILL)
        broken.until_printed("while it ran a task")
        with scene.client.batch():
            handles = [scene.on(jobs.kept).execute(f"kept{n}") for n in range(50)]
            for n in range(50):
                scene.on(jobs.once).execute(f"once{n}")
        # What the broken one was sent all the same goes back, or waits for its next process if it cannot.
        assert {handle.get(timeout=SOON_S) for handle in handles} == {children(whole)[0].pid}
        (scene.folder / "slowly").unlink()
        until(lambda: len(scene.runs) == 101, "every item run", SOON_S)
        assert set(scene.counts().values()) == {1}
        assert "no stream to a broker" not in broken.output


def test_a_storm_of_crashes_loses_nothing_and_repeats_nothing(scene: Scene) -> None:
    seed = int(os.environ.get("DIBS_TEST_SEED", "7"))
    chance = random.Random(seed)
    kinds = {
        "kept": jobs.kept,
        "plain": jobs.plain,
        "once": jobs.once,
        "oncekept": jobs.once_kept,
        "akept": jobs.akept,
    }
    labels = {kind: [f"{kind}{n}" for n in range(1200)] for kind in kinds}
    told = {}
    with scene.worker("--processes", "2") as worker:
        with scene.client.batch():
            for n in range(1200):
                for kind, task in kinds.items():
                    handle = scene.on(task).execute(labels[kind][n])
                    if kind != "once":
                        told[labels[kind][n]] = handle
        kills, after = 0, 0
        while (after := after + chance.randrange(100, 400)) < 5500:
            until(lambda least=after: scene.lines() >= least, f"seed {seed}: {after} runs", 60)  # type: ignore[misc]
            if found := children(worker):
                chance.choice(found).send_signal(chance.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]))
                kills += 1
        states = {
            label: handle.state.name if handle.wait(60, until="done") else "LOST" for label, handle in told.items()
        }
        until(
            lambda: len([label for label in scene.counts() if "akept" not in label]) >= 4800 - kills,
            f"seed {seed}: every item run",
            60,
        )
    counts = scene.counts()
    assert kills > 10
    assert {label: times for label, times in counts.items() if times != 1} == {}, f"seed {seed}"
    assert {state for label, state in states.items() if "plain" in label} == {"UNKNOWN"}, f"seed {seed}"
    assert {state for label, state in states.items() if "kept" in label} <= {"SUCCEEDED", "FAILED"}, f"seed {seed}"
    # One attempt each: what had not begun has run elsewhere. A kill costs what ran, and results that were not told yet.
    # What was killed right at its beginning may not have come to its line.
    missing = {label for some in labels.values() for label in some if label not in counts}
    assert len([label for label in missing if "akept" not in label]) <= kills, f"seed {seed}: {missing}"


def test_a_process_that_is_frozen_holds_up_its_own_items_only(scene: Scene) -> None:
    with scene.worker("--processes", "2") as worker:
        held = [scene.on(jobs.hold).execute(label) for label in ("a", "b")]
        frozen = psutil.Process(scene.until_run("a"))
        assert scene.until_run("b") != frozen.pid
        frozen.suspend()
        scene.let("b")
        assert held[1].get(timeout=SOON_S) != frozen.pid
        with scene.client.batch():
            others = [scene.on(jobs.kept).execute(f"kept{n}") for n in range(500)]
        # Some are on their way to the frozen one; they come free when it is killed.
        until(lambda: len(scene.runs) > 400, "the others run", SOON_S)
        frozen.kill()
        assert {handle.get(timeout=SOON_S) for handle in others} <= {one.pid for one in children(worker)}
        assert error_of(held[0]) == "worker process crashed (SIGKILL)"
        assert set(scene.counts().values()) == {1}


def test_a_frozen_process_goes_on_where_it_was(scene: Scene) -> None:
    with scene.worker(*AHEAD) as worker:
        (process,) = children(worker)
        with scene.client.batch():
            warm_up(scene)
            handles = [scene.on(jobs.large).execute(100_000) for _ in range(50)]
        scene.until_run("warm0")
        process.suspend()
        time.sleep(1.0)  # in which the connector goes on writing to it
        process.resume()
        assert {len(str(handle.get(timeout=SOON_S))) for handle in handles} == {100_000}


def test_the_stream_lives_while_a_task_holds_the_interpreter(scene: Scene) -> None:
    with scene.worker() as worker:
        greedy = scene.on(jobs.greedy).execute(3.0)
        scene.until_run("holding")
        worker.process.send_signal(signal.SIGUSR2)
        # The connector answers, whatever the task does.
        worker.until_printed("asyncio task dibs-work-write", timeout_s=2)
        assert not greedy.state.is_over
        assert float(greedy.get(timeout=60)) >= 3.0


def test_processes_end_when_their_connector_is_killed_and_give_what_runs_its_time(scene: Scene) -> None:
    with scene.worker("--processes", "2", "--wait", "30") as worker:
        scene.on(jobs.hold).execute("running")
        busy = psutil.Process(scene.until_run("running"))
        (idle,) = [one for one in children(worker) if one.pid != busy.pid]
        worker.kill()
        idle.wait(SOON_S)
        assert busy.is_running()
        scene.let("running")
        busy.wait(SOON_S)


def test_what_runs_too_long_ends_with_its_process_when_the_connector_is_gone(scene: Scene) -> None:
    with scene.worker("--wait", "0.2") as worker:
        scene.on(jobs.hold).execute("running")
        busy = psutil.Process(scene.until_run("running"))
        worker.kill()
        busy.wait(SOON_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=["SIGTERM", "SIGUSR1"])
def test_a_process_that_is_told_to_end_retires_and_another_takes_its_place(
    scene: Scene, number: signal.Signals
) -> None:
    with scene.worker(*AHEAD) as worker:
        running, waiting = hold_behind_quick_ones(scene)
        old = scene.until_run("running")
        os.kill(old, number)
        again = [handle for handle in waiting if handle.name == "kept"]
        pids = {handle.get(timeout=SOON_S) for handle in again}
        assert old not in pids
        scene.let("running")
        assert running.get(timeout=SOON_S) == old
        # What is delivered at most once cannot go back; the old process runs it before it ends.
        assert {handle.get(timeout=SOON_S) for handle in waiting} <= {old, *pids}
        until(lambda: {one.pid for one in children(worker)} == pids, "the old process is gone", SOON_S)
        assert "crashed" not in worker.output


def test_what_a_retiring_process_does_not_finish_has_failed_and_is_no_crash(scene: Scene) -> None:
    with scene.worker("--wait", "0.2"):
        running = scene.on(jobs.hold).execute("running")
        os.kill(scene.until_run("running"), signal.SIGTERM)
        assert error_of(running) == "worker process was stopped while it ran"


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_stop_hands_back_what_has_not_begun(scene: Scene, processes: str) -> None:
    with scene.worker(*AHEAD, "--processes", processes) as worker:
        running, waiting = hold_behind_quick_ones(scene)
        worker.terminate()
        again = [handle for handle in waiting if handle.name == "kept"]
        until(lambda: {handle.state.name for handle in again} == {"WAITING"}, "handed back", SOON_S)
        scene.let("running")
        assert running.get(timeout=SOON_S)
        assert worker.wait() == 0
    with scene.worker():
        assert all(handle.get(timeout=SOON_S) for handle in waiting)
        until(lambda: len(scene.runs) == 300 + 1 + 200, "every item run", SOON_S)
        assert set(scene.counts().values()) == {1}


def test_forks_of_tasks_end_as_they_should(scene: Scene) -> None:
    with scene.worker():
        assert scene.on(jobs.fork).execute(200).get(timeout=60) == [200, 0]


@pytest.mark.parametrize("task", [jobs.come_back, jobs.acome_back], ids=["plain", "async"])
@pytest.mark.parametrize(("fails", "code"), [(False, 0), (True, 1)], ids=["returns", "raises"])
def test_a_forked_child_that_comes_back_is_no_second_worker(scene: Scene, fails: bool, code: int, task: Any) -> None:
    with scene.worker() as worker:
        assert scene.on(task).execute(fails).get(timeout=SOON_S) == f"parent, child {code}"
        worker.until_printed("a forked child came back from its task")
        assert all(handle.get(timeout=SOON_S) for handle in warm_up(scene, 10))


@pytest.mark.parametrize(
    "task", [jobs.close_everything, jobs.close_and_stay, jobs.aclose], ids=["and returns", "and stays", "in its loop"]
)
def test_a_task_that_closes_the_stream_of_its_process_costs_itself_only(scene: Scene, task: Any) -> None:
    with scene.worker() as worker:
        closing = scene.on(task).execute()
        scene.until_run("close")
        assert error_of(closing) == f"worker process crashed (exit code {os.EX_SOFTWARE})"
        # Whichever comes to it first, who reads, who writes, or who looks each second.
        worker.until_printed("ending the process")
        assert all(handle.get(timeout=SOON_S) for handle in warm_up(scene, 10))


@pytest.mark.parametrize("processes", ["0", "1"])
def test_what_a_task_does_to_its_thread_or_loop_is_its_own_failure(scene: Scene, processes: str) -> None:
    with scene.worker("--processes", processes) as worker:
        for _ in range(3):
            assert scene.on(jobs.astop).execute().get(timeout=SOON_S) == "went on"
            for task in (jobs.lazy, jobs.alazy):
                error = error_of(scene.on(task).execute())
                assert error.startswith(f"the result of task {task.name} cannot be read:")
                assert "SystemExit: while it was read" in error
        assert scene.on(jobs.kept).execute("after").get(timeout=SOON_S)
        assert scene.on(jobs.akept).execute("after").get(timeout=SOON_S)
        assert "crashed" not in worker.output


def test_results_of_nearly_the_largest_size_come_through(scene: Scene) -> None:
    size = 3 * 1024 * 1024 - 2
    with scene.worker("--threads", "2"):
        with scene.client.batch():
            handles = [scene.on(jobs.large).execute(size) for _ in range(8)]
        assert {len(str(handle.get(timeout=60))) for handle in handles} == {size}


def test_breakpoints_say_where_they_work(scene: Scene) -> None:
    with scene.worker():
        assert "run the worker with --processes 0" in error_of(scene.on(jobs.debug).execute())


def test_the_history_is_the_same_with_and_without_processes_of_their_own(scene: Scene) -> None:
    histories = []
    for processes in ("0", "1", "2"):
        label = f"p{processes}"
        with scene.worker("--processes", processes) as worker:
            with scene.client.batch():
                handles = [scene.on(jobs.kept).execute(f"{label}kept{n}") for n in range(50)]
                handles += [scene.on(jobs.once_kept).execute(f"{label}once{n}") for n in range(50)]
                handles.append(scene.on(jobs.fail).execute())
                handles.append(scene.on(jobs.large).execute(3 * 1024 * 1024))
                handles.append(scene.on(jobs.large).options(taskid=f"{label}bad").execute("no number"))
            for handle in handles:
                assert handle.wait(SOON_S, until="done")
            errors = [error_of(handle).splitlines()[-1] for handle in handles[-3:]]
            worker.terminate()
            assert worker.wait() == 0
        counts = Counter(times for run, times in scene.counts().items() if run.startswith(label))
        histories.append(([handle.state.name for handle in handles], errors, counts))
    assert histories[0] == histories[1] == histories[2]


TASK = """
import os, dibs

@dibs.task(name="{name}")
{sort}def task() -> None:
    with open(os.path.join(os.environ["JOBS_FOLDER"], "journal"), "a") as journal:
        journal.write(f"run {name} {{os.getpid()}}\\n")
"""


@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("", "async "), ("async ", "")], ids=["plain", "plain, async", "async, plain"]
)
def test_the_next_process_may_have_other_tasks(scene: Scene, before: str, after: str) -> None:
    module = scene.folder / "changing.py"
    module.write_text(TASK.format(name="before", sort=before))
    with running_worker(scene.target, scene.folder, module=str(module)) as worker:
        scene.client.call_task("before", None)
        pid = scene.until_run("before")
        module.write_text(TASK.format(name="after_the_change", sort=after))
        os.kill(pid, signal.SIGTERM)
        scene.client.call_task("after_the_change", None)
        assert scene.until_run("after_the_change") != pid
        until(lambda: worker.output.count("registered group=changing tasks=1") == 2, "registered anew")
        # Nobody says any more that the first one can be run.
        until(
            lambda: {name for one in scene.workers() for name in one.task_names} == {"after_the_change"},
            "only the new task is known",
            SOON_S,
        )
        assert len(scene.workers()) == 1
        module.write_text(TASK.format(name="before", sort=before))
        os.kill(scene.until_run("after_the_change"), signal.SIGTERM)
        scene.client.call_task("before", None)
        scene.until_run("before", 2)
        worker.terminate()
        assert worker.wait() == 0


def test_a_module_that_breaks_later_is_tried_again_until_it_works(scene: Scene) -> None:
    module = scene.folder / "breaking.py"
    module.write_text(TASK.format(name="first", sort=""))
    with running_worker(scene.target, scene.folder, module=str(module)) as worker:
        scene.client.call_task("first", None)
        pid = scene.until_run("first")
        module.write_text("1 / 0")
        os.kill(pid, signal.SIGTERM)
        worker.until_printed("ZeroDivisionError")
        module.write_text(TASK.format(name="first", sort=""))
        scene.client.call_task("first", None)
        assert scene.until_run("first", 2) != pid
        worker.terminate()
        assert worker.wait() == 0


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_worker_that_serves_none_of_the_queues_of_its_tasks_says_so(scene: Scene, processes: str) -> None:
    said = "none of the queues served is one that the tasks here are put into"
    with scene.worker("--processes", processes, "--queues", "mail,reports") as worker:
        worker.until_printed(said)
        assert "queues_of_tasks=default" in worker.output
    with scene.worker("--processes", processes, "--queues", "mail,default") as worker:
        worker.until_printed("registered")
        assert said not in worker.output
