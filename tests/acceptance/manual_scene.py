"""What tests after the manual of rpqueue need: a broker, a worker that runs `manual_jobs`, and the journal of that."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dibs

from ..support import redis as redis_support
from ..support.processes import Broker, Dibs, running_broker
from ..support.waiting import until
from ..support.worker_process import running_worker
from . import manual_jobs as jobs

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

    @contextmanager
    def label(self) -> Iterator[str]:
        """A name that no other test uses; what waits for a file of that name ends with the with."""
        name = uuid.uuid4().hex
        try:
            yield name
        finally:
            self.let(name)


@contextmanager
def running_scene(redis_programs: Mapping[int, str], folder: Path) -> Iterator[Scene]:
    """All of it on the newest Redis, ended with the with."""
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
