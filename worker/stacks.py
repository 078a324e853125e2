"""SIGUSR2 prints what every thread and every asyncio task is at."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def printed_on_signal(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Inside the with, SIGUSR2 prints stacks to stderr.

    The threads' are printed by the signal's C handler, which needs no thread to make progress; the tasks' follow
    when `loop` gets to it.
    """
    # The handler of the loop first: faulthandler calls the one that it found.
    loop.add_signal_handler(signal.SIGUSR2, print_tasks)
    faulthandler.register(signal.SIGUSR2, file=sys.__stderr__ or 2, all_threads=True, chain=True)
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR2)
        loop.remove_signal_handler(signal.SIGUSR2)


def print_tasks() -> None:
    """Prints the stacks of the asyncio tasks of every loop of this process."""
    for task in _every_task():
        print(f"\nasyncio task {task.get_name()}:", file=sys.stderr)
        task.print_stack(file=sys.stderr)
    sys.stderr.flush()


def _every_task() -> Iterable[asyncio.Task[object]]:
    # asyncio.all_tasks() tells only those of one loop, and tasks of users run in another.
    return [task for task in tuple(asyncio.tasks._all_tasks) if not task.done()]  # type: ignore[attr-defined]
