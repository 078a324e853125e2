"""A producer that forks while its threads enqueue; each child enqueues one item and ends.

``python -m tests.robustness.forker SECONDS [asyncio]``. With the latter an AsyncDibs is open all the time, and a child
is to be told that it cannot enqueue.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import dibs
from dibs.errors import BrokerError

from . import jobs, kinds
from .history import Event, own_writer

_THREADS = 2
_PAUSE_S = 0.15
#: A child that has not ended by then hangs.
_CHILD_S = 20.0
_write = own_writer()
_kind = kinds.THRICE


def enqueue(uid: str) -> None:
    """One call, noted."""
    _write(Event(what="asked", uid=uid, kind=_kind.name))
    since = time.monotonic()
    try:
        handle = jobs.BY_KIND[_kind.name].execute(uid)
    except BrokerError as error:
        _write(Event(what="gave up", uid=uid, kind=_kind.name, since=since, text=repr(error)))
    else:
        _write(Event(what="enqueued", uid=uid, kind=_kind.name, id=handle.taskid, since=since))


def is_told() -> bool:
    """Whether a call here is refused at once, in words."""
    try:
        dibs.queue_sizes()
    except dibs.DibsError as error:
        return "spawn" in str(error)
    return False


def fork_once(uid: str, *, beside_asyncio: bool) -> None:
    """One fork; how its child ended is noted."""
    child = os.fork()
    if not child:
        code = 1
        try:
            if beside_asyncio:
                code = 0 if is_told() else 2
            else:
                enqueue(uid)
                dibs.close()
                code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + _CHILD_S
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            ended = (child, status)
            break
        time.sleep(0.01)
    _write(Event(what="forked", ok=ended[1] == 0, text=f"wait status {ended[1]}"))


async def beside_open_channel(fork: Callable[[], None]) -> None:
    """Call that while an AsyncDibs is open."""
    async with dibs.AsyncDibs(of=dibs.default()) as adibs:
        await adibs.queue_sizes()
        await asyncio.to_thread(fork)


def main() -> None:
    """Enqueue from threads and fork beside them."""
    over = threading.Event()
    beside_asyncio = "asyncio" in sys.argv[2:]
    name = f"{os.getpid()}."

    def fork() -> None:
        end = time.monotonic() + float(sys.argv[1])
        number = 0
        while time.monotonic() < end:
            number += 1
            fork_once(f"fork{name}{number}", beside_asyncio=beside_asyncio)
            time.sleep(_PAUSE_S)

    def produce(letter: str) -> None:
        number = 0
        while not over.wait(_PAUSE_S):
            number += 1
            enqueue(f"{letter}{name}{number}")

    threads = [threading.Thread(target=produce, args=(f"thread{number}.",)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    if beside_asyncio:
        asyncio.run(beside_open_channel(fork))
    else:
        fork()
    over.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
