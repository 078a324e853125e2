"""Schedules with three brokers and three workers, all of them processes that come and go."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
import redis

from dibs.v1 import admin_pb2 as pb
from dibs.v1 import admin_pb2_grpc

from ..support import redis as redis_support
from ..support.processes import Broker, Dibs, running_broker, running_dibs
from ..support.waiting import until

PERIOD_US = 100_000
SECOND_US = 1_000_000

NOTE = """
import os
import dibs

def note():
    task = dibs.CURRENT_TASK.task
    with open(os.environ["JOURNAL"], "ab", buffering=0) as journal:
        journal.write(f"{task.taskid} {task.attempt}\\n".encode())
"""

STEADY = """
@dibs.periodic_task(0.1, low_delay_okay=True, never_skip=True, attempts=10, vis_timeout=1, name="steady")
def steady():
    note()
"""

BY_THE_CLOCK = """
@dibs.cron_task("* * * * * *", seconds=True, never_skip=True, attempts=10, vis_timeout=1, name="clock")
def by_the_clock():
    note()
"""

SKIPPING = """
@dibs.periodic_task(0.1, low_delay_okay=True, name="skipping")
def skipping():
    note()
"""

RETRIED = """
@dibs.periodic_task(0.2, low_delay_okay=True, never_skip=True, attempts=3, retry_delay=0, name="retried")
def retried(**kwargs):
    note()
    if kwargs["_attempts"] > 1:
        retried.retry(**kwargs)
