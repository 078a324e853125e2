"""Workers that are told to stop: what becomes of what they hold, and in how much time."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from dibs import Dibs

from ..support import redis as redis_support
from ..support.ports import free_port
from ..support.processes import Dibs as Process
from ..support.processes import running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker
from . import stop_jobs as jobs
from .crash_scene import SOON_S, Scene, children, error_of, running_scene

STOPPED = "worker process was stopped while it ran"
#: Leases are 600 s; what is said within a few seconds has not waited for one.
FEW_S = 10.0

both = pytest.mark.parametrize("processes", ["0", "1"])


@pytest.fixture
def scene(redis_programs: dict[int, str], tmp_path: Path) -> Iterator[Scene]:
    with running_scene(redis_programs, tmp_path) as scene:
        yield scene


def working(scene: Scene, *options: str) -> AbstractContextManager[Process]:
    return running_worker(scene.target, scene.folder, *options, module="tests.acceptance.stop_jobs:app")


def stop(worker: Process) -> float:
    """How long it takes, in seconds."""
    began = time.monotonic()
    worker.terminate()
    assert worker.wait() == 0, worker.output
    return time.monotonic() - began


@both
def test_what_runs_when_the_wait_is_over_comes_again_at_once_if_it_may(scene: Scene, processes: str) -> None:
    with working(scene, "--processes", processes, "--threads", "3", "--wait", "0.2") as worker:
        handles = [scene.on(task).execute(task.name) for task in (jobs.again, jobs.last, jobs.once)]
        for name in ("again", "last", "once"):
            scene.until_run(name)
        stop(worker)
    again, last, once = handles
    assert [handle.state.name for handle in handles] == ["WAITING", "FAILED", "FAILED"]
    assert error_of(last) == error_of(once) == STOPPED
    scene.let("again")
    with working(scene, "--processes", processes):
        # It has used an attempt: a task that outlasts every wait is not begun without end.
        assert again.get(timeout=FEW_S) == 2


@both
def test_async_tasks_are_cancelled_and_get_a_moment_to_tidy_up(scene: Scene, processes: str) -> None:
    with working(scene, "--processes", processes, "--wait", "0.2") as worker:
        tasks = (jobs.tidies, jobs.saves, jobs.clings)
        tidies, saves, clings = [scene.on(task).execute(task.name) for task in tasks]
        snoozes = scene.on(jobs.snoozes).execute("stop")
        for name in ("tidies", "saves", "clings", "stop"):
            scene.until_run(name)
        assert stop(worker) < FEW_S
    journal = (scene.folder / "journal").read_text()
    assert "tidied tidies" in journal
    assert "clung clings" in journal
    assert (tidies.state.name, clings.state.name) == ("WAITING", "WAITING")
    assert saves.get(timeout=1) == "saved"
    assert snoozes.state.name == "SCHEDULED"


def test_a_process_that_cannot_end_is_killed_and_what_it_ran_comes_again(scene: Scene) -> None:
    with working(scene, "--wait", "0.2") as worker:
        handle = scene.on(jobs.greedy).execute("greedy")
        (pid,) = [one.pid for one in children(worker)]
        scene.until_run("greedy")
        began = time.monotonic()
        worker.terminate()
        assert worker.wait() == 1
        assert time.monotonic() - began < FEW_S + 5
        assert f"worker process does not stop, killing it pid={pid}" in worker.output
    with working(scene):
        assert handle.get(timeout=FEW_S) == "done"


@both
def test_what_has_not_begun_goes_back_within_a_second(scene: Scene, processes: str) -> None:
    took: list[float] = []
    for number in range(3):  # something else may hold up the machine
        with working(scene, "--processes", processes, "--horizon", "10", "--stale-after", "600") as worker:
            with scene.client.batch():
                for n in range(300):
                    scene.on(jobs.quick).execute(f"warm{number}-{n}")
                scene.on(jobs.again).execute(f"held{number}")
                for n in range(100):
                    scene.on(jobs.quick).execute(f"behind{number}-{n}")
            scene.until_run(f"held{number}")
            until(lambda: scene.waiting() <= 50, "most are taken", SOON_S)
            began = time.monotonic()
            worker.terminate()
            until(lambda: scene.waiting() == 100, "handed back", SOON_S)
            took.append(time.monotonic() - began)
            scene.let(f"held{number}")
            assert worker.wait() == 0
        with working(scene):
            until(lambda: scene.waiting() == 0, "run by another", SOON_S)
    assert min(took) < 1


def test_a_process_that_retires_hands_back_what_outlasts_the_wait(scene: Scene) -> None:
    with working(scene, "--wait", "0.2"):
        again = scene.on(jobs.again).execute("again")
        old = scene.until_run("again")
        scene.on(jobs.tidies).execute("tidies")
        scene.until_run("tidies")
        os.kill(old, signal.SIGTERM)
        assert scene.until_run("again", 2) != old
        scene.until_run("tidies", 2)
        scene.let("again")
        assert again.get(timeout=FEW_S) == 2


def test_without_a_broker_a_stop_ends_all_the_same(redis_programs: dict[int, str], tmp_path: Path) -> None:
    with (
        redis_support.running(redis_programs[max(redis_programs)]) as server,
        running_broker("--redis", server.url) as broker,
        Dibs(broker.address) as client,
    ):
        scene = Scene(broker.address, client, tmp_path)
        with working(scene, "--wait", "0.2") as worker:
            scene.on(jobs.again).execute("again")
            scene.until_run("again")
            broker.kill()
            assert stop(worker) < FEW_S


def test_a_rolling_restart_under_load_loses_and_doubles_nothing(redis_programs: dict[int, str], tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    tasks = [jobs.quick, jobs.quick_once, jobs.aquick]
    handles: dict[str, Any] = {}
    enough = threading.Event()
    failures: list[BaseException] = []

    def produce() -> None:
        try:
            with Dibs(target) as client:
                for number in itertools.count():
                    if enough.is_set():
                        return
                    for task in tasks:
                        label = f"{task.name}{number}"
                        handles[label] = task.on(client).execute(label)
        except BaseException as error:  # noqa: BLE001 - the test tells
            failures.append(error)

    with ExitStack() as stack:
        server = stack.enter_context(redis_support.running(redis_programs[max(redis_programs)]))

        def broker(port: int) -> AbstractContextManager[Process]:
            return running_broker("--redis", server.url, listen=f"127.0.0.1:{port}")

        def worker() -> AbstractContextManager[Process]:
            options = ("--processes", "2", "--threads", "2")
            return running_worker(target, tmp_path, *options, module="tests.acceptance.stop_jobs:app")

        brokers = [stack.enter_context(ExitStack()) for _ in ports]
        for one, port in zip(brokers, ports, strict=True):
            one.enter_context(broker(port))
        workers = [stack.enter_context(ExitStack()) for _ in range(2)]
        running = [one.enter_context(worker()) for one in workers]
        producer = threading.Thread(target=produce)
        producer.start()
        try:
            scene = Scene(target, stack.enter_context(Dibs(target)), tmp_path)
            for _ in range(2):
                for place in range(2):
                    more = len(handles) + 300
                    until(lambda least=more: len(handles) >= least or failures, "more calls", SOON_S)  # type: ignore[misc]
                    brokers[place].close()
                    brokers[place].enter_context(broker(ports[place]))
                    stop(running[place])
                    workers[place].close()
                    running[place] = workers[place].enter_context(worker())
        finally:
            enough.set()
            producer.join()
        assert not failures
        states = Counter(handle.state.name for handle in handles.values() if handle.wait(SOON_S, until="done"))
        assert states == {"SUCCEEDED": len(handles)}
    counts = scene.counts()
    assert counts.keys() == handles.keys()
    assert set(counts.values()) == {1}
