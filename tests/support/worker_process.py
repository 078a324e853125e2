"""Workers as processes of their own, as a user starts them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .imports import SOURCES
from .processes import Dibs, running_dibs

_LONGEST_S = 30.0


def until(condition: Callable[[], bool], what: str, timeout_s: float = _LONGEST_S) -> None:
    """Returns when the condition holds, of something outside of this process that can only be looked at."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@contextmanager
def running_worker(
    target: str, folder: Path, *options: str, module: str = "tests.acceptance.jobs", ready: bool = True
) -> Iterator[Dibs]:
    """``dibs worker``, ended with the with.

    Args:
        target: its brokers.
        folder: of the journal that its tasks write.
        options: of the command.
        module: what it loads.
        ready: return when it has loaded that, not at once.
    """
    words = ["worker", module, "--target", target, *options]
    with running_dibs(*words, env={"JOBS_FOLDER": str(folder)}, cwd=SOURCES) as worker:
        if ready:
            worker.until_printed("tasks=")
        yield worker
