"""Worker processes, and what becomes of their items whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest
from google.protobuf.duration_pb2 import Duration

from dibs.v1 import broker_pb2 as pb
from dibs.v1 import broker_pb2_grpc
from dibs.v1 import types_pb2 as tpb

from ..support import redis as redis_support
from ..support.processes import Broker, Dibs, running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker

#: What was under way to a broker that is killed goes to the other one; all calls here may be made twice.
RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def target_of(*brokers: Broker) -> str:
    return "ipv4:" + ",".join(broker.address for broker in brokers)


@dataclass
class Scene:
    """Two brokers on one Redis, and the folder of the journal."""

    brokers: tuple[Broker, Broker]
    folder: Path
    stub: broker_pb2_grpc.BrokerServiceStub

    @property
    def target(self) -> str:
        return target_of(*self.brokers)

    def worker(self, *options: str) -> AbstractContextManager[Dibs]:
        return running_worker(self.target, self.folder, *options)

    def put(self, *ids: str, task: str = "hold", lease_s: float = 30, attempts: int = 3, dead: bool = False) -> None:
        policy = tpb.DeliveryPolicy(attempts=attempts, use_dead_letter=dead, result_ttl=Duration(seconds=60))
        policy.lease_timeout.FromMicroseconds(round(lease_s * 1e6))
        request = pb.EnqueueRequest()
        for id in ids:
            payload = json.dumps({"args": [] if task == "die" else [id]}).encode()
            content = tpb.Content(task_name=task, payload=payload)
            request.items.add(id=id, queue="q", kind=tpb.QUEUE_KIND_TASK, content=content, policy=policy)
        self.stub.Enqueue(request, timeout=10)

    def ended(self, *ids: str) -> list[pb.ItemResult]:
        request = pb.ResultRequest(ids=ids, until=pb.WAIT_UNTIL_DONE, timeout=Duration(seconds=30))
        return list(self.stub.Result(request, timeout=40).results)

    def state(self, id: str) -> tpb.ItemState.ValueType:
        return self.stub.Result(pb.ResultRequest(ids=[id]), timeout=10).results[0].state

    def pids(self, event: str) -> list[int]:
        """The processes that wrote the line, in order."""
        try:
            lines = (self.folder / "journal").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [int(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == event]

    def until_written(self, event: str, times: int = 1, timeout_s: float = 30) -> int:
        """The process that wrote the line for the n-th time, when it has."""
        until(lambda: len(self.pids(event)) >= times, f"{event!r} in the journal {times} times", timeout_s)
        return self.pids(event)[times - 1]

    def let(self, name: str) -> None:
        (self.folder / name).touch()


@pytest.fixture
def scene(redis_programs: dict[int, str], tmp_path: Path) -> Iterator[Scene]:
    with redis_support.running(redis_programs[max(redis_programs)]) as server, two_brokers(server, tmp_path) as scene:
        yield scene


@contextmanager
def two_brokers(server: redis_support.RedisServer, folder: Path) -> Iterator[Scene]:
    redis = ("--redis", server.url)
    with (
        running_broker(*redis) as one,
        running_broker(*redis) as two,
        grpc.insecure_channel(target_of(one, two), options=[("grpc.service_config", RETRIES)]) as channel,
    ):
        yield Scene((one, two), folder, broker_pb2_grpc.BrokerServiceStub(channel))


def test_a_worker_killed_mid_task_loses_no_item_that_may_come_again(scene: Scene) -> None:
    with scene.worker("--processes", "0", "--threads", "2") as first:
        scene.put("once", lease_s=0)
        scene.put("again", lease_s=1)
        assert scene.until_written("begun once") == scene.until_written("begun again") == first.process.pid
        with scene.worker("--processes", "0", "--threads", "2") as second:
            first.process.send_signal(signal.SIGKILL)
            assert first.wait() == -signal.SIGKILL
            assert scene.until_written("begun again", 2, timeout_s=2.0) == second.process.pid
            scene.let("again")
            (again,) = scene.ended("again")
            assert (json.loads(again.result), again.attempt) == (second.process.pid, 2)
            assert scene.pids("begun once") == [first.process.pid]


def test_the_ack_of_a_worker_that_slept_through_its_lease_changes_nothing(scene: Scene) -> None:
    with scene.worker("--processes", "0") as first:
        scene.put("a", lease_s=1)
        scene.until_written("begun a")
        first.process.send_signal(signal.SIGSTOP)
        with scene.worker("--processes", "0") as second:
            assert scene.until_written("begun a", 2) == second.process.pid
            scene.let("a")
            (ended,) = scene.ended("a")
            first.process.send_signal(signal.SIGCONT)
            # The worker notices by itself that its lease is over, or its broker tells it.
            until(lambda: any(text in first.output for text in ("what came of it is dropped", "an ack came too late")))
            assert json.loads(ended.result) == second.process.pid
            assert scene.ended("a") == [ended]


def test_sigterm_lets_what_runs_finish_and_leaves_the_rest(scene: Scene) -> None:
    with scene.worker() as worker:
        scene.put("running")
        scene.until_written("begun running")
        scene.put("waiting")
        worker.process.send_signal(signal.SIGTERM)
        worker.until_printed("stopping unfinished=1")
        scene.let("running")
        assert worker.wait() == 0
    assert scene.state("running") == tpb.ITEM_STATE_SUCCEEDED
    assert scene.state("waiting") == tpb.ITEM_STATE_WAITING


def test_what_does_not_finish_within_the_wait_goes_back_and_the_exit_is_orderly(scene: Scene) -> None:
    with scene.worker("--wait", "0.1") as worker:
        scene.put("running")
        until(lambda: scene.state("running") == tpb.ITEM_STATE_STARTED, "it is told to have begun")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "the wait is over, ending what runs" in worker.output
    assert scene.state("running") == tpb.ITEM_STATE_WAITING


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_second_signal_ends_it_now(scene: Scene, processes: str) -> None:
    with scene.worker("--processes", processes) as worker:
        scene.put("running")
        scene.until_written("begun running")
        worker.process.send_signal(signal.SIGINT)
        worker.until_printed("stopping unfinished=1")
        worker.process.send_signal(signal.SIGINT)
        assert worker.wait() == 128 + signal.SIGINT


@pytest.mark.parametrize("processes", ["0", "1"])
def test_sigusr1_stops_in_order_however_often_it_comes(scene: Scene, processes: str) -> None:
    with scene.worker("--processes", processes) as worker:
        scene.put("running")
        scene.until_written("begun running")
        scene.put("waiting")
        for _ in range(3):
            worker.process.send_signal(signal.SIGUSR1)
            worker.until_printed("stopping unfinished=1")
        scene.let("running")
        assert worker.wait() == 0
    assert scene.state("running") == tpb.ITEM_STATE_SUCCEEDED
    assert scene.state("waiting") == tpb.ITEM_STATE_WAITING


def test_a_task_that_kills_its_process_is_buried_and_the_others_run(scene: Scene) -> None:
    with scene.worker("--processes", "2") as worker:
        scene.put("die", task="die", lease_s=0.3, attempts=2, dead=True)
        scene.put(*(f"i{n}" for n in range(100)), task="quick", lease_s=1)
        assert {item.state for item in scene.ended(*(f"i{n}" for n in range(100)))} == {tpb.ITEM_STATE_SUCCEEDED}
        (died,) = scene.ended("die")
        assert (died.state, died.attempt) == (tpb.ITEM_STATE_DEAD, 2)
        worker.until_printed('how="exit code 7"')
        assert len(scene.pids("die")) == 2
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_workers_go_on_when_one_of_two_brokers_is_killed(scene: Scene) -> None:
    ids = [f"i{n}" for n in range(400)]
    with scene.worker("--processes", "0") as one, scene.worker("--processes", "0") as two:
        scene.put("hold-one", "hold-two", lease_s=2)
        scene.until_written("begun hold-one")
        scene.until_written("begun hold-two")
        scene.put(*ids, task="quick", lease_s=2)
        scene.brokers[0].kill()
        scene.let("hold-one")
        scene.let("hold-two")
        everything = scene.ended(*ids, "hold-one", "hold-two")
        assert {item.state for item in everything} == {tpb.ITEM_STATE_SUCCEEDED}
        for worker in (one, two):
            worker.process.send_signal(signal.SIGTERM)
            assert worker.wait() == 0


def test_no_worker_is_left_behind_when_the_connector_is_killed(scene: Scene) -> None:
    with scene.worker("--processes", "2") as connector:
        until(lambda: len(psutil.Process(connector.process.pid).children()) == 2, "two workers")
        children = psutil.Process(connector.process.pid).children()
        connector.until_printed("tasks=")
        connector.process.send_signal(signal.SIGKILL)
        connector.wait()
        gone, left = psutil.wait_procs(children, timeout=20)
        assert (len(gone), left) == (2, [])


def test_sigusr2_prints_what_every_thread_is_doing(scene: Scene) -> None:
    with scene.worker() as worker:
        scene.put("a")
        scene.until_written("begun a")
        worker.process.send_signal(signal.SIGUSR2)
        worker.until_printed("in hold")
        worker.until_printed("asyncio task dibs-work-write")
        # However often it is asked, the work goes on: stacks must not be read while their threads run.
        for _ in range(50):
            printed = worker.output.count("in hold")
            worker.process.send_signal(signal.SIGUSR2)
            until(lambda before=printed: worker.output.count("in hold") > before)  # type: ignore[misc]
        scene.let("a")
        assert scene.ended("a")[0].state == tpb.ITEM_STATE_SUCCEEDED
        assert "crashed" not in worker.output


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("no.such.module", "there is no module named 'no'"),
        ("json", "importing json registered no task with the default instance"),
        ("tests.acceptance.jobs:nothing", "has no Dibs instance named 'nothing'"),
        ("missing.py", "there is no file missing.py"),
        ("{folder}/broken.py", "ZeroDivisionError: division by zero"),
        ("{folder}/unwritable.py", "argument 'order' of unwritable.send: Order cannot be written as JSON"),
    ],
)
def test_a_module_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path, module: str, text: str) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "unwritable.py").write_text(
        "import dibs\n@dibs.task\ndef send(order: 'Order') -> None: ...\nclass Order: ...\n"
    )
    with running_worker("127.0.0.1:1", tmp_path, module=module.format(folder=tmp_path), ready=False) as worker:
        assert worker.wait() == os.EX_CONFIG
        assert text in worker.output
        assert "worker process started" not in worker.output


PROGRAM = """
import os, sys
import dibs

@dibs.task(name="quick")
def quick(label):
    with open(os.path.join(os.environ["JOBS_FOLDER"], "journal"), "a") as journal:
        journal.write(f"quick {label} {os.getpid()}\\n")

if __name__ == "__main__":
    dibs.execute_tasks(queues="q", processes=int(sys.argv[1]))
    print("went on")
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_program_executes_tasks_until_a_signal_and_goes_on(scene: Scene, processes: int) -> None:
    program = scene.folder / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "DIBS_TARGET": scene.target, "JOBS_FOLDER": str(scene.folder)}
    command = [sys.executable, str(program), str(processes)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            scene.put("a", task="quick")
            pid = scene.until_written("quick a")
            assert (pid == process.pid) == (processes == 1)
            process.terminate()
            output, _ = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                process.kill()
        assert (process.returncode, output) == (0, "went on\n")


def test_a_start_takes_little_time(scene: Scene) -> None:
    began = time.monotonic()
    with scene.worker("--processes", "0"):
        scene.put("a", task="quick")
        scene.until_written("quick a")
        assert time.monotonic() - began < 10
