"""SIGUSR2 prints what every thread and every asyncio task is at."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def printed_on_signal(
    loop: asyncio.AbstractEventLoop, loops: Callable[[], Iterable[asyncio.AbstractEventLoop]]
) -> Iterator[None]:
    """Inside the with, SIGUSR2 prints stacks to stderr.

    The threads' are printed by the signal's C handler, which needs no thread to make progress; the tasks' follow
    when `loop` gets to it.

    Args:
        loop: the running loop.
        loops: those whose tasks to print.
    """
    # The handler of the loop first: faulthandler calls the one that it found.
    loop.add_signal_handler(signal.SIGUSR2, lambda: print_tasks(loops()))
    faulthandler.register(signal.SIGUSR2, file=sys.__stderr__ or 2, all_threads=True, chain=True)
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR2)
        loop.remove_signal_handler(signal.SIGUSR2)


def print_tasks(loops: Iterable[asyncio.AbstractEventLoop]) -> None:
    """Prints the stacks of the asyncio tasks of these loops."""
    for loop in loops:
        for task in asyncio.all_tasks(loop):
            print(f"\nasyncio task {task.get_name()}:", file=sys.stderr)
            for frame in task.get_stack():
                code = frame.f_code
                print(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}', file=sys.stderr)
    sys.stderr.flush()
