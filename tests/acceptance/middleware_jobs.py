"""Tasks with middleware, for workers of tests: what happens is appended to a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dibs


def note(text: str) -> None:
    """Lines of several processes do not mix: each is one write."""
    with (Path(os.environ["JOBS_FOLDER"]) / "journal").open("a") as journal:
        journal.write(f"{os.getpid()} {text}\n")


class Journal(dibs.Middleware):
    @contextmanager
    def enqueueing(self, call: dibs.OutgoingCall) -> Iterator[None]:
        call.headers["by"] = str(os.getpid())
        yield

    @contextmanager
    def running(self, task: dibs.RunningTask) -> Iterator[None]:
        note(f"begins {task.name.rpartition('.')[2]} for {task.headers.get('by')}")
        yield
        note(f"ends {task.name.rpartition('.')[2]}")

    def process_started(self) -> None:
        note("process started")

    def worker_started(self) -> None:
        note("worker started")

    def worker_stopping(self) -> None:
        note("worker stopping")
        raise RuntimeError("nobody minds")


dibs.use(Journal())


@dibs.task(save_results=60)
def plain() -> int:
    return os.getpid()


@dibs.task(save_results=60)
async def coroutine() -> int:
    return os.getpid()
