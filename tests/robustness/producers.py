"""Puts items in while faults happen: a thread on the Python client, one on bare stubs, one that waits for results.

``python -m tests.robustness.producers SEED ADDRESS...``; the client's brokers are in `DIBS_TARGET`.
"""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dibs
from dibs.errors import BrokerError, DibsError, TaskFailed

from . import jobs, kinds
from .calls import Brokers
from .history import FOLDER, Event, Flags, own_writer
from .kinds import Kind
from .putting import put
from .roles import PRODUCER_CLIENT, PRODUCER_STUBS, PRODUCER_WAITER

_PAUSE_S = 0.04
#: Every so many calls go out together as a batch.
_BATCH_EVERY, _BATCH = 15, 8
#: Seconds after which a call's outcome is given up.
_GIVE_UP_S = 30.0
#: A result that has not come by then is not waited for any longer: what is at most once may be lost.
_RESULT_S = 8.0

_write = own_writer()
_flags = Flags(Path(os.environ[FOLDER]))
_handles: queue.Queue[tuple[str, dibs.EnqueuedTask[Any]]] = queue.Queue(20)


def _names(letter: str) -> Iterator[str]:
    """Names of items, never the same twice."""
    number = 0
    while not _flags.up(Flags.STOP_PRODUCING):
        number += 1
        yield f"{letter}{number}"
        time.sleep(_PAUSE_S * random.uniform(0.5, 1.5))


def by_client() -> None:
    """Calls of tasks one by one and in batches, and data."""
    data = dibs.Data(
        kinds.CLIENT_DATA,
        attempts=kinds.DATA_CLIENT.attempts,
        vis_timeout=kinds.DATA_CLIENT.lease_s,
        use_dead=kinds.DATA_CLIENT.use_dead,
    )
    for number, uid in enumerate(_names("c")):
        if number % 5 == 0:
            _put_data(data, uid)
        elif number % _BATCH_EVERY == 1:
            _call_batch([f"{uid}.{place}" for place in range(_BATCH)])
        else:
            _call(uid, random.choice(kinds.COMMON_TASKS))


def _call(uid: str, kind: Kind) -> None:
    since = _ask(uid, kind)
    try:
        handle = _execute(uid, kind)
    except BrokerError as error:
        _note(Event(what="gave up", uid=uid, kind=kind.name, since=since, text=repr(error)))
        return
    _note(Event(what="enqueued", uid=uid, kind=kind.name, id=handle.taskid, since=since))
    if kind.kept and not kind.once:
        try:
            _handles.put_nowait((uid, handle))
        except queue.Full:
            return  # the waiter is behind


def _call_batch(uids: list[str]) -> None:
    chosen = [(uid, random.choice(kinds.COMMON_TASKS)) for uid in uids]
    since = 0.0
    for uid, kind in chosen:
        since = _ask(uid, kind)
    try:
        with dibs.batch():
            handles = [_execute(uid, kind) for uid, kind in chosen]
    except BrokerError as error:
        for uid, kind in chosen:
            _note(Event(what="gave up", uid=uid, kind=kind.name, since=since, text=repr(error)))
        return
    for (uid, kind), handle in zip(chosen, handles, strict=True):
        _note(Event(what="enqueued", uid=uid, kind=kind.name, id=handle.taskid, since=since))


def _put_data(data: dibs.Data, uid: str) -> None:
    kind = kinds.DATA_CLIENT
    since = _ask(uid, kind)
    try:
        (id,) = data.put_data({"uid": uid, "kind": kind.name})
    except BrokerError as error:
        _note(Event(what="gave up", uid=uid, kind=kind.name, since=since, text=repr(error)))
        return
    _note(Event(what="enqueued", uid=uid, kind=kind.name, id=id, since=since))


def _execute(uid: str, kind: Kind) -> dibs.EnqueuedTask[Any]:
    task = jobs.BY_KIND[kind.name]
    return task.options(delay=kind.delay_s or None).execute(uid)


def _ask(uid: str, kind: Kind) -> float:
    due = time.time() + kind.delay_s if kind.delay_s else 0.0
    _note(Event(what="asked", uid=uid, kind=kind.name, due=due))
    return time.monotonic()


def _note(event: Event) -> None:
    _write(event, role=PRODUCER_CLIENT)


def by_stubs(addresses: list[str]) -> None:
    """Requests of a few items of every common kind, without ids, repeated on whichever broker answers."""
    brokers = Brokers(addresses, first=1)
    for uid in _names("s"):
        items = [
            (f"{uid}.{place}", random.choice(kinds.COMMON_TASKS + kinds.COMMON_DATA))
            for place in range(random.choice((1, 1, 2, 5)))
        ]
        put(brokers, lambda event: _write(event, role=PRODUCER_STUBS), items, _GIVE_UP_S)


def by_waiting() -> None:
    """Wait for results, one after another."""
    while not _flags.up(Flags.STOP_PRODUCING):
        try:
            uid, handle = _handles.get(timeout=0.2)
        except queue.Empty:
            continue
        since = time.monotonic()
        try:
            handle.get(_RESULT_S)
        except TaskFailed as error:
            _write(
                Event(what="done", uid=uid, id=handle.taskid, ok=False, since=since, text=str(error)),
                role=PRODUCER_WAITER,
            )
        except DibsError:
            continue  # it says nothing about the item
        else:
            _write(Event(what="done", uid=uid, id=handle.taskid, since=since), role=PRODUCER_WAITER)


def main() -> None:
    """Run all until told to stop."""
    random.seed(int(sys.argv[1]))
    addresses = sys.argv[2:]
    work: list[Callable[[], None]] = [by_client, lambda: by_stubs(addresses), by_waiting]
    threads = [threading.Thread(target=part) for part in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
