"""SIGUSR2 prints what every thread and every asyncio task is at."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def printed_on_signal(
    loop: asyncio.AbstractEventLoop, loops: Callable[[], Iterable[asyncio.AbstractEventLoop]]
) -> Iterator[None]:
    """Inside the with, SIGUSR2 prints stacks to stderr, when `loop` gets to it; no task runs there.

    The C handler of faulthandler would wait for no thread, but it reads the stacks of threads that go on running, and
    now and then that ends the process.

    Args:
        loop: the running loop.
        loops: those whose tasks to print.
    """
    loop.add_signal_handler(signal.SIGUSR2, lambda: print_stacks(loops()))
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGUSR2)


def print_stacks(loops: Iterable[asyncio.AbstractEventLoop]) -> None:
    """Print the stacks of all threads and of the asyncio tasks of these loops, the most recent call first."""
    lines: list[str] = []
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        lines.append(f"\nthread {names.get(ident, ident)}:")
        lines += _places(frame for frame, _ in traceback.walk_stack(frame))
    for loop in loops:
        for task in asyncio.all_tasks(loop):
            lines.append(f"\nasyncio task {task.get_name()}:")
            lines += _places(task.get_stack())
    print("\n".join(lines), file=sys.stderr, flush=True)


def _places(frames: Iterable[FrameType]) -> Iterator[str]:
    for frame in frames:
        yield f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}'
