"""A producer that forks while its threads enqueue; each child enqueues one item and ends.

``python -m tests.robustness.forker SECONDS``
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

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


def fork_once(number: int) -> None:
    """One fork; how its child ended is noted."""
    child = os.fork()
    if not child:
        enqueue(f"fork{number}")
        dibs.close()
        os._exit(0)
    end = time.monotonic() + _CHILD_S
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            ended = (child, status)
            break
        time.sleep(0.01)
    _write(Event(what="forked", ok=ended[1] == 0, text=f"wait status {ended[1]}"))


def main() -> None:
    """Enqueue from threads and fork beside them."""
    over = threading.Event()

    def produce(letter: str) -> None:
        number = 0
        while not over.wait(_PAUSE_S):
            number += 1
            enqueue(f"{letter}{number}")

    threads = [threading.Thread(target=produce, args=(f"thread{number}.",)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + float(sys.argv[1])
    number = 0
    while time.monotonic() < end:
        number += 1
        fork_once(number)
        time.sleep(_PAUSE_S)
    over.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