"""


@dataclass(frozen=True)
class Scene:
    """Three brokers on one Redis, and the folder of the module and its journal."""

    brokers: list[Broker]
    folder: Path
    redis_url: str

    @property
    def target(self) -> str:
        return "ipv4:" + ",".join(broker.address for broker in self.brokers)

    def write(self, *parts: str) -> None:
        """Writes the module."""
        (self.folder / "recurring.py").write_text("".join((NOTE, *parts)))

    def worker(self, processes: int = 0) -> AbstractContextManager[Dibs]:
        options = ("--processes", str(processes), "--target", self.target)
        return running_dibs(
            "worker", "recurring", *options, env={"JOURNAL": str(self.folder / "journal")}, cwd=self.folder
        )

    def runs(self, name: str) -> Counter[tuple[int, int]]:
        """Due time and attempt of each run that began."""
        try:
            lines = (self.folder / "journal").read_text().splitlines()
        except FileNotFoundError:
            return Counter()
        found = (line.partition(f"schedule:{name}:")[2].split() for line in lines)
        return Counter((int(words[0]), int(words[1])) for words in found if words)

    def until_run(self, name: str, times: int) -> None:
        until(lambda: len(self.runs(name)) >= times, f"{times} runs of {name}")

    def schedules(self) -> list[pb.ScheduleInfo]:
        # Not the first broker: it is the one that dies.
        with grpc.insecure_channel(self.brokers[2].address) as channel:
            reply = admin_pb2_grpc.AdminServiceStub(channel).ListSchedules(pb.ListSchedulesRequest(), timeout=10)
        return list(reply.schedules)


@pytest.fixture
def scene(redis_programs: dict[int, str], tmp_path: Path) -> Iterator[Scene]:
    with (
        redis_support.running(redis_programs[max(redis_programs)]) as server,
        ExitStack() as stack,
        ThreadPoolExecutor(3) as pool,
    ):
        starting = [running_broker("--redis", server.url) for _ in range(3)]
        yield Scene(list(pool.map(stack.enter_context, starting)), tmp_path, server.url)


def assert_each_due_time_once(runs: Counter[tuple[int, int]], period_us: int, interruptions: int) -> None:
    """No due time is missed, none was run twice but for those under way when something died."""
    assert set(runs.values()) == {1}
    due = sorted({due for due, _ in runs})
    assert [later - earlier for earlier, later in pairwise(due)] == [period_us] * (len(due) - 1)
    assert len(runs) - len(due) <= interruptions


def test_each_due_time_is_run_once_whoever_dies(scene: Scene) -> None:
    scene.write(STEADY, BY_THE_CLOCK)
    with scene.worker() as one, scene.worker(), ExitStack() as third:
        killed = third.enter_context(scene.worker())
        scene.until_run("steady", 10)
        scene.brokers[0].kill()
        scene.until_run("steady", 20)
        one.terminate()
        assert one.wait() == 0
        with scene.worker() as again:
            again.until_printed("registered group=recurring")
            scene.until_run("steady", 30)
            killed.process.send_signal(signal.SIGKILL)
            killed.wait()
            scene.until_run("steady", 45)
            scene.until_run("clock", 4)
    # The broker had three workers, each of them at most one run; the killed worker had one.
    assert_each_due_time_once(scene.runs("steady"), PERIOD_US, 4)
    assert_each_due_time_once(scene.runs("clock"), SECOND_US, 4)
    assert {info.group for info in scene.schedules()} == {"recurring"}


@pytest.mark.parametrize("processes", [0, 1])
def test_schedules_task_names_and_the_namespace_come_back_when_redis_has_lost_its_data(
    scene: Scene, processes: int
) -> None:
    scene.write(STEADY)
    with scene.worker(processes):
        scene.until_run("steady", 1)
        # Every broker has seen the data by then.
        time.sleep(6)
        with redis.Redis.from_url(scene.redis_url) as raw:
            raw.flushall()
        before = len(scene.runs("steady"))
        until(lambda: [one.schedule.name for one in scene.schedules()] == ["steady"], "the schedule is there again")
        scene.until_run("steady", before + 2)
        with grpc.insecure_channel(scene.brokers[2].address) as channel:
            admin = admin_pb2_grpc.AdminServiceStub(channel)
            tasks = admin.ListTasks(pb.ListTasksRequest(), timeout=10).tasks
            namespaces = admin.GetServerInfo(pb.GetServerInfoRequest(), timeout=10).namespaces
        assert [task.definition.name for task in tasks] == ["steady"]
        assert list(namespaces) == ["default"]


def test_what_is_no_longer_in_the_code_is_gone(scene: Scene) -> None:
    scene.write(STEADY, BY_THE_CLOCK)
    with scene.worker() as old:
        scene.until_run("steady", 3)
        assert {info.schedule.name for info in scene.schedules()} == {"steady", "clock"}
        scene.write(BY_THE_CLOCK)
        with scene.worker() as new:
            new.until_printed("removed=steady")
            assert {info.schedule.name for info in scene.schedules()} == {"clock"}
            old.terminate()
            assert old.wait() == 0
            before, ticks = len(scene.runs("steady")), len(scene.runs("clock"))
            scene.until_run("clock", ticks + 2)
            assert len(scene.runs("steady")) == before
            # Neither knows anything of it any more, nor misses it.
            assert "steady" not in new.output.partition("removed=steady")[2]
            for log in (old, new, *scene.brokers):
                assert "ERROR" not in log.output


def test_a_run_that_asks_for_retries_gets_them_and_the_next_runs_come_in_time(scene: Scene) -> None:
    scene.write(RETRIED)
    with scene.worker() as worker:
        scene.until_run("retried", 30)
        worker.terminate()
        assert worker.wait() == 0
    runs = scene.runs("retried")
    assert set(runs.values()) == {1}
    due = sorted({due for due, _ in runs})
    assert [later - earlier for earlier, later in pairwise(due)] == [2 * PERIOD_US] * (len(due) - 1)
    # The end may have cut off the last ones.
    assert {(at, attempt) for at in due[:-4] for attempt in (1, 2, 3)} <= set(runs)


def test_missed_times_are_skipped_or_run_one_after_another(scene: Scene) -> None:
    scene.write(STEADY, SKIPPING)
    # A run that came just before the worker left stays pending; it waits for a worker as well.
    waiting = {pb.SCHEDULE_STATE_NO_WORKER, pb.SCHEDULE_STATE_PENDING}
    for times in (5, 25):
        with scene.worker() as worker:
            for name in ("steady", "skipping"):
                scene.until_run(name, times)
            worker.terminate()
            assert worker.wait() == 0
        until(
            lambda: [info.state in waiting for info in scene.schedules()] == [True, True],
            "schedules that wait for a worker",
        )
        time.sleep(0.5)
    assert_each_due_time_once(scene.runs("steady"), PERIOD_US, 2)
    skipping = sorted(due for due, _ in scene.runs("skipping"))
    gaps = [later - earlier for earlier, later in pairwise(skipping)]
    assert min(gaps) >= PERIOD_US
    # One run was due all the time in which nobody knew the task; the next came a period after it had started.
    assert max(gaps) > 5 * PERIOD_US
