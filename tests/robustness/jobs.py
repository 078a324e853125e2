"""The tasks that workers run under faults: each writes what it was given and what it did."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import dibs
from dibs.tasks.context import RunningTask

from . import kinds
from .history import Event, own_writer
from .kinds import Kind

_write = own_writer()


def _delivery(kind: Kind) -> dict[str, Any]:
    """The decorator's arguments for a kind."""
    return {
        "name": kind.name,
        "queue": kind.queue,
        "attempts": kind.attempts,
        "vis_timeout": kind.lease_s,
        "use_dead": kind.use_dead,
        "save_results": kinds.KEPT_S if kind.kept else 0,
        "retry_delay": kind.retry_s,
    }


def _run(uid: str, kind: Kind, seconds: float = 0.0) -> str:
    """Begin, take some time, and end as the kind wants it."""
    task = dibs.CURRENT_TASK.task
    assert task is not None
    _write(_event("began", task, uid, kind))
    if kind.crashes:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)
    ok = task.attempt > kind.failures
    _write(_event("ended", task, uid, kind, ok))
    if not ok:
        raise RuntimeError(f"attempt {task.attempt} was to fail")
    return uid


def _event(what: str, task: RunningTask, uid: str, kind: Kind, ok: bool = True) -> Event:
    return Event(
        what=what, uid=uid, kind=kind.name, id=task.taskid, token=task.lease_token, attempt=task.attempt, ok=ok
    )


@dibs.task(**_delivery(kinds.ONCE))
def once(uid: str) -> None:
    _run(uid, kinds.ONCE)


@dibs.task(**_delivery(kinds.ONCE_KEPT))
def once_kept(uid: str) -> str:
    return _run(uid, kinds.ONCE_KEPT)


@dibs.task(**_delivery(kinds.SURE))
def sure(uid: str) -> str:
    return _run(uid, kinds.SURE, random.expovariate(100))


@dibs.task(**_delivery(kinds.THRICE))
def thrice(uid: str) -> str:
    return _run(uid, kinds.THRICE, random.expovariate(50))


@dibs.task(**_delivery(kinds.FLAKY))
def flaky(uid: str) -> str:
    return _run(uid, kinds.FLAKY)


@dibs.task(**_delivery(kinds.HOPELESS))
def hopeless(uid: str) -> str:
    return _run(uid, kinds.HOPELESS)


@dibs.task(**_delivery(kinds.LATER))
def later(uid: str) -> str:
    return _run(uid, kinds.LATER)


@dibs.task(**_delivery(kinds.POISON))
def poison(uid: str) -> str:
    return _run(uid, kinds.POISON)


@dibs.task(**_delivery(kinds.FORKING))
def forking(uid: str) -> str:
    """Forks, as `multiprocessing` and libraries do; the child ends at once."""
    child = os.fork()
    if not child:
        os._exit(0)
    _, status = os.waitpid(child, 0)
    _write(Event(what="forked", uid=uid, kind=kinds.FORKING.name, ok=status == 0, text=f"wait status {status}"))
    return _run(uid, kinds.FORKING)


BY_KIND = {task.name: task for task in (once, once_kept, sure, thrice, flaky, hopeless, later, poison, forking)}
