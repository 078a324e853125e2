"""Workers as processes of their own, as a user starts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .imports import SOURCES
from .processes import Dibs, running_dibs


@contextmanager
def running_worker(
    target: str,
    folder: Path,
    *options: str,
    module: str = "tests.acceptance.jobs",
    ready: bool = True,
    env: Mapping[str, str] | None = None,
) -> Iterator[Dibs]:
    """``dibs worker``, ended with the with.

    Args:
        target: its brokers.
        folder: of the journal that its tasks write.
        options: of the command.
        module: what it loads.
        ready: return when it has loaded that, not at once.
        env: more of its environment.
    """
    words = ["worker", module, "--target", target, *options]
    with running_dibs(*words, env={"JOBS_FOLDER": str(folder), **(env or {})}, cwd=SOURCES) as worker:
        if ready:
            worker.until_printed("tasks=")
        yield worker
