"""What tests of task processes need: a broker, workers that run jobs, and the journal that those write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from dibs import Dibs, TaskFailed
from dibs.v1 import admin_pb2 as apb
from dibs.v1.admin_pb2_grpc import AdminServiceStub

from ..support import redis as redis_support
from ..support.processes import Dibs as Process
from ..support.processes import run_dibs, running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker

#: Far below the leases of the tasks, which are 600 s, and enough for a process to start on a machine that is busy.
SOON_S = 60


@dataclass
class Scene:
    """A broker, a client, the folder of the journal, and the module of the jobs."""

    target: str
    client: Dibs
    folder: Path

    module: str = "tests.acceptance.crash_jobs:app"

    def worker(self, *options: str) -> AbstractContextManager[Process]:
        return running_worker(self.target, self.folder, *options, module=self.module)

    def on(self, task: Any) -> Any:
        return task.on(self.client)

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Label and process of each run, in order."""
        try:
            lines = (self.folder / "journal").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(words[1], int(words[2])) for line in lines if (words := line.split())[0] == "run"]

    def lines(self) -> int:
        """How many runs there were."""
        try:
            return (self.folder / "journal").read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def counts(self) -> Counter[str]:
        return Counter(label for label, _ in self.runs)

    def until_run(self, label: str, times: int = 1) -> int:
        """The process that ran it for the n-th time, when it has begun."""
        until(lambda: self.counts()[label] >= times, f"{times} runs of {label}", SOON_S)
        return [pid for name, pid in self.runs if name == label][times - 1]

    def let(self, label: str) -> None:
        (self.folder / label).touch()

    def workers(self) -> list[apb.WorkerInfo]:
        """Those that are connected."""
        with grpc.insecure_channel(self.target) as channel:
            return list(AdminServiceStub(channel).ListWorkers(apb.ListWorkersRequest(), timeout=10).workers)

    def shown(self, *words: str) -> str:
        """What `dibs` prints, as wide as it likes."""
        return run_dibs(*words, "--target", self.target, env={"COLUMNS": "1000"}).stdout

    def doctor(self) -> str:
        """What `dibs doctor` prints."""
        return self.shown("doctor")

    def waiting(self) -> int:
        """Items that wait in queues."""
        return sum(size for _, size, _ in self.client.queue_sizes())


@contextmanager
def running_scene(redis_programs: dict[int, str], folder: Path) -> Iterator[Scene]:
    """A Redis and a broker of its own."""
    with (
        redis_support.running(redis_programs[max(redis_programs)]) as server,
        running_broker("--redis", server.url, "--max-payload-bytes", "3MiB", "--max-message-bytes", "16MiB") as broker,
        Dibs(broker.address) as client,
    ):
        yield Scene(broker.address, client, folder)


def children(worker: Process) -> list[psutil.Process]:
    return psutil.Process(worker.process.pid).children()


def error_of(handle: Any) -> str:
    with pytest.raises(TaskFailed) as failed:
        handle.get(timeout=SOON_S)
    return failed.value.traceback
